"""Confidence in faces as a whole."""

from __future__ import annotations

import math

import numpy as np
import pytest

from facekd.errors import ModelError
from facekd.runtime.card import ModelCard
from facekd.runtime.face_confidence import FaceCalibration
from facekd.runtime.names import DEFAULT, bundled


def test_the_middle_is_even_and_the_slope_is_logistic() -> None:
    calibration = FaceCalibration(middle=0.4, slope=10.0)
    confidence = np.array([[0.3, 0.5], [0.5, 0.7], [0.0, 0.0]])
    expected = [0.5, 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(4))]
    np.testing.assert_allclose(calibration.apply(confidence), expected, rtol=1e-12)
    assert calibration.apply(np.full((2, 3, 68), 0.4, np.float32)).shape == (2, 3)


def test_a_fit_finds_the_curve_that_made_the_data() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0, 1, (20_000, 1)).repeat(5, axis=1)
    true = FaceCalibration(middle=0.45, slope=12.0)
    fitted = FaceCalibration.fit(confidence, rng.uniform(size=20_000) < true.apply(confidence))
    assert fitted.middle == pytest.approx(0.45, abs=0.01) and fitted.slope == pytest.approx(12, rel=0.06)


def test_a_fit_without_errors_and_one_without_sense_stay_finite() -> None:
    confidence = np.repeat([[0.1, 0.1], [0.9, 0.9]], 50, axis=0)
    right = np.arange(100) >= 50
    parted = FaceCalibration.fit(confidence, right)
    assert 0.4 < parted.middle < 0.6 and 1 < parted.slope < 100
    assert FaceCalibration.fit(confidence, ~right).slope > 0  # never the less sure the surer the points are


def test_a_card_keeps_it_and_cards_without_it_are_read() -> None:
    card = ModelCard.load(bundled()[DEFAULT])
    assert card.face_calibration is not None
    assert 0.3 < card.face_calibration.middle < 0.7 and card.face_calibration.slope > 5
    values = card.to_dict()
    assert ModelCard.from_dict(values) == card
    del values["face_calibration"]
    assert ModelCard.from_dict(values).face_calibration is None
    with pytest.raises(ModelError, match=r"slope must be a number .* got missing"):
        ModelCard.from_dict({**values, "face_calibration": {"middle": 0.5}})
