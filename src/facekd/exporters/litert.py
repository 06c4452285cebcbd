"""LiteRT export: a .tflite file for phones, browsers and CPUs, in float32, float16 weights or 8-bit integers."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facekd.data.pack import Pack
from facekd.errors import ModelError
from facekd.evaluation import protocol
from facekd.exporters.int8 import calibration_frames, quiet
from facekd.exporters.litert_module import LiteRTModule
from facekd.exporters.onnx import Parity, card_of, compare, sample_crops
from facekd.files import atomic
from facekd.networks.exported import load_network
from facekd.networks.predictor import TorchModel
from facekd.runtime.card import ModelCard, sha256
from facekd.runtime.model import LiteRTModel

PRECISIONS = ("float32", "float16")  # of the weights; the arithmetic is float32
_TOLERANCE = {"float32": 0.01, "float16": 0.1}  # px, on faces
_LOST = 0.05  # NME in percent that 8 bits may cost
_CHECKED = 500  # faces that the NME is measured on
# Ranges go from the least to the largest value; of convolutions, whose weights tell, they are those of least squared
# error. Chosen on 300W's validation faces: NME of facekd-68-lite 3.35 %, with the first for all 3.38 %, in float32
# 3.35 %. The second for all would leave additions and paddings in float32, and convert back and forth.
_RANGES, _CONVOLUTIONS = "min_max_uniform_quantize", "MSE"


def export(
    checkpoint: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    figures: dict[str, Any] | None = None,
    precision: str = "float32",
    batch: int = 1,
) -> Parity:
    """Write a .tflite file with its card inside, after checking that it computes what torch computes.

    Args:
        checkpoint: a .safetensors file, or an .onnx file that this package wrote.
        out: the .tflite file to write.
        name: of the model, for its card; default: the file's stem.
        figures: measured errors, for the card.
        precision: one of `PRECISIONS`; float16 halves the file.
        batch: faces per call, which the file fixes.

    Returns:
        How far the two are apart.

    Raises:
        ModelError: not a network of ours, the converter is not installed, or the file does not compute what torch does.
    """
    out = Path(out)
    net, metadata = load_network(checkpoint)
    with atomic(out) as temporary:
        content = _converted(LiteRTModule(net, metadata), batch)
        temporary.write_bytes(_halved(content) if precision == "float16" else content)
        card = card_of(net, metadata, name or out.stem, figures or {}, temporary)
        replace(card, made_with={**card.made_with, "precision": precision, "batch": batch}).save(temporary)
        exported = LiteRTModel(temporary)
        parity = compare(TorchModel(net, metadata), exported, sample_crops(exported))
        if not max(parity.points, 10 * parity.confidence) < _TOLERANCE[precision]:
            raise ModelError(
                f"{out} would not compute what {checkpoint} does: points differ by {parity.points:.3g} px, confidence "
                f"by {parity.confidence:.3g}; nothing was written, try another backbone or precision"
            )
    return parity


def quantise(path: str | Path, out: str | Path, pack: Pack) -> float:
    """Write a form of a .tflite network whose convolutions compute with 8-bit integers, after measuring what it costs.

    From the first convolution to the last, that is; softmax, expectations and shape prior need the precision.

    Args:
        path: a .tflite file that `export` wrote.
        out: the .tflite file to write.
        pack: faces; the ranges of activations are calibrated on its training faces, and the loss is measured on its
            validation faces, or on other training faces if it has none.

    Returns:
        By how much the NME is larger, in percent of the pack's normaliser.

    Raises:
        ModelError: `path` is no network of ours, the quantiser is not installed, or it would lose too much.
        InputError: the pack has no training faces.
    """
    model, out = LiteRTModel(path), Path(out)
    frames = calibration_frames(pack.select("train"), model)
    with atomic(out) as temporary:
        temporary.write_bytes(_quantised(path, frames, model.batch))
        replace(
            model.card,
            name=f"{model.card.name}-int8",
            figures={},  # measured on the float32 network; this one is another
            sha256=sha256(temporary),
            made_with={**model.card.made_with, "precision": "int8", "calibrated_on": len(frames)},
        ).save(temporary)
        faces = _to_measure(pack)
        before, after = (_nme(each, faces) for each in (model, LiteRTModel(temporary)))
        if not after - before < _LOST:
            raise ModelError(
                f"{out} would have an NME of {after:.2f} % where {path} has {before:.2f} %; nothing was written: "
                "calibrate on faces like those it is for, or keep float32"
            )
    ModelCard.load(out).verify(out)
    return after - before


def _converted(module: LiteRTModule, batch: int) -> bytes:
    """Return the .tflite file of a module."""
    frames = torch.zeros(batch, module.size, module.size, 3, dtype=torch.uint8)
    with _silent(), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            import litert_torch
        except ImportError as error:
            raise _missing(error) from error
        model = litert_torch.convert(module.eval(), sample_kwargs={"image": frames})
        return bytes(model.model_content())


def _halved(content: bytes) -> bytes:
    """Return a .tflite file with its convolutions' weights in float16."""
    with _silent():
        quantizer, kinds = _quantizer(content)
        for kind in (kinds.CONV_2D, kinds.DEPTHWISE_CONV_2D):
            quantizer.add_weight_only_config(".*", kind, 16, algorithm_key="float_casting")
        return bytes(quantizer.quantize(enable_progress_report=False).quantized_model)


def _quantised(path: str | Path, frames: np.ndarray, batch: int) -> bytes:
    """Return a .tflite file with its convolutions in 8 bits, calibrated on frames."""
    content = Path(path).read_bytes()
    with _silent():
        quantizer, kinds = _quantizer(content)
        chosen = "|".join(re.escape(scope) for scope in _convolutions(content))
        chosen = f"^(?:{chosen});?$"
        quantizer.add_static_config(chosen, kinds.ALL_SUPPORTED, 8, 8, algorithm_key=_RANGES)
        for kind in (kinds.CONV_2D, kinds.DEPTHWISE_CONV_2D):
            quantizer.add_static_config(chosen, kind, 8, 8, algorithm_key=_CONVOLUTIONS)
        # The last frames are repeated where the number is no multiple of the batch; that changes no range.
        whole = np.concatenate([frames, frames[-1:].repeat(-len(frames) % batch, axis=0)])
        batches = [{"image": whole[start : start + batch]} for start in range(0, len(whole), batch)]
        ranges = quantizer.calibrate({"serving_default": batches}, num_threads=1)
        return bytes(quantizer.quantize(ranges, enable_progress_report=False).quantized_model)


def _convolutions(content: bytes) -> list[str]:
    """Return the scopes (names of outputs) of the operators to compute in 8 bits."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]
    kinds = [model.operatorCodes[each.opcodeIndex].builtinCode for each in graph.operators]
    scopes = [";".join(graph.tensors[at].name.decode() for at in each.outputs) for each in graph.operators]
    where = [at for at, kind in enumerate(kinds) if kind == schema.BuiltinOperator.CONV_2D]
    if not where:
        raise ModelError("int8 is for networks of convolutions, and this one has none; keep float32")
    first = where[0] - (kinds[where[0] - 1] == schema.BuiltinOperator.PAD)
    return scopes[first : where[-1] + 1]


def _quantizer(content: bytes) -> tuple[Any, Any]:
    """Return a quantiser of a .tflite file, and its kinds of operators."""
    try:
        from ai_edge_quantizer import qtyping, quantizer
    except ImportError as error:
        raise _missing(error) from error
    return quantizer.Quantizer(bytearray(content)), qtyping.TFLOperationName


def _missing(error: ImportError) -> ModelError:
    return ModelError(f"export to .tflite needs '{error.name}'; pip install 'facekd[export]'")


def _to_measure(pack: Pack) -> Pack:
    """Return faces to measure on, evenly spread: validation faces, or training faces if there are none."""
    faces = pack.select("val" if "val" in pack.splits else "train")
    rows = np.linspace(0, len(faces) - 1, min(_CHECKED, len(faces))).astype(int)
    return faces.select(indices=rows)


def _nme(model: LiteRTModel, faces: Pack) -> float:
    """Return the NME in percent."""
    result = protocol.evaluate(model, faces, bootstrap=1)
    return float(100 * np.mean(result.errors))


@contextmanager
def _silent() -> Iterator[None]:
    """Keep back what converter and quantiser write of their progress."""
    with quiet(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield
