"""A trained network's weights as the start of one for other points: transfer learning."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from facekd.networks.heads import CoordinateHead, SpatialHead
from facekd.networks.network import LandmarkNet

_SAME = 0.05  # of the frame: a point that follows another within this is started as that one
_NEAR = 0.12  # of the frame: points so near to a labelled one may count for it, too; their heatmaps overlap
_ERROR = 0.01  # of the frame: what a network's points are off by, each on its own
_STEPS = 100


def transfer(net: LandmarkNet, source: LandmarkNet, weights: Tensor, shift: Tensor) -> None:
    """Start a network with another's weights: backbone and pyramid as they are, its points' as they correspond.

    Args:
        net: of the same backbone, head, stride and standardise; changed in place.
        source: the trained network.
        weights: (N, M) each of the N points as a mean of the source's M points; a row of zeros: it corresponds to none
            and keeps the start it has.
        shift: (N, 2), normalised: where points lie, seen from that mean.
    """
    net.backbone.load_state_dict(source.backbone.state_dict())
    known = weights.sum(dim=1) > 0
    own, other = net.head, source.head
    with torch.no_grad():
        if isinstance(own, SpatialHead) and isinstance(other, SpatialHead):
            own.lateral.load_state_dict(other.lateral.state_dict())
            own.smooth.load_state_dict(other.smooth.state_dict())
            kinds = min(own.kinds, other.kinds)
            for mine, theirs in ((own.out.weight, other.out.weight), (own.out.bias, other.out.bias)):
                assert mine is not None and theirs is not None
                rows = mine.view(own.kinds, own.points, -1)
                mean = torch.einsum("nm,kmc->knc", weights, theirs.view(other.kinds, other.points, -1))
                rows[:kinds, known] = mean[:kinds, known]
            assert own.out.bias is not None
            offsets = own.out.bias.view(own.kinds, own.points)[1:3]
            offsets[:, known] += shift[known].T / own.cell
        elif isinstance(own, CoordinateHead) and isinstance(other, CoordinateHead):
            for mine, theirs in ((own.linear.weight, other.linear.weight), (own.linear.bias, other.linear.bias)):
                n, m = own.points, other.points
                rows, values = mine.view(len(mine), -1), theirs.view(len(theirs), -1)
                mean = torch.einsum("nm,mkc->nkc", weights, values[: 2 * m].view(m, 2, -1))
                rows[: 2 * n].view(n, 2, -1)[known] = mean[known]
                if own.sigma and other.sigma:
                    rows[2 * n :][known] = (weights @ values[2 * m :])[known]
            own.linear.bias[: 2 * own.points].view(-1, 2)[known] += shift[known]


def correspondence(predicted: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find, for each labelled point, the points of a trained network that move with it.

    The point whose distance from the labelled one varies least over the faces says whether there are any. Of the points
    near it the weighted mean that follows the labels best is taken: the mean of heatmaps that overlap has its peak at
    the mean of theirs.

    Args:
        predicted: (n, M, 2) the network's points of n faces, normalised.
        labels: (n, N, 2), normalised; NaN where a point is missing.

    Returns:
        Weights (N, M), each row adding up to 1, or to 0 where even the first varies by more than 5 % of the frame; and
        the mean distances (N, 2).
    """
    weights = np.zeros((labels.shape[1], predicted.shape[1]), np.float32)
    shift = np.zeros((labels.shape[1], 2), np.float32)
    for j in range(labels.shape[1]):
        there = np.isfinite(labels[:, j]).all(axis=-1)
        if not there.any():
            continue
        apart = predicted[there] - labels[there, j, None]
        mean = apart.mean(axis=0)
        spread = np.sqrt(np.square(apart - mean).sum(axis=-1).mean(axis=0))
        # Of points that move alike the nearest: with few faces chance would decide.
        i = int(np.argmin(spread + 0.2 * np.linalg.norm(mean, axis=-1)))
        if spread[i] < _SAME:
            near = np.flatnonzero((np.linalg.norm(mean, axis=-1) < _NEAR) & (spread < _SAME))
            near = np.union1d(near, [i])
            weights[j, near] = _mean_weights(apart[:, near], int(np.searchsorted(near, i)))
            shift[j] = -weights[j] @ mean
    return weights, shift


def _mean_weights(apart: np.ndarray, first: int) -> np.ndarray:
    """Return the weights (k,) of points, none below 0 and adding up to 1, whose mean lies nearest to where it should.

    They are found by the Frank-Wolfe algorithm with exact steps, which begins with one point and adds others.

    Args:
        apart: (n, k, 2) where the points lie on n faces, seen from there.
        first: the point to begin with.
    """
    flat = np.moveaxis(apart, 1, 0).reshape(apart.shape[1], -1)
    products = flat @ flat.T / len(apart)
    products[np.diag_indices(len(flat))] += _ERROR**2  # each point has an error of its own: many are better than one
    weights = np.zeros(len(flat))
    weights[first] = 1
    for _ in range(_STEPS):
        slope = products @ weights
        towards = -weights
        towards[int(np.argmin(slope))] += 1
        curvature = towards @ products @ towards
        if curvature <= 0 or slope @ towards >= 0:
            break
        weights = weights + min(1.0, -(slope @ towards) / curvature) * towards
    return weights
