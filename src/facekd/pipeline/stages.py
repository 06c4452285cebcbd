"""Each stage of a recipe trained once, in a folder of its own, and measured."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import torch

from facekd.evaluation import protocol
from facekd.evaluation.protocol import Result
from facekd.files import write_text
from facekd.networks.checkpoint import load, save
from facekd.networks.network import LandmarkNet, cost
from facekd.networks.predictor import TorchModel
from facekd.pipeline import finish
from facekd.pipeline.context import Context
from facekd.pipeline.faces import augmenter, training_data, val_faces
from facekd.pipeline.start import initial_network
from facekd.pipeline.teaching import teacher_predictions
from facekd.recipes.resolve import AverageStage, Stage, TrainStage
from facekd.recipes.schema import Evaluation
from facekd.run_folder import CHECKPOINT, SUMMARY, read_summary
from facekd.runtime.detector import YuNet
from facekd.training.loop import fit, validate

_BATCH = 32  # for a look at the validation faces


def train_stage(context: Context, stage: Stage) -> None:
    """Train a stage's network, and first those that it needs, unless they are done.

    Args:
        context: of the run.
        stage: to train.

    Raises:
        InputError: the pack has no training faces.
        RecipeError: a network cannot start from the stage it names, or a teacher has another mark-up.
        ModelError: a backbone or its weights cannot be had.
        TrainingError: a loss is no longer a number.
    """
    path, folder = context.model(stage), context.stage_dir(stage)
    if path.is_file():
        return
    for other in stage.needs:
        train_stage(context, other)
    net, held_out, summary = _averaged(context, stage) if isinstance(stage, AverageStage) else _trained(context, stage)
    # By all processes: what this needs to make, one makes and the others wait for.
    meta = finish.metadata(context, stage)
    if held_out is not None:
        meta = finish.fitted(context, stage, held_out, meta)
    if context.is_global_zero:
        summary["parameters"], summary["macs"] = cost(net)
        write_text(folder / SUMMARY, json.dumps(summary, indent=1))
        save(net, meta, path)
        (folder / CHECKPOINT).unlink(missing_ok=True)
    context.fabric.barrier()


def evaluate_stage(context: Context, stage: Stage, settings: Evaluation) -> list[Result]:
    """Measure a network that is trained on the test set.

    Args:
        context: of the run.
        stage: whose network.
        settings: which boxes cut the faces, and how many resamples are behind each interval.

    Returns:
        A result for each kind of boxes; none for the detector's where their transform is not known.
    """
    model = TorchModel.load(context.model(stage), device=str(context.fabric.device))
    kinds = [kind for kind in settings.boxes if kind == "truth" or model.box_transform]
    return [
        protocol.evaluate(
            model,
            context.pack.select("test"),
            kind,
            YuNet() if kind == "detector" else None,
            model=stage.name,
            bootstrap=settings.bootstrap,
        )
        for kind in kinds
    ]


def _trained(context: Context, stage: TrainStage) -> tuple[LandmarkNet, LandmarkNet | None, dict[str, Any]]:
    """Return a trained network, the same again unless it saw the validation faces, and what training took."""
    torch.manual_seed(stage.seed)
    net = initial_network(context, stage)
    held_out = None if stage.sees_val else net
    if not stage.optimisation.num_epochs:
        return net.to(context.fabric.device).eval(), held_out, {"epochs": 0, "seconds": 0.0}
    data = training_data(context, stage)
    teachers = teacher_predictions(context, stage, data.train)
    net.to(context.fabric.device)
    summary = fit(context.fabric, net, stage, data, context.stage_dir(stage), teachers)
    return net, held_out, summary


def _averaged(context: Context, stage: AverageStage) -> tuple[LandmarkNet, LandmarkNet, dict[str, Any]]:
    """Return the mean of the members, that of those which did not see the validation faces, and what they took."""
    nets = {member: load(context.model(member))[0] for member in stage.members}
    start = []
    if stage.start_weight:
        earlier = load(context.model(stage.start))[0] if stage.start else initial_network(context, stage.members[0])
        start = [(earlier, stage.start_weight)]
    net = _mean([*start, *((one, 1.0) for one in nets.values())]).to(context.fabric.device)
    unseen = [(one, 1.0) for member, one in nets.items() if not member.sees_val]
    held_out = _mean([*start, *unseen]).to(context.fabric.device)
    folders = [context.stage_dir(member) for member in stage.members]
    summaries = [read_summary(folder) for folder in folders]
    seconds = round(sum(summary["seconds"] for summary in summaries), 1)
    summary = {"epochs": max(summary["epochs"] for summary in summaries), "seconds": seconds}
    first = next(member for member in stage.members if not member.sees_val)
    val, plain = val_faces(context, first), augmenter(context, first, varied=False)
    if len(val):
        error = validate(context.fabric, held_out, val, plain, context.pack.markup, _BATCH)
        summary |= {} if math.isnan(error) else {"val_nme": error}
    return net, held_out, summary


def _mean(nets: list[tuple[LandmarkNet, float]]) -> LandmarkNet:
    """Return a network with the weighted mean of the weights of networks; of whole numbers the first's."""
    mean, states = copy.deepcopy(nets[0][0]), [net.state_dict() for net, _ in nets]
    shares = torch.tensor([weight for _, weight in nets], dtype=torch.float64)
    shares = (shares / shares.sum()).float()
    mean.load_state_dict(
        {
            key: torch.stack([share * state[key] for share, state in zip(shares, states, strict=True)]).sum(0)
            if value.is_floating_point()
            else value
            for key, value in states[0].items()
        }
    )
    return mean
