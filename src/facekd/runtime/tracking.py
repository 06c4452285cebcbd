"""Faces over time: stable ids, boxes from the last frame's landmarks, points that do not shake."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from facekd.errors import InputError, ModelError
from facekd.geometry import centre_and_side, iou, square, upright_box
from facekd.runtime.cuts import face_chip, is_cut, look_alike, thumbnail
from facekd.runtime.detector import YuNet
from facekd.runtime.face import Face
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.roll import roll_angle
from facekd.runtime.smoothing import OneEuro, Smoothing

_SMOOTHING = Smoothing()
_SAME = 0.3  # IoU above which two boxes are one face
_LONE = 0.5  # IoU above which two tracks have run onto one face
_MISSES = 3  # runs of the detector after which landmarks that it does not confirm are no face
_JUMP = 0.35  # IoU of a face with itself a frame earlier below which its points are rejected
_ROLLED = 45.0  # degrees of roll from which the detector, which looks for upright faces, need not confirm a face
_REACH = 3  # times its size: how far about a lost face a box is taken to be the same face, if it can be no other


@dataclass(eq=False)
class _Track:
    """A face that is followed."""

    id: int
    filter: OneEuro
    box: np.ndarray  # where to cut: square, holds the last landmarks tightly once turned upright
    roll: float = 0.0  # degrees, of the last frame
    face: Face | None = None  # with the landmarks of the last frame; None: they were rejected, the face is lost
    score: float = 0.0
    seen: float = 0.0  # when landmarks were last accepted or the detector last found the face
    misses: int = 0  # runs of the detector in a row that did not find it
    chip: np.ndarray | None = None  # the face as last seen
    cut: bool = False  # whether there was a cut since then


@dataclass(frozen=True)
class TrackedFace:
    """A face of a frame and the number it keeps from frame to frame.

    Attributes:
        id: counts from 0 in order of appearance; a face that is lost for less than `patience` keeps its number.
        face: with smoothed points; its box is square and holds the points as found, once turned upright.
        raw: (N, 2) the points as the network found them.
    """

    id: int
    face: Face
    raw: np.ndarray


class Tracker:
    """Follows the faces of a video.

    The detector runs on the first frame, every `every` frames, while no face is followed, and when a face's landmarks
    are rejected: their mean confidence falls below `confidence`, or they jump or collapse. While no face is followed,
    frames are also searched for rolled faces, every `every` frames, unless the landmarker's `roll` is "upright". After
    a cut, a face that does not look like the one before it gets a new number.

    Args:
        landmarker: finds landmarks; its detector finds faces. Default: the bundled model with YuNet at 640 px.
        every: frames from one detection to the next.
        confidence: mean confidence below which landmarks are rejected, in [0, 1].
        patience: seconds for which a lost face keeps its number.
        smoothing: settings of the One-Euro filter; None: no filter.

    Raises:
        ModelError: the network's mark-up says `crop: face`, or its transform of detected boxes is not known.
        InputError: `every` is below 1, `confidence` outside [0, 1], or `patience` below 0.
    """

    def __init__(
        self,
        landmarker: Landmarker | None = None,
        every: int = 10,
        confidence: float = 0.3,
        patience: float = 1.0,
        smoothing: Smoothing | None = _SMOOTHING,
    ) -> None:
        if not every >= 1:
            raise InputError(f"every must be 1 or more, got {every}")
        if not 0 <= confidence <= 1:
            raise InputError(f"confidence must be within 0 and 1, got {confidence}")
        if not patience >= 0:
            raise InputError(f"patience must be 0 seconds or more, got {patience}")
        self.landmarker = landmarker or Landmarker(detector=YuNet(size=640))
        markup = self.landmarker.model.markup
        if markup.crop == "face":
            raise ModelError(
                f"a network of '{markup.name}' cannot follow faces: it cuts them out by the face's box (crop: face), "
                "which its points do not give; run Landmarker.detect on each frame"
            )
        self._transform = self.landmarker.box_transform
        self.every, self.confidence, self.patience, self.smoothing = every, confidence, patience, smoothing
        self._tracks: list[_Track] = []
        self._ids = 0
        self._since_detection = self._since_search = every
        self._thumbnail: np.ndarray | None = None  # of the last frame

    def update(self, frame: np.ndarray, time: float) -> list[TrackedFace]:
        """Find the faces of the next frame.

        Args:
            frame: (H, W, 3) uint8, RGB unless the landmarker's `color` says BGR.
            time: of the frame in seconds; later than the last one's.

        Returns:
            The faces in view, oldest first.

        Raises:
            InputError: the frame cannot be read, or `time` is not finite.
        """
        if not math.isfinite(time):
            raise InputError(f"the time of a frame must be a number of seconds, got {time}")
        self._since_detection += 1
        self._since_search += 1
        self._notice_cut(frame)
        self._tracks = [track for track in self._tracks if track.face or time - track.seen <= self.patience]
        followed = [track for track in self._tracks if track.face]
        self._find_landmarks(frame, time, followed)
        if self._since_detection >= self.every or not followed or not all(track.face for track in followed):
            self._find_landmarks(frame, time, *self._detect(frame, time))
        lost = not any(track.face for track in self._tracks)
        if lost and self.landmarker.roll == "any" and self._since_search >= self.every:
            self._find_landmarks(frame, time, self._search(frame, time))
        for track in self._tracks:
            if track.face:
                self._renumber(track, frame)
        return [self._smoothed(track, track.face, time) for track in self._tracks if track.face]

    def _notice_cut(self, frame: np.ndarray) -> None:
        """Compare a frame with the one before."""
        before, self._thumbnail = self._thumbnail, thumbnail(frame)
        if before is not None and is_cut(before, self._thumbnail):
            for track in self._tracks:
                track.cut = True

    def _renumber(self, track: _Track, frame: np.ndarray) -> None:
        """Give a track that another face has taken over at a cut a new number."""
        chip = face_chip(frame, track.box, track.roll)
        if track.cut and track.chip is not None and not look_alike(track.chip, chip):
            track.id, track.filter = self._next_id(), OneEuro(self.smoothing or _SMOOTHING)
        track.chip, track.cut = chip, False

    def _next_id(self) -> int:
        self._ids += 1
        return self._ids - 1

    def _find_landmarks(
        self, frame: np.ndarray, time: float, tracks: list[_Track], detected: list[np.ndarray] | None = None
    ) -> None:
        """Find the landmarks of tracks where their boxes are, or in a detector's boxes (4,), which may be off."""
        if not tracks:
            return
        boxes, kind = ([track.box for track in tracks], "landmarks") if detected is None else (detected, "detector")
        # Each face is turned upright by its roll of a frame ago: one pass is enough, and two do not flicker.
        rolls = np.array([track.roll for track in tracks])
        faces = self.landmarker.detect(frame, boxes, box_type=kind, roll=rolls)
        for track, face in zip(tracks, faces, strict=True):
            roll = float(roll_angle(face.points, face.markup))
            box = upright_box(face.points, roll)
            track.face = None
            if self._accepted(track, face, box):
                track.face, track.box, track.roll, track.seen = face, box, roll, time

    def _detect(self, frame: np.ndarray, time: float) -> tuple[list[_Track], list[np.ndarray]]:
        """Run the detector on the whole frame; returns tracks whose landmarks are to be found, and their boxes."""
        self._since_detection = 0
        detected, scores = self.landmarker.detect_boxes(frame)
        boxes = self._transform.apply(detected)
        owners, new = self._owners(boxes), []
        for track in self._tracks:
            track.misses += 1
        for index, box in enumerate(boxes):
            track = owners.get(index) or self._started(box)
            track.score, track.seen, track.misses = float(scores[index]), time, 0
            if not track.face:
                track.box, track.roll = box, 0.0
                new.append((track, detected[index]))
        for track in self._tracks:
            if track.misses >= _MISSES and abs(track.roll) < _ROLLED:
                track.face = None
        return [track for track, _ in new], [box for _, box in new]

    def _search(self, frame: np.ndarray, time: float) -> list[_Track]:
        """Search the frame for faces of any roll; returns their tracks, whose landmarks are to be found."""
        self._since_search = 0
        faces = self.landmarker.detect(frame)
        rolls = [float(roll_angle(face.points, face.markup)) for face in faces]
        boxes = [upright_box(face.points.astype(np.float64), roll) for face, roll in zip(faces, rolls, strict=True)]
        owners = self._owners(np.array(boxes).reshape(-1, 4))
        tracks = [owners.get(index) or self._started(box) for index, box in enumerate(boxes)]
        for track, face, box, roll in zip(tracks, faces, boxes, rolls, strict=True):
            track.box, track.roll, track.score, track.seen, track.misses = box, roll, float(face.score), time, 0
        return tracks

    def _started(self, box: np.ndarray) -> _Track:
        """Start a track with a number of its own."""
        track = _Track(self._next_id(), OneEuro(self.smoothing or _SMOOTHING), box)
        self._tracks.append(track)
        return track

    def _owners(self, boxes: np.ndarray) -> dict[int, _Track]:
        """Return the tracks that detected boxes (k, 4) belong to, by the boxes' indices."""
        owners: dict[int, _Track] = {}
        overlap = _overlaps(self._tracks, boxes)
        while overlap.size and overlap.max() > _SAME:  # the best pairs first
            row, column = np.unravel_index(overlap.argmax(), overlap.shape)
            overlap[row], overlap[:, column] = 0, 0
            owners[int(column)] = self._tracks[row]
        # A face that moved too far for that keeps its number where only one is lost and one box is without a track.
        lost = [track for track in self._tracks if not track.face and track not in owners.values()]
        free = [index for index in range(len(boxes)) if index not in owners]
        near = _overlaps(lost, boxes[free], _REACH) > _SAME
        for row, column in np.argwhere(near & (near.sum(axis=0) == 1) & (near.sum(axis=1, keepdims=True) == 1)):
            owners[free[column]] = lost[row]
        return owners

    def _accepted(self, track: _Track, face: Face, box: np.ndarray) -> bool:
        """Whether landmarks show the face that the track followed."""
        if face.confidence is not None and not face.confidence.mean() >= self.confidence:
            return False
        if not iou(box, track.box) >= _JUMP:  # also when a point is not finite
            return False
        older = [other.box for other in self._tracks if other.id < track.id and other.face]
        return not older or bool((iou(box, np.array(older)) < _LONE).all())

    def _smoothed(self, track: _Track, face: Face, time: float) -> TrackedFace:
        points = face.points
        if self.smoothing:
            points = track.filter(points, time, float(centre_and_side(track.box)[1])).astype(np.float32)
        box = track.box.astype(np.float32)
        return TrackedFace(track.id, replace(face, points=points, score=track.score, box=box), face.points)


def _overlaps(tracks: list[_Track], boxes: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Return the IoU (t, k) of tracks with boxes (k, 4), each as a square of `scale` times its size."""
    theirs = np.array([track.box for track in tracks]).reshape(-1, 1, 4)
    return iou(square(theirs, scale), square(boxes, scale))
