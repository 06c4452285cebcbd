"""Random numbers that depend on what they are for, not on when they are drawn.

Each number is a hash of (seed, face, view, draw). So a view of a face is the same in whatever batch, process or resumed
run it comes up, and nothing has to be saved to go on after a break.
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
    """Return (B, draws) float64 in [0, 1) for faces (B,) and views (B,) or one view; a function of these alone."""
    with np.errstate(over="ignore"):
        key = _mix(np.uint64(seed) + _GOLDEN)
        key = _mix(key ^ (np.asarray(faces).astype(np.uint64) + _GOLDEN))
        key = _mix(key ^ (np.asarray(views).astype(np.uint64) * _GOLDEN))
        each = key[:, None] + _GOLDEN * np.arange(1, draws + 1, dtype=np.uint64)
    return (_mix(each) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return the order (count,) in which an epoch visits its faces."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def draw(seed: int, epoch: int, often: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the faces (n,) that an epoch visits, in order, and how many times each was drawn before in it (n,).

    A face is drawn often (n,) times in the mean, which add up to n: rounded up or down by chance.
    Source: systematic sampling (Madow & Madow, 1944), whose counts are never further off than that.
    """
    random, count = np.random.default_rng([seed, epoch]), len(often)
    shuffled = random.permutation(count)
    ends = np.cumsum(often[shuffled])
    ticks = np.arange(count) + random.random()
    drawn = shuffled[np.searchsorted(ends * (count / ends[-1]), ticks, side="right").clip(max=count - 1)]
    new = np.concatenate([[True], drawn[1:] != drawn[:-1]])  # what is drawn twice stands side by side
    again = np.arange(count) - np.maximum.accumulate(np.where(new, np.arange(count), 0))
    order = random.permutation(count)
    return drawn[order], again[order]
