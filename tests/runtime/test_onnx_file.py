"""ONNX files that are whole in themselves, and those that are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from facekd.errors import ModelError
from facekd.runtime.card import ModelCard, sha256
from facekd.runtime.model import OnnxModel

MakeModel = Callable[..., Path]


def rewired(path: Path, change: Callable[[Any], object]) -> Path:
    """Change a network, and make the checksum of its card fit, as a file made for it has it."""
    model = onnx.load(str(path))
    change(model)
    path.write_bytes(model.SerializeToString())
    fit(path)
    return path


def fit(path: Path) -> None:
    card = ModelCard.load(path).to_dict()
    ModelCard.from_dict(card | {"sha256": sha256(path)}).save(path)


def tensor_elsewhere(name: str = "outside") -> TensorProto:
    found = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    found.external_data.add(key="location", value="/etc/passwd")
    return found


def in_a_branch(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([], "inner", [], [], [tensor_elsewhere()])
    model.graph.node.append(helper.make_node("If", ["tiny"], ["x"], then_branch=inner, else_branch=inner))


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.graph.initializer.append(tensor_elsewhere()),
        lambda model: model.graph.node.append(helper.make_node("Constant", [], ["x"], value=tensor_elsewhere())),
        lambda model: model.graph.sparse_initializer.add().values.CopyFrom(tensor_elsewhere()),
        in_a_branch,
    ],
)
def test_tensors_in_other_files_are_refused(make_model: MakeModel, change: Callable[[Any], object]) -> None:
    with pytest.raises(ModelError, match="keeps tensors in other files"):
        OnnxModel(rewired(make_model(), change))


def test_an_enumeration_of_more_than_32_bits_is_cut_to_them(make_model: MakeModel) -> None:
    """As readers of Protocol Buffers do: 2^32 + 1 is 1, "external"."""
    path = rewired(make_model(), lambda model: model.graph.initializer.append(tensor_elsewhere()))
    plain, longer = b"\x70\x01", b"\x70\x81\x80\x80\x80\x10"
    content = path.read_bytes()
    tensor = tensor_elsewhere().SerializeToString()
    other = tensor.replace(plain, longer)
    assert content.count(tensor) == 1 and TensorProto.FromString(other).data_location == TensorProto.EXTERNAL
    model = onnx.load_model_from_string(content)
    del model.graph.initializer[-1]
    head = model.graph.SerializeToString() + b"\x2a" + bytes([len(other)]) + other
    model.ClearField("graph")
    length = bytes([len(head) & 0x7F | 0x80, len(head) >> 7 & 0x7F | 0x80, len(head) >> 14])
    path.write_bytes(model.SerializeToString() + b"\x3a" + length + head)
    fit(path)
    with pytest.raises(ModelError, match="keeps tensors in other files"):
        OnnxModel(path)


def test_functions_are_refused(make_model: MakeModel) -> None:
    def add(model: onnx.ModelProto) -> None:
        node = helper.make_node("Constant", [], ["x"], value=tensor_elsewhere())
        model.functions.append(helper.make_function("own", "f", [], ["x"], [node], model.opset_import))

    with pytest.raises(ModelError, match="has functions, which no export of facekd writes"):
        OnnxModel(rewired(make_model(), add))


def swap_inputs(model: onnx.ModelProto) -> None:
    (node,) = [each for each in model.graph.node if each.op_type == "MatMul"]
    node.input[:] = [node.input[1], node.input[0]]


def make_infinite(model: onnx.ModelProto) -> None:
    (tensor,) = [each for each in model.graph.initializer if each.name == "offsets"]
    tensor.raw_data = b"\0\0\x80\x7f" * (len(tensor.raw_data) // 4)


def lose_a_point(model: onnx.ModelProto) -> None:
    (node,) = [each for each in model.graph.node if each.output[0] == "points"]
    node.input[1] = "tiny"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swap_inputs, "cannot be run|cannot be loaded"),
        (make_infinite, "gives points as values that are not finite"),
        (lose_a_point, "no landmark model of facekd"),
    ],
)
def test_a_rewired_network_is_told_when_it_is_loaded(
    make_model: MakeModel, change: Callable[[Any], object], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        OnnxModel(rewired(make_model(), change))
