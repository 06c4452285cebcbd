"""What landmark papers report, as pure functions: point errors, normalisers, NME, FR, AUC, CED and bootstrap intervals.

Everything here is a fraction (0.04, not 4 %). One row is one face: points are (n, N, 2), errors (n,). A face that the
detector missed has the error infinity: a failure in FR, AUC and CED, which callers leave out of means. Points that are
missing (NaN) in the truth do not count; a face that lacks one that its normaliser is measured at has no error: NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from facekd.data.mean_shape import whole_boxes
from facekd.errors import InputError
from facekd.markup import MarkUp

NORMALISERS = ("inter_ocular", "inter_pupil", "box_diagonal")  # the first that a mark-up has is its primary one

Statistic = Callable[..., np.ndarray]  # like np.mean: statistic(values (..., n), axis=-1) -> (...)
_DRAWN = 2**18  # values drawn at once for the bootstrap; it bounds the memory, and they fit in the cache


def point_errors(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the Euclidean distance of each predicted point to its true point.

    Args:
        predicted: (n, N, 2), pixels.
        truth: (n, N, 2), pixels; NaN where a point is missing.

    Returns:
        (n, N), pixels; NaN where a point is missing.
    """
    difference = np.asarray(predicted, np.float64) - truth
    return np.hypot(difference[..., 0], difference[..., 1])


def _distance_between(truth: np.ndarray, pair: tuple[tuple[int, ...], tuple[int, ...]]) -> np.ndarray:
    left, right = (np.asarray(truth, np.float64)[..., list(points), :].mean(axis=-2) for points in pair)
    return np.hypot(*np.moveaxis(left - right, -1, 0))


def inter_ocular(truth: np.ndarray, markup: MarkUp) -> np.ndarray:
    """Return the distance between the outer eye corners (300W, WFLW).

    Args:
        truth: (n, N, 2) true points.
        markup: what the points are.

    Returns:
        (n,) in the unit of the points.

    Raises:
        InputError: the mark-up has no outer eye corners.
    """
    if markup.inter_ocular is None:
        raise InputError(f"mark-up '{markup.name}' has no outer eye corners, so it has no inter-ocular distance")
    return _distance_between(truth, markup.inter_ocular)


def inter_pupil(truth: np.ndarray, markup: MarkUp) -> np.ndarray:
    """Return the distance between the eye centres (COFW).

    Args:
        truth: (n, N, 2) true points.
        markup: what the points are.

    Returns:
        (n,) in the unit of the points.

    Raises:
        InputError: the mark-up has no eye centres.
    """
    if markup.inter_pupil is None:
        raise InputError(f"mark-up '{markup.name}' has no eye centres, so it has no inter-pupil distance")
    return _distance_between(truth, markup.inter_pupil)


def box_diagonal(truth: np.ndarray, boxes: np.ndarray | None = None) -> np.ndarray:
    """Return the diagonal of the tight box around the true points, or of the boxes that are given.

    Args:
        truth: (n, N, 2) true points; NaN where one is missing: the box is as if it were where the mean shape has it.
        boxes: (n, 4) of the faces; None: the points' own.

    Returns:
        (n,) in the unit of the points.
    """
    box = np.asarray(whole_boxes(np.asarray(truth, np.float64)) if boxes is None else boxes, np.float64)
    return np.hypot(box[..., 2] - box[..., 0], box[..., 3] - box[..., 1])


def normaliser_names(markup: MarkUp) -> tuple[str, ...]:
    """Return the names of the normalisers that a mark-up allows, the primary one first.

    The primary one is what 300W and WFLW report where the mark-up has it: the inter-ocular distance. Without outer eye
    corners it is the inter-pupil distance, and without eyes the diagonal of the box that faces are cut out by: that of
    the landmarks, or of the face (`MarkUp.crop`).

    Args:
        markup: what the points are.

    Returns:
        Those of `NORMALISERS` that the mark-up allows, in this order.
    """
    has = {"inter_ocular": markup.inter_ocular is not None, "inter_pupil": markup.inter_pupil is not None}
    return tuple(name for name in NORMALISERS if has.get(name, True))


def normaliser(name: str, truth: np.ndarray, markup: MarkUp, boxes: np.ndarray | None = None) -> np.ndarray:
    """Return a normaliser by its name.

    Args:
        name: one of `normaliser_names`.
        truth: (n, N, 2) true points.
        markup: what the points are.
        boxes: (n, 4) that the faces are cut out by; for a mark-up of `crop: face` the box is this one.

    Returns:
        (n,) in the unit of the points.

    Raises:
        InputError: the mark-up has no such normaliser.
    """
    if name == "box_diagonal":
        return box_diagonal(truth, boxes if markup.crop == "face" else None)
    return {"inter_ocular": inter_ocular, "inter_pupil": inter_pupil}[name](truth, markup)


def normalisers(truth: np.ndarray, markup: MarkUp, boxes: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Return every normaliser the mark-up allows.

    Args:
        truth: (n, N, 2) true points.
        markup: what the points are.
        boxes: (n, 4), as for `normaliser`.

    Returns:
        (n,) by name, in the unit of the points; the primary one first.
    """
    return {name: normaliser(name, truth, markup, boxes) for name in normaliser_names(markup)}


def primary_normaliser_name(markup: MarkUp) -> str:
    """Return the name of the normaliser that training, confidence, FR, AUC and CED use; see `normaliser_names`.

    Args:
        markup: what the points are.

    Returns:
        "inter_ocular", "inter_pupil" or "box_diagonal".
    """
    return normaliser_names(markup)[0]


def primary_normaliser(truth: np.ndarray, markup: MarkUp, boxes: np.ndarray | None = None) -> np.ndarray:
    """Return the distance that a mark-up's errors are normalised by, wherever one figure is given.

    Args:
        truth: (n, N, 2) true points.
        markup: what the points are.
        boxes: (n, 4), as for `normaliser`.

    Returns:
        (n,) in the unit of the points.
    """
    return normaliser(primary_normaliser_name(markup), truth, markup, boxes)


def nme(predicted: np.ndarray, truth: np.ndarray, normaliser: np.ndarray) -> np.ndarray:
    """Return each face's normalised mean error, its mean point error / its normaliser; a set's NME is their mean.

    Args:
        predicted: (n, N, 2), pixels.
        truth: (n, N, 2), pixels; NaN where a point is missing: the mean is that of the others.
        normaliser: (n,), pixels; NaN where it is not known.

    Returns:
        (n,) as fractions; NaN where no point is there, or the normaliser is not known.
    """
    return mean_over(point_errors(predicted, truth), ~np.isnan(truth).any(axis=-1)) / normaliser


def mean_over(errors: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean of each face's point errors over some of its points.

    Args:
        errors: (n, N).
        counts: (n, N) bool, which points count.

    Returns:
        (n,); NaN where none does.
    """
    number = counts.sum(axis=-1)
    return np.where(counts, errors, 0.0).sum(axis=-1) / np.where(number, number, np.nan)


def failure_rate(errors: np.ndarray, threshold: float, axis: int = -1) -> np.ndarray:
    """Return the failure rate, the share of faces whose error is above the threshold (FR@threshold).

    Args:
        errors: (..., n) fractions, infinite where a face was missed.
        threshold: a fraction, such as 0.08.
        axis: along which the faces are.

    Returns:
        The errors' other axes, in [0, 1].
    """
    return np.mean(np.asarray(errors) > threshold, axis=axis)


def auc(errors: np.ndarray, threshold: float, axis: int = -1) -> np.ndarray:
    """Return the area under the cumulative error curve up to the threshold, divided by the threshold.

    Exact: the curve is a step of 1/n at each error, so a face adds what of [0, threshold] lies right of its error.

    Args:
        errors: (..., n) fractions, infinite where a face was missed.
        threshold: a fraction, such as 0.08.
        axis: along which the faces are.

    Returns:
        The errors' other axes, in [0, 1].
    """
    return np.mean(np.clip(1.0 - np.asarray(errors) / threshold, 0.0, 1.0), axis=axis)


def ced(errors: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the cumulative error distribution (CED).

    Args:
        errors: (n,) fractions, infinite where a face was missed.
        at: (k,) errors to read the curve at.

    Returns:
        (k,) share of faces with at most each of these errors, in [0, 1].
    """
    return np.searchsorted(np.sort(errors), at, side="right") / len(errors)


def bootstrap_interval(
    values: np.ndarray, statistic: Statistic = np.mean, samples: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a statistic (Efron and Tibshirani, 1993).

    The same seed and n draw the same sets, so figures of one test set are resampled together.

    Args:
        values: (n,), n >= 1.
        statistic: what is computed of each drawn set: statistic(values (..., n), axis=-1) -> (...).
        samples: how many sets of n values are drawn with replacement.
        seed: of the draws.
        level: share of the sets' statistics that the interval holds, the central ones.

    Returns:
        Its low and its high end.
    """
    values = np.asarray(values, np.float64)
    rng, rows, figures = np.random.default_rng(seed), max(1, _DRAWN // len(values)), []
    for start in range(0, samples, rows):
        drawn = rng.integers(len(values), size=(min(rows, samples - start), len(values)), dtype=np.int32)
        figures.append(statistic(values[drawn], axis=-1))
    low, high = np.quantile(np.concatenate(figures), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """The mean difference of two models' errors over the faces that both found.

    Attributes:
        mean: of (first - second), a fraction.
        low: lower end of its bootstrap interval.
        high: upper end.
        count: faces that both found.
    """

    mean: float
    low: float
    high: float
    count: int


def paired_difference(
    first: np.ndarray, second: np.ndarray, samples: int = 1000, seed: int = 0, level: float = 0.95
) -> Difference:
    """Compare two models by their errors (n,) on the same faces in the same order: `first` is better below zero.

    Resamples faces, not models, so what makes a face hard cancels out: the interval is far narrower than the
    models' own.

    Args:
        first: (n,) fractions, infinite where the face was missed.
        second: (n,), likewise.
        samples: resampled sets behind the interval.
        seed: of the resampling.
        level: share of the sets that the interval holds.

    Returns:
        The mean difference with its interval.

    Raises:
        InputError: the two have different lengths, or no face that both found.
    """
    if len(first) != len(second):
        raise InputError(f"cannot pair {len(first)} errors with {len(second)}: evaluate both models on the same faces")
    found = np.isfinite(first) & np.isfinite(second)
    if not found.any():
        raise InputError("cannot compare two models that have no found face in common")
    difference = np.asarray(first, np.float64)[found] - np.asarray(second, np.float64)[found]
    low, high = bootstrap_interval(difference, samples=samples, seed=seed, level=level)
    return Difference(float(difference.mean()), low, high, int(found.sum()))


@dataclass(frozen=True)
class ContourError:
    """A contour's error as fractions of the normaliser.

    Attributes:
        distance: mean distance of its points from the truth.
        outwards: mean shift of its points outwards (+) or inwards (-).
    """

    distance: float
    outwards: float


def contour_errors(
    predicted: np.ndarray, truth: np.ndarray, normaliser: np.ndarray, markup: MarkUp
) -> dict[str, ContourError]:
    """Return the mean error of each contour of the mark-up over all faces, with its sign.

    Outwards is away from the centre of a closed contour (an eye seen too wide, lips too thick) and, for an open one,
    away from the centre of the face (a jaw too low, brows too high).

    Args:
        predicted: (n, N, 2), pixels.
        truth: (n, N, 2), pixels; NaN where a point is missing: it does not count.
        normaliser: (n,), pixels.
        markup: what the points are.

    Returns:
        The errors by the contour's name; none for a contour that is missing from all faces.
    """
    truth = np.asarray(truth, np.float64)
    offset = (predicted - truth) / normaliser[:, None, None]
    faces = _centre(truth)
    errors = {}
    for contour in markup.contours:
        points = list(contour.points)
        centre = _centre(truth[:, points]) if contour.closed else faces
        ray = truth[:, points] - centre
        length = np.linalg.norm(ray, axis=-1, keepdims=True)
        outwards = np.sum(offset[:, points] * ray / np.where(length > 0, length, 1.0), axis=-1)
        distance = np.linalg.norm(offset[:, points], axis=-1)
        if not np.isnan(distance).all():
            errors[contour.name] = ContourError(float(np.nanmean(distance)), float(np.nanmean(outwards)))
    return errors


def _centre(points: np.ndarray) -> np.ndarray:
    """Return the mean (n, 1, 2) of each face's points (n, k, 2) that are there; NaN where none is."""
    there = ~np.isnan(points)
    count = there.sum(axis=1, keepdims=True)
    return np.where(there, points, 0.0).sum(axis=1, keepdims=True) / np.where(count, count, np.nan)
