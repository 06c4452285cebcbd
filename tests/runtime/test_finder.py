"""Faces of any roll, and faces that are none, with the bundled network on the sample picture with its six faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import facekd
from facekd.errors import InputError
from facekd.geometry import tight_box
from facekd.images import read_image
from facekd.runtime.detector import YuNet
from facekd.runtime.face import Face
from facekd.runtime.face_confidence import FaceCalibration
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.model import OnnxModel
from facekd.runtime.tracking import Tracker

SAMPLE = Path(facekd.__file__).parent / "weights" / "sample.jpg"


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return read_image(SAMPLE)


@pytest.fixture(scope="module")
def model() -> OnnxModel:
    return OnnxModel("facekd-68-lite", threads=1)


@pytest.fixture(scope="module")
def landmarker(model: OnnxModel) -> Landmarker:
    return Landmarker(model, YuNet(threads=1))


@pytest.fixture(scope="module")
def upright(landmarker: Landmarker, photo: np.ndarray) -> list[Face]:
    return by_place(landmarker.detect(photo))


def by_place(faces: list[Face]) -> list[Face]:
    """Put faces in order, from left to right."""
    return sorted(faces, key=lambda face: float(face.points[:, 0].mean()))


def turned_points(points: np.ndarray, quarters: int, width: int, height: int) -> np.ndarray:
    """Return where points (N, 2) of a photo are once it is turned counter-clockwise by 90 degrees, several times."""
    for _ in range(quarters):
        points = np.stack([points[:, 1], width - 1 - points[:, 0]], axis=1)
        width, height = height, width
    return points


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_photo_has_the_same_faces(
    landmarker: Landmarker, photo: np.ndarray, upright: list[Face], quarters: int
) -> None:
    height, width = photo.shape[:2]
    found = landmarker.detect(np.rot90(photo, quarters))
    assert len(found) == len(upright) == 6
    for face in upright:
        truth = turned_points(face.points, quarters, width, height)
        errors = [np.linalg.norm(other.points - truth, axis=1).mean() for other in found]
        other, side = found[int(np.argmin(errors))], float(np.ptp(truth, axis=0).max())
        assert min(errors) < 0.03 * side and other.ok
        centre = tight_box(truth).reshape(2, 2).mean(axis=0)
        assert (other.box[:2] < centre).all() and (centre < other.box[2:]).all()
        assert other.face_confidence == pytest.approx(face.face_confidence, abs=0.2)


def test_faces_of_several_rolls_in_one_photo(landmarker: Landmarker, photo: np.ndarray) -> None:
    mixed = np.concatenate([photo[:, :290], np.rot90(photo[:, 290:], 2)], axis=1)
    faces = landmarker.detect(mixed)
    assert sum(face.points[0, 0] < face.points[16, 0] for face in faces) == 2  # upright: the jaw begins at the left
    assert sum(face.points[0, 0] > face.points[16, 0] for face in faces) == 3  # of four the dimmest is not seen


class Told:
    """A detector that finds what it is told to, and counts the crops that it is given for a closer look."""

    def __init__(self, boxes: list[list[float]]) -> None:
        self.boxes, self.crops = boxes, 0

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.boxes, np.float32), np.full(len(self.boxes), 0.8, np.float32)

    def detect_once(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.crops += 1
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)


@pytest.mark.parametrize(
    ("box", "looks"),
    [
        ([560, 250, 660, 350], 1),  # no face, but whole and as large as one
        ([-20, 250, 80, 350], 0),  # the photo's edge cuts a fifth of it
        ([560, 250, 600, 290], 0),  # a quarter of the face's size: far behind it
    ],
)
def test_beside_an_upright_face_only_what_may_be_a_rolled_one_is_turned(
    model: OnnxModel, photo: np.ndarray, box: list[float], looks: int
) -> None:
    told = Told([YuNet(threads=1).detect(photo)[0][1].tolist(), box])
    assert len(Landmarker(model, told).detect(photo)) == 1
    assert told.crops == looks


def test_upright_search_refuses_what_it_gets_wrong(model: OnnxModel, photo: np.ndarray) -> None:
    upside_down = np.rot90(photo, 2)
    landmarker = Landmarker(model, YuNet(threads=1), roll="upright")
    assert landmarker.detect(upside_down) == []
    every = Landmarker(model, YuNet(threads=1), roll="upright", min_confidence=0).detect(upside_down)
    assert every and not any(face.ok for face in every) and max(face.face_confidence for face in every) < 0.5


def test_min_confidence_is_a_threshold_of_face_confidence(model: OnnxModel, photo: np.ndarray) -> None:
    everything = Landmarker(model, YuNet(threads=1), min_confidence=0).detect(photo)
    levels = sorted(face.face_confidence for face in everything)
    between = (levels[2] + levels[3]) / 2
    landmarker = Landmarker(model, YuNet(threads=1), min_confidence=between)
    assert landmarker.min_confidence == between
    fewer = landmarker.detect(photo)
    assert sorted(face.face_confidence for face in fewer) == levels[3:]


@pytest.mark.parametrize("quarters", [1, 2])
def test_given_boxes_of_turned_faces_have_the_right_landmarks(
    landmarker: Landmarker, photo: np.ndarray, upright: list[Face], quarters: int
) -> None:
    height, width = photo.shape[:2]
    truth = [turned_points(face.points, quarters, width, height) for face in upright]
    boxes = [
        np.concatenate([corners.min(axis=0), corners.max(axis=0)])
        for corners in (turned_points(face.box.reshape(2, 2), quarters, width, height) for face in upright)
    ]
    faces = landmarker.detect(np.rot90(photo, quarters), boxes=boxes)
    for face, points in zip(faces, truth, strict=True):
        assert np.linalg.norm(face.points - points, axis=1).mean() < 0.03 * np.ptp(points, axis=0).max()
    told = landmarker.detect(np.rot90(photo, quarters), boxes=boxes, roll=0)  # as told, right or not
    assert len(told) == 6 and sum(face.ok for face in told) < 3


class Trusting(OnnxModel):
    """The bundled network, that trusts its landmarks from another mean confidence on."""

    middle = 0.5

    @property
    def face_calibration(self) -> FaceCalibration:
        return FaceCalibration(self.middle, 20.0)


def test_landmarks_that_are_trusted_a_little_may_be_those_of_a_rolled_face(
    photo: np.ndarray, upright: list[Face]
) -> None:
    """A network that has learned covered and blurred faces trusts some that it reads upside down."""
    model, flipped = Trusting("facekd-68-lite", threads=1), np.rot90(photo, 2)
    height, width = photo.shape[:2]
    truth = turned_points(upright[0].points, 2, width, height)
    box = tight_box(truth)[None]
    (wrong,) = Landmarker(model, roll="upright").detect(flipped, box, "landmarks")
    assert wrong.confidence is not None
    model.middle = float(wrong.confidence.mean()) - 0.05
    (wrong,) = Landmarker(model, roll="upright").detect(flipped, box, "landmarks")
    assert wrong.ok and wrong.face_confidence < 0.8
    (found,) = Landmarker(model).detect(flipped, box, "landmarks")
    side = float(np.ptp(truth, axis=0).max())
    errors = [float(np.linalg.norm(face.points - truth, axis=1).mean()) / side for face in (wrong, found)]
    assert errors[0] > 0.2 and errors[1] < 0.03


def test_a_box_without_a_face_has_its_answer_but_is_not_trusted(landmarker: Landmarker, photo: np.ndarray) -> None:
    corner = [[0, 0, 60, 60]]
    (face,) = landmarker.detect(photo, boxes=corner)
    assert not face.ok and face.face_confidence < 0.5
    np.testing.assert_array_equal(face.box, corner[0])


class Everything:
    """A detector that also takes for faces: the largest face's middle, and a corner."""

    def __init__(self) -> None:
        self.yunet = YuNet(threads=1)

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        boxes, scores = self.yunet.detect(image)
        if not len(boxes):
            return boxes, scores
        sides = boxes[:, 2:] - boxes[:, :2]
        largest = boxes[int(sides.prod(axis=1).argmax())]
        centre, side = largest.reshape(2, 2).mean(axis=0), float((largest[2:] - largest[:2]).max())
        part = np.concatenate([centre - side / 6, centre + side / 6])
        return np.concatenate([boxes, [part, [-200, 380, 60, 640]]]), np.concatenate([scores, [0.99, 0.98]])


def test_false_boxes_are_refused_and_never_count_as_the_largest(
    model: OnnxModel, photo: np.ndarray, upright: list[Face]
) -> None:
    landmarker = Landmarker(model, Everything())
    assert len(landmarker.detect(photo)) == 6
    (largest,) = landmarker.detect(photo, max_faces=1)  # the corner's box is larger, but no face
    sizes = [float((face.box[2:] - face.box[:2]).prod()) for face in upright]
    np.testing.assert_allclose(largest.box, upright[int(np.argmax(sizes))].box)


def test_a_stream_gives_what_single_calls_give(landmarker: Landmarker, photo: np.ndarray) -> None:
    photos = [photo, np.rot90(photo), np.zeros((90, 120, 3), np.uint8), np.rot90(photo, 2)[:320]]
    for faces, single in zip(landmarker.stream(photos), map(landmarker.detect, photos), strict=True):
        assert len(faces) == len(single)
        for one, other in zip(faces, single, strict=True):
            np.testing.assert_allclose(one.points, other.points, atol=1e-3)


def test_a_tracker_follows_faces_of_a_turned_video(landmarker: Landmarker, photo: np.ndarray) -> None:
    tracker = Tracker(landmarker, every=3, smoothing=None)
    frame = np.rot90(photo)
    followed = [tracker.update(np.roll(frame, shift, axis=0), shift / 25) for shift in range(12)]
    ids = [sorted(face.id for face in faces) for faces in followed]
    assert len(ids[0]) == 6 and all(each == ids[0] for each in ids)


def test_settings_that_are_none() -> None:
    with pytest.raises(InputError, match="roll 'sideways'"):
        Landmarker("facekd-68-lite", roll="sideways")
    with pytest.raises(InputError, match="min_confidence must be within 0 and 1, got 2"):
        Landmarker("facekd-68-lite", min_confidence=2)
