"""The bundled face detector, made from YuNet's published graph: `python -m facekd.exporters.yunet ORIGINAL OUT`.

The published graph takes one float BGR image of 640 x 640 pixels and has twelve outputs. The one written here takes any
number of uint8 RGB images of any size, and has one output; weights and results are the same.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from facekd.errors import ModelError
from facekd.files import atomic

ORIGINAL = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"  # SHA-256 of the published file
_STRIDES = (8, 16, 32)
_HEADS = ("cls", "obj", "bbox", "kps")
_SCORES, _VALUES = 2, 16  # of each anchor: classification and objectness, four values of the box, five points
_OPSET = 13


def convert_yunet(original: str | Path, out: str | Path) -> None:
    """Write the graph that the runtime uses.

    Each level's four heads, a 1x1 and a depthwise 3x3 convolution each, become one of each kind; the channels of the
    first convolution are swapped, so that the graph takes RGB. Input "image": (n, H, W, 3) uint8, both sides multiples
    of 32. Output "maps": (n, 16, A) float32, A anchors: those of stride 8 row by row, then of stride 16 and 32.

    Args:
        original: face_detection_yunet_2023mar.onnx of the OpenCV zoo.
        out: the file to write.

    Raises:
        ModelError: `original` is another file.
    """
    content = Path(original).read_bytes()
    if hashlib.sha256(content).hexdigest() != ORIGINAL:
        raise ModelError(f"{original} is not face_detection_yunet_2023mar.onnx of the OpenCV zoo; download it again")
    graph = onnx.load_from_string(content).graph
    weights = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    body = [node for node in graph.node if not _belongs_to_a_head(node)]
    first = body[0]
    weights[first.input[1]] = weights[first.input[1]][:, ::-1]  # BGR -> RGB
    first.input[0] = "rgb"
    for node in body:
        if node.op_type == "Resize":  # the neck doubles maps, whatever their size
            node.input[:] = [node.input[0], "", "double"]
    weights["double"] = np.array([1, 1, 2, 2], np.float32)
    weights["flat"] = np.array([0, _VALUES, -1], np.int64)
    weights["parts"] = np.array([_SCORES, _VALUES - _SCORES], np.int64)
    nodes = [
        helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["rgb"], to=onnx.TensorProto.FLOAT),
        *body,
        *(node for level in range(len(_STRIDES)) for node in _heads(graph, level, weights)),
        helper.make_node("Concat", [f"flat{level}" for level in range(len(_STRIDES))], ["raw"], axis=2),
        helper.make_node("Split", ["raw", "parts"], ["logits", "offsets"], axis=1),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
        helper.make_node("Concat", ["scores", "offsets"], ["maps"], axis=1),
    ]
    used = {name for node in nodes for name in node.input}
    made = helper.make_graph(
        nodes,
        "yunet",
        [helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["n", "height", "width", 3])],
        [helper.make_tensor_value_info("maps", onnx.TensorProto.FLOAT, ["n", _VALUES, "anchors"])],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in weights.items() if name in used],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="facekd")
    model.ir_version = 8  # ONNX Runtime 1.17 reads it
    onnx.checker.check_model(model)
    with atomic(Path(out)) as temporary:
        onnx.save(model, str(temporary))


def _belongs_to_a_head(node: onnx.NodeProto) -> bool:
    """Whether a node is a head's convolution, or comes after one."""
    return node.op_type in ("Transpose", "Reshape", "Sigmoid") or "bbox_head" in "".join(node.input)


def _heads(graph: onnx.GraphProto, level: int, weights: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    """Return the nodes of a level's merged heads, whose weights are added to `weights`."""
    prefixes = [f"bbox_head.multi_level_{head}.{level}." for head in _HEADS]
    (source,) = {
        node.input[0] for node in graph.node for prefix in prefixes if prefix + "conv1.weight" in list(node.input)
    }
    for layer in ("conv1", "conv2"):
        for kind in ("weight", "bias"):
            parts = [weights[f"{prefix}{layer}.{kind}"] for prefix in prefixes]
            weights[f"head{level}.{layer}.{kind}"] = np.concatenate(parts)
    inner, outer, flat = f"inner{level}", f"outer{level}", f"flat{level}"
    names = [[f"head{level}.{layer}.{kind}" for kind in ("weight", "bias")] for layer in ("conv1", "conv2")]
    return [
        helper.make_node("Conv", [source, *names[0]], [inner], kernel_shape=[1, 1]),
        helper.make_node("Conv", [inner, *names[1]], [outer], kernel_shape=[3, 3], pads=[1] * 4, group=_VALUES),
        helper.make_node("Reshape", [outer, "flat"], [flat]),
    ]


if __name__ == "__main__":
    convert_yunet(*sys.argv[1:])
