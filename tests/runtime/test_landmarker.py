"""From photos to faces, with a network whose answer is known: the centre of brightness of the crop."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import facekd
from facekd.errors import InputError, ModelError
from facekd.geometry import BoxTransform
from facekd.markup import FIVE, IBUG68, WFLW98
from facekd.runtime.face import Face
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.tracking import Tracker

OFFSETS = np.array([[-8, -8], [8, -8], [0, 0], [-6, 8], [6, 8]], np.float64)


class NoDetector:
    """A detector that finds nothing."""

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)


class Spots:
    """A detector of bright spots: a box of 20 px around each value 200, 201, ... in the red channel."""

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        spots = [np.argwhere(image[..., 0] == value) for value in (201, 200)]
        centres = [spot.mean(axis=0)[::-1] for spot in spots if len(spot)]
        boxes = np.array([[*(centre - 10), *(centre + 10)] for centre in centres], np.float32).reshape(-1, 4)
        return boxes, np.linspace(0.9, 0.8, len(boxes)).astype(np.float32)


def photo_with(*spots: tuple[int, int], size: tuple[int, int] = (120, 160)) -> np.ndarray:
    """A black photo with 4 x 4 spots whose top-left pixels are given (x, y)."""
    photo = np.zeros((*size, 3), np.uint8)
    for value, (x, y) in enumerate(spots, start=200):
        photo[y : y + 4, x : x + 4] = value
    return photo


@pytest.fixture
def landmarker(make_model: Callable[..., Path]) -> Landmarker:
    return Landmarker(make_model(offsets=OFFSETS), detector=Spots(), threads=1)


def test_points_are_in_photo_pixels(landmarker: Landmarker) -> None:
    # The crop's side is 1.25 x 40 = 50 photo px for 32 px of the network, so an offset of 8 px is 12.5 photo px.
    face = landmarker.detect(photo_with((60, 50)), boxes=[[40, 30, 80, 70]], box_type="landmarks")[0]
    np.testing.assert_allclose(face.points, [61.5, 51.5] + OFFSETS * 50 / 32, atol=0.1)
    np.testing.assert_array_equal(face.box, [40, 30, 80, 70])
    assert face.score == 1 and face.markup == FIVE
    np.testing.assert_allclose(face.confidence, 200 * 16 * (32 / 50) ** 2 / 1024 / 255, rtol=0.2)


def test_box_that_reaches_out_of_the_photo(landmarker: Landmarker) -> None:
    face = landmarker.detect(photo_with((0, 0)), boxes=[[-30, -25, 30, 35]])[0]
    np.testing.assert_allclose(face.points[2], [1.5, 1.5], atol=0.5)
    assert np.isfinite(landmarker.detect(photo_with(), boxes=[[500, 500, 520, 520]])[0].points).all()


def test_detector_finds_the_faces_best_first(landmarker: Landmarker) -> None:
    faces = landmarker(photo_with((30, 40), (110, 70)))
    assert [round(face.score, 3) for face in faces] == [0.9, 0.8]
    np.testing.assert_allclose([face.points[2] for face in faces], [[111.5, 71.5], [31.5, 41.5]], atol=0.1)


class Sizes:
    """A detector of three faces: the best is the smallest."""

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        boxes = [[40, 30, 60, 50], [10, 10, 90, 80], [20, 20, 60, 60]]
        return np.array(boxes, np.float32), np.array([0.9, 0.8, 0.7], np.float32)


def test_the_largest_faces_alone(make_model: Callable[..., Path]) -> None:
    landmarker = Landmarker(make_model(offsets=OFFSETS), detector=Sizes(), threads=1)
    photo = photo_with((60, 50))
    assert [face.score for face in landmarker.detect(photo)] == pytest.approx([0.9, 0.8, 0.7])
    for faces in (
        landmarker.detect(photo, max_faces=2),
        *landmarker.detect_batch([photo, photo], max_faces=2),
        *landmarker.stream([photo], max_faces=2),
    ):
        assert [face.score for face in faces] == pytest.approx([0.8, 0.7])
    assert len(landmarker.detect(photo, max_faces=9)) == 3
    assert len(landmarker.detect(photo, boxes=[[0, 0, 9, 9], [0, 0, 8, 8]], max_faces=1)) == 2
    with pytest.raises(InputError, match="max_faces must be 1 or more, got 0"):
        landmarker.detect(photo, max_faces=0)
    with pytest.raises(InputError, match="max_faces must be 1 or more, got -1"):
        landmarker.detect_batch([photo], max_faces=-1)


def test_detector_boxes_are_moved_as_the_card_says(
    make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "facekd.runtime.model.enhance_crops", lambda images: images
    )  # it moves the spot's centre a little
    card = BoxTransform(scale=2.0, shift_x=0.5, shift_y=-1.0)
    landmarker = Landmarker(make_model(box_transform=card), detector=NoDetector(), threads=1)
    photo = photo_with((58, 28))  # box centre (50, 50), side 20: the crop's centre is (60, 30), its side 50
    moved = landmarker.detect(photo, boxes=[[40, 40, 60, 60]])[0]
    same = landmarker.detect(photo, boxes=[[40, 10, 80, 50]], box_type="landmarks")[0]
    np.testing.assert_allclose(moved.points, same.points, atol=1e-3)
    np.testing.assert_allclose(moved.points, 59.5 * np.array([[1, 0]]) + [0, 29.5] + np.zeros((5, 1)), atol=0.1)
    own = Landmarker(landmarker.model, detector=NoDetector(), box_transform=BoxTransform())
    assert own.detect(photo, boxes=[[40, 10, 80, 50]])[0].points == pytest.approx(same.points, abs=1e-3)


def test_batch_gives_what_singles_give(landmarker: Landmarker) -> None:
    rng = np.random.default_rng(0)
    photos, boxes = [], []
    for index in range(40):
        photos.append(rng.integers(0, 256, (int(rng.integers(30, 90)), int(rng.integers(30, 90)), 3), np.uint8))
        corner, side = rng.uniform(-10, 40, (index % 4, 2)), rng.uniform(5, 60, (index % 4, 2))
        boxes.append(np.concatenate([corner, corner + side], axis=1))
    together = landmarker.detect_batch(photos, boxes)
    for photo, photo_boxes, faces in zip(photos, boxes, together, strict=True):
        singles = [landmarker.detect(photo, [box])[0] for box in photo_boxes]
        assert len(faces) == len(singles)
        for one, other in zip(faces, singles, strict=True):
            np.testing.assert_allclose(one.points, other.points, atol=1e-3)
            np.testing.assert_allclose(one.confidence, other.confidence, atol=1e-5)


def test_detected_batch_gives_what_singles_give(landmarker: Landmarker) -> None:
    photos = [photo_with((30, 40), (110, 70)), photo_with(), photo_with((80, 20))]
    together = landmarker.detect_batch(photos)
    assert [len(faces) for faces in together] == [2, 0, 1]
    for photo, faces in zip(photos, together, strict=True):
        for one, other in zip(faces, landmarker.detect(photo), strict=True):
            np.testing.assert_allclose(one.points, other.points, atol=1e-3)


def test_every_kind_of_photo(landmarker: Landmarker, tmp_path: Path) -> None:
    photo = photo_with((60, 50))
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "PNG")
    (tmp_path / "a b.png").write_bytes(buffer.getvalue())
    files = [buffer.getvalue(), tmp_path / "a b.png", str(tmp_path / "a b.png")]
    for faces in landmarker.detect_batch([photo, photo[..., 0], Image.fromarray(photo), *files]):
        np.testing.assert_allclose(faces[0].points[2], [61.5, 51.5], atol=0.1)


def test_one_pixel_and_very_long_photos(landmarker: Landmarker) -> None:
    yunet = Landmarker(landmarker.model)
    for shape in [(1, 1, 3), (3, 32_000, 3)]:
        assert yunet.detect(np.zeros(shape, np.uint8)) == []
        assert np.isfinite(yunet.detect(np.zeros(shape, np.uint8), boxes=[[0, 0, 3, 3]])[0].points).all()


@pytest.mark.parametrize(
    ("boxes", "sentence"),
    [
        ([[0, 0, float("nan"), 5]], "box 0 is .*finite"),
        ([[0, 0, 5, 5], [0, 0, float("inf"), 5]], "box 1"),
        ([[5, 0, 0, 5]], "x0 < x1"),
        ([[0, 0, 5, 0]], "y0 < y1"),
        ([1, 2, 3, 4], r"must be \(k, 4\)"),
        ([[1, 2, 3]], r"must be \(k, 4\)"),
        ([["a", 0, 1, 1]], "numbers"),
        ([[1, 2, 3, 4], [1]], "numbers"),
    ],
)
def test_bad_boxes_are_one_sentence(landmarker: Landmarker, boxes: list, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        landmarker.detect(photo_with(), boxes=boxes)


def test_no_boxes_no_faces(landmarker: Landmarker) -> None:
    assert landmarker.detect(photo_with(), boxes=[]) == []
    assert landmarker.detect_batch([]) == []
    with pytest.raises(InputError, match="2 photos but boxes for 1"):
        landmarker.detect_batch([photo_with(), photo_with()], boxes=[[]])


def test_stream_goes_on_after_a_bad_photo(landmarker: Landmarker) -> None:
    good = photo_with((60, 50))
    found = list(landmarker.stream([good, b"no photo", good], boxes=[None, None, [[0, 0, float("nan"), 1]]]))
    assert len(found[0]) == 1 and isinstance(found[1], InputError) and isinstance(found[2], InputError)
    with pytest.raises(InputError, match="no image"):
        landmarker.detect_batch([good, b"no photo"])


@pytest.mark.parametrize("photo", [photo_with((60, 50)), photo_with(), b"no photo"])
def test_stream_holds_few_photos(landmarker: Landmarker, photo: np.ndarray | bytes) -> None:
    taken = 0

    def photos():
        nonlocal taken
        for _ in range(500):
            taken += 1
            yield photo

    next(landmarker.stream(photos()))
    assert taken < 50


@pytest.mark.parametrize("count", [1, 3])
def test_stream_wants_boxes_for_every_photo(landmarker: Landmarker, count: int) -> None:
    with pytest.raises(InputError, match="give one per photo"):
        list(landmarker.stream([photo_with()] * 2, boxes=[None] * count))


def test_face_converts_and_reads_as_json() -> None:
    points = np.arange(136, dtype=np.float32).reshape(68, 2)
    face = Face(np.zeros(4, np.float32), 0.5, points, np.linspace(0, 1, 68, dtype=np.float32), IBUG68)
    five = face.convert(FIVE)
    np.testing.assert_allclose(five.points[2], points[30])
    np.testing.assert_allclose(five.confidence[0], face.confidence[36:42].mean(), rtol=1e-6)
    named = face.convert("five5")
    np.testing.assert_array_equal(named.points, five.points)
    assert named.markup == FIVE and face.pose is not None
    assert (named.pose, named.eye_openness, named.mouth_openness) == (
        face.pose,
        face.eye_openness,
        face.mouth_openness,
    )
    assert Face(face.box, 0.5, five.points, None, FIVE).pose is None
    read = Face.from_dict(named.to_dict(), FIVE)
    assert read.pose is not None and read.pose.yaw == pytest.approx(face.pose.yaw, abs=0.05)
    with pytest.raises(InputError, match="did you mean 'five5'"):
        face.convert("five")
    with pytest.raises(InputError, match="cannot become"):
        face.convert(WFLW98)
    values = face.to_dict()
    assert values["points"][1] == [2.0, 3.0] and set(values["pose"]) == {"yaw", "pitch", "roll"}


def test_parts_have_names() -> None:
    points = np.arange(136, dtype=np.float32).reshape(68, 2)
    face = Face(np.zeros(4, np.float32), 0.5, points, None, IBUG68)
    np.testing.assert_array_equal(face["left eye"], points[36:42])
    np.testing.assert_array_equal(face["jaw"], points[:17])
    five = face.convert("five5")
    np.testing.assert_array_equal(five["mouth"], points[[48, 54]])
    with pytest.raises(InputError, match=r"mark-up 'five5' has no part 'left brow'; .*allowed: left eye, right eye"):
        five["left brow"]


def test_unknown_model() -> None:
    with pytest.raises(ModelError, match="no bundled model"):
        facekd.Landmarker("no-such-model")


class Red:
    """A detector that finds red photos only, and remembers what it saw."""

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = int(image[..., 0].max() > image[..., 2].max())
        return np.array([[40, 30, 80, 70]] * found, np.float32).reshape(-1, 4), np.ones(found, np.float32)


def test_bgr_arrays_are_seen_as_rgb(make_model: Callable[..., Path]) -> None:
    photo = np.zeros((120, 160, 3), np.uint8)
    photo[50:54, 60:64] = (200, 40, 0)
    model = make_model(offsets=1.6 * OFFSETS)  # they fill the crop's box of 32 / 1.25 px
    rgb, bgr = (Landmarker(model, Red(), threads=1, color=color) for color in ("rgb", "bgr"))
    truth = rgb.detect(photo)[0].points
    for faces in (bgr.detect(photo[..., ::-1]), *bgr.detect_batch([photo[..., ::-1], Image.fromarray(photo)])):
        np.testing.assert_array_equal(faces[0].points, truth)
    assert rgb.detect(photo[..., ::-1]) == [] and bgr.detect(photo) == []
    np.testing.assert_array_equal(bgr.detect_boxes(photo[..., ::-1])[0], [[40, 30, 80, 70]])
    (tracked,) = Tracker(bgr, confidence=0).update(photo[..., ::-1], 0.0)
    np.testing.assert_allclose(tracked.raw, truth, atol=1e-3)
    with pytest.raises(InputError, match="did you mean 'bgr'"):
        Landmarker(model, Red(), color="BGR".lower() + "r")


@pytest.mark.parametrize(
    "photo",
    [
        np.zeros((9, 9, 3), np.uint8),
        np.zeros((9, 9), np.uint8),
        "photo.jpg",
        Path("photo.jpg"),
        b"\xff\xd8",
        io.BytesIO(),
    ],
    ids=lambda photo: type(photo).__name__,
)
def test_one_photo_where_several_are_taken_is_refused(landmarker: Landmarker, photo: Any) -> None:
    for call in (landmarker.detect_batch, landmarker.stream, landmarker.stream_sized):
        with pytest.raises(InputError, match=r"^this is one photo where several are taken"):
            list(call(photo))


def test_an_array_of_photos_is_several(landmarker: Landmarker) -> None:
    photo = photo_with((60, 50))
    assert [len(faces) for faces in landmarker.detect_batch(np.stack([photo, photo]))] == [1, 1]


@pytest.mark.parametrize(
    ("boxes", "roll", "sentence"),
    [
        ([[0, 0, 9, 9]], np.nan, "roll must be a finite number of degrees"),
        ([[0, 0, 9, 9]], [1, 2], r"there are 1 boxes but rolls of shape \(2,\)"),
        ([[0, 0, 9, 9], [0, 0, 8, 8]], [0, np.inf], "roll must be a finite number of degrees"),
        ([[0, 0, 9, 9]], "right", "roll must be degrees"),
        (None, 30, "roll says how the faces in given boxes are rotated; give boxes with it"),
    ],
    ids=str,
)
def test_rolls_that_tell_nothing_are_refused(landmarker: Landmarker, boxes: Any, roll: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=f"^{sentence}"):
        landmarker.detect(photo_with((60, 50)), boxes=boxes, roll=roll)


def test_a_roll_for_all_is_one_for_each(landmarker: Landmarker) -> None:
    boxes = [[40, 30, 80, 70], [44, 30, 84, 70]]
    one, each = (landmarker.detect(photo_with((60, 50)), boxes, "landmarks", roll) for roll in (30, [30, 30]))
    np.testing.assert_array_equal([face.points for face in one], [face.points for face in each])
    assert landmarker.detect(photo_with((60, 50)), [], roll=30) == []


def test_unknown_box_types_are_refused(landmarker: Landmarker) -> None:
    with pytest.raises(InputError, match="box_type 'landmark' is no kind of boxes; did you mean 'landmarks'"):
        landmarker.detect(photo_with(), boxes=[[0, 0, 9, 9]], box_type="landmark")


def test_points_are_not_drawn_where_a_detectors_boxes_mean_nothing(make_model: Callable[..., Path]) -> None:
    landmarker, photo = Landmarker(make_model(box_transform=None), NoDetector(), threads=1), photo_with((20, 20))
    for boxes in (None, [[10, 10, 30, 30]]):
        with pytest.raises(ModelError, match=r"'five5' has no transform for a face detector's boxes.*box_type"):
            landmarker.detect(photo, boxes)
    (face,) = landmarker.detect(photo, [[10, 10, 30, 30]], box_type="landmarks")
    assert face.points.shape == (5, 2)
    own = Landmarker(landmarker.model, NoDetector(), box_transform=BoxTransform())
    assert len(own.detect(photo, [[10, 10, 30, 30]])) == 1
