"""Makes confidence keep its word: two numbers, fitted on faces that the network was not trained on.

A network learns its sigmas on faces that it learns by heart meanwhile, and real errors have longer tails than the
Gaussian it assumes; so it is too sure of itself. Source of the remedy: Platt, "Probabilistic outputs for support vector
machines", 1999; and its use for networks in Guo et al., "On calibration of modern neural networks", ICML 2017.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from facekd.networks.network import confidence

_HOLD = 1e-4  # how strongly both numbers are held where they start: with a handful of faces they hardly move


def calibrate(log_sigma: Tensor, distance: Tensor, radius: float) -> tuple[float, float]:
    """Return slope and offset of log-sigma with which `confidence` fits best how many points lie within the radius.

    The best is the largest likelihood of the points' being within it or not; (1, 0) changes nothing.

    log_sigma: (...), as the network says it; distance: (...), how far its points are from the truth; radius: what
        confidence is about; the last two in the same units.
    """
    log_sigma, within = log_sigma.double().flatten(), (distance.flatten() <= radius).double()
    numbers = torch.zeros(2, dtype=torch.float64, requires_grad=True)  # log of the slope, and the offset
    optimiser = torch.optim.LBFGS([numbers], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        sure = confidence(log_sigma, radius, numbers[0].exp(), numbers[1]).clamp(1e-9, 1 - 1e-9)
        value = torch.nn.functional.binary_cross_entropy(sure, within) + _HOLD * numbers.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    log_slope, offset = numbers.tolist()
    return math.exp(log_slope), offset
