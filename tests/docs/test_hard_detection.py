"""The benchmark of hard faces without boxes: what counts as right, as wrong and as elsewhere."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from facekd.markup import IBUG68
from facekd.runtime.face import Face
from layouts import shape

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


class Told:
    """Returns, for each photo, the faces that it was told."""

    def __init__(self, *photos: list[np.ndarray]) -> None:
        self.photos = iter(photos)

    def detect(self, photo: np.ndarray) -> list[Face]:
        return [Face(np.zeros(4), 1.0, points, None, IBUG68) for points in next(self.photos)]


def test_faces_are_right_wrong_elsewhere_or_not_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    measured = importlib.import_module("hard_detection").measured
    truth = shape(IBUG68, seed=0, centre=(40, 40)).astype(np.float64)
    side = float(np.ptp(truth, axis=0).max())
    off, beside = truth + np.array([0.1 * side, 0]), truth + np.array([3 * side, 0])
    told = Told([truth + 0.01 * side], [off], [truth, beside], [beside], [], [truth, off])
    examples = [(np.zeros((1, 1, 3), np.uint8), truth)] * 6
    found = measured(told, examples)
    assert found == {"right": 33.3, "wrong": 33.3, "elsewhere": 2}
