"""How a model meets a test set: which box cuts each face, which faces and points count, which figures come out.

Boxes: "truth" cuts each face by the tight box of its true landmarks, as most papers do. "detector" cuts it by what a
face detector finds, mapped by the model's own box transform, as a user would. A face that the detector misses counts as
a failure in FR, AUC and CED, is left out of NME, and is counted in "missed". As for a user, a face whose box was off is
cut once more, by the landmarks that were found.

Points whose label is missing do not count. A face that lacks a point that the primary normaliser is measured at has no
error: it is left out of all figures, and counted in "left_out".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from facekd.data.pack import Pack
from facekd.errors import InputError, ModelError, nearest
from facekd.evaluation import metrics
from facekd.evaluation.visibility import visibility_figures
from facekd.geometry import crop_faces, iou, square
from facekd.markup import convert, convertible
from facekd.runtime.detector import Detector, holding
from facekd.runtime.model import Predictor
from facekd.runtime.output import NetworkOutput
from facekd.runtime.recrop import recrop

BOXES = ("truth", "detector")
THRESHOLDS = (0.08, 0.10)  # FR and AUC of the 300W and the WFLW leaderboards

FindBox = Callable[[int, np.ndarray], "np.ndarray | None"]  # row and stored crop -> box in it, None if not found


@dataclass(frozen=True, eq=False)
class Result:
    """A model's figures on a set of faces, and what they were computed from.

    Attributes:
        model: name to show.
        boxes: "truth" or "detector".
        normaliser: the one that FR, AUC, CED and `errors` use; every normaliser has its NME.
        converted_from: the model's own mark-up, where its points were converted to the pack's; else None.
        subsets: figures in percent by subset, "full" first; the keys are those of `summarise`.
        occlusion: the NME in percent over "visible" and over "occluded" points; None if the pack does not tell them.
        errors: (n,) NME of each face as a fraction; infinite where the face was missed.
        predicted: (n, N, 2) points in pixels of the stored crops; NaN where the face was missed.
        confidence: (n, N) in [0, 1], or None if the model has none for the pack's mark-up.
        pack: the faces that are measured.
        visible: (n, N) probability that each point is visible, or None if the model has none for the pack's mark-up.
        visibility: how well it tells the occluded points, as `visibility_figures`; None without it, or without labels.
        left_out: how many faces have no error, as points are missing that the normaliser is measured at.
    """

    model: str
    boxes: str
    normaliser: str
    converted_from: str | None
    subsets: dict[str, dict[str, Any]]
    occlusion: dict[str, dict[str, Any]] | None
    errors: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray | None
    pack: Pack
    visible: np.ndarray | None = None
    visibility: dict[str, Any] | None = None
    left_out: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the figures in percent as plain values without NaN.

        Returns:
            What `json.dump` writes and `evaluation.tables` shows: names, boxes, normaliser, subsets, occlusion,
            visibility and left_out.
        """
        return {
            "model": self.model,
            "dataset": self.pack.meta["dataset"] if "train" in self.pack.splits else self.pack.evaluation_dataset,
            "split": "+".join(sorted(set(self.pack.splits.tolist()))),
            "markup": self.pack.markup.name,
            "converted_from": self.converted_from,
            "boxes": self.boxes,
            "normaliser": self.normaliser,
            "subsets": self.subsets,
            "occlusion": self.occlusion,
            "visibility": self.visibility,
            "left_out": self.left_out,
        }


def evaluate(
    predictor: Predictor,
    pack: Pack,
    boxes: str = "truth",
    detector: Detector | None = None,
    *,
    model: str = "model",
    batch: int = 64,
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Result:
    """Run a model over every face of a pack and return its figures.

    Args:
        predictor: the model. If its mark-up is not the pack's, its points are converted (98 -> 68 -> 5).
        pack: the faces, already selected (`pack.select("test")`).
        boxes: "truth" or "detector".
        detector: finds faces in the stored crops; needed for boxes="detector".
        model: name to show.
        batch: faces per call of the predictor.
        bootstrap: resampled test sets behind each 95 % interval.
        seed: of the resampling.
        progress: called after each batch with the number of its faces.

    Returns:
        The figures, and the errors and points that they were computed from.

    Raises:
        InputError: no faces, none whose normaliser is known, an unknown `boxes`, a missing detector, mark-ups that
            cannot be converted, or true points that leave a normaliser zero.
        ModelError: the model has no box transform for the detector, or gives points of another shape or NaN.
    """
    _check(predictor, pack, model)
    pack = pack.readable()
    primary, given = metrics.primary_normaliser_name(pack.markup), len(pack)
    pack, normalisers = _measured(pack)
    find = _finder(predictor, pack, boxes, detector, model)
    output = _predict(predictor, pack, find, boxes == "detector", model, batch, progress)
    predicted, there = output.points, ~np.isnan(pack.points).any(axis=2)
    missed = np.isnan(predicted[:, 0, 0])
    points = metrics.point_errors(predicted, pack.points)
    mean = metrics.mean_over(points, there)
    errors = {name: np.where(missed, np.inf, mean / value) for name, value in normalisers.items()}
    same = predictor.markup.name == pack.markup.name
    return Result(
        model=model,
        boxes=boxes,
        normaliser=primary,
        converted_from=None if same else predictor.markup.name,
        subsets=_subsets(pack, errors, bootstrap, seed),
        occlusion=_occlusion(pack, points / normalisers[primary][:, None], ~missed, bootstrap, seed),
        errors=errors[primary],
        predicted=predicted,
        confidence=output.confidence,
        pack=pack,
        visible=output.visible,
        visibility=visibility_figures(output.visible, pack.visible, there),
        left_out=given - len(pack),
    )


def summarise(errors: dict[str, np.ndarray], bootstrap: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Return the figures of a set of faces in percent, each with its 95 % interval under `<key>_interval`.

    Args:
        errors: by normaliser, the primary one, for FR and AUC, first: (n,) fractions, infinite where missed. Of the
            others NaN where the normaliser of a face is not known.
        bootstrap: resampled sets behind each interval.
        seed: of the resampling.

    Returns:
        count, missed, nme_inter_ocular, nme_inter_pupil, nme_box_diagonal, fr_8, auc_8, fr_10, auc_10; a figure is None
        where the mark-up has no such normaliser or no face was found.
    """
    first = next(iter(errors.values()))
    figure = partial(_percent, bootstrap=bootstrap, seed=seed)
    figures: dict[str, Any] = {"count": len(first), "missed": int(np.isinf(first).sum())}
    for name in metrics.NORMALISERS:
        values = errors.get(name, np.empty(0))
        figures |= figure(f"nme_{name}", values[np.isfinite(values)], np.mean)
    for threshold in THRESHOLDS:
        percent = round(100 * threshold)
        figures |= figure(f"fr_{percent}", first, partial(metrics.failure_rate, threshold=threshold))
        figures |= figure(f"auc_{percent}", first, partial(metrics.auc, threshold=threshold))
    return figures


def _check(predictor: Predictor, pack: Pack, model: str) -> None:
    """Raise InputError where a model's points cannot be compared with a pack's."""
    if not len(pack):
        raise InputError(f"{pack.path.name} has no faces to evaluate on")
    same = predictor.markup.name == pack.markup.name
    if predictor.markup.count != pack.markup.count if same else not convertible(predictor.markup, pack.markup):
        raise InputError(
            f"model '{model}' gives {predictor.markup.count} points ({predictor.markup.name}), {pack.path.name} has "
            f"{pack.markup.count} ({pack.markup.name}): evaluate it on a pack of its own mark-up"
        )


def _measured(pack: Pack) -> tuple[Pack, dict[str, np.ndarray]]:
    """Return the faces whose primary normaliser is known, and all normalisers of theirs.

    Raises:
        InputError: one is zero, or no face is left.
    """
    normalisers = metrics.normalisers(pack.points, pack.markup, pack.boxes)
    for name, value in normalisers.items():
        if (value <= 0).any():
            face = pack.names[int(np.nanargmin(value))]
            raise InputError(f"{face}: its true points make the normaliser {name} zero; fix the label")
    primary = metrics.primary_normaliser_name(pack.markup)
    known = np.flatnonzero(~np.isnan(normalisers[primary]))
    if not len(known):
        raise InputError(
            f"{pack.path.name}: on each of the {len(pack)} faces a point is missing that errors are normalised by "
            f"({primary}), so nothing can be measured; label those points"
        )
    if len(known) < len(pack):
        pack, normalisers = pack.select(indices=known), {name: value[known] for name, value in normalisers.items()}
    return pack, normalisers


def _subsets(pack: Pack, errors: dict[str, np.ndarray], bootstrap: int, seed: int) -> dict[str, dict[str, Any]]:
    """Return the figures of all faces ("full") and of each subset that the pack names."""
    subsets = {"full": summarise(errors, bootstrap, seed)}
    for subset in dict.fromkeys(name for names in pack.subsets for name in names if name != "full"):
        rows = np.array([subset in names for names in pack.subsets])
        subsets[subset] = summarise({name: values[rows] for name, values in errors.items()}, bootstrap, seed)
    return subsets


def _occlusion(
    pack: Pack, errors: np.ndarray, found: np.ndarray, bootstrap: int, seed: int
) -> dict[str, dict[str, Any]] | None:
    """Return the NME of visible and of occluded points, from normalised point errors (n, N) of the found faces (n,)."""
    if pack.visible is None:
        return None
    visible, name = pack.visible[found], metrics.primary_normaliser_name(pack.markup)
    masks = {"visible": visible, "occluded": ~visible & ~np.isnan(pack.points[found]).any(axis=2)}
    return {kind: _over_points(errors[found], mask, name, bootstrap, seed) for kind, mask in masks.items()}


def _percent(
    name: str, values: np.ndarray, statistic: metrics.Statistic, bootstrap: int, seed: int
) -> dict[str, float | list[float] | None]:
    """Return a statistic and its interval: the one place where fractions become percent."""
    if not len(values):
        return {name: None, f"{name}_interval": None}
    interval = metrics.bootstrap_interval(values, statistic, bootstrap, seed)
    return {
        name: round(100 * float(statistic(values, axis=-1)), 4),
        f"{name}_interval": [round(100 * end, 4) for end in interval],
    }


def _over_points(errors: np.ndarray, mask: np.ndarray, normaliser: str, bootstrap: int, seed: int) -> dict[str, Any]:
    """Return the NME over the masked points of each face (n, N), averaged over the faces that have any."""
    has = mask.any(axis=1)
    per_face = metrics.mean_over(errors[has], mask[has])
    return {"count": int(has.sum()), "points": int(mask.sum())} | _percent(
        f"nme_{normaliser}", per_face, np.mean, bootstrap, seed
    )


def _finder(predictor: Predictor, pack: Pack, boxes: str, detector: Detector | None, model: str) -> FindBox:
    """Return the function that gives each face its box under the chosen protocol."""
    if boxes not in BOXES:
        raise InputError(f"unknown boxes '{boxes}'; {nearest(boxes, BOXES)}")
    if boxes == "truth":
        return lambda row, _: pack.boxes[row]
    if detector is None:
        raise InputError("boxes='detector' needs a detector: pass facekd.YuNet() or your own")
    transform = predictor.box_transform
    if transform is None:
        raise ModelError(f"model '{model}' has no transform for detector boxes: evaluate it with boxes='truth'")

    def find(row: int, image: np.ndarray) -> np.ndarray | None:
        detected, _ = detector.detect(image)
        candidates = transform.apply(detected[holding(detected, pack.boxes[row])])
        if not len(candidates):
            return None
        return candidates[int(np.argmax(iou(candidates, square(pack.boxes[row]))))]

    return find


def _predict(
    predictor: Predictor,
    pack: Pack,
    find: FindBox,
    detected: bool,
    model: str,
    batch: int,
    progress: Callable[[int], object] | None,
) -> NetworkOutput:
    """Return what a model gives in stored-crop pixels, NaN where no box was found; `detected` ones may be off."""
    predicted = np.full(pack.points.shape, np.nan)
    confidences, seen = np.full((2, *pack.points.shape[:2]), np.nan)
    same, start = predictor.markup.name == pack.markup.name, 0
    for images in pack.images(batch):
        boxes = {row: box for row, image in enumerate(images, start) if (box := find(row, image)) is not None}
        if boxes:
            rows = list(boxes)
            cut = [crop_faces(images[row - start], box, predictor.size, predictor.scale) for row, box in boxes.items()]
            output = NetworkOutput(*predictor(np.concatenate([crops.images for crops in cut])))
            _check_points(output.points, predictor, pack.names[rows], model)
            photos = [images[row - start] if detected else None for row in rows]
            cut, output = recrop(predictor, photos, cut, output)
            _check_points(output.points, predictor, pack.names[rows], model)
            points = convert(output.points, predictor.markup, pack.markup)
            predicted[rows] = [crops.to_photo(own[None])[0] for crops, own in zip(cut, points, strict=True)]
            for all_faces, some in ((confidences, output.confidence), (seen, output.visible)):
                if some is not None and same:
                    all_faces[rows] = some
        start += len(images)
        if progress:
            progress(len(images))
    known = (None if np.isnan(values).all() else values for values in (confidences, seen))
    return NetworkOutput(predicted, *known)


def _check_points(points: np.ndarray, predictor: Predictor, names: np.ndarray, model: str) -> None:
    """Raise ModelError, with the face's name, where a model's points are not (n, N, 2) finite numbers."""
    markup = predictor.markup
    if points.shape != (len(names), markup.count, 2):
        raise ModelError(f"model '{model}' gave points {points.shape} for {len(names)} faces of {markup.name}")
    wrong = ~np.isfinite(points).all(axis=(1, 2))
    if wrong.any():
        raise ModelError(f"model '{model}' gave points that are not numbers for {names[wrong][0]}")
