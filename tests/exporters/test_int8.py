"""int8 computes nearly the same in a quarter of the bytes, and its card says what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from facekd.errors import InputError, ModelError
from facekd.exporters.int8 import quantise
from facekd.exporters.onnx import _pictures, export
from facekd.geometry import crop_faces, tight_box
from facekd.markup import IBUG68
from facekd.networks.architecture import Architecture
from facekd.networks.checkpoint import ModelMetadata, save
from facekd.networks.network import LandmarkNet
from facekd.runtime.model import OnnxModel
from facekd.synthetic import render


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    return exported_with("coordinate", tmp_path)


def exported_with(head: str, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    net = LandmarkNet(Architecture("mobilenetv2_035", head, 68, 64)).eval()
    save(net, ModelMetadata(IBUG68, 1.2), tmp_path / "net.safetensors")
    export(tmp_path / "net.safetensors", tmp_path / "net.onnx", figures={"nme": 5})
    return tmp_path / "net.onnx"


def faces(model: OnnxModel, count: int) -> np.ndarray:
    """Return crops (count, S, S, 3) of synthetic faces as the model sees them."""
    made = [render(0, index, 160) for index in range(count)]
    crops = [crop_faces(face.image, tight_box(face.points), model.size, model.scale) for face in made]
    return np.concatenate([crop.images for crop in crops])


@pytest.mark.slow
def test_int8_is_near_and_small(tmp_path: Path) -> None:
    """Of a trained network, on faces that it was not calibrated on."""
    whole, out = OnnxModel("facekd-68-lite"), tmp_path / "small.onnx"
    frames = faces(whole, 24)
    quantise(whole.path, out, frames[:16])
    small = OnnxModel(out)
    expected, got = whole.predict(frames[16:])[0], small.predict(frames[16:])[0]
    assert np.linalg.norm(got - expected, axis=-1).mean() < 0.6  # pixels of 112: synthetic faces are strange to it
    assert not np.array_equal(got, expected)
    assert out.stat().st_size < 0.45 * whole.path.stat().st_size
    assert small.card.name == "facekd-68-lite-int8" and small.card.figures == {}
    assert "16 faces" in small.card.made_with["int8"]


@pytest.mark.slow
def test_weights_have_7_bits_so_that_no_cpu_overflows(exported: Path) -> None:
    """CPUs without VNNI add two products of 8 bits in 16: 2 * 255 * 64 fits into them, 2 * 255 * 127 does not."""
    quantise(exported, exported.with_name("small.onnx"), _pictures(64, 16))
    graph = onnx.load(str(exported.with_name("small.onnx"))).graph
    weights = [numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.data_type == TensorProto.INT8]
    largest = max(int(np.abs(values.astype(int)).max()) for values in weights if values.ndim == 4)
    assert 32 < largest <= 64 and 2 * 255 * largest < 2**15


@pytest.mark.slow
def test_a_spatial_heads_last_convolution_stays_float32(tmp_path: Path) -> None:
    exported = exported_with("spatial", tmp_path)
    quantise(exported, tmp_path / "small.onnx", _pictures(64, 16))
    graph = onnx.load(str(tmp_path / "small.onnx")).graph
    plain = {tensor.name for tensor in graph.initializer}
    weights = [node.input[1] for node in graph.node if node.op_type == "Conv"]
    assert [name in plain for name in weights] == [False] * (len(weights) - 1) + [True]  # others come from int8


def test_wrong_arguments(exported: Path) -> None:
    with pytest.raises(InputError, match="faces to calibrate on"):
        quantise(exported, exported.with_name("small.onnx"), np.zeros((0, 64, 64, 3), np.uint8))
    with pytest.raises(ModelError, match=r"must end with \.onnx"):
        quantise(exported, exported.with_name("small.bin"), _pictures(64, 2))
