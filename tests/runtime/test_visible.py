"""Visibility of each point, from the network to faces, second passes and files."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from test_roll import SCALE, SIZE, Network, picture, turned

from facekd.markup import FIVE, IBUG68
from facekd.runtime.face import Face
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.output import NetworkOutput
from facekd.runtime.results import csv_header, csv_rows
from facekd.runtime.roll import predict_with_rotation

LEVELS = np.array([0.9, 0.1, 0.5, 0.25, 1.0], np.float32)


class Seer(Network):
    """As `Network`; of a face rotated by more than 12 degrees it says that nothing is visible."""

    def __call__(self, images: np.ndarray) -> NetworkOutput:
        points, confidence = super().__call__(images)
        sure = confidence.mean(axis=1, keepdims=True) > 0.5
        return NetworkOutput(points, confidence, np.where(sure, LEVELS, 0).astype(np.float32))


def test_the_pass_that_counts_says_what_is_visible() -> None:
    """Of the second pass where it is surer, of the first where that is."""
    crops = np.stack([picture(face) for face in (turned(3), turned(40), turned(-5))])
    assert np.array_equal(predict_with_rotation(Seer(), crops, FIVE, SCALE).visible, [LEVELS] * 3)
    found = predict_with_rotation(Seer(surer=0.4), crops[1:2], FIVE, SCALE)
    assert np.array_equal(found.visible, np.zeros((1, 5)))


def test_faces_have_it() -> None:
    boxes = [[-0.5, -0.5, SIZE - 0.5, SIZE - 0.5]]
    (face,) = Landmarker(Seer()).detect(picture(turned(0)), boxes)
    np.testing.assert_array_equal(face.visible, LEVELS)
    (face,) = Landmarker(Network()).detect(picture(turned(0)), boxes)
    assert face.visible is None


def test_a_point_made_of_several_has_their_mean() -> None:
    visible = np.linspace(0, 1, 68).astype(np.float32)
    face = Face(np.zeros(4, np.float32), 1.0, np.zeros((68, 2), np.float32), None, IBUG68, visible=visible)
    converted = face.convert("five5").visible
    assert converted[0] == pytest.approx(visible[36:42].mean()) and converted[2] == pytest.approx(visible[30])


def test_json_and_csv_hold_it() -> None:
    points = np.arange(10, dtype=np.float32).reshape(5, 2)
    face = Face(np.array([0, 0, 9, 9], np.float32), 0.5, points, None, FIVE, None, LEVELS)
    values = json.loads(json.dumps(face.to_dict()))
    assert values["visible"] == [0.9, 0.1, 0.5, 0.25, 1.0]
    np.testing.assert_array_equal(Face.from_dict(values, FIVE).visible, LEVELS)
    (row,) = csv.DictReader((csv_header(FIVE) + csv_rows({"faces": [values]}, FIVE)).splitlines())
    assert [row[f"visible{i}"] for i in range(5)] == ["0.9", "0.1", "0.5", "0.25", "1.0"] and row["confidence0"] == ""
    del values["visible"]  # as files of earlier versions
    assert Face.from_dict(values, FIVE).visible is None
    (row,) = csv.DictReader((csv_header(FIVE) + csv_rows({"faces": [values]}, FIVE)).splitlines())
    assert row["visible4"] == "" and row["error"] == ""
