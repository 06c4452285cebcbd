"""How a face detector's boxes relate to the tight landmark boxes that networks are trained with."""

from __future__ import annotations

from typing import Any

import numpy as np

from facekd.data.pack import Pack
from facekd.geometry import BoxTransform, iou
from facekd.runtime.detector import Detector, YuNet

_FACES = 600  # to fit on: enough for medians, a few seconds of detection
_SAME = 0.3  # IoU above which a detection is this face
_ENOUGH = 0.5  # share of the faces that must be found for a fit to mean something


def fit_box_transform(train: Pack, detector: Detector | None = None) -> dict[str, Any]:
    """Fit a `BoxTransform` to what a face detector finds on training faces.

    Args:
        train: the faces.
        detector: finds faces; None: YuNet.

    Returns:
        faces, found: how many were tried and found; transform: its values, None where too few were found, as with
        drawn faces; spread_log_scale_x_y: standard deviations of what the transform leaves, x and y in tight sides.
    """
    detector = detector or YuNet()
    sample = train.select(indices=np.linspace(0, len(train) - 1, min(len(train), _FACES)).astype(int))
    found, wanted = [], []
    for i, tight in enumerate(sample.boxes):
        boxes, _ = detector.detect(sample.image(i))
        overlap = iou(boxes, tight) if len(boxes) else np.zeros(1)
        if overlap.max() > _SAME:
            found.append(boxes[int(overlap.argmax())])
            wanted.append(tight)
    record: dict[str, Any] = {"faces": len(sample), "found": len(found), "transform": None}
    if len(found) > _ENOUGH * len(sample):
        transform = BoxTransform.fit(np.array(found), np.array(wanted))
        spread = transform.residuals(np.array(found), np.array(wanted)).std(axis=0)
        record |= {"transform": transform.to_dict(), "spread_log_scale_x_y": spread.round(4).tolist()}
    return record
