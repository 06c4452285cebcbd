"""The bundled face detector for the browser: `python -m facekd.exporters.yunet_litert js/models/yunet.tflite`.

LiteRT in the browser runs files of fixed sizes. So this one is written for the smallest image, and so that the size
stands nowhere but in the shapes of its tensors: whoever multiplies them has the network for a larger one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from facekd.errors import ModelError
from facekd.files import atomic
from facekd.runtime.yunet import yunet_weights

SIDE = 32  # of the image in the file, in pixels: the largest stride
_STRIDES = (8, 16, 32)
_VALUES = 16  # per anchor


def convert(out: str | Path) -> None:
    """Write the network as a LiteRT file.

    Input "image": (1, 32, 32, 3) float32 RGB, 0 to 255. Outputs "stride8", "stride16" and "stride32": (1, 32 / stride,
    32 / stride, 16) float32, what `YuNetNetwork.maps` gives per anchor, but the two scores before the sigmoid.

    Args:
        out: the file to write.

    Raises:
        ModelError: LiteRT is not installed, or the detector's weights are damaged.
    """
    try:
        from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray
    except ImportError as error:
        raise ModelError("the detector is converted with ai-edge-litert; pip install 'facekd[litert]'") from error
    content = bytes(convert_object_to_bytearray(_Writer().model()))
    with atomic(Path(out)) as temporary:
        temporary.write_bytes(content)


class _Writer:
    """Turns the nodes of the ONNX graph into operators of a LiteRT model, one by one."""

    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated

        self._schema: Any = schema_py_generated
        graph = onnx.load(str(yunet_weights())).graph
        self._weights = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        self._nodes = [node for node in graph.node if node.op_type in ("Conv", "MaxPool", "Resize", "Add", "Relu")]
        self._relu = {node.input[0]: node.output[0] for node in self._nodes if node.op_type == "Relu"}
        self._buffers = [self._schema.BufferT()]  # the first one is empty: the tensors that are computed
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: list[int] = []
        self._found: dict[str, int] = {}  # tensors by their names in the ONNX graph

    def model(self) -> Any:
        """Return the whole model, an object of the schema's."""
        schema = self._schema
        self._found["rgb"] = self._tensor("image", (1, SIDE, SIDE, 3))
        for node in self._nodes:
            if node.op_type != "Relu":  # convolutions apply it
                getattr(self, f"_{node.op_type.lower()}")(node)
        outputs = {f"stride{stride}": self._found[f"outer{level}"] for level, stride in enumerate(_STRIDES)}
        for name, index in outputs.items():
            self._tensors[index].name = name
        subgraph = schema.SubGraphT(
            tensors=self._tensors,
            inputs=[self._found["rgb"]],
            outputs=list(outputs.values()),
            operators=self._operators,
            name="main",
        )
        signature = schema.SignatureDefT(
            inputs=[schema.TensorMapT(name="image", tensorIndex=self._found["rgb"])],
            outputs=[schema.TensorMapT(name=name, tensorIndex=index) for name, index in outputs.items()],
            signatureKey="serving_default",
            subgraphIndex=0,
        )
        codes = [
            schema.OperatorCodeT(builtinCode=code, deprecatedBuiltinCode=min(code, 127), version=1)
            for code in self._codes
        ]
        return schema.ModelT(
            version=3,
            operatorCodes=codes,
            subgraphs=[subgraph],
            description="YuNet (MIT licence), made by facekd.exporters.yunet_litert",
            buffers=self._buffers,
            signatureDefs=[signature],
        )

    def _conv(self, node: onnx.NodeProto) -> None:
        source, weights, bias = node.input[0], self._weights[node.input[1]], self._weights[node.input[2]]
        given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        stride, depthwise = given.get("strides", [1])[0], weights.shape[1] == 1
        # (out, in, height, width) becomes (out, height, width, in), or (1, height, width, out) of one input each.
        weights = weights.transpose(1, 2, 3, 0) if depthwise else weights.transpose(0, 2, 3, 1)
        if stride == 2:
            # Padded to keep the size, a kernel of four pixels has one more before and after the image, as ONNX pads
            # both sides; of one of three LiteRT would pad the far side only.
            weights = np.pad(weights, [(0, 0), (0, 1), (0, 1), (0, 0)])
        rectified, activation = node.output[0] in self._relu, self._schema.ActivationFunctionType
        options: dict[str, Any] = {
            "padding": self._schema.Padding.SAME,
            "strideW": stride,
            "strideH": stride,
            "dilationWFactor": 1,
            "dilationHFactor": 1,
            "fusedActivationFunction": activation.RELU if rectified else activation.NONE,
        }
        if depthwise:
            options["depthMultiplier"] = 1
        inputs = [self._found[source], self._constant(weights), self._constant(bias)]
        height, width = (side // stride for side in self._shape(source)[1:3])
        operators, shape = self._schema.BuiltinOperator, (1, height, width, len(bias))
        kind, code = ("DepthwiseConv2D", operators.DEPTHWISE_CONV_2D) if depthwise else ("Conv2D", operators.CONV_2D)
        self._operator(code, kind, options, inputs, self._relu.get(node.output[0], node.output[0]), shape)

    def _maxpool(self, node: onnx.NodeProto) -> None:
        _, height, width, channels = self._shape(node.input[0])
        options = {
            "padding": self._schema.Padding.VALID,
            "strideW": 2,
            "strideH": 2,
            "filterWidth": 2,
            "filterHeight": 2,
        }
        shape = (1, height // 2, width // 2, channels)
        code = self._schema.BuiltinOperator.MAX_POOL_2D
        self._operator(code, "Pool2D", options, [self._found[node.input[0]]], node.output[0], shape)

    def _resize(self, node: onnx.NodeProto) -> None:
        """Double a map: four copies of its channels become the four pixels of a block, whatever the map's size."""
        _, height, width, channels = self._shape(node.input[0])
        four, name = [self._found[node.input[0]]] * 4, f"four_{node.output[0]}"
        code = self._schema.BuiltinOperator.CONCATENATION
        self._operator(code, "Concatenation", {"axis": 3}, four, name, (1, height, width, 4 * channels))
        shape, code = (1, 2 * height, 2 * width, channels), self._schema.BuiltinOperator.DEPTH_TO_SPACE
        self._operator(code, "DepthToSpace", {"blockSize": 2}, [self._found[name]], node.output[0], shape)

    def _add(self, node: onnx.NodeProto) -> None:
        inputs = [self._found[name] for name in node.input]
        self._operator(self._schema.BuiltinOperator.ADD, "Add", {}, inputs, node.output[0], self._shape(node.input[0]))

    def _operator(
        self, code: int, kind: str, options: dict[str, Any], inputs: list[int], out: str, shape: tuple[int, ...]
    ) -> None:
        """Add an operator whose options are of a kind of the schema's, such as "Conv2D"."""
        if code not in self._codes:
            self._codes.append(code)
        settings = getattr(self._schema, f"{kind}OptionsT")()
        for name, value in options.items():
            setattr(settings, name, value)
        self._found[out] = self._tensor(out, shape)
        self._operators.append(
            self._schema.OperatorT(
                opcodeIndex=self._codes.index(code),
                inputs=inputs,
                outputs=[self._found[out]],
                builtinOptionsType=getattr(self._schema.BuiltinOptions, f"{kind}Options"),
                builtinOptions=settings,
            )
        )

    def _constant(self, values: np.ndarray) -> int:
        data = np.frombuffer(np.ascontiguousarray(values, np.float32).tobytes(), np.uint8)
        self._buffers.append(self._schema.BufferT(data=data))
        return self._tensor(f"weights{len(self._buffers) - 1}", values.shape, len(self._buffers) - 1)

    def _tensor(self, name: str, shape: tuple[int, ...], buffer: int = 0) -> int:
        kind = self._schema.TensorType.FLOAT32
        self._tensors.append(self._schema.TensorT(shape=list(shape), type=kind, buffer=buffer, name=name))
        return len(self._tensors) - 1

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[self._found[name]].shape)


if __name__ == "__main__":
    convert(*sys.argv[1:])
