"""The loss that teaches a network how uncertain each of its landmarks is."""

from __future__ import annotations

import torch
from torch import Tensor

from facekd.losses.base import mean_of_labelled

_LOG_SIGMA = (-7.0, 0.0)  # 0.1 % of the frame to all of it: outside, the likelihood's gradient explodes


def gaussian_nll(landmarks: Tensor, log_sigma: Tensor, target: Tensor) -> Tensor:
    """Return the negative log-likelihood of the errors under an isotropic Gaussian per landmark, less a constant.

    Only log-sigma learns from it: no gradient flows into the landmarks, whose own loss is the recipe's.

    Args:
        landmarks: (B, N, 2), normalised.
        log_sigma: (B, N), log of the standard deviation per axis, normalised.
        target: (B, N, 2), normalised; NaN where a point is missing.

    Returns:
        A scalar: the mean over all landmarks that are not missing.
    """
    log_sigma = log_sigma.clamp(*_LOG_SIGMA)
    difference = torch.where(target.isnan(), 0, landmarks.detach() - target)
    squared = difference.square().sum(-1)
    return mean_of_labelled(2 * log_sigma + 0.5 * squared * torch.exp(-2 * log_sigma), target)
