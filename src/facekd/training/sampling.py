"""Counter-based random numbers for views, and the order in which an epoch visits its faces.

Each number is a hash of (seed, face, view, draw), so that a view of a face is the same in every batch, process and
resumed run, and a checkpoint needs no random state.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# SplitMix64's constants: Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def _mix(x: Any) -> Any:
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * _MIX_1
        x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


def uniform(seed: int, faces: np.ndarray, views: np.ndarray | int, draws: int) -> np.ndarray:
    """Return uniform random numbers that are a function of the arguments alone.

    Args:
        seed: 0 or more.
        faces: (B,) integers that identify the faces.
        views: (B,) integers, or one for all: which view of each face.
        draws: how many numbers per view.

    Returns:
        (B, draws) float64 in [0, 1).
    """
    with np.errstate(over="ignore"):
        key = _mix(np.uint64(seed) + _GOLDEN)
        key = _mix(key ^ (np.asarray(faces).astype(np.uint64) + _GOLDEN))
        key = _mix(key ^ (np.asarray(views).astype(np.uint64) * _GOLDEN))
        each = key[:, None] + _GOLDEN * np.arange(1, draws + 1, dtype=np.uint64)
    return (_mix(each) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return the order in which an epoch visits its faces, each once.

    Args:
        seed: of the run.
        epoch: from 0.
        count: the number of faces.

    Returns:
        (count,) face numbers.
    """
    return np.random.default_rng([seed, epoch]).permutation(count)


def weighted_order(seed: int, epoch: int, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the order in which an epoch visits faces that are drawn with weights.

    Source: systematic sampling (Madow & Madow, 1944): a face is drawn as many times as its weight says, rounded up or
    down at random.

    Args:
        seed: of the run.
        epoch: from 0.
        weights: (n,) mean number of draws of each face; they add up to n.

    Returns:
        (n,) face numbers; and (n,) how many times each was drawn before in this epoch.
    """
    random, count = np.random.default_rng([seed, epoch]), len(weights)
    shuffled = random.permutation(count)
    ends = np.cumsum(weights[shuffled])
    ticks = np.arange(count) + random.random()
    drawn = shuffled[np.searchsorted(ends * (count / ends[-1]), ticks, side="right").clip(max=count - 1)]
    new = np.concatenate([[True], drawn[1:] != drawn[:-1]])  # repeated draws of a face are neighbours
    repeats = np.arange(count) - np.maximum.accumulate(np.where(new, np.arange(count), 0))
    order = random.permutation(count)
    return drawn[order], repeats[order]
