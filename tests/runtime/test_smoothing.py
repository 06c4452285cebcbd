"""The One-Euro filter."""

from __future__ import annotations

import numpy as np
import pytest

from facekd.errors import InputError
from facekd.runtime.smoothing import OneEuro, Smoothing


def run(values: np.ndarray, settings: Smoothing, fps: float = 30.0, side: float = 100.0) -> np.ndarray:
    """Filter a path (T, N, 2)."""
    filter_ = OneEuro(settings)
    return np.array([filter_(points, index / fps, side) for index, points in enumerate(values)])


def test_first_point_passes_and_second_is_the_low_pass_of_the_paper() -> None:
    settings = Smoothing(cutoff=2.0, beta=0.0)
    found = run(np.array([[[0.0, 0.0]], [[10.0, 20.0]]]), settings)
    weight = 1 / (1 + 30 / (2 * np.pi * 2.0))  # alpha = 1 / (1 + tau / Te), tau = 1 / (2 pi cutoff)
    np.testing.assert_allclose(found, [[[0, 0]], [[10 * weight, 20 * weight]]])


@pytest.mark.parametrize(
    "settings",
    [{"cutoff": 0}, {"cutoff": -1}, {"cutoff": np.nan}, {"beta": -1}, {"beta": np.inf}, {"speed_cutoff": 0}],
    ids=str,
)
def test_settings_that_freeze_or_lose_points_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"^smoothing needs cutoffs above 0 and a beta of 0 or more, all finite; got "):
        Smoothing(**settings)


def test_speed_raises_the_cutoff() -> None:
    found = run(np.array([[[0.0, 0.0]], [[10.0, 0.0]]]), Smoothing(cutoff=1.0, beta=2.0, speed_cutoff=1e9))
    cutoff = 1.0 + 2.0 * (10 / 100 * 30)  # 3 face sides per second
    np.testing.assert_allclose(found[1, 0], [10 / (1 + 30 / (2 * np.pi * cutoff)), 0], rtol=1e-6)


def test_speed_is_that_of_the_points_as_seen() -> None:
    found = run(
        np.array([[[0.0, 0.0]], [[10.0, 0.0]], [[10.0, 0.0]]]), Smoothing(cutoff=1.0, beta=2.0, speed_cutoff=1e9)
    )
    weight = 1 / (1 + 30 / (2 * np.pi * 1.0))  # the point rests, though the smoothed one has not arrived
    np.testing.assert_allclose(found[2, 0, 0], found[1, 0, 0] + weight * (10 - found[1, 0, 0]), rtol=1e-6)


def test_noise_on_a_still_point_shrinks() -> None:
    noise = np.random.default_rng(0).normal(0, 0.3, (300, 5, 2))
    found = run(noise + 50, Smoothing())
    assert np.abs(np.diff(found, axis=0)).mean() < 0.5 * np.abs(np.diff(noise, axis=0)).mean()


def test_a_moving_point_is_followed() -> None:
    steps = np.arange(60.0)[:, None, None] * np.array([[4.0, 0.0]])  # 1.2 face sides per second
    found = run(steps, Smoothing())
    assert np.abs(found - steps)[20:].max() < 2.0  # half a frame


@pytest.mark.parametrize("scale", [0.1, 7.0])
def test_it_does_the_same_at_every_size(scale: float) -> None:
    path = np.cumsum(np.random.default_rng(0).normal(0, 1, (50, 3, 2)), axis=0)
    one, other = run(path, Smoothing()), run(path * scale, Smoothing(), side=100 * scale)
    np.testing.assert_allclose(other, one * scale, atol=1e-9)


def test_time_that_does_not_advance_starts_anew() -> None:
    filter_ = OneEuro(Smoothing())
    filter_(np.zeros((1, 2)), 1.0, 100)
    np.testing.assert_array_equal(filter_(np.ones((1, 2)), 1.0, 100), np.ones((1, 2)))
