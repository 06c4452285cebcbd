"""Decoded faces in memory: what a training run draws its batches from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from facekd.shape import distances


@dataclass(frozen=True)
class Faces:
    """Decoded faces to train on.

    Attributes:
        frames: (n, P, P, 3) uint8 RGB, in memory or memory-mapped.
        points: (n, N, 2) float32, frame pixels: the network's targets; NaN where one is missing.
        boxes: (n, 4), frame pixels: x0, y0, x1, y1 of the tight landmark box that the crop is cut by.
        labelled: (n,) bool; the points of the other faces locate the face and are no targets. None: all are labelled.
        sampling_weights: (n,) the mean number of times each is drawn per epoch; None: each once.
        visible: (n, N) bool, False where a point is occluded or missing; None: not known.
    """

    frames: np.ndarray | ConcatenatedFrames
    points: np.ndarray
    boxes: np.ndarray
    labelled: np.ndarray | None = None
    sampling_weights: np.ndarray | None = None
    visible: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.points)


class ConcatenatedFrames:
    """Frames of several sources as one, without copying them together: memory maps stay memory maps.

    Args:
        sources: (n_i, P, P, 3) each.
    """

    def __init__(self, *sources: np.ndarray) -> None:
        self.sources = sources
        self.starts = np.cumsum([0, *(len(source) for source in sources)])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Return the frames (B, P, P, 3) at rows (B,), which count through one source after the other."""
        frames = np.empty((len(rows), *self.sources[0].shape[1:]), self.sources[0].dtype)
        for source, start in zip(self.sources, self.starts, strict=False):
            own = (rows >= start) & (rows < start + len(source))
            frames[own] = source[rows[own] - start]
        return frames


def sampling_weights(points: np.ndarray, rare_shape_fraction: float) -> np.ndarray:
    """Return the mean number of times each face is drawn per epoch, so that rare shapes are drawn more often.

    The fraction `rare_shape_fraction` of the draws is shared out in proportion to the squared distance of a face's
    shape from the mean shape: most of it goes to turned heads and wide mouths, which are few and have large errors.
    The rest is shared out evenly. After the pose-based data balancing of Feng et al., "Wing Loss", CVPR 2018, where
    faces are duplicated by a histogram instead.

    Args:
        points: (n, N, 2) landmarks, each face in any frame: position, scale and rotation do not count. NaN where one is
            missing; a face with too few to tell its shape is drawn as one of the usual distance.
        rare_shape_fraction: in [0, 1]; 0: all faces alike.

    Returns:
        (n,) weights of mean 1.
    """
    far = np.square(distances(points))
    told = np.isfinite(far)
    far = np.where(told, far, far[told].mean() if told.any() else 0.0)
    if far.mean() < 1e-12:  # all are of one shape
        return np.ones(len(points))
    return 1 - rare_shape_fraction + rare_shape_fraction * far / far.mean()


class Batch(NamedTuple):
    """The faces of one step.

    Attributes:
        frames: (B, P, P, 3) uint8, as in `Faces`.
        points: (B, N, 2), as in `Faces`.
        boxes: (B, 4), as in `Faces`.
        faces: (B,) their numbers in `Faces`.
        view: (B,) which view of each.
        labelled: (B,) bool, or None: all are.
        visible: (B, N) bool, as in `Faces`, or None.
    """

    frames: Tensor
    points: np.ndarray
    boxes: np.ndarray
    faces: np.ndarray
    view: np.ndarray
    labelled: np.ndarray | None
    visible: np.ndarray | None = None
