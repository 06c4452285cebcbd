"""Fitting a detector's boxes to the boxes that networks are trained with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facekd.data.pack import Pack
from facekd.geometry import BoxTransform, centre_and_side
from facekd.pipeline.boxes import DetectorBoxes, fit_box_transform, not_found


class Habit:
    """Finds each face with a box `size` times as large, its centre moved by `move` sides; adds a box elsewhere."""

    def __init__(self, pack: Pack, size: float, move: np.ndarray, miss: int = 0) -> None:
        self.boxes, self.size, self.move, self.miss, self.calls = iter(pack.boxes), size, iter(move), miss, 0

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        centre, side = centre_and_side(next(self.boxes))
        half, centre = self.size * side / 2, centre + side * next(self.move)
        self.calls += 1
        boxes = np.array([[0, 0, 5, 5], [*(centre - half), *(centre + half)]], np.float32)
        return (boxes[:1], np.ones(1)) if self.miss and self.calls % self.miss == 0 else (boxes, np.ones(2))


def moved(count: int, x: float, y: float) -> np.ndarray:
    return np.tile([x, y], (count, 1))


def test_the_transform_undoes_the_detectors_habit(tiny_pack: Pack) -> None:
    train = tiny_pack.select("train")
    record = fit_box_transform(train, Habit(train, 1.3, moved(24, 0, 0.15), miss=24))
    assert (record.faces, record.found) == (24, 23)
    assert record.transform is not None and record.spread is not None
    expected = {"scale": 1 / 1.3, "shift_x": 0, "shift_y": -0.15 / 1.3}
    assert record.transform.to_dict() == pytest.approx(expected, abs=1e-5)
    assert max(record.spread) < 1e-3


def test_points_that_are_a_small_part_of_the_face_are_found_by_its_box(tiny_pack: Pack) -> None:
    """The face is four times as large as the box of its points, and lies higher by 1.4 of its sides: IoU 0.06."""
    train = tiny_pack.select("train")
    record = fit_box_transform(train, Habit(train, 4.0, moved(24, 0.0, -1.4)))
    assert record.found == 24 and record.transform is not None
    expected = {"scale": 0.25, "shift_x": 0, "shift_y": 1.4 / 4}
    assert record.transform.to_dict() == pytest.approx(expected, abs=1e-5)


def test_the_spread_is_what_the_transform_leaves(tiny_pack: Pack) -> None:
    """Half of the boxes lie 0.2 sides to the left, half 0.2 to the right: a standard deviation of 0.2."""
    train = tiny_pack.select("train")
    record = fit_box_transform(train, Habit(train, 2.0, np.array([[-0.2, 0.1], [0.2, 0.1]] * 12)))
    assert record.spread == pytest.approx((0.0, 0.2, 0.0), abs=1e-3)


def test_too_few_faces_found_give_no_transform(tiny_pack: Pack) -> None:
    """Of 24 faces 22 are 92 %, and 95 % are needed."""
    train = tiny_pack.select("train")
    record = fit_box_transform(train, Habit(train, 1.3, moved(24, 0, 0), miss=12))
    assert record == DetectorBoxes(24, 22)
    assert "on only 92 % of the training faces, and 95 % are needed" in not_found(record)


def test_boxes_that_do_not_tell_where_the_points_are_give_no_transform(tiny_pack: Pack) -> None:
    """All faces are found, and the points lie anywhere in them: boxes of their size overlap by chance."""
    train = tiny_pack.select("train")
    record = fit_box_transform(train, Habit(train, 8.0, np.random.default_rng(0).uniform(-3, 3, (24, 2))))
    assert record.found < 12 and record.transform is None


def test_the_record_survives_its_file() -> None:
    whole = DetectorBoxes(10, 10, BoxTransform(0.8, 0.0, 0.1), (0.05, 0.1, 0.2))
    assert DetectorBoxes.from_json(whole.to_json()) == whole
    assert DetectorBoxes.from_json(replace(whole, transform=None, spread=None).to_json()).spread is None
