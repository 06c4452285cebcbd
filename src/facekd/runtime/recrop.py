"""A second crop for faces whose box was off: cut by the landmarks that the first crop gave.

A face detector's box says only roughly where the landmarks are, and a network is at its best on a crop that fits them
as in training. The first pass finds them well enough to tell the better crop, which is then cut from the photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from facekd.geometry import Crops, centre_and_side, compose, crop_matrix, frame_box, iou, snap, upright_box, warp
from facekd.runtime.model import Predictor
from facekd.runtime.output import NetworkOutput
from facekd.runtime.roll import MAX_ROLL, roll_angle

# IoU of the box that a face was cut by with that of its landmarks below which it is cut again: a tenth of the faces,
# which have nearly half of what there is to gain (docs/benchmarks/recrop.md).
FITS = 0.8
_LARGEST = 3.0  # times the first box's side: landmarks so far apart are no face's


def recrop(
    model: Predictor, photos: Sequence[np.ndarray | None], crops: Sequence[Crops], output: NetworkOutput
) -> tuple[list[Crops], NetworkOutput]:
    """Cut those faces again that do not fit their crops, and run the network on them once more, all in one call.

    Args:
        model: the network. Faces of a mark-up of `crop: face` stay as they are, for points do not give their boxes.
        photos: (H, W, 3) uint8 each; one may come several times. None: the faces were cut out by their landmarks.
        crops: what was cut out of each.
        output: what the network found in all the crops, one after the other.

    Returns:
        The crops that count, and what was found in them; the same objects where no face was cut again.
    """
    points, counts = output.points, [len(crop.images) for crop in crops]
    if model.markup.crop == "face":
        return list(crops), output
    by_detector = np.repeat([photo is not None for photo in photos], counts)
    frame = frame_box(model.size, model.scale)
    roll = roll_angle(points, model.markup)
    roll = np.where(np.abs(roll) > MAX_ROLL, np.rint(roll), 0.0)  # less than that the network has learned
    boxes = snap(upright_box(points.astype(np.float64), roll))
    plausible = centre_and_side(boxes)[1] < _LARGEST * centre_and_side(frame)[1]
    again = by_detector & plausible & (iou(boxes, frame) < FITS)
    if not again.any():
        return list(crops), output
    matrices = np.concatenate([crop.matrices for crop in crops])
    images = np.concatenate([crop.images for crop in crops])
    matrices[again] = compose(crop_matrix(boxes[again], model.size, model.scale, -roll[again]), matrices[again])
    parts = [slice(start, end) for start, end in pairwise(np.cumsum([0, *counts]))]
    for row, index in zip(np.flatnonzero(again), np.repeat(range(len(parts)), counts)[again], strict=True):
        images[row] = warp(photos[index], matrices[row], model.size)
    found = NetworkOutput(*model(images[again]))
    merged = output._replace(points=_replaced(points, again, found.points))
    if output.confidence is not None and found.confidence is not None:
        merged = merged._replace(confidence=_replaced(output.confidence, again, found.confidence))
    if output.visible is not None and found.visible is not None:
        merged = merged._replace(visible=_replaced(output.visible, again, found.visible))
    return [Crops(images[part], matrices[part]) for part in parts], merged


def _replaced(values: np.ndarray, rows: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return a copy of values (B, ...) with other ones in those rows (B,)."""
    values = values.copy()
    values[rows] = new
    return values
