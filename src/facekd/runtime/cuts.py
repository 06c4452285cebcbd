"""Cuts between the scenes of a video: a face before one and a face after it may be two people at the same place."""

from __future__ import annotations

import cv2
import numpy as np

from facekd.geometry import crop_matrix

_SIDE = 32  # pixels of thumbnails and of chips
# Frames up to a second apart without a cut differ by 25 at most, photos of different places by 45 and more (mean over
# all pixels and channels of 8 bits; a webcam and two phone videos, generated portraits).
_CHANGED = 32.0
_ALIKE = 0.75  # correlation: of one face 80 ms apart 0.88 and more, of pairs of people 99.9 % below 0.74


def thumbnail(frame: np.ndarray) -> np.ndarray:
    """Shrink a frame to what tells a cut.

    Args:
        frame: (H, W, 3) uint8.

    Returns:
        (32, 32, 3) float32.
    """
    return _quarter(cv2.resize(frame, (4 * _SIDE, 4 * _SIDE), interpolation=cv2.INTER_NEAREST))


def is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether the picture as a whole has changed from one frame to the next, as at a cut or a flash.

    Args:
        before: thumbnail of the one.
        after: thumbnail of the other.

    Returns:
        Whether it has.
    """
    return float(np.abs(after - before).mean()) > _CHANGED


def face_chip(frame: np.ndarray, box: np.ndarray, roll: float) -> np.ndarray:
    """Cut out a face to compare it with.

    Args:
        frame: (H, W, 3) uint8.
        box: (4,) square, holds the landmarks once turned upright.
        roll: degrees of the face.

    Returns:
        (32, 32) float32, grey, upright.
    """
    side = 4 * _SIDE
    chip = _quarter(cv2.warpAffine(frame, crop_matrix(box, side, rotation=-roll), (side, side)))
    return chip.mean(axis=2)


def look_alike(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two chips show the same face a moment apart. Brightness and contrast do not count.

    Args:
        first: a chip.
        second: another.

    Returns:
        Whether they do.
    """
    first, second = first - first.mean(), second - second.mean()
    product = float(np.sqrt((first * first).sum() * (second * second).sum()))
    return product == 0 or float((first * second).sum()) / product > _ALIKE


def _quarter(image: np.ndarray) -> np.ndarray:
    """Return an image a quarter as wide and high, averaged by area, as float32."""
    return cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
