"""What is fitted once a network is trained: calibration, shape prior and box transform, for its file to carry."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from facekd.errors import InputError
from facekd.evaluation.metrics import primary_normaliser, primary_normaliser_name
from facekd.geometry import apply, crop_faces, crop_matrix, frame_box, invert, normalise, to_pixels
from facekd.networks.checkpoint import ModelMetadata
from facekd.networks.network import LandmarkNet, Prediction
from facekd.networks.predictor import TorchModel
from facekd.pipeline.boxes import detector_boxes
from facekd.pipeline.calibration import calibrate
from facekd.pipeline.context import Context
from facekd.pipeline.face_calibration import FACES, LabelledCrops, fit_face_calibration
from facekd.pipeline.faces import augmenter, labelled_faces, shapes, val_faces
from facekd.pipeline.shape_prior import MIN_FACES, fit_shape_prior
from facekd.recipes.groups import Input
from facekd.recipes.resolve import AverageStage, Stage, TrainStage
from facekd.shape import ShapeModel
from facekd.training.faces import Faces
from facekd.training.loop import TELLING, face_errors

_SHAPE_VIEWS = 8  # of each training face: what a shape prior knows of shapes
_RADIUS = 0.05  # of the primary normaliser: within it a point counts as right
_CONFIDENCE_VIEWS = 3  # of each validation face
_BATCH = 32


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
        box_transform=detector_boxes(context).transform,
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
        The same with shape prior and both calibrations, as far as there are enough validation faces for each.
    """
    faces = int((context.pack.splits == "val").sum())
    _say_too_few(context, stage, net.architecture.sigma, faces)
    if not faces or not (stage.shape_prior or net.architecture.sigma):
        return meta
    _say_seen(context, stage)
    predictions, truth = _on_validation_faces(context, net, meta)
    if stage.shape_prior:
        trained, size = _trained(stage), net.architecture.size
        known = _view_shapes(context, trained)
        error = partial(face_errors, markup=context.pack.markup, size=size, scale=meta.scale)
        landmarks, log_sigma = predictions.landmarks, predictions.log_sigma
        prior = fit_shape_prior(known, landmarks, log_sigma, truth, context.mirror, error)
        meta = replace(meta, shape_prior=prior)
    if predictions.log_sigma is not None and faces >= TELLING:
        distance = (meta.landmarks(predictions) - truth).norm(dim=-1)
        meta = replace(meta, calibration=calibrate(predictions.log_sigma, distance, meta.confidence_radius))
        model, views = TorchModel(net, meta, str(context.fabric.device)), _views_of_validation_faces(context, stage)
        meta = replace(meta, face_calibration=fit_face_calibration(model, context.pack.select("val"), views))
    return meta


def _say_too_few(context: Context, stage: Stage, sigma: bool, faces: int) -> None:
    """Say what there are too few validation faces for, of what a stage is to have fitted on them."""
    wanted = (
        (stage.shape_prior, MIN_FACES, "a shape prior: landmarks stay as the network gives them"),
        (sigma, TELLING, "its confidence: that stays as the network gives it, most often too high"),
    )
    for is_wanted, needed, what in wanted:
        if is_wanted and faces < needed and context.is_global_zero:
            text = f"{stage.name}: {faces} validation faces, and {needed} are needed to fit {what}"
            logging.getLogger(__name__).warning(text)


def _say_seen(context: Context, stage: Stage) -> None:
    """Say that a network has learned the faces that it is measured on, and that confidence and shape prior are for."""
    if stage.val_seen_before and context.is_global_zero:
        logging.getLogger(__name__).warning(
            f"{stage.name} comes from {stage.val_seen_before.name}, which has learned the validation faces: its "
            "validation error flatters it, and what is fitted on those faces (confidence, shape prior) is too sure"
        )


def _trained(stage: Stage) -> TrainStage:
    """Return the stage whose views a network was trained on; of an average the first member's."""
    return stage.members[0] if isinstance(stage, AverageStage) else stage


def _views_of_validation_faces(context: Context, stage: Stage) -> LabelledCrops:
    """Return validation faces as varied as a network's training faces were; of many a selection."""
    members = stage.members if isinstance(stage, AverageStage) else (stage,)
    seeing = next(member for member in members if not member.sees_val)
    faces, views = val_faces(context, seeing), augmenter(context, seeing)
    rows = np.linspace(0, len(faces) - 1, min(len(faces), FACES)).astype(int)
    images, points = [], []
    for view in range(_CONFIDENCE_VIEWS):
        for some in np.array_split(rows, -(-len(rows) // _BATCH)):
            frames = torch.from_numpy(np.asarray(faces.frames[some]))
            seen = views(frames, faces.points[some], faces.boxes[some], some, view)
            images.append((seen.images * 255).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy())
            points.append(to_pixels(seen.landmarks, seeing.frame.size).cpu().numpy())
    return LabelledCrops(np.concatenate(images), np.concatenate(points))


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
    train, views = labelled_faces(context, stage, stage.frame, ("train",)), augmenter(context, stage)
    points, rows = torch.from_numpy(_completed(train, stage.frame)), np.arange(len(train))
    return torch.cat([views.warp_points(points, train.boxes, rows, view).cpu() for view in range(_SHAPE_VIEWS)])


def _completed(faces: Faces, frame: Input) -> np.ndarray:
    """Return the points (n, N, 2) of faces, missing ones where a shape model expects them."""
    if not np.isnan(faces.points).any():
        return faces.points
    known = shapes(faces, frame)
    back = invert(crop_matrix(faces.boxes, frame.size, frame.scale))
    filled = apply(back, to_pixels(ShapeModel.fit(known).filled(known), frame.size))
    return np.where(np.isnan(faces.points), filled, faces.points).astype(np.float32)


def _confidence_radius(context: Context, stage: TrainStage, frame: Input) -> float:
    """Return 5 % of the mean of the mark-up's primary normaliser over the training faces that have it, normalised."""
    used = np.flatnonzero(np.isin(context.pack.splits, stage.train_on))
    known = shapes(context.pack.select(indices=used).annotated(), frame)
    box = normalise(frame_box(frame.size, frame.scale).reshape(2, 2), frame.size).ravel()
    distance = primary_normaliser(known, context.pack.markup, np.broadcast_to(box, (len(known), 4)))
    if np.isnan(distance).all():
        raise InputError(
            f"{context.pack.path}: on each training face a point is missing that errors are normalised by "
            f"({primary_normaliser_name(context.pack.markup)}); label those points on some faces"
        )
    return float(_RADIUS * np.nanmean(distance))
