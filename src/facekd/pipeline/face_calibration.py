"""Fitting a network's confidence in faces as a whole, on crops of which it gets some right and some wrong."""

from __future__ import annotations

import numpy as np

from facekd.data.pack import Pack
from facekd.evaluation.metrics import nme, primary_normaliser
from facekd.geometry import centre_and_side, crop_faces, tight_box
from facekd.runtime.face_confidence import FAILURE, FaceCalibration
from facekd.runtime.model import Predictor

_FACES = 120  # at most; ten crops of each
_SOME = 5  # right and wrong crops below which nothing is fitted
_JITTER = 0.08, 0.04  # of a detector's boxes: log of the side, and centre in sides (standard deviations)
_ROLL = 30.0  # degrees either way in which a face counts as upright


def fit_face_calibration(model: Predictor, faces: Pack, seed: int = 0) -> FaceCalibration | None:
    """Fit what a network's confidence says of a face as a whole.

    Each face is cut out ten times: three times as a face detector would box it, three times turned by a quarter, a half
    and three quarters of a circle, and four times as something that is no face: a part of it, or what lies beside it.
    Landmarks with an NME above 10 % are wrong, however they came about.

    Args:
        model: gives confidence per point.
        faces: labelled, not used in training; of many an even selection is used.
        seed: of the crops.

    Returns:
        The calibration; None if the network gives no confidence, or gets nearly all right or nearly all wrong.
    """
    rng = np.random.default_rng(seed)
    confidence, right = [], []
    for row in np.linspace(0, len(faces) - 1, min(len(faces), _FACES)).astype(int):
        points = faces.points[row][None].astype(np.float64)
        boxes, rolls = _crops(tight_box(points[0]), rng)
        crops = crop_faces(faces.image(int(row)), boxes, model.size, model.scale, -rolls)
        found, levels = model(crops.images)
        if levels is None:
            return None
        error = nme(crops.to_photo(found), points, primary_normaliser(points, faces.markup))
        confidence.append(levels)
        right.append(error <= FAILURE)
    is_right = np.concatenate(right) if right else np.zeros(0, bool)
    if min(is_right.sum(), (~is_right).sum()) < _SOME:
        return None
    return FaceCalibration.fit(np.concatenate(confidence), is_right)


def _crops(box: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes (10, 4) and rolls (10,) in degrees to cut a face out by, given its tight box (4,)."""
    centre, side = centre_and_side(box)
    kinds = np.repeat([0, 1, 2, 3], [3, 3, 2, 2])  # upright, turned, a part, beside it
    log_side, shift = rng.normal(0, _JITTER[0], 10), rng.normal(0, _JITTER[1], (10, 2))
    direction = rng.uniform(0, 2 * np.pi, 10)
    away = np.where(kinds == 2, rng.uniform(0.1, 0.35, 10), np.where(kinds == 3, rng.uniform(0.9, 1.3, 10), 0))
    zoom = np.where(kinds == 2, rng.uniform(0.25, 0.5, 10), np.where(kinds == 3, rng.uniform(0.4, 1.0, 10), 1))
    sides = side * np.exp(log_side) * zoom
    centres = centre + side * (shift + away[:, None] * np.stack([np.cos(direction), np.sin(direction)], axis=1))
    rolls = rng.uniform(-_ROLL, _ROLL, 10)
    rolls[kinds == 1] += [90.0, 180.0, 270.0]
    return np.concatenate([centres - sides[:, None] / 2, centres + sides[:, None] / 2], axis=1), rolls
