"""Tiny networks whose answers can be computed by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from facekd.geometry import BoxTransform
from facekd.markup import FIVE, MarkUp
from facekd.runtime.card import ModelCard, sha256


def write_model(
    path: Path,
    markup: MarkUp = FIVE,
    offsets: np.ndarray | None = None,
    size: int = 32,
    scale: float = 1.25,
    box_transform: BoxTransform | None = BoxTransform(),  # noqa: B008
    confidence: bool = True,
) -> Path:
    """Write a network whose points are the crop's centre of brightness plus `offsets` (N, 2); confidence: mean/255."""
    offsets = np.zeros((markup.count, 2)) if offsets is None else offsets
    y, x = np.mgrid[:size, :size].astype(np.float32)
    grid = np.stack([x, y], axis=-1).reshape(-1, 2)
    constants = {
        "grid": grid,
        "offsets": offsets[None].astype(np.float32),
        "tiny": np.float32(1e-6),
        "ones": np.ones((1, markup.count), np.float32),
        "white": np.float32(255),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["values", "channels"], ["grey"], keepdims=0),
        helper.make_node("Reshape", ["grey", "flat"], ["pixels"]),
        helper.make_node("ReduceSum", ["pixels", "axis"], ["mass"], keepdims=1),
        helper.make_node("MatMul", ["pixels", "grid"], ["moment"]),
        helper.make_node("Add", ["mass", "tiny"], ["some_mass"]),
        helper.make_node("Div", ["moment", "some_mass"], ["centre"]),
        helper.make_node("Unsqueeze", ["centre", "axis"], ["centres"]),
        helper.make_node("Add", ["centres", "offsets"], ["points"]),
    ]
    integers = {"channels": [3], "flat": [-1, size * size], "axis": [1]}
    outputs = [helper.make_tensor_value_info("points", TensorProto.FLOAT, ["batch", markup.count, 2])]
    if confidence:
        nodes += [
            helper.make_node("ReduceMean", ["pixels", "axis"], ["mean"], keepdims=1),
            helper.make_node("Div", ["mean", "white"], ["level"]),
            helper.make_node("Mul", ["level", "ones"], ["confidence"]),
        ]
        outputs.append(helper.make_tensor_value_info("confidence", TensorProto.FLOAT, ["batch", markup.count]))
    graph = helper.make_graph(
        nodes,
        "centre of brightness",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", size, size, 3])],
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
        + [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in integers.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    meaning = "mean brightness" if confidence else None
    ModelCard(path.stem, markup, size, scale, box_transform, meaning, sha256=sha256(path)).save(path)
    return path
