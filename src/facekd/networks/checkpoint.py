"""A trained network in one self-describing .safetensors file: weights, architecture and what using it takes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from facekd.documents import MAX_POINTS, Fields, is_group, parse_json
from facekd.errors import InputError, ModelError
from facekd.files import atomic
from facekd.geometry import BoxTransform, to_pixels
from facekd.markup import MarkUp
from facekd.networks.architecture import Architecture
from facekd.networks.heads import HEADS
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
    except (OSError, SafetensorError, ValueError):
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
    where = f"network {path}"
    try:
        with safe_open(str(path), framework="pt") as file:
            text = (file.metadata() or {}).get("facekd")
        state = load_file(path)
    except (OSError, SafetensorError, ValueError, TypeError, AttributeError) as error:  # the last: unknown dtypes
        raise ModelError(f"{path} is not a facekd network, or it is damaged: {error}") from None
    if text is None:
        raise ModelError(f"{path} is not a facekd network: its metadata lack 'facekd'; give one that training wrote")
    record = parse_json(text, where, ModelError, "train it again")
    fields = Fields(record, where, ModelError, advice="give a network as training wrote it")
    fields = fields.inner({_FORMER_KEYS.get(key, key): value for key, value in fields.values.items()}, "")
    prior = {
        key[len(prefix) :]: state.pop(key)
        for prefix in (_PRIOR, _FORMER_PRIOR)
        for key in list(state)
        if key.startswith(prefix)
    }
    architecture = check_architecture(fields)
    try:
        metadata = _metadata(fields, architecture, prior)
    except InputError as error:  # of the groups that packs and mark-up files have, too
        raise ModelError(str(error)) from error
    net = build_network(architecture, where)
    _check_tensors(state, net.state_dict(), where)
    net.load_state_dict(state)
    return net, metadata


def check_architecture(fields: Fields) -> Architecture:
    """Read what a network is built of, as a file says it.

    Args:
        fields: of the file; it is under "architecture".

    Returns:
        The architecture.

    Raises:
        ModelError: it is none, or of another version.
    """
    group = fields.group("architecture")
    _refuse_unknown(group, Architecture.__dataclass_fields__)
    head = group.text("head")
    if head not in HEADS:
        group.refuse("head", f"one of {', '.join(HEADS)}")
    return Architecture(
        backbone=group.text("backbone"),
        head=head,
        points=group.integer("points", 1, MAX_POINTS),
        size=group.integer("size", 1, 4096),
        dropout=group.number("dropout", 0, 1, 0.0),
        sigma=group.boolean("sigma"),
        standardise=group.boolean("standardise", True),
        stride=group.integer("stride", 1, 64, 8),
        visibility=group.boolean("visibility"),
    )


def _metadata(fields: Fields, architecture: Architecture, prior: dict[str, Tensor]) -> ModelMetadata:
    """Return the metadata of a file; FacekdError where they do not fit the network or each other."""
    _refuse_unknown(fields, {*ModelMetadata.__dataclass_fields__, "architecture"} - {"shape_prior"})
    where, count = fields.where, architecture.points
    markup = MarkUp.from_dict(fields.values.get("markup"), f"{where}: markup")
    if markup.count != count:
        raise ModelError(f"{where}: it gives {count} points, its mark-up has {markup.count}; {fields.advice}")
    calibration = fields.numbers("calibration", 2, (1.0, 0.0))
    if len(calibration) != 2:
        fields.refuse("calibration", "slope and offset")
    box_transform, face_calibration = (fields.values.get(key) for key in ("box_transform", "face_calibration"))
    return ModelMetadata(
        markup=markup,
        scale=fields.number("scale", 1e-3, 1e3),
        box_transform=BoxTransform.from_dict(box_transform, where) if box_transform is not None else None,
        confidence_radius=fields.number("confidence_radius", 0, 1e3, 0.02),
        calibration=(float(calibration[0]), float(calibration[1])),
        data=list(fields.list("data", is_group, "groups", 1000, ())),
        recipe=dict(fields.group("recipe", fields.inner({}, "")).values),
        shape_prior=read_shape_prior(prior, count, where) if prior else None,
        face_calibration=FaceCalibration.from_dict(face_calibration, where) if face_calibration is not None else None,
    )


def _refuse_unknown(fields: Fields, known: Iterable[str]) -> None:
    """Raise ModelError at a key that this version does not know."""
    unknown = sorted(set(fields.values) - set(known))
    if unknown:
        raise ModelError(f"{fields.where} is of another version of facekd, upgrade it: unknown key '{unknown[0]}'")


def read_shape_prior(tensors: dict[str, Tensor], count: int, where: str) -> ShapePrior:
    """Check the tensors of a shape prior.

    Args:
        tensors: by the names of its attributes.
        count: N, points of a face.
        where: names the file in messages.

    Returns:
        The shape prior.

    Raises:
        ModelError: they do not fit.
    """
    square, line = (2 * count, 2 * count), (2 * count,)
    shapes = {"mean": line, "bias": line, "noise": square, "typical": (count,), "whiten": square, "gain": square}
    _check_tensors(tensors, {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}, where, _PRIOR)
    return ShapePrior(**{name: tensor.float() for name, tensor in tensors.items()})


def build_network(architecture: Architecture, where: str) -> LandmarkNet:
    """Build a network as a file says it.

    Args:
        architecture: of the file.
        where: names the file in messages.

    Returns:
        The network, with random weights, in evaluation mode.

    Raises:
        ModelError: no such network can be built.
    """
    try:
        return LandmarkNet(architecture).eval()
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from error
    except Exception as error:  # timm and torch raise all kinds for sizes that cannot be
        raise ModelError(f"{where}: no network can be built as it says ({type(error).__name__} {error})") from error


def _check_tensors(given: dict[str, Tensor], wanted: dict[str, Tensor], where: str, prefix: str = "") -> None:
    """Raise ModelError unless tensors have the names, shapes and kinds that are wanted, and finite values."""
    wrong = [f"no {prefix}{key}" for key in wanted if key not in given]
    wrong += [f"unknown {prefix}{key}" for key in given if key not in wanted]
    for key in given.keys() & wanted.keys():
        mine, other = wanted[key], given[key]
        if mine.shape != other.shape or mine.is_floating_point() != other.is_floating_point():
            expected = f"{tuple(mine.shape)} {mine.dtype}"
            wrong.append(f"{prefix}{key} {tuple(other.shape)} {other.dtype}, not {expected}")
        elif other.is_floating_point() and not torch.isfinite(other.float()).all():
            wrong.append(f"{prefix}{key} has values that are not finite")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ModelError(f"{where} is damaged, its tensors do not fit: {'; '.join(wrong[:3])}{more}; train it again")
