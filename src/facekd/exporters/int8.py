"""int8 quantisation: convolutions in 8 bits; a third of the bytes, and faster on CPUs with VNNI instructions."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from facekd.data.pack import Pack
from facekd.errors import InputError, ModelError
from facekd.exporters.onnx import save_card_first
from facekd.files import atomic, scratch_folder
from facekd.geometry import crop_faces
from facekd.runtime import ort
from facekd.runtime.card import ModelCard, sha256
from facekd.runtime.model import OnnxModel, Predictor

_CALIBRATION = 256  # faces
_BATCH = 16
_LAST = "/net/head/out/", "/net/head/visibility/"  # the exporter's names of a spatial head's last convolutions


def calibration_frames(pack: Pack, model: Predictor, count: int = _CALIBRATION) -> np.ndarray:
    """Return crops to calibrate on, of faces spread evenly over a pack.

    Args:
        pack: training faces.
        model: the exported network, whose crops are wanted.
        count: at most so many.

    Returns:
        (n, size, size, 3) uint8 RGB.
    """
    rows = np.linspace(0, len(pack) - 1, min(count, len(pack))).astype(int)
    crops = [crop_faces(pack.image(i), pack.boxes[[i]], model.size, model.scale).images for i in rows]
    return np.concatenate([np.empty((0, model.size, model.size, 3), np.uint8), *crops])


def quantise(path: str | Path, out: str | Path, frames: np.ndarray) -> None:
    """Write an int8 form of an exported network, with its card.

    Convolutions only. The last one of a spatial head stays float32, for its outputs (heatmaps, offsets, log-sigmas)
    are of three scales; so do the layer whose outputs are coordinates and all that follows.

    Args:
        path: an .onnx file that `facekd export` wrote.
        out: the .onnx file to write.
        frames: (n, size, size, 3) uint8 crops to calibrate the ranges of activations on: training faces, never test
            faces.

    Raises:
        ModelError: `path` is no model of ours, or `out` does not end with .onnx.
        InputError: there are no frames.
    """
    model, out = OnnxModel(path), Path(out)
    if out.suffix != ".onnx":
        raise ModelError(f"{out} must end with .onnx")
    if not len(frames):
        raise InputError("int8 needs faces to calibrate on; give a pack with training faces")
    tools = ort.quantization()
    with scratch_folder("facekd-int8") as folder, atomic(out) as temporary, quiet():
        prepared = folder / "prepared.onnx"
        # Symbolic shapes fail on open batches.
        tools.shape_inference.quant_pre_process(str(model.path), str(prepared), skip_symbolic_shape=True)
        last = [node.name for node in onnx.load(str(prepared)).graph.node if node.name.startswith(_LAST)]
        tools.quantize_static(
            str(prepared),
            str(temporary),
            _Frames(frames),
            quant_format=tools.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=last,
            per_channel=True,
            # 7 bits of weights: with 8, CPUs without VNNI overflow, for they add pairs of products in 16 bits. There it
            # costs facekd-68-lite an NME of 0.10 % on 300W's validation faces; 7 bits cost 0.01 % on every CPU.
            reduce_range=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
        )
        card = replace(
            model.card,
            name=f"{model.card.name}-int8",
            figures={},  # measured on the float32 network; this one is another
            sha256=sha256(temporary),
            made_with={**model.card.made_with, "int8": f"convolutions, calibrated on {len(frames)} faces"},
        )
        save_card_first(card, out)
    ModelCard.load(out).verify(out)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the hints that quantisers and converters write to the root logger.

    Yields:
        Nothing; warnings are logged again afterwards.
    """
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


class _Frames:
    """Calibration frames in batches, as ONNX Runtime's CalibrationDataReader gives them."""

    def __init__(self, frames: np.ndarray) -> None:
        self._batches = iter([frames[i : i + _BATCH] for i in range(0, len(frames), _BATCH)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch, or None when all have been read."""
        batch = next(self._batches, None)
        return None if batch is None else {"image": batch}
