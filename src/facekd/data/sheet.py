"""Contact sheets: many faces on one picture, with their landmarks, to see at a glance whether labels are right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from facekd.data.pack import Pack
from facekd.drawing import draw_contours, draw_points
from facekd.files import atomic
from facekd.geometry import apply, centre_and_side, crop_matrix, tight_box, warp
from facekd.markup import MarkUp

_CELL, _CAPTION, _GUTTER, _COLUMNS = 224, 18, 3, 6  # pixels, pixels, pixels, cells
_ZOOM = 1.5  # side of what a cell shows / larger side of the face's box
_SHIFT = 4  # OpenCV draws at 1/16 pixel

# RGB. Left, middle and right differ, so that swapped sides show.
_LEFT, _MIDDLE, _RIGHT = (40, 210, 255), (255, 255, 255), (255, 90, 190)
_LINE, _BOX, _OCCLUDED, _MOVED = (150, 240, 150), (255, 200, 60), (255, 40, 40), (255, 60, 40)
_GROUND = (24, 24, 24)


def draw_labels(image: np.ndarray, points: np.ndarray, markup: MarkUp, visible: np.ndarray | None = None) -> np.ndarray:
    """Draw a face's contours and points.

    Points on the image's left side of the face are blue, on its right pink, on its middle white; occluded ones are red.

    Args:
        image: (h, w, 3) uint8 RGB.
        points: (N, 2), pixels of the image; missing ones are NaN, and are not drawn.
        markup: gives contours and sides.
        visible: (N,) bool, or None if all are.

    Returns:
        A copy of the image.
    """
    canvas = image.copy()
    draw_contours(canvas, points, markup, _LINE)
    canvas = cv2.addWeighted(image, 0.5, canvas, 0.5, 0)  # lines stay behind the points and let the photo through
    seen = [True] * markup.count if visible is None else visible
    draw_points(canvas, points, [_side(i, markup) if seen[i] else _OCCLUDED for i in range(markup.count)], 1.4)
    return canvas


def label_sheet(pack: Pack, faces: Sequence[int], details: Sequence[str] = ()) -> np.ndarray:
    """Draw a sheet of faces with their labels and boxes.

    Args:
        pack: the faces.
        faces: which of them, rows of the pack.
        details: a word for each face, shown behind its name; empty for none.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    cells = []
    for k, i in enumerate(faces):
        matrix = crop_matrix(pack.boxes[i], _CELL, _ZOOM)
        points = apply(matrix, pack.points[i])
        visible = None if pack.visible is None else pack.visible[i]
        cell = draw_labels(warp(pack.image(i), matrix, _CELL), points, pack.markup, visible)
        x0, y0, x1, y1 = _fine(tight_box(points)).tolist()
        cv2.rectangle(cell, (x0, y0), (x1, y1), _BOX, 1, cv2.LINE_AA, _SHIFT)
        cells.append(_captioned(cell, _caption(pack, i, details[k] if details else "")))
    return _grid(cells)


def soft_sheet(pack: Pack, faces: Sequence[int], soft: np.ndarray) -> np.ndarray:
    """Draw a sheet of pairs: a face with its hard-landmarks and, beside it, its soft-landmarks and their distances.

    Args:
        pack: the faces.
        faces: which of them, rows of the pack.
        soft: (len(faces), N, 2), their soft-landmarks in pixels of the stored crops.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    cells = []
    for i, softened in zip(faces, soft, strict=True):
        matrix = crop_matrix(pack.boxes[i], _CELL, _ZOOM)
        image = warp(pack.image(i), matrix, _CELL)
        hard_points, soft_points = apply(matrix, pack.points[i]), apply(matrix, softened)
        cells.append(_captioned(draw_labels(image, hard_points, pack.markup), _caption(pack, i)))
        moved = draw_labels(image, soft_points, pack.markup)
        there = ~np.isnan(hard_points).any(axis=1)
        for start, end in zip(_fine(hard_points[there]).tolist(), _fine(soft_points[there]).tolist(), strict=True):
            cv2.line(moved, start, end, _MOVED, 1, cv2.LINE_AA, _SHIFT)
        distance = np.nanmean(np.linalg.norm(softened - pack.points[i], axis=1)) / centre_and_side(pack.boxes[i])[1]
        cells.append(_captioned(moved, f"soft, moved {100 * distance:.1f} % of the face"))
    return _grid(cells)


def save(path: Path, sheet: np.ndarray) -> None:
    """Write a picture, whole or not at all.

    Args:
        path: the file; its suffix names the format.
        sheet: (h, w, 3) uint8 RGB.
    """
    with atomic(path) as temporary:
        cv2.imwrite(str(temporary), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])


def _fine(points: np.ndarray) -> np.ndarray:
    return np.round(points * 2**_SHIFT).astype(np.int32)


def _side(point: int, markup: MarkUp) -> tuple[int, int, int]:
    partner = markup.mirror[point]
    return _MIDDLE if partner == point else _LEFT if point < partner else _RIGHT


def _caption(pack: Pack, index: int, detail: str = "") -> str:
    """Return the end of a face's name, which tells it from others, with the detail or what is special about it."""
    special = detail or ("derived" if pack.quality[index] == "derived" else "")
    name, room = str(pack.names[index]), 35 - len(special)
    return f"{name if len(name) <= room else '..' + name[2 - room :]} {special}".strip()


def _captioned(image: np.ndarray, text: str) -> np.ndarray:
    strip = np.full((_CAPTION, image.shape[1], 3), _GROUND, np.uint8)
    cv2.putText(strip, text, (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([image, strip])


def _grid(cells: list[np.ndarray]) -> np.ndarray:
    columns = min(_COLUMNS, len(cells))
    edge = ((_GUTTER, 0), (_GUTTER, 0), (0, 0))
    cells = [np.pad(cell, edge, constant_values=_GROUND[0]) for cell in cells]
    cells += [np.full_like(cells[0], _GROUND[0])] * (-len(cells) % columns)
    return np.vstack([np.hstack(cells[start : start + columns]) for start in range(0, len(cells), columns)])
