"""The detector of the browser package: the file in the repository, and what the conversion writes today."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from facekd.errors import ModelError
from facekd.exporters.yunet_litert import SIDE, convert
from facekd.runtime.yunet import YuNetNetwork

PACKAGED = Path(__file__).resolve().parents[2] / "js" / "models" / "yunet.tflite"


@pytest.mark.parametrize("rows, columns", [(1, 1), (2, 3)])
@pytest.mark.parametrize("packaged", [True, False])
def test_the_file_computes_what_yunet_computes(tmp_path: Path, packaged: bool, rows: int, columns: int) -> None:
    pytest.importorskip("onnx")
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    path = PACKAGED if packaged else tmp_path / "yunet.tflite"
    if not packaged:
        convert(path)
    image = np.random.default_rng(0).integers(0, 256, (1, rows * SIDE, columns * SIDE, 3), np.uint8)
    interpreter = interpreters.Interpreter(str(path), num_threads=1)
    (given,) = interpreter.get_input_details()
    assert given["shape"].tolist() == [1, SIDE, SIDE, 3]
    interpreter.resize_tensor_input(given["index"], image.shape)
    found = interpreter.get_signature_runner()(image=image.astype(np.float32))
    assert [found[f"stride{stride}"].shape for stride in (8, 16, 32)] == [
        (1, rows * SIDE // stride, columns * SIDE // stride, 16) for stride in (8, 16, 32)
    ]
    maps = np.concatenate([found[f"stride{stride}"].reshape(-1, 16) for stride in (8, 16, 32)]).T
    maps[:2] = 1 / (1 + np.exp(-maps[:2]))
    np.testing.assert_allclose(maps, YuNetNetwork(threads=1).maps(image)[0], atol=1e-4)


def test_without_litert_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    monkeypatch.setitem(sys.modules, "ai_edge_litert.tools.flatbuffer_utils", None)
    with pytest.raises(ModelError, match=r"pip install 'facekd\[litert\]'"):
        convert(tmp_path / "yunet.tflite")
    assert not list(tmp_path.iterdir())
