"""Faces to train on: joined without copies, and rare shapes drawn more often."""

from __future__ import annotations

import numpy as np

from facekd.training.faces import ConcatenatedFrames, sampling_weights


def test_rare_shapes_are_drawn_more_often() -> None:
    square = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    wider = np.array([[-0.01, 0], [0.01, 0], [0.01, 0], [-0.01, 0]])
    points = np.array([square, 3 * square + 5, square, square, square + wider, square - wider, square, square])
    np.testing.assert_allclose(sampling_weights(points, 1.0), [0, 0, 0, 0, 4, 4, 0, 0], atol=0.1)
    np.testing.assert_allclose(
        sampling_weights(points, 0.25), [0.75, 0.75, 0.75, 0.75, 1.75, 1.75, 0.75, 0.75], atol=0.03
    )
    np.testing.assert_array_equal(sampling_weights(points[:4], 0.5), [1, 1, 1, 1])


def test_rotation_size_and_place_make_no_shape_rare() -> None:
    square = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    rotated = square @ np.array([[0.8, 0.6], [-0.6, 0.8]])
    np.testing.assert_array_equal(sampling_weights(np.array([square, 7 * rotated - 3]), 0.9), [1, 1])


def test_frames_of_several_sources_count_through() -> None:
    sources = [np.full((2, 1, 1, 3), 10), np.full((0, 1, 1, 3), 20), np.full((3, 1, 1, 3), 30)]
    for source in sources:
        source[:, 0, 0, 0] += np.arange(len(source))
    found = ConcatenatedFrames(*sources)[np.array([4, 0, 2, 1, 4])]
    assert found[:, 0, 0, 0].tolist() == [32, 10, 30, 11, 32]
    assert found.shape == (5, 1, 1, 3)


def test_a_shape_is_drawn_by_the_square_of_its_distance() -> None:
    """Two pairs of shapes that deviate by 1 and by 2, the other way each: of the draws they get 1 and 4 parts."""
    square = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    wider = np.array([[-0.01, 0], [0.01, 0], [0.01, 0], [-0.01, 0]])
    points = np.array([square + wider, square - wider, square + 2 * wider, square - 2 * wider])
    np.testing.assert_allclose(sampling_weights(points, 1.0), [0.4, 0.4, 1.6, 1.6], rtol=0.05)
