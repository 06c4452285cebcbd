"""A face that was found: its landmarks, and what can be told from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from facekd.images import Photo
from facekd.markup import MarkUp, convert, get
from facekd.runtime.align import CHIP, align
from facekd.runtime.measures import EyeOpenness, eye_openness, mouth_openness
from facekd.runtime.pose import Pose, head_pose

TRUSTED = 0.5  # face confidence from which landmarks are more likely right than wrong


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a photo.

    Attributes:
        box: (4,) float32 x0, y0, x1, y1 in photo pixels, as the detector drew it or the caller gave it.
        score: the detector's, in [0, 1]; 1 for a box that the caller gave.
        points: (N, 2) float32 landmarks in photo pixels.
        confidence: (N,) float32 in [0, 1] per point, as the model card says; None if the network gives none.
        markup: what the points are.
        face_confidence: probability in [0, 1] that the landmarks are right: that there is a face, and their NME is at
            most 10 %; None if the network was not calibrated for that.
        visible: (N,) float32, the probability that each point is visible rather than occluded; None if the network did
            not learn it.
    """

    box: np.ndarray
    score: float
    points: np.ndarray
    confidence: np.ndarray | None
    markup: MarkUp
    face_confidence: float | None = None
    visible: np.ndarray | None = None

    @property
    def ok(self) -> bool:
        """Whether the landmarks can be trusted: `face_confidence` is at least 0.5, or not known."""
        return self.face_confidence is None or self.face_confidence >= TRUSTED

    @cached_property
    def pose(self) -> Pose | None:
        """Which way the head is turned, in degrees; None for a mark-up without the iBUG points."""
        return head_pose(self.points, self.markup)

    @cached_property
    def eye_openness(self) -> EyeOpenness | None:
        """How wide each eye is open, as its aspect ratio; None for a mark-up without the iBUG points."""
        return eye_openness(self.points, self.markup)

    @cached_property
    def mouth_openness(self) -> float | None:
        """How wide the mouth is open, as the inner lips' aspect ratio; None for a mark-up without the iBUG points."""
        return mouth_openness(self.points, self.markup)

    def align(self, photo: Photo, size: int = CHIP) -> np.ndarray:
        """Cut the face out upright, eyes, nose and mouth where face recognition networks expect them.

        Args:
            photo: the photo the face was found in. A face does not hold it: photos of a long video or a large folder
                would never leave the memory.
            size: side of the chip in pixels; ArcFace and InsightFace take 112.

        Returns:
            (size, size, 3) uint8; RGB, or an array's own order of channels. `facekd.runtime.align` names the source.

        Raises:
            InputError: the photo cannot be read, the mark-up has no eyes, nose and mouth, or `size` is below 1.
        """
        return align(photo, self.points, self.markup, size)

    def __getitem__(self, part: str) -> np.ndarray:
        """Return the points (k, 2) of a part, such as "left eye", in drawing order; `Face.markup` names the parts."""
        return self.points[list(self.markup.contour(part).points)]

    def convert(self, markup: MarkUp | str) -> Face:
        """Convert the points to another mark-up (98 -> 68 -> 5); a point made of several is their mean.

        Args:
            markup: the one to convert to, or its name, such as "five5".

        Returns:
            The face with those points, and confidence and visibility of each. What the new points cannot tell, such as
            the pose, stays what the old ones told.

        Raises:
            InputError: there is no such mark-up or conversion.
        """
        if isinstance(markup, str):
            markup = get(markup)
        points = convert(self.points, self.markup, markup)
        # The confidence of a mean is the mean of the confidences.
        confidence, visible = (
            None if values is None else convert(np.stack([values, values], axis=-1), self.markup, markup)[..., 0]
            for values in (self.confidence, self.visible)
        )
        converted = replace(self, points=points, confidence=confidence, visible=visible, markup=markup)
        for name in ("pose", "eye_openness", "mouth_openness"):
            if getattr(converted, name) is None:
                converted.__dict__[name] = getattr(self, name)  # where cached_property looks first
        return converted

    def to_dict(self) -> dict[str, Any]:
        """Turn the face into plain values.

        Returns:
            Keys and values for JSON, points rounded to 0.01 px, and the pose; `from_dict` reads them back.
        """
        pose = self.pose
        return {
            "box": self.box.astype(float).round(2).tolist(),
            "score": round(float(self.score), 4),
            "face_confidence": None if self.face_confidence is None else round(self.face_confidence, 4),
            "points": self.points.astype(float).round(2).tolist(),
            "confidence": None if self.confidence is None else self.confidence.astype(float).round(4).tolist(),
            "visible": None if self.visible is None else self.visible.astype(float).round(4).tolist(),
            "pose": pose and {"yaw": round(pose.yaw, 1), "pitch": round(pose.pitch, 1), "roll": round(pose.roll, 1)},
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any], markup: MarkUp) -> Face:
        """Read what `to_dict` wrote.

        Args:
            values: box, score, points and confidence; face_confidence and visible, if they are known; and pose, which
                counts if the points cannot tell it.
            markup: what the points are.

        Returns:
            The face.
        """
        box, points = (np.array(values[key], np.float32) for key in ("box", "points"))
        confidence, visible = (
            None if values.get(key) is None else np.array(values[key], np.float32) for key in ("confidence", "visible")
        )
        face = cls(box, values["score"], points, confidence, markup, values.get("face_confidence"), visible)
        if face.pose is None and values.get("pose"):
            face.__dict__["pose"] = Pose(**values["pose"])  # where cached_property looks first
        return face
