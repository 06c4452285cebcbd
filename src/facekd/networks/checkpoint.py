"""A trained network in one self-describing .safetensors file: weights, architecture and what using it takes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from facekd.errors import ModelError
from facekd.files import atomic
from facekd.geometry import BoxTransform, to_pixels
from facekd.markup import MarkUp
from facekd.networks.architecture import Architecture
from facekd.networks.network import LandmarkNet, Prediction, confidence
from facekd.networks.shape_prior import ShapePrior
from facekd.runtime.face_confidence import FaceCalibration

_PRIOR = "shape_prior."  # before the names of its tensors in a file
# In files up to version 0.1.
_FORMER_PRIOR = "refinement."
_FORMER_KEYS = {"confident": "confidence_radius", "detector": "box_transform"}


@dataclass
class ModelMetadata:
    """What a network file holds besides weights and architecture.

    Attributes:
        markup: what its landmarks mean.
        scale: side of the square crop / larger side of the tight landmark box.
        box_transform: how a face detector's box becomes that tight box; None: not known.
        confidence_radius: normalised distance that the confidence is about: a landmark nearer to the truth counts as
            right.
        calibration: slope and offset of log-sigma, as `pipeline.calibration.calibrate` fits them.
        data: the training data and their terms, as in a model card.
        recipe: the settings it was trained with.
        shape_prior: corrects the landmarks, as `pipeline.shape_prior.fit_shape_prior` fitted it; None: no correction.
        face_calibration: how confidence tells right landmarks from wrong ones; None: not fitted.
    """

    markup: MarkUp
    scale: float
    box_transform: BoxTransform | None = None
    confidence_radius: float = 0.02
    calibration: tuple[float, float] = (1.0, 0.0)
    data: list[dict[str, str]] = field(default_factory=list)
    recipe: dict[str, Any] = field(default_factory=dict)
    shape_prior: ShapePrior | None = None
    face_calibration: FaceCalibration | None = None

    def landmarks(self, prediction: Prediction) -> Tensor:
        """Return the landmarks that the network gives its users: with the shape prior applied, if there is one.

        Args:
            prediction: the network's output for B faces.

        Returns:
            (B, N, 2), normalised.
        """
        if self.shape_prior is None:
            return prediction.landmarks
        return self.shape_prior(prediction.landmarks, prediction.log_sigma)

    def confidence(self, prediction: Prediction) -> Tensor | None:
        """Return the calibrated probability that each landmark lies within the confidence radius of the truth.

        Args:
            prediction: the network's output for B faces.

        Returns:
            (B, N) in [0, 1]; None if the network has no log-sigma.
        """
        if prediction.log_sigma is None:
            return None
        return confidence(prediction.log_sigma, self.confidence_radius, *self.calibration)

    def outputs(self, prediction: Prediction, size: int) -> dict[str, Tensor]:
        """Return what the network gives its users.

        Args:
            prediction: the network's output for B faces.
            size: side of the frame in pixels.

        Returns:
            By name, as the fields of a `NetworkOutput`: points (B, N, 2) in pixels of the frame, confidence (B, N) and
            visible (B, N) in [0, 1], without those that the network does not have.
        """
        visible = None if prediction.visibility is None else prediction.visibility.sigmoid()
        found = {
            "points": to_pixels(self.landmarks(prediction), size),
            "confidence": self.confidence(prediction),
            "visible": visible,
        }
        return {name: values for name, values in found.items() if values is not None}


def save(net: LandmarkNet, metadata: ModelMetadata, path: str | Path) -> None:
    """Write a network to a .safetensors file that holds all that is needed to use it.

    Args:
        net: its weights and architecture.
        metadata: the rest.
        path: the file to write; its folder is made.
    """
    record = asdict(replace(metadata, shape_prior=None)) | {"architecture": asdict(net.architecture)}
    del record["shape_prior"]
    state = {key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}
    if metadata.shape_prior:
        state |= {f"{_PRIOR}{key}": value for key, value in vars(metadata.shape_prior).items()}
    with atomic(path) as temporary:
        save_file(state, temporary, metadata={"facekd": json.dumps(record)})


def is_checkpoint(path: str | Path) -> bool:
    """Return whether a file is one that `save` wrote, rather than another's .safetensors file.

    Args:
        path: any file.

    Returns:
        Whether it holds a network of ours.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            return "facekd" in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def load(path: str | Path) -> tuple[LandmarkNet, ModelMetadata]:
    """Read what `save` wrote.

    Args:
        path: a .safetensors file.

    Returns:
        The network, in evaluation mode on the CPU, and its metadata.

    Raises:
        ModelError: the file is missing, damaged, not a network of ours or written by a later version.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            record = json.loads((file.metadata() or {})["facekd"])
        state = load_file(path)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"{path} is not a facekd network, or it is damaged: {error}") from None
    record = {_FORMER_KEYS.get(key, key): value for key, value in record.items()}
    prior = {
        key[len(prefix) :]: state.pop(key)
        for prefix in (_PRIOR, _FORMER_PRIOR)
        for key in list(state)
        if key.startswith(prefix)
    }
    try:
        architecture = Architecture(**record.pop("architecture"))
        box_transform, (slope, offset) = record.pop("box_transform"), record.pop("calibration", (1.0, 0.0))
        face_calibration = record.pop("face_calibration", None)
        metadata = ModelMetadata(
            calibration=(slope, offset),
            face_calibration=FaceCalibration.from_dict(face_calibration) if face_calibration else None,
            markup=MarkUp.from_dict(record.pop("markup")),
            box_transform=BoxTransform.from_dict(box_transform) if box_transform else None,
            shape_prior=ShapePrior(**prior) if prior else None,
            **record,
        )
    except TypeError as error:  # a key that this version does not know
        raise ModelError(f"{path} was written by another version of facekd, upgrade it: {error}") from None
    net = LandmarkNet(architecture)
    net.load_state_dict(state)
    return net.eval(), metadata
