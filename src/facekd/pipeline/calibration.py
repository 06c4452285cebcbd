"""Calibration of confidence: two numbers, fitted on faces that the network was not trained on.

A network learns log-sigma on faces that it overfits, and real errors have longer tails than the Gaussian it assumes, so
that its confidence is too high. Source: Platt, "Probabilistic outputs for support vector machines", 1999; for networks
Guo et al., "On calibration of modern neural networks", ICML 2017.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from facekd.networks.network import confidence

_DECAY = 1e-4  # weight of the squares of both numbers: with a handful of faces they hardly move from 0


def calibrate(log_sigma: Tensor, distance: Tensor, radius: float) -> tuple[float, float]:
    """Fit slope and offset of log-sigma, so that confidence matches how often landmarks lie within a radius.

    They maximise the likelihood of each landmark's lying within the radius or not.

    Args:
        log_sigma: any shape, as the network predicts it.
        distance: same shape, from the predicted landmark to the label; NaN where that is missing: it does not count.
        radius: the confidence radius, in the unit of `distance`.

    Returns:
        Slope, above 0, and offset; (1, 0) changes nothing.
    """
    there = ~distance.isnan()
    log_sigma, within = log_sigma[there].double(), (distance[there] <= radius).double()
    numbers = torch.zeros(2, dtype=torch.float64, requires_grad=True)  # log of the slope, and the offset
    optimiser = torch.optim.LBFGS([numbers], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        predicted = confidence(log_sigma, radius, numbers[0].exp(), numbers[1]).clamp(1e-9, 1 - 1e-9)
        value = torch.nn.functional.binary_cross_entropy(predicted, within) + _DECAY * numbers.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    log_slope, offset = numbers.tolist()
    return math.exp(log_slope), offset
