"""Triangles with depth: pixels, interpolated values and what is in front, by hand."""

from __future__ import annotations

import numpy as np

from facekd.synthetic.raster import grid_triangles, rasterise

SQUARE = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 4.0]])


def test_a_grid_is_covered_by_clockwise_triangles() -> None:
    assert grid_triangles(2, 2).tolist() == [[0, 1, 3], [0, 3, 2]]
    assert len(grid_triangles(3, 5)) == 2 * 2 * 4


def test_values_are_interpolated_and_pixels_outside_stay_empty() -> None:
    seen, depth = rasterise(SQUARE, np.array([0.0, 4, 0, 4]), 10 * SQUARE, grid_triangles(2, 2), (6, 7))
    assert np.isnan(seen[5]).all() and np.isnan(seen[:, 5:]).all()
    assert np.allclose(seen[3, 2], [20, 30])
    assert not np.isnan(seen[:5, :5]).any()
    assert np.allclose(depth[2, :5], [0, 1, 2, 3, 4])
    assert depth[0, 5] == -np.inf


def test_the_nearest_is_seen_whatever_the_order_and_the_back_is_not() -> None:
    pixels, near = np.concatenate([SQUARE, SQUARE + np.array([2, 0])]), np.repeat([1.0, 0.0], 4)
    values = np.repeat([[1.0], [2.0]], 4, axis=0)
    triangles = np.concatenate([grid_triangles(2, 2), grid_triangles(2, 2) + 4])
    for order in (triangles, triangles[::-1]):
        seen, _ = rasterise(pixels, near, values, order, (5, 8))
        assert seen[2, :, 0].tolist()[:7] == [1, 1, 1, 1, 1, 2, 2]
    back, _ = rasterise(pixels, near, values, triangles[:, ::-1], (5, 8))
    assert np.isnan(back).all()
