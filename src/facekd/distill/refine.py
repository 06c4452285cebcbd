"""What a network says, drawn towards what faces look like: a linear map behind it, fitted once it is trained.

A heatmap places each point by itself. Which shapes there are, is known: their mean m and covariance C over the training
views. If the network's errors were independent noise of variance N per point, the best guess of the true shape were

    m + C (C + N)^-1 (said - m)

(the posterior mean of a Gaussian; as in Cootes et al., "Active shape models", CVIU 1995, shapes are bounded by what the
training set holds, but softly). Errors are not independent: neighbours err together, so that only a share of N counts.
How large a share is chosen on the validation faces, and none if that gains nothing there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
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


def refinement(shapes: Tensor, noise: Tensor) -> Refinement:
    """Return the map for shapes (m, N, 2), of which there are more than 2N, and the errors' variances (N,) per axis."""
    flat = shapes.double().flatten(1)
    mean, covariance = flat.mean(0), flat.T.cov()
    matrix = torch.linalg.solve(covariance + noise.double().repeat_interleave(2).diag(), covariance).T
    return Refinement(matrix.float(), (mean - matrix @ mean).float())


def fit(
    shapes: Tensor, said: Tensor, truth: Tensor, mirror: Tensor, error: Callable[[Tensor], Tensor]
) -> Refinement | None:
    """Return the refinement that is best on faces the network was not trained on, or None if none is clearly good.

    Args:
        shapes: (m, N, 2) of training views, normalised.
        said, truth: (n, N, 2) of the validation faces: the network's landmarks and the labels.
        mirror: (N,) the points' mirror pairs, which have one noise.
        error: the error (n,) of landmarks (n, N, 2).
    """
    if len(said) < _FACES or len(shapes) <= 2 * said.shape[1]:
        return None
    noise = (said - truth).square().mean((0, 2))
    noise = (noise + noise[mirror]) / 2
    tried = [refinement(shapes, share * noise) for share in _SHARES]
    gains = [error(said) - error(one(said)) for one in tried]
    best = max(range(len(tried)), key=lambda index: float(gains[index].mean()))
    gain = gains[best]
    return tried[best] if gain.mean() > _CLEAR * gain.std() / len(gain) ** 0.5 else None
