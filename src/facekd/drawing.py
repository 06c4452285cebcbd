"""Faces drawn into their photo: contours, points coloured by confidence, numbers, boxes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, repeat

import cv2
import numpy as np

from facekd.geometry import centre_and_side, tight_box
from facekd.runtime.landmarker import Face

_SHIFT = 4  # OpenCV takes positions in 1/16 px
_CONTOUR = (255, 255, 255)
_POINT = (0, 210, 255)
_OUTLINE = (20, 20, 20)
# RGB at confidence 0, 0.5 and 1; orange and blue tell apart for the colour-blind, too.
_SCALE = np.array([(230, 40, 30), (255, 190, 40), (40, 200, 255)], np.float64)


def draw(
    photo: np.ndarray,
    faces: Iterable[Face],
    contours: bool = True,
    confidence: bool = True,
    numbers: bool = False,
    boxes: bool = False,
    labels: Iterable[str] = (),
) -> np.ndarray:
    """Return a copy of a photo (H, W, 3) uint8 RGB with faces drawn into it; widths follow the size of each face.

    Args:
        photo: the photo.
        faces: as `Landmarker` found them.
        contours: join the points along the mark-up's contours.
        confidence: colour the points by their confidence, from red (0) over yellow to blue (1).
        numbers: write each point's number, counted from 0, beside it.
        boxes: draw the face boxes.
        labels: a word per face, written above it.
    """
    picture = np.ascontiguousarray(photo).copy()
    for face, word in zip(faces, chain(labels, repeat("")), strict=False):
        _, side = centre_and_side(tight_box(face.points))
        unit = float(np.clip(side / 100, 0.4, 0.02 * max(photo.shape[:2]))) if np.isfinite(side) else 0.4
        if not np.isfinite(face.points).all():
            continue
        if contours:
            _draw_contours(picture, face, unit)
        _draw_points(picture, face, unit, confidence)
        if numbers:
            for index, point in enumerate(face.points):
                _write(picture, str(index), np.add(point, (1.2 * unit, -0.8 * unit)), 2.6 * unit)
        if boxes:
            x0, y0, x1, y1 = face.box
            _line(picture, np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]), True, _POINT, 0.8 * unit)
        if word:
            top = tight_box(face.points)[:2] if not boxes else face.box[:2]
            _write(picture, word, top - (0, 3 * unit), max(7 * unit, 9))
    return picture


def _draw_contours(picture: np.ndarray, face: Face, unit: float) -> None:
    """Draw the contours half transparent, so that what lies below still shows."""
    layer = picture.copy()
    for contour in face.markup.contours:
        _line(layer, face.points[list(contour.points)], contour.closed, _OUTLINE, 1.3 * unit)
        _line(layer, face.points[list(contour.points)], contour.closed, _CONTOUR, 0.7 * unit)
    x0, y0, x1, y1 = _inside(picture, tight_box(face.points), 3 * unit)
    part = picture[y0:y1, x0:x1]
    if part.size:
        cv2.addWeighted(layer[y0:y1, x0:x1], 0.65, part, 0.35, 0, dst=part)


def _draw_points(picture: np.ndarray, face: Face, unit: float, confidence: bool) -> None:
    colours: np.ndarray | list[tuple[int, int, int]] = [_POINT] * len(face.points)
    if confidence and face.confidence is not None:
        level = np.clip(np.nan_to_num(face.confidence), 0, 1)
        colours = np.stack([np.interp(level, [0, 0.5, 1], channel) for channel in _SCALE.T], axis=-1)
    for point, colour in zip(face.points, colours, strict=True):
        _disc(picture, point, 1.15 * unit, _OUTLINE)
        _disc(picture, point, 0.85 * unit, colour)


def _fixed(values: np.ndarray) -> np.ndarray:
    """Return positions in 1/16 px, within what OpenCV can hold."""
    return np.clip(np.round(values * 2**_SHIFT), -(2**24), 2**24).astype(np.int32)


def _disc(picture: np.ndarray, centre: np.ndarray, radius: float, colour: Iterable[float]) -> None:
    x, y = _fixed(centre)
    cv2.circle(
        picture, (int(x), int(y)), round(radius * 2**_SHIFT), tuple(map(int, colour)), cv2.FILLED, cv2.LINE_AA, _SHIFT
    )


def _line(picture: np.ndarray, points: np.ndarray, closed: bool, colour: tuple[int, int, int], width: float) -> None:
    cv2.polylines(picture, [_fixed(points)], closed, colour, max(1, round(width)), cv2.LINE_AA, _SHIFT)


def _write(picture: np.ndarray, text: str, position: np.ndarray, height: float) -> None:
    """Write a word whose letters are `height` px high, its lower left corner at `position`."""
    scale, place = height / 21, (round(float(position[0])), round(float(position[1])))  # 21: the font's capitals at 1
    for colour, width in ((_OUTLINE, 3), (_CONTOUR, 1)):
        thickness = max(1, round(width * max(scale, 0.4)))
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness, cv2.LINE_AA)


def _inside(picture: np.ndarray, box: np.ndarray, margin: float) -> tuple[int, int, int, int]:
    """Return a box grown by a margin as whole pixels within the picture."""
    height, width = picture.shape[:2]
    low = np.clip(np.floor(box[:2] - margin), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(box[2:] + margin) + 1, 0, (width, height)).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
