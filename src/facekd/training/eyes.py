"""Closing the eyes of a labelled face: pixels and labels together.

Closed eyes are few in photos of faces, and a network that has seen few leaves them a slit open. Here the lids of an
open eye are drawn together: between the corners the upper lid comes down, the skin above it is stretched, the eyeball
disappears. Each column across the eye is mapped linearly, piece by piece, so that the lids' labels move as the pixels
do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import cv2
import numpy as np

from facekd.markup import MarkUp

_ABOVE, _BELOW = 0.45, 0.25  # skin that gives way above and below, in widths of the eye: less than to the brow
_NAMES = ("left eye", "right eye")

# Upper and lower lid at places along the eye, as they are and as they become.
Levels = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]


class Eye(NamedTuple):
    """Which points are an eye's.

    Attributes:
        corners: the two corners.
        upper: the points of the upper lid between them, from the first corner to the second.
        lower: those of the lower lid, in the same direction.
    """

    corners: tuple[int, int]
    upper: tuple[int, ...]
    lower: tuple[int, ...]


def eyes_of(markup: MarkUp) -> list[Eye]:
    """Return the eyes of a mark-up that marks their lids.

    Args:
        markup: an eye is its contour "left eye" or "right eye": closed, of an even number of points, first a corner,
            then the upper lid, the other corner, and the lower lid.

    Returns:
        None, one or two of them.
    """
    eyes = []
    for contour in markup.contours:
        points = contour.points
        if contour.name in _NAMES and contour.closed and len(points) >= 4 and len(points) % 2 == 0:
            half = len(points) // 2
            eyes.append(Eye((points[0], points[half]), points[1:half], points[half + 1 :][::-1]))
    return eyes


def close_eyes(
    image: np.ndarray, points: np.ndarray, eyes: Iterable[Eye], closed: float, meeting: float
) -> tuple[np.ndarray, np.ndarray]:
    """Close a face's eyes.

    Args:
        image: (H, W, 3) uint8; not changed.
        points: (N, 2) landmarks, pixels of the image; not changed.
        eyes: which eyes; one with a point that is missing, or that is closed already, stays as it is.
        closed: how far, from 0, as it is, to 1, wholly.
        meeting: where the lids meet: 0 at the lower one, 1 at the upper one.

    Returns:
        The image and the landmarks, the lids' moved.
    """
    image, points = image.copy(), points.copy()
    for eye in eyes:
        _close(image, points, eye, closed, meeting)
    return image, points


def _close(image: np.ndarray, points: np.ndarray, eye: Eye, closed: float, meeting: float) -> None:
    """Close one eye, in place."""
    first, second = points[list(eye.corners)].astype(np.float64)
    axis = second - first
    width = float(np.linalg.norm(axis))
    if not width > 1:  # a point is missing, or the eye is too small to be seen
        return
    # Its own coordinates: along the corners' line, and from the lower lid to the upper one; both in pixels.
    along = axis / width
    across = np.array([along[1], -along[0]])
    lids = [(points[list(lid)] - first) @ np.stack([along, across], axis=1) for lid in (eye.upper, eye.lower)]
    if lids[0][:, 1].mean() < lids[1][:, 1].mean():  # upper lid below: a mirrored mark-up, or a photo upside down
        across = -across
        lids = [lid * [1, -1] for lid in lids]
    knots = [np.concatenate([[[0, 0]], lid, [[width, 0]]]) for lid in lids]
    if not all((np.diff(lid[:, 0]) > 0).all() for lid in knots):  # NaN too: compares as False
        return

    def levels(t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        upper, lower = (np.interp(t, lid[:, 0], lid[:, 1]) for lid in knots)
        upper = np.maximum(upper, lower)
        line = lower + meeting * (upper - lower)
        return upper, lower, upper + closed * (line - upper), lower + closed * (line - lower)

    _warp(image, first, along, across, width, levels)
    for lid, row in zip((eye.upper, eye.lower), (0, 1), strict=True):
        t = lids[row][:, 0]
        points[list(lid)] = first + t[:, None] * along + levels(t)[2 + row][:, None] * across


def _warp(
    image: np.ndarray, first: np.ndarray, along: np.ndarray, across: np.ndarray, width: float, levels: Levels
) -> None:
    """Move an eye's pixels, in place: each column across it is stretched and squeezed between its lids."""
    reach = [first + x * along + y * across for x in (0, width) for y in (-width, width)]
    low = np.clip(np.floor(np.min(reach, axis=0)), 0, None).astype(int)
    high = np.clip(np.ceil(np.max(reach, axis=0)) + 1, 0, image.shape[1::-1]).astype(int)
    if (high - low < 2).any():  # outside of the image
        return
    y, x = np.mgrid[low[1] : high[1], low[0] : high[0]].astype(np.float64)
    t = (x - first[0]) * along[0] + (y - first[1]) * along[1]
    v = (x - first[0]) * across[0] + (y - first[1]) * across[1]
    upper, lower, new_upper, new_lower = levels(t)
    top, bottom = upper + _ABOVE * width, lower - _BELOW * width
    tiny = 1e-6
    source = np.select(
        [v >= new_upper, v <= new_lower],
        [
            top - (top - v) * (top - upper) / np.maximum(top - new_upper, tiny),
            bottom + (v - bottom) * (lower - bottom) / np.maximum(new_lower - bottom, tiny),
        ],
        lower + (v - new_lower) * (upper - lower) / np.maximum(new_upper - new_lower, tiny),
    )
    inside = (t > 0) & (t < width) & (v < top) & (v > bottom)
    shift = np.where(inside, source - v, 0)
    patch = image[low[1] : high[1], low[0] : high[0]]
    map_x, map_y = ((place + shift * across[i] - low[i]).astype(np.float32) for i, place in enumerate((x, y)))
    patch[:] = cv2.remap(patch.copy(), map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
