"""Faces as supervision's key points; that library itself where it is installed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from facekd.errors import InputError
from facekd.markup import FIVE, IBUG68
from facekd.runtime.face import Face
from facekd.runtime.interop import to_supervision

RNG = np.random.default_rng(0)
FACES = [
    Face(np.zeros(4), 0.9 - 0.1 * k, RNG.uniform(0, 99, (5, 2)).astype(np.float32), np.linspace(0, 1, 5), FIVE)
    for k in range(3)
]


@dataclass
class Old:
    """KeyPoints as older versions of supervision have them."""

    xy: np.ndarray
    class_id: np.ndarray | None = None
    confidence: np.ndarray | None = None
    data: dict[str, Any] | None = None


@dataclass
class New:
    """KeyPoints as newer versions of supervision have them."""

    xy: np.ndarray
    class_id: np.ndarray | None = None
    keypoint_confidence: np.ndarray | None = None
    detection_confidence: np.ndarray | None = None
    data: dict[str, Any] | None = None


@pytest.mark.parametrize("kind", [Old, New])
def test_points_and_confidence_arrive_whatever_the_version(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("supervision")
    module.KeyPoints = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervision", module)
    found = to_supervision(FACES)
    np.testing.assert_array_equal(found.xy, [face.points for face in FACES])
    levels = found.confidence if kind is Old else found.keypoint_confidence
    np.testing.assert_array_equal(levels, [np.linspace(0, 1, 5)] * 3)
    if kind is New:
        np.testing.assert_allclose(found.detection_confidence, [0.9, 0.8, 0.7])
    bare = Face(FACES[0].box, 1.0, FACES[0].points, None, FIVE)
    assert getattr(to_supervision([FACES[1], bare]), "confidence", None) is None
    other = Face(np.zeros(4), 1.0, np.zeros((68, 2)), None, IBUG68)
    with pytest.raises(InputError, match="of one mark-up"):
        to_supervision([FACES[0], other])


def test_without_the_library_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(InputError, match="pip install supervision"):
        to_supervision(FACES)


def test_supervision_itself_takes_them() -> None:
    supervision = pytest.importorskip("supervision")
    found = to_supervision(FACES)
    assert isinstance(found, supervision.KeyPoints) and found.xy.shape == (3, 5, 2) and len(found[:2]) == 2
    assert found.data["class_name"].tolist() == ["face"] * 3
    picture = supervision.VertexAnnotator(radius=2).annotate(np.zeros((100, 100, 3), np.uint8), found)
    assert picture.any()
    assert len(to_supervision([])) == 0
