"""Faces of a result drawn for the report: the truth beside the model's points."""

from __future__ import annotations

from itertools import repeat
from pathlib import Path

import cv2
import numpy as np

from facekd.drawing import draw_contours, draw_points
from facekd.evaluation.protocol import Result
from facekd.geometry import apply, crop_matrix, warp

TRUTH = (255, 255, 255)
PREDICTED = (255, 140, 0)


def ends_and_middle(errors: np.ndarray, worst: int = 6, middle: int = 6, best: int = 6) -> dict[str, list[int]]:
    """Return the rows of the worst (missed faces first), the median and the best faces.

    Args:
        errors: (n,) fractions, infinite where a face was missed.
        worst: how many of the worst.
        middle: how many around the median.
        best: how many of the best.

    Returns:
        Rows by "worst", "median" and "best", fewer where there are fewer faces.
    """
    order = np.argsort(-errors, kind="stable").tolist()
    worst, best = min(worst, len(order)), min(best, len(order))
    start = max(0, (len(order) - middle) // 2)
    return {"worst": order[:worst], "median": order[start : start + middle], "best": order[len(order) - best :][::-1]}


def save(result: Result, folder: Path, stem: str) -> dict[str, list[dict[str, str]]]:
    """Draw the worst, median and best faces of a result as `<folder>/<stem>-<row>.jpg`.

    Args:
        result: what `evaluate` returned.
        folder: of the report.
        stem: of the file names, with a folder below the report's.

    Returns:
        By group, each face's file (relative to the folder), name, and error as text.
    """
    groups: dict[str, list[dict[str, str]]] = {}
    for group, rows in ends_and_middle(result.errors).items():
        groups[group] = []
        for row in rows:
            file = f"{stem}-{row}.jpg"
            bgr = cv2.cvtColor(draw(result, row), cv2.COLOR_RGB2BGR)
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes())
            error = f"{100 * result.errors[row]:.2f} %" if np.isfinite(result.errors[row]) else "missed"
            groups[group].append({"file": file, "name": str(result.pack.names[row]), "error": error})
    return groups


def draw(result: Result, row: int, px: int = 320, scale: float = 1.5) -> np.ndarray:
    """Draw a face with its true points in white and the predicted ones, if any, in orange.

    Args:
        result: what `evaluate` returned.
        row: which of its faces.
        px: side of the picture in pixels.
        scale: side of what it shows / larger side of the landmark box.

    Returns:
        (px, px, 3) uint8 RGB.
    """
    pack = result.pack
    matrix = crop_matrix(pack.boxes[row], px, scale)
    picture = warp(pack.image(row), matrix, px)
    picture = (picture * 0.8).astype(np.uint8)  # so that white lines stand out on bright skin
    for points, colour in ((pack.points[row], TRUTH), (result.predicted[row], PREDICTED)):
        if not np.isnan(points).all():  # a face that was missed has no points; of others some may be missing
            in_picture = apply(matrix, points)
            draw_contours(picture, in_picture, pack.markup, colour)
            draw_points(picture, in_picture, repeat(colour, len(points)), radius=2)
    return picture
