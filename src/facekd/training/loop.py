"""The training loop, for teachers and students alike.

All randomness is a function of (seed, step), so a checkpoint is weights, optimiser and a step number, and a run that
was killed ends with the weights of one that was not.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from facekd.errors import TrainingError
from facekd.evaluation import metrics
from facekd.geometry import frame_box, to_pixels
from facekd.losses.objective import Objective, TeacherKey
from facekd.markup import MarkUp
from facekd.networks.depthwise import accelerate
from facekd.networks.network import LandmarkNet, Prediction
from facekd.recipes.resolve import TrainStage
from facekd.run_folder import CHECKPOINT, is_begun
from facekd.training import checkpoint
from facekd.training.augment import Augmenter
from facekd.training.distributed import global_batch_size, labelled_weight, sync_batch_norm
from facekd.training.ema import ExponentialMovingAverage
from facekd.training.faces import Batch, Faces
from facekd.training.logger import TrainingLogger
from facekd.training.optim import build_optimiser, learning_rate
from facekd.training.sampling import permutation, weighted_order

_LOGGER = logging.getLogger(__name__)
_SAVE_EVERY = 20  # seconds, at least, between two checkpoints
TELLING = 10  # validation faces, below which their error says too little of what is the best epoch
_REPEATED = 1 << 20  # beyond the number of any epoch


# The teachers' predictions for views (B, 3, S, S), which are views (B,) of faces (B,): `facekd.training.teachers`.
TeacherPredictions = Callable[[Tensor, np.ndarray, np.ndarray], dict[TeacherKey, Tensor]]


@dataclass(frozen=True)
class TrainingData:
    """What a network is trained on.

    Attributes:
        train: the faces it learns from.
        val: the faces it is validated on after each epoch; there may be none.
        augmenter: makes the views for training.
        plain: makes the crops for validation.
        markup: what the points are.
    """

    train: Faces
    val: Faces
    augmenter: Augmenter
    plain: Augmenter
    markup: MarkUp


def batches(data: Faces, batch: int, seed: int, start: int, views: int, fabric: Fabric) -> Iterator[Batch]:
    """Yield this process's share of each step's batch, from a step on, for ever.

    Every epoch is a new order of all faces, or a new draw of as many, less what does not fill a batch.

    Args:
        data: the faces.
        batch: faces per step, over all processes; what they cannot share evenly is left out.
        seed: of the order.
        start: the first step, 0 or more.
        views: how many fixed views there are, which epochs take in turn; 0: each epoch has views of its own.
        fabric: its processes share a batch.

    Yields:
        One batch per step.

    Raises:
        TrainingError: there are more processes than faces in a batch.
    """
    batch = global_batch_size(batch, len(data), fabric)
    share = batch // fabric.world_size
    per_epoch = len(data) // batch
    order, again, current, step = np.empty(0, int), np.empty(0, int), -1, start
    while True:
        epoch, k = divmod(step, per_epoch)
        if epoch != current:
            if data.sampling_weights is None:
                order, again = permutation(seed, epoch, len(data)), np.zeros(len(data), int)
            else:
                order, again = weighted_order(seed, epoch, data.sampling_weights)
            current = epoch
        here = slice(k * batch + fabric.global_rank * share, k * batch + (fabric.global_rank + 1) * share)
        rows = order[here]
        frames = torch.from_numpy(data.frames[rows])
        # A face that comes twice is seen as no epoch will see it.
        view = epoch + _REPEATED * again[here] if not views else (epoch + again[here]) % views
        labelled = None if data.labelled is None else data.labelled[rows]
        visible = None if data.visible is None else data.visible[rows]
        yield Batch(frames, data.points[rows], data.boxes[rows], rows, view, labelled, visible)
        step += 1


def fit(
    fabric: Fabric,
    net: LandmarkNet,
    stage: TrainStage,
    data: TrainingData,
    folder: Path,
    teachers: TeacherPredictions | None = None,
) -> dict[str, Any]:
    """Train a network in place, ending with the averaged weights; go on from the folder's checkpoint if there is one.

    The loop is longer than other functions, so that it is read in one sitting.

    Args:
        fabric: launched; device, precision and processes are its.
        net: starts with its weights.
        stage: how it is trained.
        data: what it is trained on.
        folder: the stage's; checkpoint.pt, log.jsonl and tensorboard/ go there.
        teachers: their predictions for the views of a batch, for stages that have any.

    Returns:
        epochs, seconds, images_per_second and the last record's values.

    Raises:
        TrainingError: the loss or landmarks are not numbers, or there are more processes than faces in a batch.
    """
    settings, seed, train = stage.optimisation, stage.seed, data.train
    torch.manual_seed(seed)
    terms_of = [teacher.term for teacher in stage.teachers]
    weights = stage.nll_weight, stage.heatmap_weight
    objective = Objective(stage.loss.build(), *weights, terms_of, stage.visibility_weight, stage.occluded_weight)
    optimiser = build_optimiser(settings, sync_batch_norm(accelerate(net), fabric))
    # Fabric's wrapped module for training; `net` itself for state, so that names stay the same with and without DDP.
    model, optimiser = fabric.setup(net.to(memory_format=torch.channels_last), optimiser)
    average = ExponentialMovingAverage(net, settings.ema)
    shared = global_batch_size(settings.batch, len(train), fabric)
    if fabric.global_rank == 0 and shared < min(settings.batch, len(train)):
        _LOGGER.warning("%s: %d processes share a batch of %d", stage.name, fabric.world_size, shared)
    per_epoch = len(train) // shared
    steps, last = settings.epochs * per_epoch, settings.num_epochs * per_epoch
    # Errors of faces that lack the points they are normalised by are not known.
    val, measured = data.val, 0
    if len(val):
        measured = int(np.isfinite(metrics.primary_normaliser(val.points, data.markup, val.boxes)).sum())
    best = Best(settings.patience if measured >= TELLING else 0)
    start = checkpoint.resume(folder / CHECKPOINT, fabric.device, net, average, optimiser, best)
    source = batches(train, settings.batch, seed, start, stage.views, fabric)
    first, saved = fabric.global_rank == 0, time.monotonic()
    with TrainingLogger(folder, stage.name, last, start, quiet=not first) as logger:
        sums: dict[str, Tensor] = {}
        for step in range(start, last):
            batch = next(source)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(settings, step, steps)
            torch.manual_seed(hash((seed, step, fabric.global_rank)) % 2**63)  # for dropout
            net.train()
            images, target, visible = data.augmenter(
                batch.frames, batch.points, batch.boxes, batch.faces, batch.view, batch.visible
            )
            predictions = teachers(images, batch.faces, batch.view) if teachers else None
            labelled = weight = None
            if batch.labelled is not None:
                labelled = torch.from_numpy(batch.labelled).to(images.device)
                weight = labelled_weight(labelled, fabric)
            terms = objective(model(images), target, predictions, labelled, weight, visible)
            optimiser.zero_grad()
            fabric.backward(terms["total"])
            if settings.clip_grad:
                fabric.clip_gradients(model, optimiser, max_norm=settings.clip_grad, error_if_nonfinite=False)
            optimiser.step()
            average.update(net, step)
            sums = {key: sums.get(key, 0) + value.detach() for key, value in terms.items()}
            logger.step(len(images) * fabric.world_size)
            if (step + 1) % per_epoch:
                continue
            epoch = (step + 1) // per_epoch
            means = {key: _mean(fabric, value) / per_epoch for key, value in sums.items()}
            sums = {}
            finite = math.isfinite(means["total"])
            with average.applied_to(net):
                if finite and first and measured:
                    means["val_nme"] = validate(fabric, net, data.val, data.plain, data.markup, settings.batch)
                    means |= {"val_faces": measured} if measured < len(data.val) else {}
                    finite = math.isfinite(means["val_nme"])
                elif finite and step + 1 == last:  # the loss does not know of this step's weights
                    finite = _gives_numbers(fabric, net, images)
            if not finite:
                raise _diverged(stage, folder, means["total"], epoch)
            logger.epoch(step=step + 1, epoch=epoch, **means, lr=learning_rate(settings, step, steps))
            over = fabric.broadcast(best.offer(epoch, means["val_nme"], average.state) if "val_nme" in means else False)
            if first and (time.monotonic() - saved > _SAVE_EVERY or step + 1 == last or over):
                checkpoint.save(folder / CHECKPOINT, step + 1, net, average, optimiser, best)
                saved = time.monotonic()
            fabric.barrier()
            if over:
                break
    net.load_state_dict(fabric.broadcast(best.state or average.state))
    net.eval()
    record = logger.records[-1] if logger.records else {}
    record |= best.record()
    return record | {"epochs": record.get("epoch", settings.num_epochs), "seconds": round(logger.seconds, 1)}


@torch.no_grad()
def _gives_numbers(fabric: Fabric, net: LandmarkNet, images: Tensor) -> bool:
    """Return whether a network's landmarks of a batch are finite."""
    with fabric.autocast():
        prediction: Prediction = net.eval()(images)
    return bool(prediction.landmarks.isfinite().all())


def _diverged(stage: TrainStage, folder: Path, loss: float, epoch: int) -> TrainingError:
    """Return the error of a stage whose loss or landmarks are no longer numbers."""
    what = "landmarks are no longer numbers" if math.isfinite(loss) else f"the loss is {loss}"
    anew = f" and begin in another folder, for {folder} holds earlier epochs" if is_begun(folder) else ""
    return TrainingError(
        f"{stage.name}: {what} in epoch {epoch}; lower {stage.name}.lr (now {stage.optimisation.lr:g}){anew}"
    )


@dataclass
class Best:
    """The weights that were best on the validation faces, and when to stop waiting for better ones.

    Attributes:
        patience: epochs without a lower error after which training is over; 0: nothing is kept.
        epoch: the best one, from 1; 0: none yet.
        val_nme: its error in percent.
        state: its averaged weights.
    """

    patience: int
    epoch: int = 0
    val_nme: float = math.inf
    state: dict[str, Tensor] | None = None

    def offer(self, epoch: int, val_nme: float, state: dict[str, Tensor]) -> bool:
        """Keep an epoch's weights if they are the best.

        Args:
            epoch: from 1.
            val_nme: the error on the validation faces in percent.
            state: the averaged weights.

        Returns:
            Whether training is over.
        """
        if not self.patience:
            return False
        if val_nme < self.val_nme:
            self.epoch, self.val_nme = epoch, val_nme
            self.state = {key: value.clone() for key, value in state.items()}
        return epoch - self.epoch >= self.patience

    def record(self) -> dict[str, Any]:
        """Say for the summary which epoch's weights are kept.

        Returns:
            val_nme and best_epoch; nothing if it is the last epoch's.
        """
        return {"val_nme": self.val_nme, "best_epoch": self.epoch} if self.state else {}


def validate(fabric: Fabric, net: LandmarkNet, val: Faces, plain: Augmenter, markup: MarkUp, batch: int) -> float:
    """Measure a network on validation faces.

    Args:
        fabric: its device and precision are used.
        net: is left in evaluation mode.
        val: at least one face.
        plain: makes the crops.
        markup: for the normaliser.
        batch: faces per call of the network.

    Returns:
        The NME in percent, by the mark-up's primary normaliser (`facekd.evaluation.metrics`), over the faces whose
        normaliser is known; NaN if there is none.
    """
    net.eval()
    landmarks, truth = predict(fabric, net, val, plain, batch)
    return 100 * float(face_errors(landmarks, truth, markup, plain.frame.size, plain.frame.scale).nanmean())


def face_errors(landmarks: Tensor, truth: Tensor, markup: MarkUp, size: int, scale: float = 1.0) -> Tensor:
    """Return the error of each face by the mark-up's primary normaliser.

    Args:
        landmarks: (n, N, 2), normalised.
        truth: (n, N, 2), normalised; NaN where a point is missing.
        markup: what the points are.
        size: side of the frame in pixels.
        scale: side of the frame / side of the box that the faces are cut out by, which lies in its middle.

    Returns:
        (n,) fractions over the points that are there; NaN for a face whose normaliser is not known.
    """
    points, right = (to_pixels(values, size).numpy() for values in (landmarks, truth))
    boxes = np.broadcast_to(frame_box(size, scale), (len(right), 4))
    return torch.from_numpy(metrics.nme(points, right, metrics.primary_normaliser(right, markup, boxes)))


@torch.no_grad()
def predict(fabric: Fabric, net: LandmarkNet, faces: Faces, plain: Augmenter, batch: int) -> tuple[Tensor, Tensor]:
    """Return a network's landmarks of faces, and their labels.

    Args:
        fabric: its device and precision are used.
        net: in evaluation mode.
        faces: at least one.
        plain: makes their crops.
        batch: faces per call of the network.

    Returns:
        Landmarks and labels, both (n, N, 2), normalised, float32 on the CPU; labels are NaN where a point is missing.
    """
    landmarks, labels = [], []
    for start in range(0, len(faces), batch):
        rows = np.arange(start, min(start + batch, len(faces)))
        views = plain(torch.from_numpy(faces.frames[rows]), faces.points[rows], faces.boxes[rows], rows)
        with fabric.autocast():
            prediction = net(views.images)
        landmarks.append(prediction.landmarks.float().cpu())
        labels.append(views.landmarks.cpu())
    return torch.cat(landmarks), torch.cat(labels)


def _mean(fabric: Fabric, value: Tensor) -> float:
    """Return the mean of a scalar over all processes."""
    mean = fabric.all_reduce(value, reduce_op="mean")
    assert isinstance(mean, Tensor)
    return float(mean)
