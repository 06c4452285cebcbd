"""A shape prior behind a network: the posterior mean of the landmarks, given where faces' landmarks usually are.

A network places each landmark by itself. The prior knows the mean m and covariance C of shapes (over the training
views), and how the network errs on faces it was not trained on: with bias b and error covariance N, scaled per landmark
by D where the network's own sigma is above or below what is typical of that landmark. If shapes and errors are Gaussian
and independent, the best estimate of the true landmarks is the posterior mean

    m + C (C + D N D)^-1 (predicted - b - m)

which is an active shape model's idea (Cootes et al., CVIU 1995) with soft bounds and measured errors: landmarks that
are hidden or blurred move to where the others suggest, clear ones stay. `pipeline.shape_prior` fits it.

D differs from face to face. With W = (C + N)^-1/2, which is computed once, the system to solve becomes

    W (C + D N D) W z = W (predicted - b - m)        m + C W z

whose matrix is close to the identity, so that a few steps of conjugate gradients solve it, in the exported file too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ITERATIONS = 3  # of conjugate gradients; they leave 0.002 % of the inter-ocular distance, 0.14 % at most
MAX_LOG_RATIO = 1.4  # log-sigma counts as at most so far from typical: a factor of 4 either way


@dataclass(frozen=True)
class ShapePrior:
    """The posterior mean as a layer; all tensors are float32.

    Attributes:
        mean: (2N,) mean shape m.
        bias: (2N,) mean error b.
        noise: (2N, 2N) covariance N of the errors where log-sigma is typical.
        typical: (N,) the log-sigma that is typical of each landmark.
        whiten: (2N, 2N) W = (C + N)^-1/2.
        gain: (2N, 2N) W C.
    """

    mean: Tensor
    bias: Tensor
    noise: Tensor
    typical: Tensor
    whiten: Tensor
    gain: Tensor

    def __call__(self, landmarks: Tensor, log_sigma: Tensor | None = None) -> Tensor:
        """Return the posterior mean of landmarks.

        Args:
            landmarks: (B, N, 2), normalised, as the network predicts them.
            log_sigma: (B, N), as the network predicts it; None: typical everywhere.

        Returns:
            (B, N, 2), normalised.
        """
        count = self.typical.shape[0]
        here = [value.to(landmarks.device) for value in vars(self).values()]
        mean, bias, noise, typical, whiten, gain = here
        z = (landmarks.float().reshape(-1, 2 * count) - bias - mean) @ whiten
        if log_sigma is not None:
            ratio = (log_sigma.float() - typical).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
            ratio = torch.stack([ratio, ratio], dim=-1).reshape(-1, 2 * count)
            z = _solve(z, ratio, noise, whiten, gain)
        return (z @ gain + mean).reshape(-1, count, 2)


def _solve(right: Tensor, ratio: Tensor, noise: Tensor, whiten: Tensor, gain: Tensor) -> Tensor:
    """Return z (B, 2N) of the module's docstring by conjugate gradients; right: its right side, ratio: D's diagonal."""

    def matrix(z: Tensor) -> Tensor:
        return (z @ gain + ratio * ((ratio * (z @ whiten)) @ noise)) @ whiten

    z = right  # the solution where log-sigma is typical
    residual = right - matrix(z)
    direction, squared = residual, (residual * residual).sum(-1, keepdim=True)
    for iteration in range(1, ITERATIONS + 1):
        product = matrix(direction)
        step = squared / (direction * product).sum(-1, keepdim=True).clamp_min(1e-30)
        z = z + step * direction
        if iteration < ITERATIONS:
            residual = residual - step * product
            before, squared = squared, (residual * residual).sum(-1, keepdim=True)
            direction = residual + squared / before.clamp_min(1e-30) * direction
    return z
