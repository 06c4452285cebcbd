"""Aligned face chips, as face recognition networks take them."""

from __future__ import annotations

import numpy as np

from facekd.errors import InputError
from facekd.geometry import warp
from facekd.images import Photo, read_image
from facekd.markup import FIVE, MarkUp, convert
from facekd.similarity import fit_similarity

CHIP = 112  # pixels, the side of the chips that ArcFace and InsightFace are trained on
# Eyes, nose tip and mouth corners in a chip of 112 px. Source: `arcface_dst` of InsightFace (utils/face_align.py);
# Deng et al., "ArcFace", CVPR 2019.
ARCFACE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])


def template(size: int = CHIP) -> np.ndarray:
    """Scale the ArcFace template to chips of another size.

    The edges of the pixels are scaled, as resizing a chip does: of a chip twice as large, each two pixels become one.

    Args:
        size: side of the chip in pixels.

    Returns:
        (5, 2): eyes, nose and mouth corners in pixels of the chip.
    """
    return (ARCFACE + 0.5) * size / CHIP - 0.5


def align(photo: Photo, points: np.ndarray, markup: MarkUp, size: int = CHIP) -> np.ndarray:
    """Cut a face out so that eyes, nose and mouth lie as near to the ArcFace template as a similarity can bring them.

    Args:
        photo: the photo, as `facekd.images.read_image` takes it.
        points: (N, 2) landmarks in photo pixels.
        markup: what the points are.
        size: side of the chip in pixels.

    Returns:
        (size, size, 3) uint8, black outside the photo; RGB, or an array's own order of channels.

    Raises:
        InputError: the photo cannot be read, the mark-up has no eyes, nose and mouth, these lie in one spot or are no
            numbers, or `size` is below 1.
    """
    if size < 1:
        raise InputError(f"a chip needs a size of 1 pixel or more, got {size}")
    five = convert(np.asarray(points, np.float64), markup, FIVE)
    if not np.ptp(five, axis=0).max() > 0:  # also when a point is not a number
        raise InputError("the face cannot be aligned: its eyes, nose and mouth lie in one spot, or are no numbers")
    return warp(read_image(photo), fit_similarity(five, template(size)), size)
