"""A stage's teachers, asked as it says: online, once per fixed view, or once per face."""

from __future__ import annotations

import hashlib
import json
from functools import partial

import numpy as np
import torch

from facekd.errors import RecipeError
from facekd.networks.checkpoint import load
from facekd.networks.network import LandmarkNet
from facekd.pipeline.context import Context
from facekd.pipeline.faces import augmenter, training_faces
from facekd.recipes.resolve import TeacherStage, TrainStage
from facekd.runtime.card import sha256
from facekd.training.augment import Augmenter
from facekd.training.faces import Faces
from facekd.training.loop import TeacherPredictions
from facekd.training.teachers import (
    CachedTeachers,
    OnlineTeachers,
    WarpedTeachers,
    predict_landmarks,
    predict_moments,
    store_predictions,
)


def teacher_predictions(context: Context, stage: TrainStage, train: Faces) -> TeacherPredictions | None:
    """Return what a stage's teachers predict for its views.

    Args:
        context: of the run; the teachers are trained.
        stage: the student.
        train: the faces it learns from.

    Returns:
        A function of a batch; None for a stage without teachers.

    Raises:
        RecipeError: a teacher has another mark-up.
    """
    if not stage.teachers:
        return None
    by_key = {teacher.term.key: teacher for teacher in stage.teachers}
    nets = {key: _frozen(context, teacher) for key, teacher in by_key.items()}
    mirror = context.mirror if stage.mirror_teachers else None
    functions = {
        key: predict_landmarks(net) if key.form == "landmarks" else predict_moments(net, mirror)
        for key, net in nets.items()
    }
    if not stage.views and not stage.warp_predictions:
        return OnlineTeachers(functions, context.fabric)
    stored = {}
    for key, function in functions.items():
        frame = context.frame(stage, nets[key].architecture.size)  # a teacher sees the same view at its own size
        seen, eye = training_faces(context, stage, frame), augmenter(context, stage, frame, not stage.warp_predictions)
        views = 1 if stage.warp_predictions else stage.views
        digest = _cache_key(context, by_key[key], key.form, stage, eye)
        path = context.cache / f"{key.name}_{'plain' if stage.warp_predictions else views}_{digest}.npy"
        context.once(path, partial(store_predictions, function, seen, eye, views, path, context.fabric, key.name))
        stored[key] = np.load(path, mmap_mode="r")
    if stage.warp_predictions:
        return WarpedTeachers({key: known[0] for key, known in stored.items()}, train, augmenter(context, stage))
    return CachedTeachers(stored, context.fabric.device)


def _frozen(context: Context, teacher: TeacherStage) -> LandmarkNet:
    net, meta = load(context.model(teacher.stage))
    if meta.markup != context.pack.markup:
        raise RecipeError(
            f"the teacher {teacher.stage.name} has the mark-up {meta.markup.name}, the faces "
            f"{context.pack.markup.name}; train it on this pack, in another folder"
        )
    net = net.requires_grad_(False).to(context.fabric.device)
    return net.to(memory_format=torch.channels_last)


def _cache_key(context: Context, teacher: TeacherStage, form: str, stage: TrainStage, eye: Augmenter) -> str:
    """Return a digest of all that decides a teacher's predictions: who it is, the faces, and what it sees of them."""
    unlabelled = context.unlabelled if stage.learns_unlabelled else None
    made_of = {
        "teacher": sha256(context.model(teacher.stage)),
        "form": form,
        "mirror": form == "moments" and stage.mirror_teachers,
        "pack": context.pack.meta["sha256"],
        "unlabelled": unlabelled and unlabelled.meta["sha256"],
        "train_on": stage.train_on,
        "exclude_subsets": sorted(stage.exclude_subsets),
        "frame": eye.frame.model_dump(),
        "views": eye.settings and [eye.settings.model_dump(), eye.seed, eye.spread],
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:10]
