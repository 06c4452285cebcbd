"""The faces a stage is trained and validated on, decoded, with the landmarks it is to learn."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote

import numpy as np

from facekd.data.pack import Pack
from facekd.errors import InputError
from facekd.evaluation.shapes import modes
from facekd.geometry import apply, centre_and_side, crop_matrix, invert, normalise, tight_box, to_pixels
from facekd.markup import convert, convertible
from facekd.pipeline.boxes import detector_boxes
from facekd.pipeline.context import Context
from facekd.recipes.groups import Input
from facekd.recipes.resolve import SoftLandmarks, TrainStage
from facekd.run_folder import SHAPE_MODEL, SHAPE_PICTURE
from facekd.shape import ShapeModel
from facekd.training.augment import Augmenter
from facekd.training.faces import ConcatenatedFrames, Faces, sampling_weights
from facekd.training.loop import TrainingData

_SPREADS = 2.5  # standard deviations of a detector's boxes, over both sides, that a frame should leave room for
_ROOM = 1.5  # margin of a pack / scale of a frame, with which rotated and shifted views hold few black corners


def augmenter(context: Context, stage: TrainStage, frame: Input | None = None, varied: bool = True) -> Augmenter:
    """Return what makes a stage's views, the same ones at any size.

    Args:
        context: of the run.
        stage: whose views.
        frame: what is seen; None: the stage's own frame.
        varied: False: the plain crop, as in validation.

    Returns:
        The augmenter.
    """
    settings, frame = stage.augment if varied else None, frame or stage.frame
    spread = detector_boxes(context).spread if settings and settings.detector_spread else None
    return Augmenter(settings, frame, context.pack.markup, stage.view_seed, context.fabric.device, spread)


def training_data(context: Context, stage: TrainStage) -> TrainingData:
    """Return all that a stage is trained on.

    Args:
        context: of the run.
        stage: to train.

    Returns:
        Faces for training and validation with the stage's targets, and what makes views of them.

    Raises:
        InputError: the pack has no training faces, none with some point, or does not say which points are occluded
            where the stage is to learn that; or the faces without labels have a mark-up that says too little.
    """
    if stage.learns_visibility and context.pack.visible is None:
        raise InputError(
            f"{context.pack.path} does not say which points are occluded; set {stage.name}.visibility_weight=0 and "
            f"{stage.name}.occluded_weight=1"
        )
    train = training_faces(context, stage, stage.frame)
    val = val_faces(context, stage)
    _check_frame(context, stage)
    if isinstance(stage.targets, SoftLandmarks):
        train, val = _soften(context, stage, train, val)
    if stage.rare_shape_fraction:
        train = replace(train, sampling_weights=sampling_weights(train.points, stage.rare_shape_fraction))
    return TrainingData(
        train, val, augmenter(context, stage), augmenter(context, stage, varied=False), context.pack.markup
    )


def training_faces(context: Context, stage: TrainStage, frame: Input) -> Faces:
    """Return the faces a stage learns from, with their labels; those without come behind, where it uses any.

    Args:
        context: of the run.
        stage: to train.
        frame: for which they are decoded.

    Returns:
        The faces, in an order that is always the same.

    Raises:
        InputError: as `training_data`.
    """
    labelled = labelled_faces(context, stage, frame)
    if context.unlabelled is None or not stage.learns_unlabelled:
        return labelled
    pack, own = context.unlabelled, context.pack.markup
    other = pack.markup
    if own.name != other.name and not convertible(other, own):
        raise InputError(
            f"{pack.path} has points of {other.name}, which cannot say where a face of {own.name} is: "
            "prepare unlabelled faces for that mark-up"
        )
    more = _decoded(context, pack, "train", frame, "unlabelled")
    points = convert(more.points, other, own)
    seen = None if labelled.visible is None else np.ones(points.shape[:2], bool)  # is not looked at
    boxes = more.boxes if own.name == other.name else tight_box(points)
    both = _joined(labelled, Faces(more.frames, points, boxes, visible=seen))
    return replace(both, labelled=np.arange(len(both)) < len(labelled))


def labelled_faces(context: Context, stage: TrainStage, frame: Input, splits: Sequence[str] | None = None) -> Faces:
    """Return the labelled faces of a stage, decoded.

    Args:
        context: of the run.
        stage: that learns from them; faces of the subsets that it leaves out are not among them.
        frame: for which they are decoded.
        splits: ("train",) or ("train", "val"); None: those it learns from.

    Returns:
        The faces.

    Raises:
        InputError: the pack has no training faces, or none with some point.
    """
    pack, splits = context.pack.without(stage.exclude_subsets), splits or stage.train_on
    rows = pack.splits == "train"
    if not rows.any():
        left = f"; {stage.name} leaves out {', '.join(stage.exclude_subsets)}" if stage.exclude_subsets else ""
        raise InputError(f"{pack.path} has no faces to train on (split train{left})")
    nowhere = np.isnan(pack.points[rows]).any(axis=2).all(axis=0)
    if nowhere.any():
        raise InputError(
            f"{pack.path}: point {int(nowhere.argmax())} is missing from all training faces; label it on some, "
            "or take it out of the mark-up"
        )
    suffix = "" if pack is context.pack else f"_without_{quote('_'.join(stage.exclude_subsets), safe='')}"
    train, *val = (_decoded(context, pack, split, frame, split + suffix) for split in sorted(splits))
    return _joined(train, *val) if val else train


def val_faces(context: Context, stage: TrainStage) -> Faces:
    """Return the faces a stage is validated on; there may be none.

    Args:
        context: of the run.
        stage: one that learns from the validation faces is validated on none.

    Returns:
        The faces.
    """
    return _decoded(context, context.pack, None if stage.sees_val else "val", stage.frame)


def shapes(faces: Faces | Pack, frame: Input) -> np.ndarray:
    """Return the shapes of faces in their crops.

    Args:
        faces: n of them.
        frame: of the crop.

    Returns:
        (n, N, 2), normalised; NaN where a point is missing.
    """
    return normalise(apply(crop_matrix(faces.boxes, frame.size, frame.scale), faces.points), frame.size)


def _check_frame(context: Context, stage: TrainStage) -> None:
    """Warn where the face detector's boxes vary so much that many points will lie outside a stage's frame."""
    spread = detector_boxes(context).spread
    needed = 1 + _SPREADS * max(spread[1:]) if spread else 0.0
    if needed > stage.frame.scale + 0.1:
        logging.getLogger(__name__).warning(
            f"a face detector's boxes say where the points of '{context.pack.markup.name}' are to "
            f"{100 * max(spread[1:] if spread else ()):.0f} % of their box; a wider frame would hold them: "
            f"--set input.scale={needed:.1f}"
        )


def check_margin(pack: Pack, frame: Input) -> None:
    """Refuse a frame that reaches beyond what a pack holds of most of its faces, and would be black there.

    Args:
        pack: the faces.
        frame: what a network is to see of them.

    Raises:
        InputError: it does; with the margin that fits.
    """
    centre, side = centre_and_side(pack.boxes)
    edge = np.minimum(centre + 0.5, pack.sizes[:, None] - 0.5 - centre).min(axis=1)
    reach = float(np.median(2 * edge / np.maximum(side, 1e-6)))
    if frame.scale > 1.01 * reach:
        raise InputError(
            f"input.scale {frame.scale:g} is more than {pack.path.name} holds, which is {reach:.2g} times the box of a "
            f"face; prepare it with --margin {_ROOM * frame.scale:.2g}, or lower input.scale"
        )


def _decoded(context: Context, pack: Pack, split: str | None, frame: Input, name: str | None = None) -> Faces:
    """Return the faces of a split, none for None, decoded for networks of a size; name: of the cache's file."""
    # Stored crops reach further than the network's: at this size one frame pixel is about one network pixel. Faces of
    # all packs get the labelled ones' size, so that they fit into one batch.
    meta = context.pack.meta
    px = min(meta["size"], 8 * round(frame.size * meta["margin"] / frame.scale / 8))
    if not (pack.splits == split).any():
        seen = None if pack.visible is None else pack.visible[:0]
        return Faces(np.empty((0, px, px, 3), np.uint8), pack.points[:0], pack.boxes[:0], visible=seen)
    path, view = context.cache / f"{name or split}_{px}.npy", pack.select(split)
    check_margin(view, frame)
    context.once(path, lambda: view.frames(path, px))
    frames, points = view.frames(path, px)
    scale = (px / view.sizes.astype(np.float32))[:, None]
    return Faces(frames, points, (view.boxes + 0.5) * scale - 0.5, visible=view.visible)


def _soften(context: Context, stage: TrainStage, train: Faces, val: Faces) -> tuple[Faces, Faces]:
    """Return the faces with soft-landmarks (paper) in place of the labels; keep the shape model in the stage's folder.

    The shape model is that of the labelled training faces. Points that are no labels stay as they are.
    """
    assert isinstance(stage.targets, SoftLandmarks)
    settings, frame, folder = stage.targets.shape, stage.frame, context.stage_dir(stage)
    known = labelled_faces(context, stage, frame)
    model = ShapeModel.fit(shapes(known, frame), settings.variance, settings.clip, settings.procrustes)
    if context.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        model.save(folder / SHAPE_MODEL)
        modes(model, folder / SHAPE_PICTURE, context.pack.markup)

    def soften(faces: Faces) -> Faces:
        if not len(faces):
            return faces
        back = invert(crop_matrix(faces.boxes, frame.size, frame.scale))
        soft = apply(back, to_pixels(model.soft(shapes(faces, frame)), frame.size)).astype(np.float32)
        if faces.labelled is not None:
            soft = np.where(faces.labelled[:, None, None], soft, faces.points)
        return replace(faces, points=soft)

    return soften(train), soften(val)


def _joined(a: Faces, b: Faces) -> Faces:
    """Return the faces of both, labelled alike."""
    frames = ConcatenatedFrames(*_sources(a.frames), *_sources(b.frames))
    seen = None if a.visible is None or b.visible is None else np.concatenate([a.visible, b.visible])
    return Faces(frames, np.concatenate([a.points, b.points]), np.concatenate([a.boxes, b.boxes]), visible=seen)


def _sources(frames: np.ndarray | ConcatenatedFrames) -> tuple[np.ndarray, ...]:
    return frames.sources if isinstance(frames, ConcatenatedFrames) else (frames,)
