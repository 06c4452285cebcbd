"""Teachers and students: any backbone of timm under a landmark head, in one self-describing file.

A network maps images (B, 3, S, S) in [0, 1] to normalised landmarks (B, N, 2), centred and divided by the input size.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from facekd.errors import ModelError, nearest
from facekd.files import atomic
from facekd.geometry import BoxTransform, to_pixels
from facekd.markup import MarkUp
from facekd.networks.heads import HEADS, Coordinates
from facekd.networks.refinement import Refinement
from facekd.runtime.roll import predict_with_rotation

_REFINEMENT = "refinement."  # before the names of its tensors in a network's file


class Prediction(NamedTuple):
    """What a network says of a batch.

    Attributes:
        landmarks: (B, N, 2), normalised.
        log_sigma: (B, N), log of each point's standard deviation per axis, normalised; None if the head has none.
        heatmaps: (B, N, h, w), log-probabilities over the cells of a grid; None but for the spatial head.
    """

    landmarks: Tensor
    log_sigma: Tensor | None = None
    heatmaps: Tensor | None = None


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build a network again."""

    backbone: str
    head: str
    points: int
    size: int
    dropout: float = 0.0
    sigma: bool = False
    standardise: bool = True
    stride: int = 8


@dataclass
class About:
    """What a network file says of itself besides its weights.

    Attributes:
        markup: what its points are.
        scale: side of the square crop / larger side of the tight landmark box.
        detector: how a face detector's box becomes that tight box; None: not known.
        confident: a point counts as right within this normalised distance (5 % of the mean inter-ocular distance).
        calibration: slope and offset of log-sigma behind a confidence, as `calibration.calibrate` fits them.
        refinement: what is done to its landmarks, as `refine.fit` found it; None: nothing.
        data: the training data and their terms, as in a model card.
        recipe: the settings it was trained with.
    """

    markup: MarkUp
    scale: float
    detector: BoxTransform | None = None
    confident: float = 0.02
    calibration: tuple[float, float] = (1.0, 0.0)
    data: list[dict[str, str]] = field(default_factory=list)
    recipe: dict[str, Any] = field(default_factory=dict)
    refinement: Refinement | None = None

    def refined(self, prediction: Prediction) -> Tensor:
        """Return the landmarks (B, N, 2) that the network gives its users."""
        if self.refinement is None:
            return prediction.landmarks
        return self.refinement(prediction.landmarks, prediction.log_sigma)


class LandmarkNet(nn.Module):
    """A backbone of timm and a landmark head.

    Raises:
        ModelError: timm has no such backbone, or it cannot serve this head.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.head, self.backbone = HEADS[architecture.head](architecture, _backbone)
        config = self.backbone_config(architecture.backbone)
        mean, std = (config["mean"], config["std"]) if architecture.standardise else ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def start_at(self, mean: Tensor) -> None:
        """Let an untrained coordinate head answer near the mean shape (N, 2); a spatial head needs no such start."""
        if isinstance(self.head, Coordinates):
            self.head.start_at(mean)

    @staticmethod
    def backbone_config(name: str) -> dict[str, Any]:
        """Return timm's record on a backbone: the mean and deviation of its pixels, among others."""
        return timm.get_pretrained_cfg(name).to_dict()

    def forward(self, images: Tensor) -> Prediction:
        """Return the landmarks of images (B, 3, S, S) in [0, 1]."""
        features = self.backbone((images - self.get_buffer("mean")) / self.get_buffer("std"))
        return Prediction(*self.head(features))


def cost(net: LandmarkNet) -> tuple[int, int]:
    """Return a network's parameters, and the multiply-accumulates of one face through it."""
    size = net.architecture.size
    device = next(net.parameters()).device
    training, counter = net.training, FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        net.eval()(torch.zeros(1, 3, size, size, device=device))
    net.train(training)
    return sum(p.numel() for p in net.parameters()), counter.get_total_flops() // 2


def check_backbone(name: str) -> None:
    """Raise ModelError, with names that are spelt alike, unless timm has a backbone of that name."""
    if not timm.is_model(name.split(".")[0]):
        raise ModelError(f"timm has no backbone '{name}'; {_similar(name)}")


def _backbone(name: str, **options: Any) -> nn.Module:
    """Create a backbone by name, without weights."""
    check_backbone(name)
    return timm.create_model(name, pretrained=False, **options)


def _similar(name: str) -> str:
    """Name a few backbones that are spelt alike."""
    family = timm.list_models(f"{name.split('_')[0]}*")[:8] or ["mobilenetv2_100", "efficientnet_b3"]
    return nearest(name, family) + ", ... (timm.list_models())"


def load_backbone(net: LandmarkNet, weights: str, setting: str = "student.weights") -> None:
    """Start the backbone of `net` from weights; the classifier's weights are left aside.

    Args:
        net: changed in place.
        weights: "none", "timm" (its hub, which needs internet once) or a .safetensors file with timm's names.
        setting: the recipe's name for `weights`, which error messages tell to change.
    Raises:
        ModelError: the weights cannot be had or do not fit; names the layers.
    """
    if weights == "none":
        return
    name = net.architecture.backbone
    if weights == "timm":
        try:
            state = timm.create_model(name, pretrained=True).state_dict()
        except Exception as error:  # timm and its hub raise all kinds; the user can do the same about each
            raise ModelError(
                f"weights of '{name}' could not be had from timm's hub ({type(error).__name__}); without internet "
                f"give a .safetensors file, or none: --set {setting}=FILE"
            ) from error
    else:
        try:
            state = load_file(weights)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"weights {weights} cannot be read as safetensors: {error}") from None
    own = net.backbone.state_dict()
    missing = [key for key in own if key not in state]
    wrong = [
        f"{k} {tuple(state[k].shape)}, not {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    if missing or wrong:
        layers = "; ".join([*wrong[:3], *(f"no {key}" for key in missing[:3])])
        raise ModelError(
            f"weights {weights} do not fit '{name}': {len(missing) + len(wrong)} layers differ ({layers}, ...)"
        )
    net.backbone.load_state_dict({key: state[key] for key in own})


def save(net: LandmarkNet, about: About, path: str | Path) -> None:
    """Write a network to a .safetensors file whose metadata hold all that is needed to use it."""
    record = asdict(replace(about, refinement=None)) | {"architecture": asdict(net.architecture)}
    del record["refinement"]
    state = {key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}
    if about.refinement:
        state |= {f"{_REFINEMENT}{key}": value for key, value in vars(about.refinement).items()}
    with atomic(path) as temporary:
        save_file(state, temporary, metadata={"facekd": json.dumps(record)})


def load(path: str | Path) -> tuple[LandmarkNet, About]:
    """Read what `save` wrote. Raises ModelError when it is missing, damaged or not a network of ours."""
    try:
        with safe_open(str(path), framework="pt") as file:
            record = json.loads((file.metadata() or {})["facekd"])
        state = load_file(path)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"{path} is not a facekd network, or it is damaged: {error}") from None
    refinement = {key[len(_REFINEMENT) :]: state.pop(key) for key in list(state) if key.startswith(_REFINEMENT)}
    try:
        architecture = Architecture(**record.pop("architecture"))
        detector, (slope, offset) = record.pop("detector"), record.pop("calibration", (1.0, 0.0))
        about = About(
            calibration=(slope, offset),
            markup=MarkUp.from_dict(record.pop("markup")),
            detector=BoxTransform.from_dict(detector) if detector else None,
            refinement=Refinement(**refinement) if refinement else None,
            **record,
        )
    except TypeError as error:  # it says something that this version does not know
        raise ModelError(f"{path} was written by another version of facekd, upgrade it: {error}") from None
    net = LandmarkNet(architecture)
    net.load_state_dict(state)
    return net.eval(), about


class TorchModel:
    """A network as the rest of the house uses models: frames in, points in frame pixels out (`evaluate.Predictor`)."""

    def __init__(self, net: LandmarkNet, about: About, device: str = "cpu") -> None:
        self.net, self.about, self.device = net.eval().to(device), about, device
        self.size, self.scale = net.architecture.size, about.scale
        self.markup, self.box_transform = about.markup, about.detector

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> TorchModel:
        """Read a .safetensors file. Raises ModelError."""
        return cls(*load(path), device=device)

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Find the landmarks of images (B, S, S, 3) uint8 RGB, of faces that lean with a second look.

        Returns points (B, N, 2) float32 in frame pixels, and confidence (B, N) float32 in [0, 1] or None.
        """
        return predict_with_rotation(self.look, images, self.markup, self.scale)

    @torch.inference_mode()
    def look(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return what a call does, of every image after one look, upright or not."""
        prediction = self.predict(images)
        points = to_pixels(self.about.refined(prediction), self.size).float().cpu().numpy()
        if prediction.log_sigma is None:
            return points, None
        sure = confidence(prediction.log_sigma, self.about.confident, *self.about.calibration)
        return points, sure.float().cpu().numpy()

    @torch.no_grad()
    def predict(self, images: np.ndarray) -> Prediction:
        """Return what the network itself says of images, before anything is done to it."""
        batch = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float().div(255)
        prediction: Prediction = self.net(batch.contiguous(memory_format=torch.channels_last))
        return prediction


def confidence(log_sigma: Tensor, radius: float, slope: float | Tensor = 1.0, offset: float | Tensor = 0.0) -> Tensor:
    """Return the probability in [0, 1] that a point lies within `radius` of the truth, its error being Gaussian.

    slope, offset: what log-sigma is corrected by, as `calibration.calibrate` finds them.
    """
    return 1 - torch.exp(-0.5 * radius**2 * torch.exp(-2 * (slope * log_sigma + offset)))
