"""The similarity transform that maps points onto others as nearly as one can."""

from __future__ import annotations

import numpy as np


def fit_similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Fit similarity transforms (rotation, scale, translation; no reflection) to pairs of points by least squares.

    Source: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991. In
    the plane its solution is a ratio of complex numbers, so that no singular value decomposition is needed.

    Args:
        source: (..., N, 2), the points to map.
        target: (..., N, 2), where they should come to lie; leading axes broadcast with those of `source`. Pairs with a
            point that is missing (NaN) do not count.

    Returns:
        Matrices (..., 2, 3), float64. Source points that all lie in one spot have no direction: scale 0, the
        translation leads to the mean of the target.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if np.isnan(source).any() or np.isnan(target).any():
        there = ~np.isnan(source + target).any(axis=-1, keepdims=True)
        count = np.maximum(there.sum(axis=-2, keepdims=True), 1)
        # In the mean of the others a pair has no part.
        source, target = (
            np.where(there, points, np.where(there, points, 0).sum(axis=-2, keepdims=True) / count)
            for points in (source, target)
        )
    source_mean, target_mean = source.mean(axis=-2), target.mean(axis=-2)
    (x, y), (u, v) = (
        np.moveaxis(points, -1, 0)
        for points in (source - source_mean[..., None, :], target - target_mean[..., None, :])
    )
    size = (x * x + y * y).sum(axis=-1)
    size = np.where(size > 0, size, np.inf)
    cos, sin = (x * u + y * v).sum(axis=-1) / size, (x * v - y * u).sum(axis=-1) / size
    linear = np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)
    shift = target_mean - (linear @ source_mean[..., None])[..., 0]
    return np.concatenate([linear, shift[..., None]], axis=-1)
