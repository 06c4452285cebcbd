"""What a network says, drawn towards what faces look like: a linear estimate behind it, fitted once it is trained.

A heatmap places each point by itself. Which shapes there are, is known: their mean m and covariance C over the training
views. How the network errs on faces it was not trained on, is known too: by b in the mean (where training labels are a
little off, so is the network), with covariance N about it, and more where its own sigma says so: D holds how many times
more than is typical of each point. Were all Gaussian and independent, the best guess would be

    m + C (C + D N D)^-1 (said - b - m)

the mean of the posterior: an active shape model's idea (Cootes et al., CVIU 1995), with soft bounds and errors that are
measured. Points that are hidden or blurred move to where the others want them, clear ones stay. Errors depend on the
shape and their statistics come from few faces, so that only a share of N counts and both are shrunk. How large a share,
is chosen by cross-validation, and nothing is done where that shows no clear gain.

D is another for every face. With W = (C + N)^-1/2, known beforehand, the system to solve becomes

    W (C + D N D) W z = W (said - b - m)        m + C W z

which is close to the identity, so that a few conjugate gradients solve it, within the exported file too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
_BIAS = 0.8  # of the mean error that counts
_FOLDS = 5
_FACES = 50  # fewer for validation tell nothing
_CLEAR = 2.0  # standard errors by which the error has to fall
_ROUNDS = 3  # of conjugate gradients; they leave 0.002 % of the inter-ocular distance, 0.14 % at most
_MOST = 1.4  # a log-sigma counts as at most so far from what is typical: four times, or a quarter


@dataclass(frozen=True)
class Refinement:
    """The estimate, as tensors in float32.

    Attributes:
        mean, bias: (2N,) of the shapes and of the errors: m, b.
        noise: (2N, 2N) covariance of the errors where the network is as sure as it typically is: N.
        typical: (N,) log-sigma that is typical of each point.
        whiten, gain: (2N, 2N) W and W C.
    """

    mean: Tensor
    bias: Tensor
    noise: Tensor
    typical: Tensor
    whiten: Tensor
    gain: Tensor

    def __call__(self, landmarks: Tensor, log_sigma: Tensor | None = None) -> Tensor:
        """Return refined landmarks (B, N, 2), normalised as those given; log_sigma: (B, N), None: as is typical."""
        count = self.typical.shape[0]
        here = [value.to(landmarks.device) for value in vars(self).values()]
        mean, bias, noise, typical, whiten, gain = here
        wanted = (landmarks.float().reshape(-1, 2 * count) - bias - mean) @ whiten
        if log_sigma is not None:
            ratio = (log_sigma.float() - typical).clamp(-_MOST, _MOST).exp()
            ratio = torch.stack([ratio, ratio], dim=-1).reshape(-1, 2 * count)
            wanted = _solved(wanted, ratio, noise, whiten, gain)
        return (wanted @ gain + mean).reshape(-1, count, 2)


def _solved(wanted: Tensor, ratio: Tensor, noise: Tensor, whiten: Tensor, gain: Tensor) -> Tensor:
    """Return z (B, 2N) of the module's docstring, by conjugate gradients; wanted: its right side, ratio: D."""

    def applied(z: Tensor) -> Tensor:
        return (z @ gain + ratio * ((ratio * (z @ whiten)) @ noise)) @ whiten

    z = wanted  # what it is where the network is as sure as usual
    left = wanted - applied(z)
    way, size = left, (left * left).sum(-1, keepdim=True)
    for rounds in range(1, _ROUNDS + 1):
        ahead = applied(way)
        step = size / (way * ahead).sum(-1, keepdim=True).clamp_min(1e-30)
        z = z + step * way
        if rounds < _ROUNDS:
            left = left - step * ahead
            before, size = size, (left * left).sum(-1, keepdim=True)
            way = left + size / before.clamp_min(1e-30) * way
    return z


def refinement(shapes: Tensor, noise: Tensor, bias: Tensor, typical: Tensor) -> Refinement:
    """Return the estimate for shapes (m, N, 2), m above 2N, and errors of that covariance, mean and sigma."""
    flat = shapes.double().flatten(1)
    mean, covariance = flat.mean(0), flat.T.cov()
    values, vectors = torch.linalg.eigh(covariance + noise)
    least = 1e-9 * values.mean()  # also where nothing ever moves
    whiten = (vectors / (values.clamp_min(0) + least).sqrt()) @ vectors.T
    tensors = (mean, bias, noise, typical, whiten, whiten @ covariance)
    return Refinement(*(value.float().contiguous() for value in tensors))


def errors(said: Tensor, truth: Tensor, ratio: Tensor, mirror: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return covariance (2N, 2N) and mean (2N,) of the errors of faces (n, N, 2) and of their mirror images, shrunk.

    ratio: (n, N) how many times as unsure as usual the network was; the covariance is what is left when that is 1.
    mirror: (N,) what each point is in the mirrored face; None: nobody knows, and only faces as they are count.
    """
    both = (said - truth).double()
    if mirror is not None:
        both = torch.cat([both, both[:, mirror] * both.new_tensor([-1, 1])])
        ratio = torch.cat([ratio, ratio[:, mirror]])
    bias = _BIAS * both.mean(0)
    usual = ((both - bias) / ratio[..., None]).flatten(1)
    spread = usual.T @ usual / len(usual)
    return (spread + spread.diag().diag()) / 2, bias.flatten()


def fit(
    shapes: Tensor,
    said: Tensor,
    log_sigma: Tensor | None,
    truth: Tensor,
    mirror: Tensor | None,
    error: Callable[[Tensor, Tensor], Tensor],
) -> Refinement | None:
    """Return the refinement that is best on faces the network was not trained on, or None if none is clearly good.

    Args:
        shapes: (m, N, 2) of training views, normalised.
        said, log_sigma, truth: (n, N, 2), (n, N) or None, (n, N, 2) of the validation faces: what the network says of
            them, and the labels.
        mirror: (N,) the points' mirror pairs, which err alike; None: there are none.
        error: the error (n,) of landmarks (n, N, 2) beside the truth (n, N, 2).
    """
    if len(said) < _FACES or len(shapes) <= 2 * said.shape[1]:
        return None
    unsure = torch.zeros(said.shape[:2]) if log_sigma is None else log_sigma.float()

    def fitted(rows: Tensor, share: float) -> Refinement:
        typical = unsure[rows].median(dim=0).values
        ratio = (unsure[rows] - typical).clamp(-_MOST, _MOST).exp().double()
        noise, bias = errors(said[rows], truth[rows], ratio, mirror)
        return refinement(shapes, share * noise, bias, typical)

    fold = torch.arange(len(said)) % _FOLDS
    before, best, kept = error(said, truth), 0.0, None
    for share in _SHARES:
        after = torch.empty_like(before)
        for number in range(_FOLDS):
            out = fold == number
            after[out] = error(fitted(~out, share)(said[out], unsure[out]), truth[out])
        gain = before - after
        if gain.mean() > max(best, _CLEAR * float(gain.std()) / len(gain) ** 0.5):
            best, kept = float(gain.mean()), share
    return None if kept is None else fitted(torch.ones_like(fold, dtype=torch.bool), kept)
