"""Faces drawn into pictures: contours, points coloured by confidence, numbers, boxes.

The one home of contour drawing: contact sheets and reports use `draw_contours` and `draw_points`, plots `polylines`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING

import cv2
import numpy as np

from facekd.geometry import centre_and_side, tight_box
from facekd.images import Photo, read_image, swap_colors
from facekd.markup import MarkUp

if TYPE_CHECKING:
    from facekd.runtime.face import Face

Colour = Sequence[float]  # red, green, blue in [0, 255], in the picture's order of channels

_SHIFT = 4  # OpenCV takes positions in 1/16 px
_CONTOUR = (255, 255, 255)
_POINT = (0, 210, 255)
_OUTLINE = (20, 20, 20)
# RGB at confidence 0, 0.5 and 1; orange and blue tell apart for the colour-blind, too.
_SCALE = np.array([(230, 40, 30), (255, 190, 40), (40, 200, 255)], np.float64)


def polylines(points: np.ndarray, markup: MarkUp) -> tuple[list[tuple[np.ndarray, bool]], np.ndarray]:
    """Split a face's points into the lines that draw it and the rest.

    Args:
        points: (N, 2).
        markup: whose contours they are.

    Returns:
        Per contour its points (k, 2) and whether it is closed, its last point joined to the first; and the points
        (m, 2) that lie in no contour.
    """
    lines = [(points[list(contour.points)], contour.closed) for contour in markup.contours]
    drawn = {index for contour in markup.contours for index in contour.points}
    return lines, points[[index for index in range(markup.count) if index not in drawn]]


def draw_contours(picture: np.ndarray, points: np.ndarray, markup: MarkUp, colour: Colour, width: float = 1) -> None:
    """Draw a face's contours as lines into a picture.

    Args:
        picture: (H, W, 3) uint8, changed in place.
        points: (N, 2) pixels of the picture; missing ones are NaN, and lines end there.
        markup: whose contours they are.
        colour: of the lines.
        width: of the lines in pixels, at least 1.
    """
    for line, closed in polylines(points, markup)[0]:
        _line(picture, line, closed, colour, width)


def draw_points(
    picture: np.ndarray, points: np.ndarray, colours: Iterable[Colour], radius: float, outline: float = 0.0
) -> None:
    """Draw points as discs into a picture.

    Args:
        picture: (H, W, 3) uint8, changed in place.
        points: (N, 2) pixels of the picture; missing ones are NaN, and are left out.
        colours: one per point.
        radius: in pixels.
        outline: radius in pixels of a dark disc beneath each; 0: none.
    """
    for point, colour in zip(points, colours, strict=True):
        if np.isnan(point).any():
            continue
        if outline:
            _disc(picture, point, outline, _OUTLINE)
        _disc(picture, point, radius, colour)


def draw(
    photo: Photo,
    faces: Iterable[Face],
    contours: bool = True,
    confidence: bool = True,
    numbers: bool = False,
    boxes: bool = False,
    labels: Iterable[str] = (),
    color: str = "rgb",
) -> np.ndarray:
    """Draw faces into a copy of a photo; widths follow the size of each face.

    Args:
        photo: a path, the bytes of a file, a file object, an array (H, W, 3) uint8, or a PIL image.
        faces: as `Landmarker` found them.
        contours: join the points along the mark-up's contours.
        confidence: colour the points by their confidence, from red (0) over yellow to blue (1).
        numbers: write each point's number, counted from 0, beside it.
        boxes: draw the face boxes.
        labels: a word per face, written above it.
        color: order of the channels of what is returned, and of a photo that is given as an array: "rgb" or "bgr".

    Returns:
        The copy (H, W, 3) uint8.

    Raises:
        InputError: the photo cannot be read, or `color` is neither "rgb" nor "bgr".
    """
    picture = np.array(read_image(photo, color=color), order="C")
    for face, word in zip(faces, chain(labels, repeat("")), strict=False):
        _, side = centre_and_side(tight_box(face.points))
        unit = float(np.clip(side / 100, 0.4, 0.02 * max(picture.shape[:2]))) if np.isfinite(side) else 0.4
        if not np.isfinite(face.points).all():
            continue
        if contours:
            _blend_contours(picture, face, unit)
        draw_points(picture, face.points, _colours(face, confidence), 0.85 * unit, outline=1.15 * unit)
        if numbers:
            for index, point in enumerate(face.points):
                _write(picture, str(index), np.add(point, (1.2 * unit, -0.8 * unit)), 2.6 * unit)
        if boxes:
            x0, y0, x1, y1 = face.box
            _line(picture, np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]), True, _POINT, 0.8 * unit)
        if word:
            top = tight_box(face.points)[:2] if not boxes else face.box[:2]
            _write(picture, word, top - (0, 3 * unit), max(7 * unit, 9))
    return np.ascontiguousarray(swap_colors(picture)) if color == "bgr" else picture


def _blend_contours(picture: np.ndarray, face: Face, unit: float) -> None:
    """Draw the contours half transparent, so that what lies below still shows."""
    layer = picture.copy()
    for line, closed in polylines(face.points, face.markup)[0]:
        _line(layer, line, closed, _OUTLINE, 1.3 * unit)
        _line(layer, line, closed, _CONTOUR, 0.7 * unit)
    x0, y0, x1, y1 = _inside(picture, tight_box(face.points), 3 * unit)
    part = picture[y0:y1, x0:x1]
    if part.size:
        cv2.addWeighted(layer[y0:y1, x0:x1], 0.65, part, 0.35, 0, dst=part)


def _colours(face: Face, confidence: bool) -> Iterable[Colour]:
    """Return the colour of each point."""
    if not confidence or face.confidence is None:
        return repeat(_POINT, len(face.points))
    level = np.clip(np.nan_to_num(face.confidence), 0, 1)
    colours: Iterable[Colour] = np.stack([np.interp(level, [0, 0.5, 1], channel) for channel in _SCALE.T], axis=-1)
    return colours


def _fixed(values: np.ndarray) -> np.ndarray:
    """Return positions in 1/16 px, within what OpenCV can hold."""
    return np.clip(np.round(values * 2**_SHIFT), -(2**24), 2**24).astype(np.int32)


def _disc(picture: np.ndarray, centre: np.ndarray, radius: float, colour: Colour) -> None:
    x, y = _fixed(centre)
    fixed = round(radius * 2**_SHIFT)
    cv2.circle(picture, (int(x), int(y)), fixed, tuple(map(int, colour)), cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _line(picture: np.ndarray, points: np.ndarray, closed: bool, colour: Colour, width: float) -> None:
    there = ~np.isnan(points).any(axis=1)
    if there.all():
        lines = [points]
    else:  # the pieces between neighbours that are there
        pairs = np.column_stack([np.arange(len(points)), np.roll(np.arange(len(points)), -1)])[: None if closed else -1]
        lines, closed = list(points[pairs[there[pairs].all(axis=1)]]), False
    for line in lines:
        cv2.polylines(picture, [_fixed(line)], closed, tuple(colour), max(1, round(width)), cv2.LINE_AA, _SHIFT)


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
