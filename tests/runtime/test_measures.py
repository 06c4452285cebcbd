"""How wide eyes and mouth are open, on shapes whose ratios can be computed by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import facekd
from facekd.markup import COFW29, FIVE, IBUG68, WFLW98
from facekd.runtime.face import Face
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.measures import EyeOpenness, eye_openness, mouth_openness

SAMPLE = Path(facekd.__file__).parent / "weights" / "sample.jpg"


def face() -> np.ndarray:
    """Left eye 30 x (6, 12), right eye 30 x (3, 3), inner lips 40 x (8, 12, 4)."""
    points = np.random.default_rng(0).uniform(0, 200, (68, 2))
    points[[36, 37, 38, 39, 40, 41]] = [[0, 0], [10, -3], [20, -6], [30, 0], [20, 6], [10, 3]]
    points[[42, 43, 44, 45, 46, 47]] = [[60, 0], [70, 0], [80, 0], [90, 0], [80, 3], [70, 3]]
    points[[60, 61, 62, 63, 64, 65, 66, 67]] = np.add(
        [[0, 0], [10, 0], [20, 0], [30, 0], [40, 0], [30, 4], [20, 12], [10, 8]], [25, 90]
    )
    return points


def test_ratios_are_height_over_width() -> None:
    assert eye_openness(face(), IBUG68) == pytest.approx((9 / 30, 3 / 30))
    assert mouth_openness(face(), IBUG68) == pytest.approx(8 / 40)


def test_ratios_do_not_depend_on_place_size_and_roll() -> None:
    turn = 3 * np.array([[0.8, -0.6], [0.6, 0.8]])
    moved = face() @ turn + [40, 7]
    assert eye_openness(moved, IBUG68) == pytest.approx(eye_openness(face(), IBUG68))
    assert mouth_openness(moved, IBUG68) == pytest.approx(mouth_openness(face(), IBUG68))


def test_wflw_is_measured_by_the_points_it_shares_with_ibug() -> None:
    points = np.random.default_rng(1).uniform(0, 200, (98, 2))
    points[[60, 61, 63, 64, 65, 67]] = face()[36:42]
    points[[68, 69, 71, 72, 73, 75]] = face()[42:48]
    points[88:96] = face()[60:68]
    found = Face(np.zeros(4), 1.0, points, None, WFLW98)
    assert found.eye_openness == pytest.approx((0.3, 0.1)) and found.mouth_openness == pytest.approx(0.2)
    assert isinstance(found.eye_openness, EyeOpenness) and found.eye_openness.left > found.eye_openness.right


def test_mark_ups_that_cannot_say_give_none() -> None:
    for markup in (FIVE, COFW29, replace(FIVE, name="own")):
        found = Face(np.zeros(4), 1.0, np.random.default_rng(0).uniform(0, 9, (markup.count, 2)), None, markup)
        assert found.eye_openness is None and found.mouth_openness is None
    spot = Face(np.zeros(4), 1.0, np.full((68, 2), 3.0), None, IBUG68)
    assert spot.eye_openness is None and spot.mouth_openness is None


def test_open_eyes_of_the_sample_picture() -> None:
    for found in Landmarker(threads=1).detect(SAMPLE):
        assert min(found.eye_openness) > 0.1 and max(found.eye_openness) < 0.6 and 0 <= found.mouth_openness < 0.8
