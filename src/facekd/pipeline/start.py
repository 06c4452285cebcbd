"""A stage's network with the weights it starts from."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

import numpy as np
import torch

from facekd.errors import FacekdError, InputError, ModelError, RecipeError
from facekd.exporters.onnx import check
from facekd.geometry import apply, crop_faces, crop_matrix, normalise, zoom
from facekd.markup import conversion
from facekd.networks.architecture import Architecture
from facekd.networks.backbone import load_backbone
from facekd.networks.checkpoint import is_checkpoint, load
from facekd.networks.exported import load_architecture, load_exported, set_statistics
from facekd.networks.network import LandmarkNet
from facekd.networks.predictor import TorchModel
from facekd.networks.transfer import correspondence, transfer
from facekd.pipeline.context import Context
from facekd.pipeline.faces import augmenter, labelled_faces, shapes
from facekd.recipes.groups import Input
from facekd.recipes.resolve import AverageStage, RandomWeights, Stage, TimmWeights, TrainStage, WeightFile
from facekd.runtime.detector import YuNet, holding

_FACES = 256  # that say how wide features vary
_SEEN = 128  # faces that say which points correspond
_ENOUGH = 10  # faces; with fewer, points that lie near each other by chance would be taken for one another
_KNOWN = 1.4  # times the usual size that a network still knows faces at


def check_network(stage: TrainStage, points: int, exported: bool = False) -> None:
    """Try a stage's network on a blank batch, and its start, so that what cannot work is refused before any training.

    Args:
        stage: to train.
        points: N of the mark-up.
        exported: whether it is to be exported; that is tried, too.

    Raises:
        RecipeError: the stage or file it starts from has another network.
        ModelError: the backbone or its weights cannot be had, it does not take images of that size, with that head or
            in that batch, or cannot be exported.
    """
    settings, faces, start = stage.network, min(2, stage.optimisation.batch), stage.start
    if isinstance(start, TrainStage | AverageStage):
        trained = start.members[0] if isinstance(start, AverageStage) else start
        _check_same(stage, start, _architecture(trained, points))
    if isinstance(start, WeightFile) and not _is_ours(start.path) and not stage.optimisation.num_epochs:
        raise RecipeError(
            f"{stage.name}.init is {start.path.name}, a backbone alone, which with epochs = 0 stays as it is; set "
            "init to a network of facekd, or epochs to 1 or more"
        )
    if isinstance(start, WeightFile) and _is_ours(start.path):
        _check_alike(stage, start.path, load_architecture(start.path))
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            net = LandmarkNet(_architecture(stage, points)).train()
            _take_backbone(net, stage)
            net(torch.zeros(faces, 3, stage.frame.size, stage.frame.size))
            if exported:
                check(net)
    except FacekdError:
        raise
    except Exception as error:  # backbones of timm raise all kinds
        what = f"backbone '{settings.backbone}' with head '{settings.head}'"
        raise ModelError(
            f"{stage.name}: {what} cannot learn from {faces} image(s) of {stage.frame.size} px "
            f"({str(error).partition(chr(10))[0]}); change input.size, {stage.name}.backbone, {stage.name}.head or "
            f"{stage.name}.batch"
        ) from error


def _check_same(stage: TrainStage, start: Stage, earlier: Architecture) -> None:
    """Refuse a start from a stage of another network; weights fit whatever size and dropout are."""
    own = _architecture(stage, earlier.points)
    if replace(earlier, size=own.size, dropout=own.dropout) != own:
        raise RecipeError(
            f"{stage.name}.init is {start.name}, which is another network; give both one backbone, head, "
            "stride and standardise, and nll_weight and visibility_weight to both or to none"
        )


def _check_alike(stage: TrainStage, path: Path, given: Architecture) -> None:
    """Refuse a start from a file whose network has another backbone or head."""
    for key in ("backbone", "head", "stride", "standardise"):
        mine, theirs = getattr(stage.network, key), getattr(given, key)
        if mine != theirs:
            raise RecipeError(
                f"{stage.name}.init is {path.name}, a network of {key} {theirs}, and {stage.name} has {mine}; "
                f"--set {stage.name}.{key}={theirs}"
            )


def _take_backbone(net: LandmarkNet, stage: TrainStage) -> None:
    """Give a network the backbone that its stage starts with: of timm's hub, or of a file that is none of ours."""
    weights = stage.start
    if isinstance(weights, TimmWeights):
        load_backbone(net.backbone, stage.network.backbone, "timm", f"{stage.name}.init")
    if isinstance(weights, WeightFile) and not _is_ours(weights.path):
        load_backbone(net.backbone, stage.network.backbone, str(weights.path), f"{stage.name}.init")


def _is_ours(path: Path) -> bool:
    return path.suffix == ".onnx" or is_checkpoint(path)


def _architecture(stage: TrainStage, points: int) -> Architecture:
    """Return what a stage's network is made of."""
    settings = stage.network
    return Architecture(
        backbone=settings.backbone,
        head=settings.head,
        points=points,
        size=stage.frame.size,
        dropout=settings.dropout,
        stride=settings.stride,
        sigma=stage.nll_weight > 0,
        standardise=settings.standardise,
        visibility=stage.visibility_weight > 0,
    )


def initial_network(context: Context, stage: TrainStage) -> LandmarkNet:
    """Return a stage's network with the weights it starts from.

    Args:
        context: of the run; a stage that it starts from is trained.
        stage: to train.

    Returns:
        The network, on the CPU.

    Raises:
        RecipeError: the stage it starts from has another network.
        ModelError: weights cannot be had, or do not fit.
    """
    net, start = LandmarkNet(_architecture(stage, context.pack.markup.count)), stage.start
    match start:
        case TrainStage() | AverageStage():
            earlier, _ = load(context.model(start))
            _check_same(stage, start, earlier.architecture)
            net.load_state_dict(earlier.state_dict())
            return net
        case WeightFile(path=path) if _is_ours(path):
            _start_from(context, stage, net, path)
            return net
        case WeightFile() | TimmWeights() | RandomWeights():
            _take_backbone(net, stage)
        case _:
            assert_never(start)
    if stage.network.mean_start:
        known = shapes(labelled_faces(context, stage, stage.frame), stage.frame)
        net.start_at(torch.from_numpy(np.nanmean(known, axis=0)).float())
    return net


def _start_from(context: Context, stage: TrainStage, net: LandmarkNet, path: Path) -> None:
    """Start a network with the weights of one of ours, whatever its points are."""
    source, about = load_exported(path) if path.suffix == ".onnx" else load(path)
    _check_alike(stage, path, source.architecture)
    markup = context.pack.markup
    same = about.markup.name == markup.name and about.markup.count == markup.count
    weights = np.eye(markup.count) if same else conversion(about.markup, markup)
    shift = np.zeros((markup.count, 2))
    if about.markup != markup:
        seen = look(context, stage.frame, TorchModel(source, about))
        _check_size(stage, path, seen.enlarged)
        if weights is None and len(seen.labels) < _ENOUGH:
            raise InputError(
                f"{context.pack.path.name} has {len(seen.labels)} training face(s), and it takes {_ENOUGH} to tell "
                f"which points of {path.stem} are those of '{markup.name}'; label more"
            )
        if weights is None:
            weights, shift = correspondence(seen.predicted, seen.labels)
    source = _resized(source, net.architecture.size)
    if path.suffix == ".onnx":
        faces = labelled_faces(context, stage, stage.frame, ("train",))
        some = np.unique(np.linspace(0, len(faces) - 1, min(len(faces), _FACES)).astype(int))
        frames = torch.from_numpy(faces.frames[some])
        views = augmenter(context, stage)(frames, faces.points[some], faces.boxes[some], some)
        set_statistics(source, views.images.cpu())
    transfer(net, source, torch.as_tensor(weights).float(), torch.as_tensor(shift).float())


@dataclass(frozen=True)
class Seen:
    """What a trained network sees of faces that are labelled with other points.

    Attributes:
        predicted: (n, M, 2) its points in the frames of the network to be trained, normalised.
        labels: (n, N, 2) the labels there.
        enlarged: how many times as large faces are for the network to be trained.
    """

    predicted: np.ndarray
    labels: np.ndarray
    enlarged: float


def look(context: Context, frame: Input, model: TorchModel) -> Seen:
    """Run a trained network on training faces, cut out as it was trained with: by the face detector's boxes.

    Args:
        context: of the run.
        frame: what the network to be trained sees.
        model: the trained network.

    Returns:
        Its points, the labels, and how the sizes compare.
    """
    faces = context.pack.select("train")
    faces = faces.select(indices=np.unique(np.linspace(0, len(faces) - 1, min(len(faces), _SEEN)).astype(int)))
    detector, own = YuNet(), crop_matrix(faces.boxes, frame.size, frame.scale)
    predicted, ratios = [], []
    for i, (box, matrix) in enumerate(zip(faces.boxes, own, strict=True)):
        image = faces.image(i)
        detected, _ = detector.detect(image)
        found = holding(detected, box)
        if len(found) and model.box_transform:
            box = model.box_transform.apply(detected[found[0]])
        crop = crop_faces(image, box, model.size, model.scale)
        predicted.append(apply(matrix, crop.to_photo(model(crop.images)[0])[0]))
        ratios.append(float(zoom(matrix) / zoom(crop.matrices[0])))
    labels = apply(own, faces.points.astype(np.float64))
    return Seen(normalise(np.array(predicted), frame.size), normalise(labels, frame.size), float(np.median(ratios)))


def _check_size(stage: TrainStage, path: Path, enlarged: float) -> None:
    """Warn where faces are so much larger or smaller than a start knows them that it is worth little."""
    if max(enlarged, 1 / enlarged) > _KNOWN:
        size = 16 * max(2, round(stage.frame.size / enlarged / 16))
        logging.getLogger(__name__).warning(
            f"{stage.name} sees faces {enlarged:.2g} times as large as its start, {path.stem}, which knows little of "
            f"such: --set input.size={size}, or start from another"
        )


def _resized(net: LandmarkNet, size: int) -> LandmarkNet:
    """Return the same network for another size of its input; weights fit any."""
    other = LandmarkNet(replace(net.architecture, size=size))
    other.load_state_dict(net.state_dict())
    return other.eval()
