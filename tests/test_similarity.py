"""The similarity transform between two sets of points."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from facekd.geometry import apply
from facekd.similarity import fit_similarity


@given(st.integers(0, 2**31), st.floats(-179, 179), st.floats(0.05, 20), st.floats(-300, 300))
def test_a_similarity_is_recovered(seed: int, angle: float, scale: float, shift: float) -> None:
    source = np.random.default_rng(seed).uniform(0, 100, (3, 7, 2))
    cos, sin = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
    matrix = np.array([[cos, -sin, shift], [sin, cos, 2 * shift]])
    fitted = fit_similarity(source, apply(matrix, source))
    np.testing.assert_allclose(fitted, np.broadcast_to(matrix, (3, 2, 3)), atol=1e-6)


def test_a_similarity_is_the_least_squares_one_and_never_a_reflection() -> None:
    square = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    wide = square * [3, 1]  # the best similarity enlarges by 2: (3 + 1) / 2
    np.testing.assert_allclose(fit_similarity(square, wide + 5), [[2, 0, 5], [0, 2, 5]], atol=1e-12)
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 9, 2))
    best = fit_similarity(source, target)
    error = np.square(apply(best, source) - target).sum()
    for step in 1e-3 * np.array([[[1, 0, 0], [0, 1, 0]], [[0, -1, 0], [1, 0, 0]], [[0, 0, 1], [0, 0, 0]]]):
        for sign in (-1, 1):
            assert np.square(apply(best + sign * step, source) - target).sum() > error
    mirrored = fit_similarity(square, square * [-1, 1])
    assert np.linalg.det(mirrored[:, :2]) >= 0


def test_points_in_one_spot_have_no_direction() -> None:
    target = np.array([[0.0, 0], [4, 0], [2, 6]])
    np.testing.assert_array_equal(fit_similarity(np.full((3, 2), 7.0), target), [[0, 0, 2], [0, 0, 2]])
    many = fit_similarity(target, np.stack([target, 2 * target]))  # one source, several targets
    np.testing.assert_allclose(many[:, 0, 0], [1, 2])
