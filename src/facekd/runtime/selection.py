"""Which of the faces found in a photo count: one per place, whatever its roll, and no parts of another face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facekd.geometry import iou, tight_box
from facekd.runtime.face import Face
from facekd.runtime.roll import roll_angle

_SAME = 0.3  # IoU of two boxes, or of two faces' landmark boxes, from which they are of one face
_DUPLICATE = 0.6  # IoU of two upright faces' landmark boxes from which they are one face, boxed twice
_INSIDE = 0.5  # share of a box within a larger one from which it may be a part of that face
_RISE = 0.2  # by how much a turned face must be more probable than the upright one in its place
# Degrees of roll from which a quarter turn brings a face nearer to upright; the detector's box is not where it belongs.
FAR_ROLL = 45.0


def with_turned(faces: Sequence[Face], turned: Sequence[Face]) -> list[Face]:
    """Replace faces by what was found in their place once the photo was turned, if that is clearly more confident.

    Args:
        faces: found in the photo as it is.
        turned: found in the turned photo, with all coordinates in the photo as it is.

    Returns:
        The faces; of `turned` those that can be trusted and beat what they overlap.
    """
    kept = list(faces)
    for face in sorted(turned, key=face_confidence, reverse=True):
        if not face.ok:
            break
        rivals = [other for other in kept if _overlap(face, other) > _SAME]
        if all(_beats(face, other) for other in rivals):
            kept = [other for other in kept if other not in rivals] + [face]
    return kept


def better(face: Face, turned: Sequence[Face]) -> Face:
    """Choose between what was found of a face upright and in other rolls, where the caller says that a face is there.

    Args:
        face: as found upright.
        turned: as found in other rolls.

    Returns:
        The most confident of `turned` if it is clearly more confident, be it one that cannot be trusted: a covered,
        blurred face is none the less rolled. Else `face`.
    """
    best = max(turned, key=face_confidence)
    return best if _beats(best, face) else face


def without_parts(faces: Sequence[Face]) -> list[Face]:
    """Leave out faces whose landmarks are those of a more confident face, and unsure ones inside a larger face's box.

    A face that fills the frame is found several times: as a whole, and in parts of itself.

    Args:
        faces: of one photo.

    Returns:
        The others, in the same order.
    """
    left = []
    for face in faces:
        others = [other for other in faces if other is not face]
        duplicate = any(
            face_confidence(other) > face_confidence(face)
            and float(iou(tight_box(other.points), tight_box(face.points))) > _DUPLICATE
            for other in others
        )
        part = not face.ok and any(_area(other.box) > _area(face.box) and _inside(face, other) for other in others)
        if not (duplicate or part):
            left.append(face)
    return left


def _beats(turned: Face, face: Face) -> bool:
    """Whether a turned face is clearly more confident; than one that is far from upright itself, at all."""
    rise = 0.0 if abs(float(roll_angle(face.points, face.markup))) > FAR_ROLL else _RISE
    return face_confidence(turned) > face_confidence(face) + rise


def face_confidence(face: Face) -> float:
    """Return a face's confidence as a whole; 1 where it is not known.

    Args:
        face: any.

    Returns:
        In [0, 1].
    """
    return 1.0 if face.face_confidence is None else face.face_confidence


def _overlap(first: Face, second: Face) -> float:
    """Return the larger IoU of two faces, of their boxes or of their landmarks'."""
    boxes = float(iou(first.box, second.box))
    return max(boxes, float(iou(tight_box(first.points), tight_box(second.points))))


def _area(box: np.ndarray) -> float:
    return float((box[2:] - box[:2]).prod())


def _inside(face: Face, other: Face) -> bool:
    """Whether a face's box lies mostly in another one's."""
    low, high = np.maximum(face.box[:2], other.box[:2]), np.minimum(face.box[2:], other.box[2:])
    return float(np.clip(high - low, 0, None).prod()) > _INSIDE * _area(face.box)
