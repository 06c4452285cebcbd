"""The second pass for faces that are rotated in the image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekd.geometry import BoxTransform, apply, crop_matrix, tight_box
from facekd.markup import FIVE, IBUG68, convert
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.roll import MAX_ROLL, predict_with_rotation, roll_angle
from facekd.runtime.tracking import Tracker

SIZE, SCALE = 128, 1.25
FACE = np.array([[44.0, 44], [84, 44], [64, 66], [48, 84], [80, 84]])
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255]], np.uint8)


def turned(angle: float, move: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """Return the face turned clockwise by an angle about the crop's centre, scaled and moved."""
    whole = np.array([-0.5, -0.5, SIZE - 0.5, SIZE - 0.5])
    return apply(crop_matrix(whole, SIZE, 1 / scale, angle), FACE) + move


def picture(points: np.ndarray) -> np.ndarray:
    """Return a crop with a dot of its own colour at each of the five points."""
    y, x = np.mgrid[:SIZE, :SIZE]
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    for point, colour in zip(points, COLOURS, strict=True):
        image[np.hypot(x - point[0], y - point[1]) < 4] = colour
    return image


class Network:
    """Finds the dots; of a face rotated by more than 12 degrees it is 3 px off, and it says so."""

    size, scale, markup, box_transform = SIZE, SCALE, FIVE, BoxTransform()

    def __init__(self, surer: float = 0.9, confidence: bool = True) -> None:
        self.seen: list[int] = []
        self.surer, self.confidence = surer, confidence

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        self.seen.append(len(images))
        y, x = np.mgrid[:SIZE, :SIZE]
        points = np.empty((len(images), 5, 2), np.float32)
        for i, image in enumerate(images):
            for k, colour in enumerate(COLOURS):
                dot = (np.abs(image.astype(int) - colour) < 100).all(axis=-1)
                points[i, k] = x[dot].mean(), y[dot].mean()
        off = np.abs(roll_angle(points, FIVE)) > 12
        points[off] += 3
        sure = np.where(off, 0.5, self.surer)[:, None] * np.ones((1, 5))
        return points, sure.astype(np.float32) if self.confidence else None


@given(st.floats(-170, 170), st.floats(-50, 50), st.floats(0.1, 3))
def test_roll_is_the_rotation_whatever_the_place_and_size(angle: float, move: float, scale: float) -> None:
    upright = float(roll_angle(FACE, FIVE))
    difference = float(roll_angle(turned(angle, move, scale), FIVE)) - upright - angle
    assert (difference + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)
    assert abs(upright) < 1e-6  # the face is its own mirror image


def test_the_roll_of_other_mark_ups() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 100, (3, 68, 2))
    np.testing.assert_allclose(roll_angle(points, IBUG68), roll_angle(convert(points, IBUG68, FIVE), FIVE))
    assert roll_angle(np.full((5, 2), 7.3), FIVE) == 0  # in one spot
    own = replace(FIVE, name="own")
    np.testing.assert_array_equal(roll_angle(rng.uniform(0, 100, (3, 5, 2)), own), [0, 0, 0])


@pytest.mark.parametrize("angle", [40, -25])
@pytest.mark.parametrize("confidence", [True, False])
def test_a_rotated_face_is_turned_upright(angle: float, confidence: bool) -> None:
    truth = np.stack([turned(3), turned(angle, 2), turned(-5)])
    network = Network(confidence=confidence)
    points, sure, _ = predict_with_rotation(network, np.stack([picture(face) for face in truth]), FIVE, SCALE)
    assert network.seen == [3, 1]  # only the rotated one is passed again
    np.testing.assert_allclose(points, truth, atol=1.5)
    assert sure is None if not confidence else np.allclose(sure, 0.9)


def test_the_more_confident_pass_counts() -> None:
    face = turned(40)
    points, sure, _ = predict_with_rotation(Network(surer=0.4), picture(face)[None], FIVE, SCALE)
    np.testing.assert_allclose(points[0], face + 3, atol=1.5)
    assert np.allclose(sure, 0.5)


def test_upright_faces_and_none_take_one_pass() -> None:
    network = Network()
    predict_with_rotation(network, np.stack([picture(turned(MAX_ROLL - 1)), picture(turned(0))]), FIVE, SCALE)
    predict_with_rotation(network, np.zeros((0, SIZE, SIZE, 3), np.uint8), FIVE, SCALE)
    assert network.seen == [2, 0]


class Hesitant(Network):
    """Of faces rotated by more than 40 degrees it finds points rotated by 20 less; the surer the nearer to upright."""

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        points, _ = super().__call__(images)
        roll = roll_angle(points, FIVE)
        for row in np.flatnonzero(np.abs(roll) > 40):
            centre = points[row].mean(axis=0)
            angle = np.radians(-20 * np.sign(roll[row]))
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            points[row] = (points[row] - centre) @ turn.T + centre
        return points, np.repeat((1 - np.abs(roll) / 200)[:, None], 5, axis=1).astype(np.float32)


def test_a_third_pass_follows_where_the_first_was_wrong_about_the_roll() -> None:
    truth = np.stack([turned(0), turned(60), turned(25)])
    network = Hesitant()
    points, _, _ = predict_with_rotation(network, np.stack([picture(face) for face in truth]), FIVE, SCALE)
    assert network.seen == [3, 2, 1]  # 60 degrees are taken for 40, of which 20 are left after the second pass
    np.testing.assert_allclose(points, truth, atol=1.5)


class Finder:
    """Finds the face that stands upright, and no other."""

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return tight_box(FACE)[None].astype(np.float32), np.ones(1, np.float32)


def test_a_tracked_face_is_cut_by_its_roll_of_a_frame_ago() -> None:
    network = Network()
    tracker = Tracker(Landmarker(network, Finder()), every=100, smoothing=None)
    for frame, angle in enumerate(range(0, 66, 6)):
        (tracked,) = tracker.update(picture(turned(angle)), frame / 25)
        np.testing.assert_allclose(tracked.raw, turned(angle), atol=1.5)
    assert network.seen == [1] * 11  # one pass per frame, however far it is rotated
