"""Core ML's programs (MIL) computed in torch, operator by operator, so that a conversion is checked without a Mac.

Numbers are rounded to the type that the program gives each result, as hardware that adds up in float32 does; Apple's
own order of operations is another, so the last digits differ there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facekd.errors import ModelError

_TYPES = {"fp16": torch.float16, "fp32": torch.float32, "int32": torch.int32, "bool": torch.bool}
Inputs = dict[str, Any]  # tensors of what is computed, plain values of what is constant


def evaluate(path: Path, inputs: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Compute what a program gives.

    Args:
        path: an .mlpackage whose program has one function.
        inputs: by name; an image is (1, 3, H, W) float32 in [0, 255].

    Returns:
        The outputs by name.

    Raises:
        ModelError: the program has an operator that is not known here.
    """
    import coremltools
    from coremltools.converters.mil.frontend.milproto.load import load

    model = coremltools.models.MLModel(str(path), skip_model_load=True)
    spec = model.get_spec()
    function = load(
        spec, specification_version=spec.specificationVersion, file_weights_dir=model.weights_dir
    ).functions["main"]
    values: dict[str, Any] = dict(inputs)
    for op in function.operations:
        if op.op_type == "const" or op.op_type.startswith("constexpr"):
            known = op.outputs[0].val if op.op_type == "const" else op.materialized_val_inference()
            values[op.outputs[0].name] = _constant(known)
            continue
        given = {name: _given(var, values) for name, var in op.inputs.items() if var is not None}
        if op.op_type not in _OPERATORS:
            raise ModelError(f"{path} has the operator '{op.op_type}', which cannot be computed here")
        found = _OPERATORS[op.op_type](given)
        (out,) = op.outputs
        values[out.name] = found.to(_TYPES[out.dtype.__name__]) if out.dtype.__name__ in _TYPES else found
    return {out.name: values[out.name].float().numpy() for out in function.outputs}


def _constant(value: Any) -> Any:
    """Return a constant: floating numbers as tensors, others as they are."""
    array = np.asarray(value)
    if array.dtype.kind == "f":
        return torch.from_numpy(np.array(array))
    return array.tolist() if array.dtype.kind in "iubU" else value


def _given(var: Any, values: dict[str, Any]) -> Any:
    return [values[each.name] for each in var] if isinstance(var, list | tuple) else values[var.name]


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def _both(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Inputs], Tensor]:
    """Return an operator of two numbers or tensors, computed in float32."""
    return lambda i: function(_wide(torch.as_tensor(i["x"])), _wide(torch.as_tensor(i["y"])))


def _one(function: Callable[[Tensor], Tensor]) -> Callable[[Inputs], Tensor]:
    """Return an operator of one tensor, computed in float32."""
    return lambda i: function(_wide(i["x"]))


def _conv(i: Inputs) -> Tensor:
    top, bottom, left, right = i["pad"] if i["pad_type"] == "custom" else (0, 0, 0, 0)
    if i["pad_type"] not in ("custom", "valid"):
        raise ModelError(f"a convolution with the padding '{i['pad_type']}' cannot be computed here")
    x = F.pad(_wide(i["x"]), (left, right, top, bottom))
    bias = _wide(i["bias"]) if "bias" in i else None
    return F.conv2d(x, _wide(i["weight"]), bias, i["strides"], 0, i["dilations"], i["groups"])


def _slice(i: Inputs) -> Tensor:
    x, count = i["x"], i["x"].ndim
    nothing, ones = [False] * count, [1] * count
    parts = zip(
        i["begin"],
        i["end"],
        i.get("stride", ones),
        i.get("begin_mask", nothing),
        i.get("end_mask", nothing),
        i.get("squeeze_mask", nothing),
        strict=True,
    )
    chosen: list[Any] = [
        begin if alone else slice(None if first else begin, None if last else end, step)
        for begin, end, step, first, last, alone in parts
    ]
    found: Tensor = x[tuple(chosen)]
    return found


def _reshape(i: Inputs) -> Tensor:
    sides = [i["x"].shape[at] if side == 0 else side for at, side in enumerate(i["shape"])]
    return torch.reshape(i["x"], sides)


def _unsqueezed(i: Inputs) -> Tensor:
    found: Tensor = i["x"]
    for axis in i["axes"]:
        found = found.unsqueeze(axis)
    return found


def _log(i: Inputs) -> Tensor:
    return torch.log(_wide(i["x"]) + float(i.get("epsilon", 0)))


def _clip(i: Inputs) -> Tensor:
    return _wide(i["x"]).clamp(float(i["alpha"]), float(i["beta"]))


def _upsample(i: Inputs) -> Tensor:
    return F.interpolate(_wide(i["x"]), scale_factor=(float(i["scale_factor_height"]), float(i["scale_factor_width"])))


_OPERATORS: dict[str, Callable[[Inputs], Tensor]] = {
    "add": _both(torch.add),
    "cast": lambda i: i["x"],
    "clip": _clip,
    "concat": lambda i: torch.cat([_wide(each) for each in i["values"]], i["axis"]),
    "conv": _conv,
    "exp": _one(torch.exp),
    "expand_dims": _unsqueezed,
    "linear": lambda i: F.linear(_wide(i["x"]), _wide(i["weight"]), _wide(i.get("bias"))),
    "log": _log,
    "maximum": _both(torch.maximum),
    "minimum": _both(torch.minimum),
    "mul": _both(torch.mul),
    "real_div": _both(torch.div),
    "reduce_mean": lambda i: _wide(i["x"]).mean(i["axes"], keepdim=i["keep_dims"]),
    "reduce_sum": lambda i: _wide(i["x"]).sum(i["axes"], keepdim=i["keep_dims"]),
    "relu": _one(torch.relu),
    "reshape": _reshape,
    "sigmoid": _one(torch.sigmoid),
    "silu": _one(F.silu),
    "slice_by_index": _slice,
    "softmax": lambda i: _wide(i["x"]).softmax(i["axis"]),
    "squeeze": lambda i: i["x"].squeeze(i["axes"]) if "axes" in i else i["x"].squeeze(),
    "stack": lambda i: torch.stack([_wide(each) for each in i["values"]], i["axis"]),
    "sub": _both(torch.sub),
    "transpose": lambda i: i["x"].permute(i["perm"]),
    "upsample_nearest_neighbor": _upsample,
}
