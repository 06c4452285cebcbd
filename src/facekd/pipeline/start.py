"""A stage's network with the weights it starts from."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

import torch

from facekd.errors import RecipeError
from facekd.networks.architecture import Architecture
from facekd.networks.backbone import load_backbone
from facekd.networks.checkpoint import load
from facekd.networks.network import LandmarkNet
from facekd.pipeline.context import Context
from facekd.pipeline.faces import labelled_faces, shapes
from facekd.recipes.resolve import AverageStage, RandomWeights, TimmWeights, TrainStage, WeightFile


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
    )
    net, start = LandmarkNet(architecture), stage.start
    match start:
        case TrainStage() | AverageStage():
            earlier, _ = load(context.model(start))
            # Weights fit whatever size and dropout are.
            if replace(earlier.architecture, size=architecture.size, dropout=architecture.dropout) != architecture:
                raise RecipeError(
                    f"{stage.name}.init is {start.name}, which is another network; give both one backbone, head, "
                    "stride and standardise, and nll_weight to both or to none"
                )
            net.load_state_dict(earlier.state_dict())
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
        net.start_at(torch.from_numpy(known.mean(axis=0)).float())
    return net
