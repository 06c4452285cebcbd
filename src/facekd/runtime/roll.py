"""A second pass for faces that are rotated in the image: their crop is turned upright, and the network runs again.

A third one follows where the second shows that the first was wrong about the roll.

Training views turn faces by some 20 degrees either way. Beyond that errors grow fast, while the first pass still finds
the roll well enough. Few faces are rotated that far, so running the network twice on those costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from facekd.geometry import crop_faces, snap, upright_box
from facekd.markup import FIVE, MarkUp, conversion
from facekd.runtime.output import NetworkOutput

# A network's forward pass: crops (B, S, S, 3) -> the fields of a `NetworkOutput`, or the first of them.
PredictFn = Callable[[np.ndarray], "tuple[np.ndarray, *tuple[np.ndarray | None, ...]]"]

_PASSES = 3  # at most: the roll that the first one finds of a face rotated by 60 degrees can be 20 degrees off
MAX_ROLL = 15.0  # degrees, by validation faces; what a second pass is worth beyond: docs/benchmarks/roll.md
# Eyes, nose tip and mouth corners of a face that looks into the camera, about their centre; x + iy.
_UPRIGHT = np.array([-48 - 44j, 48 - 44j, 8j, -37 + 40j, 37 + 40j])
_FIT = _UPRIGHT.conj() / (abs(_UPRIGHT) ** 2).sum()
_SMALLEST = 1 / abs(_UPRIGHT[0])  # scale of a face whose eyes are a pixel from its centre


def roll_angle(points: np.ndarray, markup: MarkUp) -> np.ndarray:
    """Measure the roll of faces: the rotation of the similarity that fits an upright face to eyes, nose and mouth.

    Args:
        points: (..., N, 2) pixels.
        markup: what the points are.

    Returns:
        Degrees (...), clockwise as seen in the image. 0 for a mark-up without eyes, nose and mouth, and for a face no
        larger than a pixel.
    """
    five = conversion(markup, FIVE)
    if five is None:
        return np.zeros(points.shape[:-2])
    # What `facekd.similarity.fit_similarity` finds, as a complex number: its length is the scale, its angle the roll.
    fit = np.ascontiguousarray(points, np.float64).view(np.complex128)[..., 0] @ (_FIT @ five)
    return np.where(abs(fit) < _SMALLEST, 0.0, np.degrees(np.angle(fit)))


def predict_with_rotation(predict: PredictFn, images: np.ndarray, markup: MarkUp, scale: float) -> NetworkOutput:
    """Run a network on crops, and a second time on those of rotated faces after turning them upright.

    Args:
        predict: the network.
        images: (B, S, S, 3) uint8.
        markup: what its points mean.
        scale: side of the crop, in units of the tight landmark box's larger side.

    Returns:
        What `predict` gives; of two passes the more confident one's.
    """
    points, confidence, visible = NetworkOutput(*predict(images))
    turned = np.zeros(len(points))  # degrees by which each face's crop was turned
    for _ in range(_PASSES - 1):
        roll = roll_angle(points, markup)
        rows = np.flatnonzero(np.abs((roll - turned + 180) % 360 - 180) > MAX_ROLL)
        if not len(rows):
            break
        turned[rows] = np.rint(roll[rows])
        boxes = snap(upright_box(points[rows], turned[rows]))
        crops = [
            crop_faces(image, box, images.shape[1], scale, -angle)
            for image, box, angle in zip(images[rows], boxes, turned[rows], strict=True)
        ]
        again = NetworkOutput(*predict(np.concatenate([crop.images for crop in crops])))
        back = np.concatenate([crop.to_photo(each[None]) for crop, each in zip(crops, again.points, strict=True)])
        better = np.full(len(rows), True)
        if confidence is not None and again.confidence is not None:
            better = again.confidence.mean(axis=1) > confidence[rows].mean(axis=1)
            confidence[rows[better]] = again.confidence[better]
        if visible is not None and again.visible is not None:
            visible[rows[better]] = again.visible[better]
        points[rows[better]] = back[better]
    return NetworkOutput(points, confidence, visible)


def rotate_boxes(boxes: np.ndarray, quarters: int) -> np.ndarray:
    """Rotate boxes about the origin by quarters of a circle.

    Args:
        boxes: (k, 4) x0, y0, x1, y1.
        quarters: how many times 90 degrees, clockwise as seen.

    Returns:
        (k, 4).
    """
    if quarters % 4 == 0:
        return boxes
    corners = boxes.reshape(-1, 2, 2)
    for _ in range(quarters % 4):
        corners = np.stack([-corners[..., 1], corners[..., 0]], axis=-1)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
