"""A trained network's weights as the start of one for other points: transfer learning."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from facekd.networks.heads import CoordinateHead, SpatialHead
from facekd.networks.network import LandmarkNet

_SAME = 0.05  # of the frame: a point that follows another within this is started as that one


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
    """Find, for each labelled point, the point of a trained network that moves with it.

    Args:
        predicted: (n, M, 2) the network's points of n faces, normalised.
        labels: (n, N, 2), normalised; NaN where a point is missing.

    Returns:
        Weights (N, M), a one for the point whose distance from the labelled one varies least over the faces, and none
        where even that varies by more than 5 % of the frame; and the mean distances (N, 2).
    """
    weights = np.zeros((labels.shape[1], predicted.shape[1]), np.float32)
    shift = np.zeros((labels.shape[1], 2), np.float32)
    for j in range(labels.shape[1]):
        there = np.isfinite(labels[:, j]).all(axis=-1)
        if not there.any():
            continue
        apart = labels[there, j, None] - predicted[there]
        mean = apart.mean(axis=0)
        spread = np.sqrt(np.square(apart - mean).sum(axis=-1).mean(axis=0))
        # Of points that move alike the nearest: with few faces chance would decide.
        i = int(np.argmin(spread + 0.2 * np.linalg.norm(mean, axis=-1)))
        if spread[i] < _SAME:
            weights[j, i], shift[j] = 1, mean[i]
    return weights, shift
