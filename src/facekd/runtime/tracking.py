"""Faces over time: stable ids, boxes from the last frame's landmarks, points that do not shake."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from facekd.geometry import centre_and_side, iou, upright_box
from facekd.runtime.detector import YuNet
from facekd.runtime.landmarker import Face, Landmarker
from facekd.runtime.smoothing import OneEuro, Smoothing
from facekd.runtime.upright import lean

_SMOOTHING = Smoothing()
_SAME = 0.3  # IoU above which two boxes are one face
_LONE = 0.5  # IoU above which two tracks have run onto one face
_MISSES = 3  # runs of the detector after which landmarks that it does not confirm are no face
_JUMP = 0.35  # IoU of a face with itself a frame earlier below which its points are not believed


@dataclass(eq=False)
class _Track:
    """A face that is followed."""

    id: int
    box: np.ndarray  # square box that holds the last landmarks tightly, once turned upright
    filter: OneEuro
    score: float
    seen: float  # when the landmarks were last believed
    misses: int = 0  # runs of the detector in a row that did not find it
    shown: bool = True
    lean: float = 0.0  # degrees by which the face leant last


@dataclass(frozen=True)
class TrackedFace:
    """A face of a frame and the number it keeps from frame to frame.

    Attributes:
        id: counts from 0 in order of appearance; a face that is lost for less than `patience` keeps its number.
        face: with smoothed points.
        raw: (N, 2) the points as the network found them.
    """

    id: int
    face: Face
    raw: np.ndarray


class Tracker:
    """Follows the faces of a video.

    The detector runs on the first frame, every `every` frames, while no face is followed, and on the frame after a
    face's landmarks were not believed: their mean confidence fell below `confidence`, or they jumped or collapsed.

    Args:
        landmarker: finds landmarks; its detector finds faces. Default: the bundled model with YuNet at 640 px.
        every: frames from one detection to the next.
        confidence: mean confidence below which landmarks are not believed, in [0, 1].
        patience: seconds for which a lost face keeps its number.
        smoothing: settings of the One-Euro filter; None: no filter.
    """

    def __init__(
        self,
        landmarker: Landmarker | None = None,
        every: int = 10,
        confidence: float = 0.3,
        patience: float = 1.0,
        smoothing: Smoothing | None = _SMOOTHING,
    ) -> None:
        self.landmarker = landmarker or Landmarker(detector=YuNet(size=640))
        self.every, self.confidence, self.patience, self.smoothing = every, confidence, patience, smoothing
        self._tracks: list[_Track] = []
        self._ids = 0
        self._since_detection = every

    def update(self, frame: np.ndarray, time: float) -> list[TrackedFace]:
        """Find the faces of the next frame.

        Args:
            frame: (H, W, 3) uint8 RGB.
            time: of the frame in seconds; later than the last one's.
        Returns:
            The faces in view, oldest first.
        """
        self._since_detection += 1
        if self._since_detection >= self.every or not any(track.shown for track in self._tracks):
            self._detect(frame, time)
        shown = [track for track in self._tracks if track.shown]
        # Each face is cut upright, as it leant a frame ago: no second look is needed, and none flickers with the first.
        leaning = np.array([track.lean for track in shown])
        faces = self.landmarker.detect(frame, [track.box for track in shown], tight=True, lean=leaning)
        tracked = []
        for track, face in zip(shown, faces, strict=True):
            leans = float(lean(face.points, face.markup))
            box = upright_box(face.points, leans)
            if not self._believed(track, face, box):
                track.shown = False
                self._since_detection = self.every  # look for it with the next frame
                continue
            track.box, track.lean, track.seen = box, leans, time
            smooth = face.points
            if self.smoothing:
                smooth = track.filter(face.points, time, float(centre_and_side(box)[1])).astype(np.float32)
            tracked.append(TrackedFace(track.id, replace(face, points=smooth, score=track.score), face.points))
        self._tracks = [track for track in self._tracks if time - track.seen <= self.patience]
        return tracked

    def _detect(self, frame: np.ndarray, time: float) -> None:
        """Look for faces in the whole frame: confirm tracks, find lost ones again, start new ones."""
        self._since_detection = 0
        boxes, scores = self.landmarker.detector.detect(frame)
        boxes = self.landmarker.box_transform.apply(np.asarray(boxes, np.float64).reshape(-1, 4))
        overlap = np.array([iou(track.box[None], boxes) for track in self._tracks]).reshape(
            len(self._tracks), len(boxes)
        )
        free = set(range(len(boxes)))
        for track in self._tracks:
            track.misses += 1
        while overlap.size and overlap.max() > _SAME:  # the best pairs first
            row, column = np.unravel_index(overlap.argmax(), overlap.shape)
            overlap[row], overlap[:, column] = 0, 0
            track = self._tracks[row]
            if not track.shown:
                track.box, track.lean, track.shown, track.filter = boxes[column], 0.0, True, self._new_filter()
            track.score, track.seen, track.misses = float(scores[column]), time, 0
            free.discard(int(column))
        for index in sorted(free):
            self._tracks.append(_Track(self._ids, boxes[index], self._new_filter(), float(scores[index]), time))
            self._ids += 1

    def _believed(self, track: _Track, face: Face, box: np.ndarray) -> bool:
        """Whether landmarks show the face that the track followed."""
        if track.misses >= _MISSES:
            return False
        if face.confidence is not None and not face.confidence.mean() >= self.confidence:
            return False
        if not iou(box, track.box) >= _JUMP:  # also when a point is not finite
            return False
        older = [other for other in self._tracks if other.id < track.id and other.shown]
        return all(iou(box, other.box) < _LONE for other in older)

    def _new_filter(self) -> OneEuro:
        return OneEuro(self.smoothing or _SMOOTHING)
