"""Faces as other libraries hold them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from facekd.errors import InputError

if TYPE_CHECKING:
    from supervision import KeyPoints

    from facekd.runtime.face import Face


def to_supervision(faces: Sequence[Face]) -> KeyPoints:
    """Convert the faces of a photo to the `KeyPoints` of https://supervision.roboflow.com, to annotate or filter them.

    Args:
        faces: as `Landmarker` found them, all of one mark-up.

    Returns:
        Key points xy (k, N, 2) in photo pixels, class 0 ("face") for all; confidence (k, N) where the network gives it,
        and the detector's score (k,) where the installed version of supervision has a place for it.

    Raises:
        InputError: supervision is not installed, or the faces have several mark-ups.
    """
    try:
        from supervision import KeyPoints
    except ImportError as error:
        raise InputError("to_supervision needs the library supervision; pip install supervision") from error
    if not faces:
        return KeyPoints.empty()
    if len({face.markup.name for face in faces}) > 1:
        raise InputError("key points of supervision are of one mark-up; convert the faces with Face.convert first")
    known = inspect.signature(KeyPoints.__init__).parameters
    values = {
        "xy": np.stack([face.points for face in faces]).astype(np.float32),
        "class_id": np.zeros(len(faces), int),
        "data": {"class_name": np.array(["face"] * len(faces))},
    }
    levels = [face.confidence for face in faces if face.confidence is not None]
    if len(levels) == len(faces):  # older versions name it `confidence`
        values["keypoint_confidence" if "keypoint_confidence" in known else "confidence"] = np.stack(levels)
    if "detection_confidence" in known:
        values["detection_confidence"] = np.array([face.score for face in faces], np.float32)
    return KeyPoints(**values)
