"""Drawing."""

from __future__ import annotations

import numpy as np
import pytest

from facekd.drawing import draw
from facekd.markup import FIVE, IBUG68
from facekd.runtime.landmarker import Face


def face_at(points: np.ndarray, confidence: np.ndarray | None = None) -> Face:
    box = np.array([*points.min(axis=0), *points.max(axis=0)], np.float32)
    return Face(box, 0.9, points.astype(np.float32), confidence, FIVE)


FIVE_POINTS = np.array([[40, 40], [80, 40], [60, 60], [45, 80], [75, 80]], np.float32)


def test_the_photo_itself_stays_as_it_is() -> None:
    photo = np.zeros((120, 120, 3), np.uint8)
    picture = draw(photo, [face_at(FIVE_POINTS)])
    assert photo.max() == 0 and picture.shape == photo.shape and picture.dtype == np.uint8
    drawn = np.argwhere(picture.any(axis=2))
    assert drawn.min() >= 38 and drawn.max() <= 82  # nothing beyond the points and their radius


def test_points_take_the_colour_of_their_confidence() -> None:
    picture = draw(
        np.zeros((120, 120, 3), np.uint8), [face_at(FIVE_POINTS, np.array([0, 1, 0.5, 1, 1]))], contours=False
    )
    low, high = picture[40, 40].astype(int), picture[40, 80].astype(int)
    assert low[0] > 150 > low[2] and high[2] > 150 > high[0]  # red and blue


def test_contours_join_the_points() -> None:
    without = draw(np.zeros((120, 120, 3), np.uint8), [face_at(FIVE_POINTS)], contours=False)
    with_lines = draw(np.zeros((120, 120, 3), np.uint8), [face_at(FIVE_POINTS)])
    assert not without[80, 60].any() and with_lines[80, 60].any()  # between the mouth corners


def test_numbers_boxes_and_labels_add_to_the_picture() -> None:
    photo = np.zeros((160, 160, 3), np.uint8)
    plain = draw(photo, [face_at(FIVE_POINTS)])
    for more in ({"numbers": True}, {"boxes": True}, {"labels": ["7"]}):
        assert (draw(photo, [face_at(FIVE_POINTS)], **more) != plain).any()


@pytest.mark.parametrize("scale", [0.001, 1, 1e4])
def test_faces_of_any_size_and_place(scale: float) -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(0, scale, (68, 2)).astype(np.float32)
    face = Face(points[:2].ravel(), 1.0, points, rng.uniform(0, 1, 68).astype(np.float32), IBUG68)
    assert draw(np.zeros((40, 30, 3), np.uint8), [face], numbers=True, boxes=True, labels=["1"]).shape == (40, 30, 3)


def test_points_that_are_no_numbers_are_left_out() -> None:
    photo = np.zeros((160, 160, 3), np.uint8)
    lost, found = face_at(np.full((5, 2), np.nan)), face_at(FIVE_POINTS)
    np.testing.assert_array_equal(draw(photo, [lost]), photo)
    np.testing.assert_array_equal(draw(photo, [lost, found], labels=["7", "8"]), draw(photo, [found], labels=["8"]))
