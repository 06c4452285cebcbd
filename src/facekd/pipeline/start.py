"""A stage's network with the weights it starts from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import assert_never

import numpy as np
import torch

from facekd.errors import RecipeError
from facekd.markup import conversion
from facekd.networks.architecture import Architecture
from facekd.networks.backbone import load_backbone
from facekd.networks.checkpoint import is_checkpoint, load
from facekd.networks.exported import load_exported, set_statistics
from facekd.networks.network import LandmarkNet
from facekd.networks.transfer import correspondence, transfer
from facekd.pipeline.context import Context
from facekd.pipeline.faces import augmenter, labelled_faces, shapes
from facekd.recipes.resolve import AverageStage, RandomWeights, TimmWeights, TrainStage, WeightFile

_FACES = 256  # that say which points correspond, and how wide features vary
_BATCH = 32


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
    settings = stage.network
    architecture = Architecture(
        backbone=settings.backbone,
        head=settings.head,
        points=context.pack.markup.count,
        size=stage.frame.size,
        dropout=settings.dropout,
        stride=settings.stride,
        sigma=stage.nll_weight > 0,
        standardise=settings.standardise,
        visibility=stage.visibility_weight > 0,
    )
    net, start = LandmarkNet(architecture), stage.start
    match start:
        case TrainStage() | AverageStage():
            earlier, _ = load(context.model(start))
            # Weights fit whatever size and dropout are.
            if replace(earlier.architecture, size=architecture.size, dropout=architecture.dropout) != architecture:
                raise RecipeError(
                    f"{stage.name}.init is {start.name}, which is another network; give both one backbone, head, "
                    "stride and standardise, and nll_weight and visibility_weight to both or to none"
                )
            net.load_state_dict(earlier.state_dict())
            return net
        case WeightFile(path=path) if path.suffix == ".onnx" or is_checkpoint(path):
            _start_from(context, stage, net, path)
            return net
        case WeightFile():
            load_backbone(net.backbone, settings.backbone, str(start.path), f"{stage.name}.init")
        case TimmWeights():
            load_backbone(net.backbone, settings.backbone, "timm", f"{stage.name}.init")
        case RandomWeights():
            pass
        case _:
            assert_never(start)
    if settings.mean_start:
        known = shapes(labelled_faces(context, stage.frame, stage.train_on), stage.frame)
        net.start_at(torch.from_numpy(np.nanmean(known, axis=0)).float())
    return net


def _start_from(context: Context, stage: TrainStage, net: LandmarkNet, path: Path) -> None:
    """Start a network with the weights of one of ours, whatever its points are."""
    source, about = load_exported(path) if path.suffix == ".onnx" else load(path)
    own, given = net.architecture, source.architecture
    for key in ("backbone", "head", "stride", "standardise"):
        mine, theirs = getattr(own, key), getattr(given, key)
        if mine != theirs:
            raise RecipeError(
                f"{stage.name}.init is {path.name}, a network of {key} {theirs}, and {stage.name} has {mine}; "
                f"--set {stage.name}.{key}={theirs}"
            )
    source = _resized(source, own.size)
    markup, faces = context.pack.markup, labelled_faces(context, stage.frame, ("train",))
    some = np.unique(np.linspace(0, len(faces) - 1, min(len(faces), _FACES)).astype(int))
    views = augmenter(context, stage)(torch.from_numpy(faces.frames[some]), faces.points[some], faces.boxes[some], some)
    images = views.images.cpu()
    if path.suffix == ".onnx":
        set_statistics(source, images)
    if about.markup.name == markup.name and about.markup.count == markup.count:
        weights, shift = np.eye(markup.count), np.zeros((markup.count, 2))
    elif (known := conversion(about.markup, markup)) is not None:
        weights, shift = known, np.zeros((markup.count, 2))
    else:
        with torch.no_grad():
            predicted = torch.cat([source(some).landmarks for some in images.split(_BATCH)])
        weights, shift = correspondence(predicted.numpy(), views.landmarks.cpu().numpy())
    transfer(net, source, torch.as_tensor(weights).float(), torch.as_tensor(shift).float())


def _resized(net: LandmarkNet, size: int) -> LandmarkNet:
    """Return the same network for another size of its input; weights fit any."""
    other = LandmarkNet(replace(net.architecture, size=size))
    other.load_state_dict(net.state_dict())
    return other.eval()
