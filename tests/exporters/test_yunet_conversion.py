"""The bundled face detector is what the script makes of the published file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from facekd.errors import ModelError
from facekd.exporters.yunet import ORIGINAL, convert_yunet
from facekd.runtime.yunet import _SHA256, yunet_weights

PUBLISHED = Path(__file__).parents[1] / "weights" / "face_detection_yunet_2023mar.onnx"


def test_the_bundled_file_is_made_from_the_published_one(tmp_path: Path) -> None:
    convert_yunet(PUBLISHED, tmp_path / "made.onnx")
    made, kept = (onnx.load(path).graph for path in (tmp_path / "made.onnx", yunet_weights()))
    assert list(made.node) == list(kept.node)
    for ours, theirs in zip(made.initializer, kept.initializer, strict=True):
        assert ours.name == theirs.name
        np.testing.assert_array_equal(numpy_helper.to_array(ours), numpy_helper.to_array(theirs))


def test_another_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is not face_detection_yunet_2023mar\.onnx"):
        convert_yunet(yunet_weights(), tmp_path / "made.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_licence_names_both_files() -> None:
    text = yunet_weights().with_name("YUNET_LICENSE.txt").read_text()
    assert ORIGINAL in text and _SHA256 in text and "facekd.exporters.yunet" in text
