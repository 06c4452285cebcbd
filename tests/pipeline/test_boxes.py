"""Fitting a detector's boxes to tight landmark boxes."""

from __future__ import annotations

import numpy as np
import pytest

from facekd.data.pack import Pack
from facekd.pipeline.boxes import fit_box_transform


class Shifted:
    """Finds each face with a box 30 % larger and moved down; misses every `miss`-th; adds a far box."""

    def __init__(self, pack: Pack, miss: int) -> None:
        self.boxes, self.miss, self.calls = iter(pack.boxes), miss, 0

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x0, y0, x1, y1 = next(self.boxes)
        self.calls += 1
        if self.miss and self.calls % self.miss == 0:
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        side = max(x1 - x0, y1 - y0)
        cx, cy, half = (x0 + x1) / 2, (y0 + y1) / 2 + 0.15 * side, 0.65 * side
        return np.array([[0, 0, 5, 5], [cx - half, cy - half, cx + half, cy + half]], np.float32), np.ones(2)


def test_the_transform_undoes_the_detectors_habit(tiny_pack: Pack) -> None:
    train = tiny_pack.select("train")
    record = fit_box_transform(train, Shifted(train, miss=4))
    assert (record["faces"], record["found"]) == (24, 18)
    assert record["transform"] == pytest.approx({"scale": 1 / 1.3, "shift_x": 0, "shift_y": -0.15 / 1.3}, abs=1e-5)
    assert max(record["spread_log_scale_x_y"]) < 1e-3


def test_too_few_faces_found_give_no_transform(tiny_pack: Pack) -> None:
    train = tiny_pack.select("train")
    record = fit_box_transform(train, Shifted(train, miss=1))
    assert record == {"faces": 24, "found": 0, "transform": None}
