"""Random numbers that depend on seed, face and view alone; and the order of an epoch."""

from __future__ import annotations

import numpy as np

from facekd.training.sampling import permutation, uniform, weighted_order


def test_a_number_does_not_depend_on_its_batch() -> None:
    together = uniform(3, np.arange(10), 5, 7)
    apart = np.concatenate([uniform(3, np.array([i]), 5, 7) for i in range(10)])
    np.testing.assert_array_equal(together, apart)
    np.testing.assert_array_equal(uniform(3, np.arange(10), np.full(10, 5), 7), together)


def test_seed_face_and_view_all_matter() -> None:
    base = uniform(0, np.array([1]), 2, 8)
    for other in (uniform(1, np.array([1]), 2, 8), uniform(0, np.array([2]), 2, 8), uniform(0, np.array([1]), 3, 8)):
        assert not np.isclose(base, other).any()


def test_numbers_are_uniform_and_unrelated() -> None:
    u = uniform(0, np.arange(20_000), 1, 4)
    assert u.min() >= 0 and u.max() < 1
    for column in u.T:
        counts = np.histogram(column, bins=10, range=(0, 1))[0]
        assert np.abs(counts - 2000).max() < 250  # over five standard deviations
    related = np.corrcoef(np.column_stack([u, uniform(0, np.arange(20_000), 2, 4)]), rowvar=False)
    assert np.abs(related - np.eye(8)).max() < 0.04


def test_an_epoch_visits_every_face_once_in_its_own_order() -> None:
    first, second = permutation(0, 0, 100), permutation(0, 1, 100)
    assert sorted(first) == list(range(100)) and not np.array_equal(first, second)
    np.testing.assert_array_equal(first, permutation(0, 0, 100))


def test_each_face_is_drawn_as_often_as_its_weight_says() -> None:
    weights = np.array([0.25, 2.5, 1.0, 0.0, 1.25])
    counts = np.array([np.bincount(weighted_order(7, epoch, weights)[0], minlength=5) for epoch in range(2000)])
    assert (counts.sum(axis=1) == 5).all()
    assert (counts >= np.floor(weights)).all() and (counts <= np.ceil(weights)).all()
    np.testing.assert_allclose(counts.mean(axis=0), weights, atol=0.05)


def test_repeated_draws_of_a_face_are_counted() -> None:
    weights = np.array([3.0, 1.0, 0.5, 0.5, 0.0])
    faces, again = weighted_order(0, 3, weights)
    assert sorted(again[faces == 0]) == [0, 1, 2] and not again[faces != 0].any()
    np.testing.assert_array_equal(weighted_order(0, 3, weights), (faces, again))
    assert any(not np.array_equal(weighted_order(0, epoch, weights)[0], faces) for epoch in range(4, 8))


def test_more_numbers_of_a_view_leave_the_first_ones_as_they_were() -> None:
    """So settings can be added without changing the views of trained networks."""
    faces = np.arange(7)
    np.testing.assert_array_equal(uniform(3, faces, 2, draws=40)[:, :32], uniform(3, faces, 2, draws=32))
