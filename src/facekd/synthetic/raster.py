"""Draw triangles with depth."""

from __future__ import annotations

import numpy as np


def grid_triangles(rows: int, columns: int) -> np.ndarray:
    """Return the triangles of a grid of vertices, numbered row by row.

    Args:
        rows: of vertices.
        columns: of vertices.

    Returns:
        (2 * (rows - 1) * (columns - 1), 3) int64, clockwise as seen when x grows with the column and y with the row.
    """
    number = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (corner.ravel() for corner in (number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]))
    return np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)])


def rasterise(
    pixels: np.ndarray, near: np.ndarray, values: np.ndarray, triangles: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate values over triangles; of those that cover a pixel the nearest is seen.

    Args:
        pixels: (n, 2) where the vertices are in the image.
        near: (n,) their nearness to the camera.
        values: (n, c) what to interpolate.
        triangles: (t, 3) their vertices; those that are not clockwise as seen are the back of the surface, not drawn.
        shape: (h, w) of the image.

    Returns:
        The values (h, w, c) float32, NaN where nothing is seen; and the nearness (h, w) float32, -inf there.
    """
    height, width = shape
    seen, depth = np.full((height * width, values.shape[1]), np.nan, np.float32), np.full(height * width, -np.inf, "f4")
    corners = pixels[triangles]
    edge, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = edge[:, 0] * other[:, 1] - edge[:, 1] * other[:, 0]
    low = np.maximum(np.ceil(corners.min(1)), 0).astype(np.int64)
    high = np.minimum(np.floor(corners.max(1)), (width - 1, height - 1)).astype(np.int64)
    kept = np.flatnonzero((area > 1e-9) & (high >= low).all(1))
    extent = (high - low)[kept] + 1
    count = extent.prod(1)
    # One sample per pixel of each triangle's box: `of` is its triangle.
    of = np.repeat(kept, count)
    place = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)
    across = np.repeat(extent[:, 0], count)
    column, row = low[of, 0] + place % across, low[of, 1] + place // across
    x, y = column - corners[of, 0, 0], row - corners[of, 0, 1]
    v = (x * other[of, 1] - y * other[of, 0]) / area[of]
    w = (y * edge[of, 0] - x * edge[of, 1]) / area[of]
    inside = (v >= -1e-9) & (w >= -1e-9) & (v + w <= 1 + 1e-9)
    of, v, w, index = of[inside], v[inside], w[inside], (row * width + column)[inside]
    weights = np.stack([1 - v - w, v, w], -1)
    here = (near[triangles[of]] * weights).sum(-1).astype(np.float32)
    np.maximum.at(depth, index, here)
    front = here >= depth[index]
    of, weights, index = of[front], weights[front], index[front]
    seen[index] = (values[triangles[of]] * weights[..., None]).sum(1)
    return seen.reshape(height, width, -1), depth.reshape(height, width)
