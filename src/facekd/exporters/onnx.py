"""From a trained network to one ONNX file that holds everything: photo frame in, points and confidence out."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facekd import __version__
from facekd.errors import ModelError
from facekd.files import atomic
from facekd.geometry import to_pixels
from facekd.networks import network as networks
from facekd.networks.network import About, LandmarkNet, TorchModel, confidence
from facekd.runtime.card import ModelCard, sha256
from facekd.runtime.model import OnnxModel

_OPSET = 18
_TOLERANCE = 0.02  # px: what float32 rounding in another order of operations may move a point
CONFIDENCE = (
    "the probability, by the network's own estimate, that the point lies where a person would mark it, give or take "
    "{:.1f} % of the larger side of the landmarks' box"
)


@dataclass(frozen=True)
class Parity:
    """How far the exported file is from the network it came from, on the same frames.

    Attributes:
        frames: how many were compared.
        points: largest distance of a coordinate, in frame pixels.
        confidence: largest difference of a confidence; 0 where there is none.
    """

    frames: int
    points: float
    confidence: float


class Whole(nn.Module):
    """A landmark network with its pre- and post-processing: (B, S, S, 3) uint8 RGB -> points in pixels, confidence."""

    def __init__(self, net: LandmarkNet, about: About) -> None:
        super().__init__()
        self.net, self.about = net.eval(), about
        if about.refinement:  # buffers are written once, other tensors at each use
            for name, value in vars(about.refinement).items():
                self.register_buffer(name, value)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return points (B, N, 2) in frame pixels and, if the network has sigma, confidence (B, N)."""
        prediction = self.net(image.permute(0, 3, 1, 2).float() / 255)
        points = to_pixels(self.about.refined(prediction), self.net.architecture.size)
        if prediction.log_sigma is None:
            return (points,)
        return points, confidence(prediction.log_sigma, self.about.confident, *self.about.calibration)


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
        frames: (n, S, S, 3) uint8 to compare on; default: seeded noise and smooth pictures.
    Raises:
        ModelError: not a network of ours, not an .onnx name, or the file does not compute what torch does.
    """
    out = Path(out)
    if out.suffix != ".onnx":
        raise ModelError(f"{out} must end with .onnx")
    net, about = networks.load(checkpoint)
    with atomic(out) as temporary:
        _to_onnx(Whole(net, about), net.architecture.size, temporary)
        card = _card(net, about, name or out.stem, figures or {}, temporary)
        card.save(temporary)
        try:
            parity = compare(TorchModel(net, about), OnnxModel(temporary), frames)
        finally:
            temporary.with_suffix(".json").unlink()
        if not max(parity.points, 100 * parity.confidence) < _TOLERANCE:
            raise ModelError(
                f"{out} would not compute what {checkpoint} does: points differ by {parity.points:.3g} px, confidence "
                f"by {parity.confidence:.3g}; nothing was written, try another backbone"
            )
    card.save(out)
    return parity


def compare(torch_model: TorchModel, onnx_model: OnnxModel, frames: np.ndarray | None = None) -> Parity:
    """Return how far two forms of one network are apart on frames (n, S, S, 3) uint8, or on pictures made for it."""
    if frames is None:
        frames = _pictures(torch_model.size)
    (points, sure), (onnx_points, onnx_sure) = torch_model.look(frames), onnx_model.predict(frames)
    apart = 0.0 if sure is None or onnx_sure is None else float(np.abs(sure - onnx_sure).max())
    return Parity(len(frames), float(np.abs(points - onnx_points).max()), apart)


def _to_onnx(whole: Whole, size: int, path: Path) -> None:
    """Write the ONNX file; the number of frames is left open."""
    frame = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    outputs = ["points", "confidence"][: len(whole(frame))]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter, on its own inner workings
        torch.onnx.export(
            whole,
            (frame,),
            str(path),
            input_names=["image"],
            output_names=outputs,
            dynamic_axes={key: {0: "batch"} for key in ["image", *outputs]},
            opset_version=_OPSET,
            dynamo=False,
        )


def _card(net: LandmarkNet, about: About, name: str, figures: dict[str, Any], onnx: Path) -> ModelCard:
    parameters, macs = networks.cost(net)
    radius = about.confident * about.scale if net.architecture.sigma else None
    return ModelCard(
        name=name,
        markup=about.markup,
        size=net.architecture.size,
        scale=about.scale,
        box_transform=about.detector,
        confidence=CONFIDENCE.format(100 * radius) if radius else None,
        confidence_radius=radius,
        data=tuple(about.data),
        figures=figures,
        sha256=sha256(onnx),
        made_with={
            "facekd": __version__,
            "parameters": parameters,
            "macs": macs,
            "recipe": about.recipe,
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
