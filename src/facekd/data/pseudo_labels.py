"""Pseudo-labels: what trained networks agree on where no label is; what they disagree on is missing.

Each network sees a face in several views: rotated, resized and mirrored. Mapped back to the photo, the views' points
are estimates of one thing; their median is the pseudo-label, and how far they scatter tells which points to trust
(after Radosavovic et al., "Data Distillation", CVPR 2018, and Dong & Yang, "Teacher Supervises Students How to Learn
From Partially Labeled Images for Facial Landmark Detection", ICCV 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facekd.data.pack import Pack, PackWriter
from facekd.errors import InputError
from facekd.files import claim
from facekd.geometry import centre_and_side, crop_faces, square, tight_box, upright_box
from facekd.runtime.model import Predictor
from facekd.runtime.roll import roll_angle

VIEWS = ((0.0, 1.0), (-15.0, 0.95), (15.0, 1.1))  # degrees about the face's own roll, and size of the box; each twice
MAX_SPREAD = 0.02  # docs/explanation/design/pseudo-labels.md
MIN_POINTS = 0.5


class Consensus(NamedTuple):
    """What views of a face agree on.

    Attributes:
        points: (N, 2) the median of the views, photo pixels.
        spread: (N,) root mean square distance of the views from it, in sides of the square around all points.
    """

    points: np.ndarray
    spread: np.ndarray


def consensus(image: np.ndarray, points: np.ndarray, models: Sequence[Predictor]) -> Consensus:
    """Ask networks for a face's landmarks, in several views each.

    Args:
        image: (H, W, 3) uint8 RGB.
        points: (N, 2) where the face is about, pixels: its landmarks as one network saw them.
        models: of one mark-up; with mirror pairs each view is looked at mirrored, too.

    Returns:
        Points and their spread.
    """
    for _ in range(2):  # the second time about the square around what the first one found
        seen = np.concatenate([_views(image, points, model) for model in models])
        points = np.median(seen, axis=0)
    _, side = centre_and_side(tight_box(points))
    distance = np.linalg.norm(seen - points, axis=-1)
    return Consensus(points.astype(np.float32), np.sqrt(np.square(distance).mean(axis=0)) / max(float(side), 1e-6))


def _views(image: np.ndarray, points: np.ndarray, model: Predictor) -> np.ndarray:
    """Return the points (V, N, 2) that a network finds in each view, in pixels of the image."""
    markup = model.markup
    roll = roll_angle(points[None].astype(np.float64), markup)[0]
    angles, scales = (np.array(column) for column in zip(*VIEWS, strict=True))
    boxes = np.array([square(upright_box(points, roll), scale) for scale in scales])
    crops = crop_faces(image, boxes, model.size, model.scale, angles - roll)
    found = [crops.to_photo(model(crops.images)[0])]
    if markup.mirrors:
        mirrored, *_ = model(np.ascontiguousarray(crops.images[:, :, ::-1]))
        back = mirrored[:, list(markup.mirror)] * [-1, 1] + [model.size - 1, 0]
        found.append(crops.to_photo(back))
    return np.concatenate(found)


def pseudo_label(
    pack: Pack,
    out: str | Path,
    models: Sequence[Predictor],
    *,
    max_spread: float = MAX_SPREAD,
    min_points: float = MIN_POINTS,
    advance: Callable[[], object] = lambda: None,
) -> tuple[int, int, float]:
    """Write the faces of a pack with the landmarks that networks agree on; other points are missing.

    Args:
        pack: faces whose points say where they are, as `facekd prepare unlabelled` packs them.
        out: the Parquet file to write; its faces are of split "train" and quality "predicted".
        models: networks of the pack's mark-up.
        max_spread: a point whose views scatter more is missing; in sides of the face's square.
        min_points: a face with a smaller share of its points left is left out.
        advance: called once per face, for a progress bar.

    Returns:
        How many faces were written, how many were left out, and which share of the points of those written is missing.

    Raises:
        InputError: a network has another mark-up, a setting is out of range, no face is left, or `out` is in use.
    """
    for model in models:
        if (model.markup.name, model.markup.count) != (pack.markup.name, pack.markup.count):
            raise InputError(f"{pack.path} has points of {pack.markup.name}, a network those of {model.markup.name}")
    if not models or not max_spread > 0 or not 0 <= min_points <= 1:
        raise InputError("pseudo-labels need a network, a max_spread above 0 and a min_points from 0 to 1")
    meta, written, missing = pack.meta, 0, 0
    with claim(out):
        writer = PackWriter(
            out,
            pack.markup,
            dataset=meta["dataset"],
            margin=meta["margin"],
            size=meta["size"],
            jpeg_quality=meta["jpeg_quality"],
            terms=meta["terms"],
        )
        with writer:
            for index in range(len(pack)):
                found = consensus(pack.image(index), pack.points[index], models)
                kept = found.spread <= max_spread
                advance()
                if not kept.any() or kept.mean() < min_points:
                    continue
                points = np.where(kept[:, None], found.points, np.nan)
                face = replace(pack.face(index), points=points, box=tight_box(found.points), visible=None)
                writer.add(replace(face, split="train", subsets=(), quality="predicted"))
                written, missing = written + 1, missing + int((~kept).sum())
            if not written:
                raise InputError(f"the networks agree on no face of {pack.path}; raise --max-spread or --min-points")
    return written, len(pack) - written, missing / (written * pack.markup.count)
