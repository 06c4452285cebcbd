"""Kinds of files that hold networks, and their cards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

import containers
import mutators
import numpy as np
import torch
from file_kinds import JSON
from fuzzing import Files, Kind
from safetensors.torch import save_file

from facekd.exporters.onnx import export
from facekd.geometry import BoxTransform
from facekd.markup import FIVE
from facekd.networks.architecture import Architecture
from facekd.networks.backbone import load_backbone
from facekd.networks.checkpoint import ModelMetadata, is_checkpoint, load, save
from facekd.networks.exported import load_exported
from facekd.networks.network import LandmarkNet
from facekd.networks.predictor import TorchModel
from facekd.runtime.card import ModelCard, sha256
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.model import LiteRTModel, OnnxModel, Predictor
from facekd.runtime.trial import try_out
from tiny_model import write_model

BACKBONE = "test_efficientnet"  # timm's own for tests, 0.4 million parameters
_PHOTO = np.random.default_rng(0).integers(0, 256, (80, 60, 3), np.uint8)


class Finder:
    """Finds the same two faces in every photo."""

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.array([[10, 10, 50, 50], [-5, 40, 20, 90.0]]), np.array([0.9, 0.7])


def use(model: Predictor) -> None:
    """Use a network as a user does, to JSON."""
    model(np.zeros((0, model.size, model.size, 3), np.uint8))
    transform = None if model.box_transform else BoxTransform()
    for face in Landmarker(model, Finder(), box_transform=transform).detect(_PHOTO):
        json.dumps(face.to_dict(), allow_nan=False)


def fit_card(files: Files, rng: Random) -> None:
    """Make the card's checksum fit the damaged network, as a file made for it has it."""
    try:
        card = json.loads(files["tiny.json"])
    except ValueError:
        return
    if not isinstance(card, dict) or files["tiny.json"].count(b"sha256") != 1:
        return
    path = Path("fitted.onnx")
    path.write_bytes(files["tiny.onnx"])
    card["sha256"] = sha256(path)
    path.unlink()
    files["tiny.json"] = json.dumps(card).encode()


def _read_onnx() -> None:
    try_out(Path("tiny.onnx"))
    use(OnnxModel("tiny.onnx", threads=1))


def _read_card() -> None:
    use(OnnxModel("tiny.onnx", threads=1))


def _make_tflite() -> None:
    shutil.copy(Path(__file__).parents[1] / "weights" / "tiny.tflite", "tiny.tflite")


def _damage_tflite(content: bytes, rng: Random) -> bytes:
    """Damage the network in a .tflite file, whose card is then made to fit."""
    end = content.rindex(b"PK\x03\x04")
    path = Path("fitted.tflite")
    path.write_bytes(content)
    card = ModelCard.load(path)
    path.write_bytes(mutators.damaged(content[:end], rng))
    digest = sha256(path)
    ModelCard(card.name, card.markup, card.size, card.scale, sha256=digest).save(path)
    found = path.read_bytes()
    path.unlink()
    return found


def _read_tflite() -> None:
    try_out(Path("tiny.tflite"))
    use(LiteRTModel("tiny.tflite", threads=1))


def _net() -> LandmarkNet:
    torch.manual_seed(0)
    return LandmarkNet(Architecture(BACKBONE, "coordinate", points=5, size=32, sigma=True)).eval()


def _make_checkpoint() -> None:
    save(_net(), ModelMetadata(FIVE, scale=1.25, box_transform=BoxTransform()), "model.safetensors")


def _read_checkpoint() -> None:
    if not is_checkpoint("model.safetensors"):
        load("model.safetensors")
    use(TorchModel.load(Path("model.safetensors"), device="cpu"))


def _make_weights() -> None:
    backbone = _net().backbone
    save_file({key: value.contiguous() for key, value in backbone.state_dict().items()}, "weights.safetensors")


def _read_weights() -> None:
    net = _net()
    load_backbone(net.backbone, BACKBONE, "weights.safetensors", "student.init")
    with torch.inference_mode():
        net(torch.zeros(1, 3, 32, 32))


def _make_exported() -> None:
    _make_checkpoint()
    export(Path("model.safetensors"), Path("tiny.onnx"))
    Path("model.safetensors").unlink()


def _read_exported() -> None:
    try_out(Path("tiny.onnx"))
    load_exported("tiny.onnx")


NETWORK_KINDS = [
    Kind("model cards", (lambda: write_model(Path("tiny.onnx")),), _read_card, {".json": JSON}, share=2),
    Kind(
        "ONNX",
        (lambda: write_model(Path("tiny.onnx")),),
        _read_onnx,
        {".onnx": (containers.network,) * 2},
        fit_card,
        0.5,
    ),
    Kind("LiteRT", (_make_tflite,), _read_tflite, {".tflite": (_damage_tflite,) * 3}, share=0.5),
    Kind(
        "exported networks",
        (_make_exported,),
        _read_exported,
        {".onnx": (containers.network,) * 2, ".json": JSON},
        fit_card,
        share=0.5,
    ),
    Kind("networks", (_make_checkpoint,), _read_checkpoint, {".safetensors": (containers.safetensors,) * 2}),
    Kind("weights", (_make_weights,), _read_weights, {".safetensors": (containers.safetensors,) * 2}),
]
