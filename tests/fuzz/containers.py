"""Damage to what containers hold: Parquet, safetensors, ONNX graphs, NumPy archives, torch's checkpoints."""

from __future__ import annotations

import io
import json
from random import Random
from typing import Any

import mutators
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from onnx import TensorProto, helper, numpy_helper

_TYPES = (pa.int8(), pa.int64(), pa.float64(), pa.string(), pa.binary(), pa.bool_(), pa.list_(pa.float32()), pa.null())
_CASTS = (np.float32, np.float64, np.int64, np.int32, np.uint8, np.float16, np.bool_)


def parquet(content: bytes, rng: Random) -> bytes:
    """Change metadata, columns, types, rows or values of a table."""
    try:
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowException, OSError, ValueError):
        return mutators.damaged(content, rng)
    for _ in range(rng.choice((1, 1, 2))):
        try:
            table = _other_table(table, rng)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):  # what Arrow cannot hold either
            continue
    out = io.BytesIO()
    try:
        pq.write_table(table, out, row_group_size=rng.choice((1, 3, None)))
    except (pa.ArrowException, ValueError):
        return mutators.damaged(content, rng)
    return out.getvalue()


def _other_table(table: pa.Table, rng: Random) -> pa.Table:
    place = rng.randrange(max(table.num_columns, 1))
    match rng.randrange(8):
        case 0 if table.num_columns:
            return table.remove_column(place)
        case 1:
            names = [*table.column_names]
            names[place] = rng.choice(("x", names[-1]))
            return table.rename_columns(names)
        case 2:
            return table.slice(0, rng.choice((0, 1, max(0, len(table) - 1))))
        case 3:
            return table.append_column(rng.choice(("x", *table.column_names)), table.column(place))
        case 4:
            kind = rng.choice(_TYPES)
            field = pa.field(table.column_names[place], kind)
            try:
                column = table.column(place).cast(kind)
            except pa.ArrowException:
                column = pa.nulls(len(table), kind)
            return table.set_column(place, field, column)
        case 5 | 6:
            column = table.column(place)
            rows = column.to_pylist()
            if rows:
                row = rng.randrange(len(rows))
                rows[row] = _other_cell(rows[row], rng)
            return table.set_column(place, table.field(place), pa.array(rows, column.type))
        case _:
            about = dict(table.schema.metadata or {})
            if about:
                key = rng.choice(sorted(about))
                change = rng.choice((mutators.json_values, mutators.json_values, mutators.damaged))
                about[key] = change(about[key], rng)
            return table.replace_schema_metadata(about)


def _other_cell(cell: Any, rng: Random) -> Any:
    if isinstance(cell, bytes):
        return mutators.damaged(cell, rng)
    if isinstance(cell, str):
        return rng.choice(("", "x", "../x", "<script>", "x" * 10_000, None))
    if isinstance(cell, list) and cell:
        other = list(cell)
        other[rng.randrange(len(other))] = rng.choice((None, 0, float("nan"), float("inf"), -1e38, 1e30))
        return rng.choice((other, other, [], cell[:-1], cell * 2, None))
    return rng.choice((None, 0, -1, 127, 2**31 - 1, float("nan"), float("inf"), 1e30))


def safetensors(content: bytes, rng: Random) -> bytes:
    """Change the header, its metadata or the numbers."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
    except ValueError:
        return mutators.damaged(content, rng)
    data = bytearray(content[8 + length :])
    match rng.randrange(4):
        case 0 if isinstance(header, dict) and "facekd" in (about := header.get("__metadata__") or {}):
            about["facekd"] = mutators.json_values(about["facekd"].encode(), rng).decode("utf-8", "replace")
        case 1:
            header = mutators.values(header, rng)
        case 2 if isinstance(header, dict):
            name = rng.choice(sorted(header))
            if "shape" in (entry := header[name]):
                if rng.random() < 0.5:
                    entry["dtype"] = rng.choice(("F16", "BF16", "I64", "U8", "BOOL", "F64", "F8_E4M3", "I32"))
                else:
                    entry["shape"] = rng.choice((entry["shape"][::-1], [*entry["shape"], 1], [], [0], [2**40, 2**40]))
        case _:
            start = rng.randrange(max(1, len(data) // 4)) * 4
            data[start : start + 4] = np.float32(rng.choice((np.nan, np.inf, 1e38, 0, -1))).tobytes()
    text = json.dumps(header).encode("utf-8", "replace")
    return len(text).to_bytes(8, "little") + text + bytes(data)


def network(content: bytes, rng: Random) -> bytes:
    """Rewire an ONNX graph: other inputs, operators, attributes, tensors, shapes."""
    model = onnx.load_model_from_string(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        _rewire(model, rng)
    return bytes(model.SerializeToString())


def _rewire(model: onnx.ModelProto, rng: Random) -> None:
    graph = model.graph
    names = [name for node in graph.node for name in (*node.input, *node.output)]
    names += [each.name for each in (*graph.initializer, *graph.input)] or ["x"]
    node = rng.choice(graph.node) if graph.node else None
    tensor = rng.choice(graph.initializer) if graph.initializer else None
    match rng.randrange(11):
        case 0 if node and node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice(names)
        case 1 if node and node.output:
            node.output[rng.randrange(len(node.output))] = rng.choice(names)
        case 2 if node:
            node.op_type = rng.choice(_OPERATORS)
        case 3 if node and node.attribute:
            _other_attribute(rng.choice(node.attribute), rng)
        case 4 if node:
            node.attribute.append(helper.make_attribute(rng.choice(_ATTRIBUTES), rng.choice(_ATTRIBUTE_VALUES)))
        case 5 | 6 if tensor is not None:
            _other_tensor(tensor, rng)
        case 7 if tensor is not None:
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=rng.choice(("weights.bin", "../x", "/etc/passwd")))
        case 8 if node:
            copy = graph.node.add()
            copy.CopyFrom(node)
            copy.output[:] = [rng.choice(names) for _ in copy.output]
        case 9:
            side = rng.choice([*graph.input, *graph.output]).type.tensor_type
            if rng.random() < 0.5 or not side.shape.dim:
                side.elem_type = rng.choice((1, 2, 7, 9, 10, 11, 99))
            else:
                rng.choice(side.shape.dim).dim_value = rng.choice((0, -1, 1, 7, 2**40))
        case _:
            model.opset_import[0].version = rng.choice((0, 1, 7, 13, 18, 21, 99))


_OPERATORS = [
    "Abs",
    "Add",
    "And",
    "ArgMax",
    "AveragePool",
    "Cast",
    "Ceil",
    "Clip",
    "Concat",
    "ConstantOfShape",
    "Conv",
    "ConvTranspose",
    "CumSum",
    "DepthToSpace",
    "Div",
    "Einsum",
    "Erf",
    "Exp",
    "Expand",
    "EyeLike",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gemm",
    "GlobalMaxPool",
    "GRU",
    "Hardmax",
    "Identity",
    "If",
    "InstanceNormalization",
    "Loop",
    "LRN",
    "LSTM",
    "MatMul",
    "Max",
    "MaxPool",
    "Mean",
    "Mod",
    "Mul",
    "NonMaxSuppression",
    "NonZero",
    "OneHot",
    "Pad",
    "Pow",
    "QLinearConv",
    "RandomNormal",
    "Range",
    "ReduceMax",
    "ReduceSum",
    "Reshape",
    "Resize",
    "ReverseSequence",
    "RoiAlign",
    "Scan",
    "Scatter",
    "ScatterND",
    "Shape",
    "Size",
    "Slice",
    "Softmax",
    "SpaceToDepth",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sum",
    "Tile",
    "TopK",
    "Transpose",
    "Trilu",
    "Unique",
    "Unsqueeze",
    "Upsample",
    "Where",
    "x",
]
_ATTRIBUTES = [
    "axis",
    "axes",
    "keepdims",
    "to",
    "kernel_shape",
    "strides",
    "pads",
    "dilations",
    "group",
    "mode",
    "perm",
    "starts",
    "ends",
    "alpha",
    "x",
]
_ATTRIBUTE_VALUES: list[Any] = [0, -1, 7, 2**40, [0], [1, 1], [-1, 2**40], [0, 0, 0, 0], 1.5, "x", [2**31, 2**31]]


def _other_attribute(attribute: onnx.AttributeProto, rng: Random) -> None:
    if attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice((0, -1, 1, 3, 1000, 2**31, 2**40))
    elif attribute.type == onnx.AttributeProto.INT:
        attribute.i = rng.choice((0, -1, 1, 3, 1000, 2**31, 2**40))
    elif attribute.type == onnx.AttributeProto.FLOAT:
        attribute.f = rng.choice((0.0, -1.0, 1e38, float("nan"), float("inf")))
    elif attribute.type == onnx.AttributeProto.STRING:
        attribute.s = rng.choice((b"", b"x", b"SAME_UPPER", b"nearest", b"linear"))
    else:
        attribute.name = "x"


def _other_tensor(tensor: TensorProto, rng: Random) -> None:
    name = tensor.name
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, onnx.checker.ValidationError):  # changed before
        return
    match rng.randrange(5):
        case 0:
            array = array.astype(rng.choice(_CASTS))
        case 1:
            array = array.reshape(rng.choice(((-1,), (1, *array.shape), (*array.shape, 1), array.shape[::-1])))
        case 2:
            array = array[:0] if array.ndim else array.reshape(1)
        case 3 if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice((0, -1, 1, 5, 2**40))
            return
        case _ if array.size:
            array = array.copy()
            odd = (0, -1, 1, 2, 1000, 2**31, -(2**40)) if array.dtype.kind in "iu" else (np.nan, np.inf, 1e38, 0)
            array.reshape(-1)[rng.randrange(array.size)] = np.array(rng.choice(odd)).astype(array.dtype)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))


def npz(content: bytes, rng: Random) -> bytes:
    """Change arrays of a NumPy archive."""
    try:
        with np.load(io.BytesIO(content)) as file:
            arrays: dict[str, Any] = {name: file[name] for name in file.files}
    except (OSError, ValueError):
        return mutators.damaged(content, rng)
    name = rng.choice(sorted(arrays))
    arrays[name] = _other_array(arrays[name], rng)
    if rng.random() < 0.1:
        del arrays[name]
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def _other_array(array: np.ndarray, rng: Random) -> np.ndarray:
    match rng.randrange(6):
        case 0:
            return array.astype(rng.choice((*_CASTS, np.complex64, "U5")))
        case 1:
            return array[:0] if array.ndim else array.reshape(1)
        case 2:
            return array[None]
        case 3:
            return array.reshape(-1)
        case 4:
            return np.array(rng.choice((0, -1.0, np.nan, "x", 1e300)))
        case _:
            other = np.array(array, np.float64)
            other.reshape(-1)[: rng.choice((1, 10**6))] = rng.choice((np.nan, np.inf, 1e308, 0.0))
            return other


def checkpoint(content: bytes, rng: Random) -> bytes:
    """Change keys, values and tensors of what torch.save wrote."""
    try:
        state = torch.load(io.BytesIO(content), weights_only=True)
    except Exception:  # what was damaged before
        return mutators.damaged(content, rng)
    for _ in range(rng.choice((1, 1, 2))):
        places = mutators.places_of(state)
        group, key = rng.choice(places) if places else (None, None)
        if group is not None and isinstance(group[key], torch.Tensor) and rng.random() < 0.8:
            group[key] = _other_torch(group[key], rng)
        else:
            state = mutators.value(state, rng)
    out = io.BytesIO()
    torch.save(state, out)
    return out.getvalue()


def _other_torch(tensor: torch.Tensor, rng: Random) -> torch.Tensor:
    match rng.randrange(5):
        case 0:
            return tensor.to(rng.choice((torch.float64, torch.int64, torch.bool, torch.float16)))
        case 1:
            return tensor.reshape(-1)
        case 2:
            return tensor[None]
        case 3:
            return tensor.to_sparse() if tensor.is_floating_point() and tensor.dim() else torch.zeros(0)
        case _:
            return torch.full_like(tensor, rng.choice((0, 1, 3))) * rng.choice((1, float("nan"), 1e38))
