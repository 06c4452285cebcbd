"""Fitting a network's confidence in faces as a whole, on crops of which it gets some right and some wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from facekd.data.pack import Pack
from facekd.evaluation.metrics import nme, primary_normaliser
from facekd.geometry import centre_and_side, crop_faces, tight_box
from facekd.markup import MarkUp
from facekd.runtime.face_confidence import FAILURE, FaceCalibration
from facekd.runtime.model import Predictor
from facekd.runtime.output import NetworkOutput

KINDS = (*["upright"] * 3, *["turned"] * 3, *["part"] * 2, *["beside"] * 2)  # of the crops of each face
FACES = 120  # at most
_BATCH = 32  # views
_SOME = 5  # right and wrong crops below which nothing is fitted
_JITTER = 0.08, 0.04  # of a detector's boxes: log of the side, and centre in sides (standard deviations)
_ROLL = 30.0  # degrees either way in which a face counts as upright


class LabelledCrops(NamedTuple):
    """Faces as a network sees them.

    Attributes:
        images: (n, S, S, 3) uint8 RGB.
        points: (n, N, 2) true points, pixels of the images; NaN where one is missing.
    """

    images: np.ndarray
    points: np.ndarray


def fit_face_calibration(
    model: Predictor, faces: Pack, views: LabelledCrops | None = None, seed: int = 0
) -> FaceCalibration | None:
    """Fit what a network's confidence says of a face as a whole.

    Each face is cut out ten times: three times as a face detector would box it, three times turned by a quarter, a half
    and three quarters of a circle, and four times as something that is no face: a part of it, or what lies beside it.
    Landmarks with an NME above 10 % are wrong, however they came about. A face that lacks a point that its error is
    normalised by is left out.

    Args:
        model: gives confidence per point.
        faces: labelled, not used in training; of many an even selection is used.
        views: views of faces, not used in training, that vary as those of training do: a network that has learned
            blurred and covered faces is less sure of them, and right. None: it has learned plain ones alone.
        seed: of the crops.

    Returns:
        The calibration; None if the network gives no confidence, or gets nearly all right or nearly all wrong.
    """
    confidence, right = [], []
    for levels, errors in (*_on_crops(model, faces, seed), *_on_views(model, faces.markup, views)):
        if levels is None:
            return None
        known = ~np.isnan(errors)
        confidence.append(levels[known])
        right.append(errors[known] <= FAILURE)
    is_right = np.concatenate(right) if right else np.zeros(0, bool)
    if min(is_right.sum(), (~is_right).sum()) < _SOME:
        return None
    return FaceCalibration.fit(np.concatenate(confidence), is_right)


def _on_crops(model: Predictor, faces: Pack, seed: int) -> Iterator[tuple[np.ndarray | None, np.ndarray]]:
    """Yield confidence (B, N) and error (B,) on the crops of each face."""
    rng = np.random.default_rng(seed)
    distance = primary_normaliser(faces.points.astype(np.float64), faces.markup, faces.boxes)
    known = np.flatnonzero(~np.isnan(distance))
    for row in known[np.linspace(0, len(known) - 1, min(len(known), FACES)).astype(int)]:
        points = faces.points[row][None].astype(np.float64)
        boxes, rolls = crops_about(faces.boxes[row].astype(np.float64), rng)
        crops = crop_faces(faces.image(int(row)), boxes, model.size, model.scale, -rolls)
        found = NetworkOutput(*model(crops.images))
        yield found.confidence, nme(crops.to_photo(found.points), points, distance[row])


def _on_views(
    model: Predictor, markup: MarkUp, views: LabelledCrops | None
) -> Iterator[tuple[np.ndarray | None, np.ndarray]]:
    """Yield confidence (B, N) and error (B,) on views; NaN where the error is not known."""
    for start in range(0, 0 if views is None else len(views.images), _BATCH):
        assert views is not None
        images, points = (values[start : start + _BATCH] for values in views)
        found, points = NetworkOutput(*model(images)), points.astype(np.float64)
        yield found.confidence, nme(found.points, points, primary_normaliser(points, markup, tight_box(points)))


def crops_about(box: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw what a face is cut out by: as `KINDS` says, once for each.

    Args:
        box: (4,) tight box of the face.
        rng: draws them.

    Returns:
        Boxes (10, 4), and rolls (10,) in degrees by which what is cut out counts as rotated.
    """
    centre, side = centre_and_side(box)
    kinds, count = np.array(KINDS), len(KINDS)
    log_side, shift = rng.normal(0, _JITTER[0], count), rng.normal(0, _JITTER[1], (count, 2))
    direction = rng.uniform(0, 2 * np.pi, count)
    is_part, is_beside = kinds == "part", kinds == "beside"
    away = np.where(is_part, rng.uniform(0.1, 0.35, count), np.where(is_beside, rng.uniform(0.9, 1.3, count), 0))
    zoom = np.where(is_part, rng.uniform(0.25, 0.5, count), np.where(is_beside, rng.uniform(0.4, 1.0, count), 1))
    sides = side * np.exp(log_side) * zoom
    centres = centre + side * (shift + away[:, None] * np.stack([np.cos(direction), np.sin(direction)], axis=1))
    rolls = rng.uniform(-_ROLL, _ROLL, count)
    rolls[kinds == "turned"] += [90.0, 180.0, 270.0]
    return np.concatenate([centres - sides[:, None] / 2, centres + sides[:, None] / 2], axis=1), rolls
