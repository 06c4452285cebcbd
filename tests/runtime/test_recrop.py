"""The second crop of faces whose box was off, with a network that sees five dots and is the worse the less they fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekd.geometry import BoxTransform, Crops, crop_faces, crop_matrix, square, tight_box
from facekd.markup import FIVE, MarkUp
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.output import NetworkOutput
from facekd.runtime.recrop import FITS, recrop
from facekd.runtime.roll import roll_angle
from facekd.runtime.tracking import Tracker

SIZE, SCALE = 96, 1.5
FACE = np.array([[100.0, 80], [160, 80], [130, 110], [108, 136], [152, 136]])  # 60 x 56 px
BOX = square(tight_box(FACE))  # 100, 78, 160, 138
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255]], np.uint8)


def photo(points: np.ndarray = FACE) -> np.ndarray:
    """A photo of 240 x 200 px with a dot of its own colour at each of the five points."""
    y, x = np.mgrid[:200, :240]
    image = np.zeros((200, 240, 3), np.uint8)
    for point, colour in zip(points, COLOURS, strict=True):
        image[np.hypot(x - point[0], y - point[1]) < 4] = colour
    return image


class Network:
    """Finds the dots; 2 px too far to the right if they do not fill the box (the crop's side / 1.5), or are rotated."""

    size, scale, box_transform = SIZE, SCALE, BoxTransform()

    def __init__(self, markup: MarkUp = FIVE) -> None:
        self.seen: list[int] = []
        self.markup = markup

    def __call__(self, images: np.ndarray) -> NetworkOutput:
        self.seen.append(len(images))
        y, x = np.mgrid[:SIZE, :SIZE]
        points = np.zeros((len(images), 5, 2), np.float32)
        for i, image in enumerate(images):
            for k, colour in enumerate(COLOURS):
                dot = (np.abs(image.astype(int) - colour) < 100).all(axis=-1)
                if dot.any():
                    points[i, k] = x[dot].mean(), y[dot].mean()
        fills = np.abs(np.ptp(points, axis=1).max(axis=1) * SCALE / SIZE - 1) < 0.08
        fills &= np.abs(roll_angle(points, FIVE)) < 20
        points[~fills, :, 0] += 2
        sure = np.where(fills, 0.9, 0.4)[:, None] * np.ones((1, 5))
        return NetworkOutput(points, sure.astype(np.float32), 1 - sure.astype(np.float32))


class Detector:
    """Finds the boxes that it is told to."""

    def __init__(self, *boxes: np.ndarray) -> None:
        self.boxes = boxes

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.boxes, np.float32), np.full(len(self.boxes), 0.9, np.float32)


def off(shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """The face's box moved to the right, in units of its side, and resized."""
    return square(BOX + 60 * shift * np.array([1, 0, 1, 0]), scale)


def test_a_face_whose_box_was_off_is_cut_again_by_its_landmarks() -> None:
    network = Network()
    (face,) = Landmarker(network, Detector(off(scale=1.3))).detect(photo())
    assert network.seen == [1, 1]
    np.testing.assert_allclose(face.points, FACE, atol=0.7)  # without: 2 px of the crop are 2 of the photo
    assert face.confidence == pytest.approx(0.9) and face.visible == pytest.approx(0.1)
    np.testing.assert_array_equal(face.box, off(scale=1.3).astype(np.float32))  # as the detector drew it


def test_only_faces_whose_boxes_were_off_are_cut_again() -> None:
    network = Network()
    faces = Landmarker(network, Detector(BOX, off(0.12), off(scale=1.3))).detect(photo())
    assert network.seen == [3, 2]
    for face in faces:
        np.testing.assert_allclose(face.points, FACE, atol=0.7)


@pytest.mark.parametrize(("shift", "passes"), [(0.1, [1]), (0.12, [1, 1])])
def test_a_box_is_off_by_its_iou_with_that_of_the_landmarks(shift: float, passes: list[int]) -> None:
    assert ((1 - shift) / (1 + shift) > FITS) == (len(passes) == 1)
    network = Network()
    Landmarker(network, Detector(off(shift))).detect(photo())
    assert network.seen == passes


def test_boxes_of_landmarks_are_taken_as_they_are() -> None:
    network = Network()
    Landmarker(network, Detector()).detect(photo(), [off(scale=1.3)], box_type="landmarks", roll=0)
    assert network.seen == [1]
    Landmarker(network, Detector()).detect(photo(), [off(scale=1.3)], roll=0)
    assert network.seen == [1, 1, 1]  # like a detector's


def test_where_a_face_has_a_box_of_its_own_its_points_give_none() -> None:
    network = Network(replace(FIVE, name="own", crop="face"))
    Landmarker(network, Detector(off(scale=1.3))).detect(photo())
    assert network.seen == [1]


class Scattered(Network):
    """Finds points four times as far apart as they are."""

    def __call__(self, images: np.ndarray) -> NetworkOutput:
        points, *others = super().__call__(images)
        return NetworkOutput(4 * points - 3 * points.mean(axis=1, keepdims=True), *others)


def test_points_far_beyond_the_box_are_no_face() -> None:
    network = Scattered()
    Landmarker(network, Detector(BOX)).detect(photo())
    assert network.seen == [1]


def test_a_followed_face_is_cut_again_where_the_detector_found_it() -> None:
    network = Network()
    tracker = Tracker(Landmarker(network, Detector(off(scale=1.3))), smoothing=None)
    for frame, passes in enumerate(([1, 1], [1], [1])):
        network.seen.clear()
        (tracked,) = tracker.update(photo(), frame / 25)
        assert network.seen == passes
        np.testing.assert_allclose(tracked.raw, FACE, atol=0.7)


@given(st.floats(-0.08, 0.08), st.floats(0.85, 1.35))
def test_points_land_on_the_photo_wherever_the_box_was(shift: float, scale: float) -> None:
    network, image = Network(), photo()
    crops = crop_faces(image, off(shift, scale)[None], SIZE, SCALE)
    before = crops.images.copy()
    (again,), output = recrop(network, [image], [crops], network(crops.images))
    np.testing.assert_array_equal(crops.images, before)
    np.testing.assert_allclose(again.to_photo(output.points)[0], FACE, atol=0.7)


@pytest.mark.parametrize("rotation", [0, 40, 90, 180, -90])
def test_what_is_cut_again_is_turned_upright(rotation: float) -> None:
    network, image = Network(), photo()
    crops = crop_faces(image, off(scale=1.3)[None], SIZE, SCALE, rotation)
    (again,), output = recrop(network, [image], [crops], network(crops.images))
    np.testing.assert_allclose(again.to_photo(output.points)[0], FACE, atol=0.7)


def test_crops_of_several_photos_stay_apart() -> None:
    network, elsewhere = Network(), np.add(FACE, [30, 20])
    second = photo(elsewhere)
    cut = [
        crop_faces(photo(), off(scale=1.3)[None], SIZE, SCALE),
        Crops(np.zeros((0, SIZE, SIZE, 3), np.uint8), np.zeros((0, 2, 3))),
        crop_faces(second, np.add([BOX, off(0.12)], [30, 20, 30, 20]), SIZE, SCALE),
    ]
    output = network(np.concatenate([crops.images for crops in cut]))
    (first, none, others), output = recrop(network, [photo(), photo(), second], cut, output)
    assert network.seen == [3, 2]
    assert len(none.images) == 0
    np.testing.assert_array_equal(others.images[0], cut[2].images[0])
    for matrix, truth in ((first.matrices[0], FACE), (others.matrices[1], elsewhere)):
        np.testing.assert_allclose(matrix, crop_matrix(tight_box(truth), SIZE, SCALE), rtol=0.02, atol=0.02 * SIZE)
    np.testing.assert_allclose(first.to_photo(output.points[:1])[0], FACE, atol=0.7)
    np.testing.assert_allclose(others.to_photo(output.points[1:]), [elsewhere, elsewhere], atol=0.7)
