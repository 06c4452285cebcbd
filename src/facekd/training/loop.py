"""The training loop, for teachers and students alike.

All randomness is a function of (seed, step), so a checkpoint is weights, optimiser and a step number, and a run that
was killed ends with the weights of one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from facekd.errors import TrainingError
from facekd.evaluation import metrics
from facekd.files import atomic
from facekd.geometry import to_pixels
from facekd.losses.objective import Objective
from facekd.markup import MarkUp
from facekd.networks.depthwise import accelerate
from facekd.networks.network import LandmarkNet
from facekd.recipes.schema import Stage
from facekd.training.augment import Augmenter
from facekd.training.distributed import labelled_weight, share_batch_norm, share_of
from facekd.training.ema import ExponentialMovingAverage
from facekd.training.faces import Batch, Faces
from facekd.training.logger import Journal
from facekd.training.optim import build_optimiser, learning_rate
from facekd.training.sampling import draw, permutation

CHECKPOINT = "checkpoint.pt"
_SAVE_EVERY = 20  # seconds, at least, between two checkpoints
_REPEATED = 1 << 20  # beyond the number of any epoch


# What each teacher says, by name, of views (B, 3, S, S), which are views (B,) of faces (B,).
Guidance = Callable[[Tensor, np.ndarray, np.ndarray], dict[str, Tensor]]


def batches(data: Faces, batch: int, seed: int, start: int, views: int | None, fabric: Fabric) -> Iterator[Batch]:
    """Yield this process's share of each step's batch, from step `start` on, for ever.

    Every epoch is a new order of all faces, or a new draw of as many, less what does not fill a batch. views: how many
    fixed views there are, which epochs take in turn; None: each epoch has views of its own.
    """
    batch = min(batch, len(data))
    share = share_of(batch, fabric)
    per_epoch = len(data) // batch
    order, again, current, step = np.empty(0, int), np.empty(0, int), -1, start
    while True:
        epoch, k = divmod(step, per_epoch)
        if epoch != current:
            if data.sampling_weights is None:
                order, again = permutation(seed, epoch, len(data)), np.zeros(len(data), int)
            else:
                order, again = draw(seed, epoch, data.sampling_weights)
            current = epoch
        here = slice(k * batch + fabric.global_rank * share, k * batch + (fabric.global_rank + 1) * share)
        rows = order[here]
        frames = torch.from_numpy(data.frames[rows])
        # A face that comes twice is seen as no epoch will see it.
        view = epoch + _REPEATED * again[here] if views is None else (epoch + again[here]) % views
        labelled = None if data.labelled is None else data.labelled[rows]
        yield Batch(frames, data.points[rows], data.boxes[rows], rows, view, labelled)
        step += 1


def fit(
    fabric: Fabric,
    net: LandmarkNet,
    stage: Stage,
    train: Faces,
    val: Faces,
    augmenter: Augmenter,
    plain: Augmenter,
    markup: MarkUp,
    folder: Path,
    guidance: Guidance | None = None,
    views: int | None = None,
    *,
    title: str,
    seed: int,
) -> dict[str, Any]:
    """Train `net` in place, ending with the averaged weights; go on from the folder's checkpoint if there is one.

    Args:
        fabric: launched; device, precision and processes are its.
        net: starts the stage with its weights.
        stage: loss, schedule and so on.
        train, val: faces; val is only looked at.
        augmenter, plain: make the views for training and for validation.
        markup: for the normaliser of the validation error.
        folder: the network's; checkpoint.pt, log.jsonl and tensorboard/ go there.
        guidance: the teachers' landmarks of a batch, for losses that want them.
        views: how many fixed views there are; None: endless.
        title: the network's name, for messages.
        seed: of the faces' order and of dropout; the views are the augmenter's.
    Returns:
        epochs, seconds, images_per_second and the last record's values.
    Raises:
        TrainingError: the loss is not a number, or the batch does not divide among the processes.
    """
    torch.manual_seed(seed)
    objective = Objective(stage)
    optimiser = build_optimiser(stage, share_batch_norm(accelerate(net), fabric))
    # Fabric's wrapped module for training; `net` itself for state, so that names stay the same with and without DDP.
    model, optimiser = fabric.setup(net.to(memory_format=torch.channels_last), optimiser)
    average = ExponentialMovingAverage(net, stage.ema)
    per_epoch = max(1, len(train) // min(stage.batch, len(train)))
    steps, last = stage.epochs * per_epoch, stage.length * per_epoch
    start = _resume(folder / CHECKPOINT, fabric, net, average, optimiser)
    source = batches(train, stage.batch, seed, start, views, fabric)
    first, saved = fabric.global_rank == 0, time.monotonic()
    with Journal(folder, title, last, start, quiet=not first) as journal:
        sums: dict[str, Tensor] = {}
        for step in range(start, last):
            batch = next(source)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(stage, step, steps)
            torch.manual_seed(hash((seed, step, fabric.global_rank)) % 2**63)  # for dropout
            net.train()
            images, target = augmenter(batch.frames, batch.points, batch.boxes, batch.faces, batch.view)
            teachers = guidance(images, batch.faces, batch.view) if guidance else {}
            if batch.labelled is not None:
                labelled = torch.from_numpy(batch.labelled).to(images.device)
                teachers |= {"labelled": labelled, "weight": labelled_weight(labelled, fabric)}
            terms = objective(model(images), target, **teachers)
            optimiser.zero_grad()
            fabric.backward(terms["total"])
            if stage.clip:
                fabric.clip_gradients(model, optimiser, max_norm=stage.clip, error_if_nonfinite=False)
            optimiser.step()
            average.update(net, step)
            sums = {key: sums.get(key, 0) + value.detach() for key, value in terms.items()}
            journal.step(len(images) * fabric.world_size)
            if (step + 1) % per_epoch:
                continue
            epoch = (step + 1) // per_epoch
            means = {key: _mean(fabric, value) / per_epoch for key, value in sums.items()}
            sums = {}
            if not math.isfinite(means["total"]):
                raise TrainingError(
                    f"{title}: the loss is {means['total']} in epoch {epoch}; the last good state is kept in "
                    f"{folder}, lower {title}.lr (now {stage.lr:g}) and start the run anew in another folder"
                )
            if first and len(val):
                with average.in_place_of(net):
                    means["val_nme"] = validate(fabric, net, val, plain, markup, stage.batch)
            journal.epoch(step=step + 1, epoch=epoch, **means, lr=learning_rate(stage, step, steps))
            if first and (time.monotonic() - saved > _SAVE_EVERY or step + 1 == last):
                _save(folder / CHECKPOINT, step + 1, net, average, optimiser)
                saved = time.monotonic()
            fabric.barrier()
    net.load_state_dict(average.state)
    net.eval()
    record = journal.records[-1] if journal.records else {}
    return record | {"epochs": stage.length, "seconds": round(journal.seconds, 1)}


def validate(fabric: Fabric, net: LandmarkNet, val: Faces, plain: Augmenter, markup: MarkUp, batch: int) -> float:
    """Return the NME on `val` in percent of the mark-up's primary normaliser (`metrics.primary_normaliser_name`)."""
    net.eval()
    landmarks, _, wanted = predict(fabric, net, val, plain, batch)
    return 100 * float(face_errors(landmarks, wanted, markup, plain.frame.size).mean())


def face_errors(landmarks: Tensor, truth: Tensor, markup: MarkUp, size: int) -> Tensor:
    """Return the NME (n,), by the mark-up's primary normaliser, of normalised landmarks (n, N, 2), as a fraction."""
    points, right = (to_pixels(values, size).numpy() for values in (landmarks, truth))
    return torch.from_numpy(metrics.nme(points, right, metrics.primary_normaliser(right, markup)))


@torch.no_grad()
def predict(
    fabric: Fabric, net: LandmarkNet, faces: Faces, plain: Augmenter, batch: int
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return what a network says of faces, and the truth: landmarks (n, N, 2), log-sigma (n, N) or None, and labels.

    All are normalised and on the CPU; the network is to be in evaluation mode, and there is at least one face.
    """
    landmarks, log_sigma, wanted = [], [], []
    for start in range(0, len(faces), batch):
        rows = np.arange(start, min(start + batch, len(faces)))
        views = plain(torch.from_numpy(faces.frames[rows]), faces.points[rows], faces.boxes[rows], rows)
        with fabric.autocast():
            prediction = net(views.images)
        landmarks.append(prediction.landmarks.float().cpu())
        wanted.append(views.landmarks.cpu())
        if prediction.log_sigma is not None:
            log_sigma.append(prediction.log_sigma.float().cpu())
    return torch.cat(landmarks), torch.cat(log_sigma) if log_sigma else None, torch.cat(wanted)


def _mean(fabric: Fabric, value: Tensor) -> float:
    """Return the mean of a scalar over all processes."""
    mean = fabric.all_reduce(value, reduce_op="mean")
    assert isinstance(mean, Tensor)
    return float(mean)


def _save(path: Path, step: int, net: nn.Module, average: ExponentialMovingAverage, optimiser: Any) -> None:
    state = {"step": step, "net": net.state_dict(), "average": average.state, "optimiser": optimiser.state_dict()}
    with atomic(path) as temporary:
        torch.save(state, temporary)


def _resume(path: Path, fabric: Fabric, net: nn.Module, average: ExponentialMovingAverage, optimiser: Any) -> int:
    """Load a checkpoint if there is one, and return the step to go on from."""
    if not path.is_file():
        return 0
    state = torch.load(path, map_location=fabric.device, weights_only=True)
    net.load_state_dict(state["net"])
    average.state = state["average"]
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])
