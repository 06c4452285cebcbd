"""What a network says, drawn towards what faces look like: a linear map behind it, fitted once it is trained.

A heatmap places each point by itself. Which shapes there are, is known: their mean m and covariance C over the training
views. How the network errs on faces it was not trained on, is known too: by b in the mean (where training labels are a
little off, so is the network), with covariance N about it. Were both Gaussian and independent, the best guess would be

    m + C (C + N)^-1 (said - b - m)

the mean of the posterior: an active shape model's idea (Cootes et al., CVIU 1995), with soft bounds and errors that are
measured. Errors depend on the shape and their statistics come from few faces, so that only a share of N counts and both
are shrunk. How large a share, is chosen by cross-validation, and nothing is done where that shows no clear gain.
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


@dataclass(frozen=True)
class Refinement:
    """The map: landmarks (B, N, 2) -> matrix @ landmarks, flat, + offset; matrix (2N, 2N), offset (2N,), float32."""

    matrix: Tensor
    offset: Tensor

    def __call__(self, landmarks: Tensor) -> Tensor:
        """Return refined landmarks (B, N, 2), normalised as those given."""
        count = self.offset.shape[0] // 2
        matrix, offset = self.matrix.to(landmarks.device), self.offset.to(landmarks.device)
        return (landmarks.float().reshape(-1, 2 * count) @ matrix.T + offset).reshape(-1, count, 2)


def refinement(shapes: Tensor, noise: Tensor, bias: Tensor) -> Refinement:
    """Return the map for shapes (m, N, 2), m above 2N, and errors of that covariance (2N, 2N) and mean (2N,)."""
    flat = shapes.double().flatten(1)
    mean, covariance = flat.mean(0), flat.T.cov()
    both = covariance + noise
    both += 1e-9 * both.trace() / len(both) * torch.eye(len(both), dtype=both.dtype)  # also where nothing ever moves
    matrix = torch.linalg.solve(both, covariance).T
    return Refinement(matrix.float(), (mean - matrix @ (mean + bias)).float())


def errors(said: Tensor, truth: Tensor, mirror: Tensor) -> tuple[Tensor, Tensor]:
    """Return covariance (2N, 2N) and mean (2N,) of the errors of faces (n, N, 2) and of their mirror images, shrunk."""
    own = (said - truth).double()
    both = torch.cat([own, own[:, mirror] * own.new_tensor([-1, 1])]).flatten(1)
    bias = _BIAS * both.mean(0)
    spread = (both - bias).T @ (both - bias) / len(both)
    return (spread + spread.diag().diag()) / 2, bias


def fit(
    shapes: Tensor, said: Tensor, truth: Tensor, mirror: Tensor, error: Callable[[Tensor, Tensor], Tensor]
) -> Refinement | None:
    """Return the refinement that is best on faces the network was not trained on, or None if none is clearly good.

    Args:
        shapes: (m, N, 2) of training views, normalised.
        said, truth: (n, N, 2) of the validation faces: the network's landmarks and the labels.
        mirror: (N,) the points' mirror pairs, which err alike.
        error: the error (n,) of landmarks (n, N, 2) beside the truth (n, N, 2).
    """
    if len(said) < _FACES or len(shapes) <= 2 * said.shape[1]:
        return None
    fold = torch.arange(len(said)) % _FOLDS
    before, best, kept = error(said, truth), 0.0, None
    for share in _SHARES:
        after = torch.empty_like(before)
        for number in range(_FOLDS):
            out = fold == number
            noise, bias = errors(said[~out], truth[~out], mirror)
            after[out] = error(refinement(shapes, share * noise, bias)(said[out]), truth[out])
        gain = before - after
        if gain.mean() > max(best, _CLEAR * float(gain.std()) / len(gain) ** 0.5):
            best, kept = float(gain.mean()), share
    if kept is None:
        return None
    noise, bias = errors(said, truth, mirror)
    return refinement(shapes, kept * noise, bias)
