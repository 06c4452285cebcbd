"""A second look at faces that lean: turned upright within their crop, which is how networks know faces best.

Training views turn faces by some 20 degrees either way. Beyond that errors grow fast, while the first look still tells
well enough where up is. Few faces lean so far, so looking at those twice costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from facekd.geometry import apply, crop_matrix, invert, upright_box, warp
from facekd.markup import FIVE, MarkUp, convert, convertible

# What a network says of crops (B, S, S, 3): points (B, N, 2) in their pixels, and confidence (B, N) or None.
Look = Callable[[np.ndarray], tuple[np.ndarray, "np.ndarray | None"]]

LEANS = 15.0  # degrees, by validation faces; what a second look is worth beyond: docs/benchmarks/lean.md
# Eyes, nose tip and mouth corners of a face that looks into the camera, about their centre.
_UPRIGHT = np.array([-48 - 44j, 48 - 44j, 0 + 8j, -37 + 40j, 37 + 40j])


def lean(points: np.ndarray, markup: MarkUp) -> np.ndarray:
    """Return by how many degrees (...) faces with points (..., N, 2) lean, clockwise as seen in the image.

    The turn of the similarity that fits an upright face to eyes, nose and mouth. A mark-up without them leans by 0, and
    so does a face no larger than a pixel.
    """
    weights = _weights(markup)
    if weights is None:
        return np.zeros(points.shape[:-2])
    fit = (points[..., 0] + 1j * points[..., 1]) @ weights
    return np.where(np.abs(fit * _UPRIGHT[0]) < 1, 0.0, np.degrees(np.angle(fit)))


@cache
def _weights(markup: MarkUp) -> np.ndarray | None:
    """Return what points (N,), as complex numbers, are weighted by for the least-squares fit of an upright face."""
    if not convertible(markup, FIVE):
        return None
    ones = np.eye(markup.count)
    five = convert(np.stack([ones, ones], axis=-1), markup, FIVE)[..., 0]
    weights: np.ndarray = five @ _UPRIGHT.conj() / np.vdot(_UPRIGHT, _UPRIGHT)
    return weights


def look_twice(look: Look, images: np.ndarray, markup: MarkUp, scale: float) -> tuple[np.ndarray, np.ndarray | None]:
    """Return what a network says of crops, of a leaning face after a second look at it.

    Args:
        look: the network.
        images: (B, S, S, 3) uint8.
        markup: what its points mean.
        scale: side of the crop, in units of the tight landmark box's larger side.
    Returns:
        points (B, N, 2) and confidence (B, N) or None, as `look` does; of two looks the more confident one's.
    """
    points, sure = look(images)
    leans = lean(points, markup)
    rows = np.flatnonzero(np.abs(leans) > LEANS)
    if not len(rows):
        return points, sure
    size = images.shape[1]
    matrices = crop_matrix(upright_box(points[rows], leans[rows]), size, scale, -leans[rows])
    frames = np.stack([warp(image, matrix, size) for image, matrix in zip(images[rows], matrices, strict=True)])
    again, surer = look(frames)
    better = np.full(len(rows), True)
    if sure is not None and surer is not None:
        better = surer.mean(axis=1) > sure[rows].mean(axis=1)
        sure[rows[better]] = surer[better]
    points[rows[better]] = apply(invert(matrices), again.astype(np.float64))[better]
    return points, sure
