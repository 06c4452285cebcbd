"""ONNX export: one file that holds pre- and post-processing too; crop in, landmarks and confidence out."""

from __future__ import annotations

import logging
import tempfile
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from facekd.errors import ModelError
from facekd.files import atomic
from facekd.geometry import BoxTransform, crop_faces
from facekd.images import read_image
from facekd.markup import MarkUp
from facekd.networks.checkpoint import ModelMetadata
from facekd.networks.exported import load_network
from facekd.networks.network import LandmarkNet, cost
from facekd.networks.predictor import TorchModel
from facekd.runtime import ort
from facekd.runtime.card import ModelCard, sha256
from facekd.runtime.detector import YuNet
from facekd.runtime.model import NetworkModel, OnnxModel, Predictor
from facekd.runtime.output import NetworkOutput
from facekd.version import __version__

SAMPLE = Path(__file__).parents[1] / "weights" / "sample.jpg"
_OPSET = 18
_TOLERANCE = 0.02  # px: what float32 rounding in another order of operations may move a landmark
_CONFIDENCE = (
    "the probability, by the network's own estimate, that the landmark lies where a person would mark it, within "
    "{:.1f} % of the larger side of the tight landmark box"
)


@dataclass(frozen=True)
class Parity:
    """How far the exported file is from the network it came from, on the same crops.

    Attributes:
        frames: how many crops were compared.
        points: largest difference of a coordinate, in crop pixels.
        confidence: largest difference of a confidence, or of a visibility; 0 where there is none.
    """

    frames: int
    points: float
    confidence: float


class ExportModule(nn.Module):
    """A landmark network with its pre- and post-processing, as it is exported.

    Args:
        net: put into evaluation mode.
        metadata: gives shape prior and calibration.
    """

    def __init__(self, net: LandmarkNet, metadata: ModelMetadata) -> None:
        super().__init__()
        self.net, self.metadata = net.eval(), metadata
        if metadata.shape_prior:  # as buffers they are written once, other tensors at each use
            for name, value in vars(metadata.shape_prior).items():
                self.register_buffer(name, value)

    def named(self, image: Tensor) -> dict[str, Tensor]:
        """Find landmarks.

        Args:
            image: (B, S, S, 3) uint8 RGB crops.

        Returns:
            By name: points (B, N, 2) in crop pixels and, if the network has them, confidence and visible (B, N) in
            [0, 1].
        """
        return self.from_pixels(image.permute(0, 3, 1, 2).float())

    def from_pixels(self, pixels: Tensor) -> dict[str, Tensor]:
        """Find landmarks.

        Args:
            pixels: (B, 3, S, S) float RGB in [0, 255].

        Returns:
            As `named`.
        """
        return self.metadata.outputs(self.net(pixels / 255), self.net.architecture.size)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Find landmarks.

        Args:
            image: (B, S, S, 3) uint8 RGB crops.

        Returns:
            What `named` gives, without the names.
        """
        return tuple(self.named(image).values())


def export(
    checkpoint: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    figures: dict[str, Any] | None = None,
    frames: np.ndarray | None = None,
) -> Parity:
    """Write an ONNX file and its card (.json beside it), after checking that it computes what torch computes.

    Args:
        checkpoint: a .safetensors file of ours.
        out: the .onnx file to write.
        name: of the model, for its card; default: the file's stem.
        figures: measured errors, for the card.
        frames: (n, S, S, 3) uint8 crops to compare on; default: seeded pictures from smooth to noisy.

    Returns:
        How far the two are apart.

    Raises:
        ModelError: not a network of ours, not an .onnx name, or the file does not compute what torch does.
    """
    out = Path(out)
    if out.suffix != ".onnx":
        raise ModelError(f"{out} must end with .onnx")
    net, metadata = load_network(checkpoint)
    with atomic(out) as temporary:
        _write_onnx(ExportModule(net, metadata), net.architecture.size, temporary)
        card = card_of(net, metadata, name or out.stem, figures or {}, temporary)
        card.save(temporary)
        try:
            apart = compare(TorchModel(net, metadata), OnnxModel(temporary), frames)
        finally:
            temporary.with_suffix(".json").unlink()
        if not max(apart.points, 100 * apart.confidence) < _TOLERANCE:
            raise ModelError(
                f"{out} would not compute what {checkpoint} does: points differ by {apart.points:.3g} px, confidence "
                f"by {apart.confidence:.3g}; nothing was written, try another backbone"
            )
    card.save(out)
    return apart


def check(net: LandmarkNet) -> None:
    """Try whether a network can be exported, whatever its weights are.

    Args:
        net: put into evaluation mode.

    Raises:
        ModelError: ONNX lacks an operator that it needs, or does not fix the shapes of its outputs.
    """
    points, size = net.architecture.points, net.architecture.size
    module = ExportModule(net, ModelMetadata(MarkUp("", points, tuple(range(points)), crop="face"), 1.0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        _write_onnx(module, size, path)
        outputs = ort.Session(path, threads=1).session.get_outputs()
    if not all(isinstance(side, int) for node in outputs for side in node.shape[1:]):
        raise _not_exportable(module, "the shapes of its outputs are not known before it runs")


def compare(torch_model: TorchModel, exported: NetworkModel, frames: np.ndarray | None = None) -> Parity:
    """Return how far two forms of one network are apart.

    Args:
        torch_model: the network it came from.
        exported: the exported file.
        frames: (n, S, S, 3) uint8 crops; default: seeded pictures from smooth to noisy.

    Returns:
        The largest differences.
    """
    if frames is None:
        frames = _pictures(torch_model.size)
    return parity(torch_model.predict(frames), exported.predict(frames))


def parity(wanted: NetworkOutput, found: NetworkOutput) -> Parity:
    """Return how far two outputs for the same crops are apart.

    Args:
        wanted: of the network.
        found: of its exported form.

    Returns:
        The largest differences.
    """
    points, *levels = (
        0.0 if one is None or other is None else float(np.abs(one - other).max())
        for one, other in zip(wanted, found, strict=True)
    )
    return Parity(len(wanted.points), points, max(levels))


def sample_crops(model: Predictor) -> np.ndarray:
    """Return the faces of the sample picture that comes with the package, cut out as a network takes them.

    Args:
        model: the network.

    Returns:
        (6, size, size, 3) uint8 RGB.
    """
    photo = read_image(SAMPLE)
    boxes, _ = YuNet(threads=1).detect(photo)
    return crop_faces(photo, (model.box_transform or BoxTransform()).apply(boxes), model.size, model.scale).images


def _write_onnx(module: ExportModule, size: int, path: Path) -> None:
    """Write the ONNX file; the batch size is left open."""
    frame = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    outputs = list(module.named(frame))
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    # Of a network that cannot be exported, torch prints the graph, which are pages.
    quiet = patch.object(torch._C, "_jit_onnx_log", lambda *_: None, create=True)
    with warnings.catch_warnings(), torch.no_grad(), quiet:
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        try:
            torch.onnx.export(
                module,
                (frame,),
                str(path),
                input_names=["image"],
                output_names=outputs,
                dynamic_axes={key: {0: "batch"} for key in ["image", *outputs]},
                opset_version=_OPSET,
                dynamo=False,
            )
        except Exception as error:  # of operators that ONNX lacks, torch raises all kinds
            raise _not_exportable(module, str(error)) from error


def _not_exportable(module: ExportModule, why: str) -> ModelError:
    """Return the error of a network that ONNX cannot hold; of `why` the first sentence counts."""
    made = module.net.architecture
    return ModelError(
        f"backbone '{made.backbone}' with head '{made.head}' at {made.size} px cannot be exported "
        f"({why.partition(chr(10))[0].partition('. ')[0].strip('. ')}); give another backbone, head or input.size"
    )


def card_of(net: LandmarkNet, metadata: ModelMetadata, name: str, figures: dict[str, Any], file: Path) -> ModelCard:
    """Return the card of an exported network; its confidence radius is in units of the landmark box's larger side.

    Args:
        net: the network.
        metadata: what its file says besides weights.
        name: for the card.
        figures: measured errors.
        file: the exported file.

    Returns:
        The card, with the file's checksum.
    """
    parameters, macs = cost(net)
    radius = metadata.confidence_radius * metadata.scale if net.architecture.sigma else None
    return ModelCard(
        name=name,
        markup=metadata.markup,
        size=net.architecture.size,
        scale=metadata.scale,
        box_transform=metadata.box_transform,
        confidence=_CONFIDENCE.format(100 * radius) if radius else None,
        confidence_radius=radius,
        face_calibration=metadata.face_calibration,
        data=tuple(metadata.data),
        figures=figures,
        sha256=sha256(file),
        made_with={
            "facekd": __version__,
            "architecture": asdict(net.architecture),
            "parameters": parameters,
            "macs": macs,
            "recipe": metadata.recipe,
        },
    )


def _pictures(size: int, count: int = 16) -> np.ndarray:
    """Return frames (count, size, size, 3) uint8 that run from smooth to noisy."""
    rng = np.random.default_rng(0)
    pictures = []
    for i in range(count):
        coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 3 + i, 3 + i)))
        smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 255)
        pictures.append(smooth[0].permute(1, 2, 0).numpy())
    return np.stack(pictures).astype(np.uint8)
