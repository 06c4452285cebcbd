"""What is fitted once a network is trained: calibration, shape prior and box transform, for its file to carry."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from facekd.documents import Fields, read_json
from facekd.evaluation.metrics import primary_normaliser
from facekd.files import write_text
from facekd.geometry import BoxTransform, apply, crop_faces, normalise
from facekd.networks.checkpoint import ModelMetadata
from facekd.networks.network import LandmarkNet, Prediction
from facekd.networks.predictor import TorchModel
from facekd.pipeline.boxes import fit_box_transform
from facekd.pipeline.calibration import calibrate
from facekd.pipeline.context import Context
from facekd.pipeline.face_calibration import fit_face_calibration
from facekd.pipeline.faces import augmenter, labelled_faces, shapes
from facekd.pipeline.shape_prior import fit_shape_prior
from facekd.recipes.groups import Input
from facekd.recipes.resolve import AverageStage, Stage, TrainStage
from facekd.run_folder import BOX_TRANSFORM
from facekd.training.loop import face_errors

_SHAPE_VIEWS = 8  # of each training face: what a shape prior knows of shapes
_RADIUS = 0.05  # of the primary normaliser: within it a point counts as right
_BATCH = 32
_ADVICE = "delete it, and it is fitted again"


def metadata(context: Context, stage: Stage) -> ModelMetadata:
    """Return what is saved with a network before anything is fitted to its predictions.

    Args:
        context: of the run.
        stage: whose network it is.

    Returns:
        Mark-up, crop, box transform, confidence radius, data and recipe.
    """
    packs = [context.pack]
    if context.unlabelled and stage.learns_unlabelled:
        packs.append(context.unlabelled)
    return ModelMetadata(
        markup=context.pack.markup,
        scale=stage.frame.scale,
        box_transform=_box_transform(context),
        confidence_radius=_confidence_radius(context, _trained(stage), stage.frame),
        data=[{"name": pack.meta["dataset"], "terms": pack.meta["terms"]} for pack in packs],
        recipe={"stage": stage.name, **context.recipe},
    )


def fitted(context: Context, stage: Stage, net: LandmarkNet, meta: ModelMetadata) -> ModelMetadata:
    """Return what is saved with a network, its shape prior and calibration fitted on the validation faces.

    They are cut and predicted as the runtime does: of training's frames the last tenth of a pixel may be another.

    Args:
        context: of the run.
        stage: whose network it is.
        net: trained without the validation faces.
        meta: as `metadata` returns it.

    Returns:
        The same with shape prior and both calibrations; as it was without validation faces.
    """
    if not (context.pack.splits == "val").any() or not (stage.shape_prior or net.architecture.sigma):
        return meta
    predictions, truth = _on_validation_faces(context, net, meta)
    if stage.shape_prior:
        trained, size = _trained(stage), net.architecture.size
        known = _view_shapes(context, trained)
        error = partial(face_errors, markup=context.pack.markup, size=size)
        landmarks, log_sigma = predictions.landmarks, predictions.log_sigma
        prior = fit_shape_prior(known, landmarks, log_sigma, truth, context.mirror, error)
        meta = replace(meta, shape_prior=prior)
    if predictions.log_sigma is not None:
        distance = (meta.landmarks(predictions) - truth).norm(dim=-1)
        meta = replace(meta, calibration=calibrate(predictions.log_sigma, distance, meta.confidence_radius))
        model = TorchModel(net, meta, str(context.fabric.device))
        meta = replace(meta, face_calibration=fit_face_calibration(model, context.pack.select("val")))
    return meta


def _trained(stage: Stage) -> TrainStage:
    """Return the stage whose views a network was trained on; of an average the first member's."""
    return stage.members[0] if isinstance(stage, AverageStage) else stage


def _on_validation_faces(context: Context, net: LandmarkNet, meta: ModelMetadata) -> tuple[Prediction, torch.Tensor]:
    """Return a network's predictions for the validation faces, and their labels (n, N, 2), normalised."""
    faces, size = context.pack.select("val"), net.architecture.size
    crops = [crop_faces(faces.image(row), box, size, meta.scale) for row, box in enumerate(faces.boxes)]
    points = apply(np.concatenate([crop.matrices for crop in crops]), faces.points.astype(np.float64))
    truth = normalise(torch.from_numpy(points).float(), size)
    frames = np.concatenate([crop.images for crop in crops])
    model = TorchModel(net, meta, str(context.fabric.device))
    parts = [model.predict_raw(frames[i : i + _BATCH]) for i in range(0, len(frames), _BATCH)]
    landmarks = torch.cat([part.landmarks.cpu() for part in parts])
    sigmas = [part.log_sigma.cpu() for part in parts if part.log_sigma is not None]
    return Prediction(landmarks, torch.cat(sigmas) if sigmas else None), truth


def _view_shapes(context: Context, stage: TrainStage) -> torch.Tensor:
    """Return the shapes (m, N, 2) of views of the training faces, normalised."""
    train, views = labelled_faces(context, stage.frame, ("train",)), augmenter(context, stage)
    points, rows = torch.from_numpy(train.points), np.arange(len(train))
    return torch.cat([views.warp_points(points, train.boxes, rows, view).cpu() for view in range(_SHAPE_VIEWS)])


def _confidence_radius(context: Context, stage: TrainStage, frame: Input) -> float:
    """Return 5 % of the mean of the mark-up's primary normaliser over the training faces, normalised."""
    known = shapes(labelled_faces(context, frame, stage.train_on), frame)
    return float(_RADIUS * primary_normaliser(known, context.pack.markup).mean())


def _box_transform(context: Context) -> BoxTransform | None:
    """Return how the face detector's boxes become tight landmark boxes, fitted once and kept in the folder."""
    path = context.folder / BOX_TRANSFORM

    def fit() -> None:
        if not path.is_file():
            record = fit_box_transform(context.pack.select("train"))
            write_text(path, json.dumps(record, indent=1))

    context.once(path, fit)
    where = f"box transform {path}"
    record = Fields(read_json(path, "box transform", advice=_ADVICE), where, advice=_ADVICE)
    transform = record.group("transform", None)
    return BoxTransform.from_dict(transform.values, where) if transform else None
