"""How well a network tells which points are occluded."""

from __future__ import annotations

from typing import Any

import numpy as np


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Return the average precision (AP): the mean precision over all positives, each taken at its own score.

    Precision at a score is the share of positives among all with that score or a higher one. It is the area under the
    precision-recall curve's steps, without interpolation, as scikit-learn's `average_precision_score` has it.

    Args:
        scores: (k,) the higher, the surer that it is a positive one.
        positive: (k,) bool, the truth.

    Returns:
        A fraction; that of the positives is what scores without any knowledge reach. None if none or all are positive.
    """
    if positive.all() or not positive.any():
        return None
    order = np.argsort(-scores, kind="stable")
    hits, ranked = np.cumsum(positive[order]), scores[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # of those with one score
    precision = hits[last] / (last + 1)
    return float((precision * np.diff(hits[last], prepend=0)).sum() / hits[-1])


def visibility_figures(
    predicted: np.ndarray | None, visible: np.ndarray | None, there: np.ndarray
) -> dict[str, Any] | None:
    """Return the figures of predicted visibility, an occluded point being what is to be found.

    Args:
        predicted: (n, N) probability that a point is visible; NaN where a face was missed. None: not predicted.
        visible: (n, N) bool, the labels; None: not known.
        there: (n, N) bool, which points are labelled; of a missing one nobody knows whether it is visible.

    Returns:
        points: how many count; share_occluded, ap_occluded: in percent, the latter None where none or all are occluded.
        None if there is nothing to compare.
    """
    if predicted is None or visible is None:
        return None
    counts = there & ~np.isnan(predicted)
    occluded = ~visible[counts]
    precision = average_precision(1 - predicted[counts].astype(np.float64), occluded)
    return {
        "points": int(counts.sum()),
        "share_occluded": round(100 * float(occluded.mean()), 4) if len(occluded) else None,
        "ap_occluded": None if precision is None else round(100 * precision, 4),
    }
