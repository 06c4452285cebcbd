"""The mean shape of faces, of which points may be missing: how each lies against it, how large each is as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facekd.geometry import tight_box

_NEAR = np.pi / 4  # of the usual rotation: what lies down does not count for it
_TELLING = 6  # points that must be there, or all, for a face's shape to tell whether its labels are right
FEWEST = 3  # points that must be there for the mean shape to say where the others are
_ROUNDS = 20  # of filling in missing points, and of looking which way most faces stand: more change nothing that shows


@dataclass(frozen=True)
class Fits:
    """Faces compared with their mean shape, each by the similarity transform that fits the mean to its points best.

    Attributes:
        mean: (N, 2) the full Procrustes mean, centred and of length 1, upright as most faces are.
        roll: (n,) rotation of each face against it in degrees, clockwise.
        distance: (n,) Procrustes distance to it, 0 to 1.
        told: (n,) whether so many of its points are there that its shape tells anything.
    """

    mean: np.ndarray
    roll: np.ndarray
    distance: np.ndarray
    told: np.ndarray


def fit_mean(points: np.ndarray) -> Fits:
    """Find the mean shape of faces, and how far each of them is from it.

    With points as complex numbers the mean is the leading eigenvector of sum z z* (Kent, "The complex Bingham
    distribution and shape analysis", 1994). Missing points are filled in with the fitted mean until that settles.

    Args:
        points: (n, N, 2); NaN where a point is missing.

    Returns:
        The mean and the fits.
    """
    z = complex_points(points)
    there = ~np.isnan(z)
    filled = np.where(there, z, np.nanmean(z, axis=1, keepdims=True))
    for _ in range(1 if there.all() else _ROUNDS):
        shapes = filled - filled.mean(axis=1, keepdims=True)
        shapes /= np.maximum(np.linalg.norm(shapes, axis=1, keepdims=True), 1e-12)
        mean = np.linalg.eigh(shapes.T @ shapes.conj())[1][:, -1]
        mean = mean * _usual_turn(shapes @ mean.conj())
        filled = np.where(there, z, fitted(mean, z, there)[0])
    _, turns, distance = fitted(mean, z, there)
    told = there.sum(axis=1) >= min(_TELLING, points.shape[1])
    return Fits(np.stack([mean.real, mean.imag], axis=-1), np.degrees(np.angle(turns)), distance, told)


def _usual_turn(turns: np.ndarray) -> complex:
    """Return the rotation of most faces, as a complex number of length 1, whatever a minority that lies down has."""
    turn = turns.sum()
    for _ in range(_ROUNDS):
        near = np.abs(np.angle(turns * np.conj(turn))) < _NEAR
        turn = turns[near].sum() if near.any() else turn
    return complex(turn / abs(turn)) if abs(turn) > 1e-12 else 1 + 0j


def whole_boxes(points: np.ndarray) -> np.ndarray:
    """Compute the tight boxes that faces would have with all their points: missing ones where the mean shape has them.

    A network is to see an eye as large on a face whose chin is missing as on others.

    Args:
        points: (n, N, 2); NaN where a point is missing.

    Returns:
        (n, 4) x0, y0, x1, y1; of a face with fewer than three points the tight box of those.
    """
    missing = np.isnan(points).any(axis=2)
    if not missing.any():
        return tight_box(points)
    z, mean = complex_points(points), complex_points(fit_mean(points).mean)
    where = fitted(mean, z, ~missing)[0]
    completed = np.where(missing[..., None], np.stack([where.real, where.imag], axis=-1), points)
    enough = (~missing).sum(axis=1) >= FEWEST
    return np.where(enough[:, None], tight_box(completed), tight_box(points))


def complex_points(points: np.ndarray) -> np.ndarray:
    """Turn points into complex numbers, of which a product is a rotation and a scale.

    Args:
        points: (..., 2).

    Returns:
        (...) complex128; NaN where one is missing.
    """
    return points[..., 0].astype(np.float64) + 1j * points[..., 1]


def fitted(mean: np.ndarray, z: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit a mean shape to faces by similarity transforms, by least squares.

    Args:
        mean: (N,) complex.
        z: (n, N) complex, the faces' points.
        used: (n, N) bool, which of them count.

    Returns:
        The fitted means (n, N), their rotations and scales (n,) as complex numbers, and the Procrustes distances (n,).
    """
    count = np.maximum(used.sum(axis=1, keepdims=True), 1)
    z = np.where(used, z, 0)
    centre, its = z.sum(axis=1, keepdims=True) / count, np.where(used, mean, 0).sum(axis=1, keepdims=True) / count
    shape, model = np.where(used, z - centre, 0), np.where(used, mean - its, 0)
    cross = (model.conj() * shape).sum(axis=1)
    size = (np.abs(model) ** 2).sum(axis=1), (np.abs(shape) ** 2).sum(axis=1)
    turn = cross / np.maximum(size[0], 1e-24)
    likeness = np.abs(cross) ** 2 / np.maximum(size[0] * size[1], 1e-24)
    return centre + turn[:, None] * (mean - its), turn, np.sqrt(np.maximum(1 - likeness, 0))
