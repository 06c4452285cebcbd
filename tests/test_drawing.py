"""Drawing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekd.drawing import draw, draw_contours, draw_points, polylines
from facekd.errors import InputError
from facekd.markup import FIVE, IBUG68, Contour, MarkUp
from facekd.runtime.face import Face


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


def test_bgr_pictures_get_the_same_colours() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8)
    face = face_at(FIVE_POINTS, np.array([0, 1, 0.5, 1, 1]))
    np.testing.assert_array_equal(draw(photo[..., ::-1], [face], color="bgr")[..., ::-1], draw(photo, [face]))


def test_photos_are_whatever_a_landmarker_takes(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (120, 140), np.uint8)
    face = face_at(FIVE_POINTS)
    wanted = draw(np.dstack([grey] * 3), [face])
    turned, exif = Image.fromarray(np.rot90(grey)), Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    for photo in (grey, Image.fromarray(grey), tmp_path / "turned.png", (tmp_path / "turned.png").read_bytes()):
        np.testing.assert_array_equal(draw(photo, [face]), wanted)
    np.testing.assert_array_equal(draw(tmp_path / "turned.png", [face], color="bgr"), wanted[..., ::-1])
    with pytest.raises(InputError, match="8 bits"):
        draw(grey / 255, [face])


def test_polylines_are_the_contours_and_the_rest() -> None:
    markup = MarkUp("own", 5, (0, 1, 2, 3, 4), (Contour("a", (0, 2)), Contour("b", (2, 3, 0), closed=True)))
    points = np.arange(10.0).reshape(5, 2)
    lines, loose = polylines(points, markup)
    assert [(line.tolist(), closed) for line, closed in lines] == [
        ([[0, 1], [4, 5]], False),
        ([[4, 5], [6, 7], [0, 1]], True),
    ]
    assert loose.tolist() == [[2, 3], [8, 9]]


def test_primitives_draw_where_the_points_are() -> None:
    markup = MarkUp("own", 3, (0, 1, 2), (Contour("a", (0, 1, 2), closed=True),))
    points = np.array([[10.0, 10], [30, 10], [10, 30]])
    canvas = np.zeros((40, 40, 3), np.uint8)
    draw_contours(canvas, points, markup, (0, 200, 0))
    assert canvas[10, 20, 1] > 150 < canvas[20, 10, 1]  # the second only where it is closed
    assert canvas[20, 20, 1] > 0 and not canvas[..., [0, 2]].any() and not canvas[30, 30].any()
    canvas[:] = 0
    draw_points(canvas, points, [(255, 0, 0), (0, 255, 0), (0, 0, 255)], radius=2)
    assert [canvas[int(y), int(x)].argmax() for x, y in points] == [0, 1, 2]
    assert np.argwhere(canvas.any(axis=2)).min() >= 7 and not canvas[10, 20].any()


def test_missing_points_are_left_out_and_lines_end_there() -> None:
    square = MarkUp("square", 4, (1, 0, 3, 2), (Contour("edge", (0, 1, 2, 3), closed=True),))
    points = np.array([[10, 10], [50, 10], [np.nan, np.nan], [10, 50]], float)
    picture = np.zeros((60, 60, 3), np.uint8)
    draw_contours(picture, points, square, (255, 255, 255))
    drawn = picture[..., 0] > 100
    assert drawn[10, 30] and drawn[30, 10]  # the sides between points that are there
    assert not drawn[20:, 20:].any()
    picture[:] = 0
    draw_points(picture, points, [(255, 255, 255)] * 4, 2)
    drawn = picture[..., 0] > 100
    assert drawn[10, 10] and drawn[10, 50] and drawn[50, 10] and drawn.sum() < 3 * 25  # and nothing in the corner
