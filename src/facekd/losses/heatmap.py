"""Heatmaps: their cross-entropy with a Gaussian, and their covariance."""

from __future__ import annotations

import torch
from torch import Tensor

_SIGMA = 1.0  # cells; standard deviation of the Gaussian around a labelled landmark
_SOFTENING = 0.5  # cells; standard deviation added to a teacher's covariance, as its heatmap may be a single cell


def heatmap_cross_entropy(
    log_heatmaps: Tensor, target: Tensor, covariance: Tensor | None = None, weight: Tensor | None = None
) -> Tensor:
    """Return the cross-entropy between heatmaps and a Gaussian at each target.

    Args:
        log_heatmaps: (B, N, h, w) log-probabilities; each heatmap sums to 1.
        target: (B, N, 2), normalised: [-0.5, 0.5] spans the grid. A landmark outside it is left out, and so is one that
            is missing (NaN).
        covariance: (B, N, 3) xx, xy, yy in normalised units, as `heatmap_covariance` returns it; None: isotropic with a
            standard deviation of one cell.
        weight: (B, N) how much each landmark counts, 0 or more; None: all alike.

    Returns:
        A scalar: the mean over the landmarks inside the frame; 0 where there are none.
    """
    inside = (target.abs() <= 0.5).all(-1)  # NaN is not
    target = torch.where(target.isnan(), 0, target)
    height, width = log_heatmaps.shape[-2:]
    x = (target[..., 0, None] + 0.5) * width - 0.5 - torch.arange(width, device=target.device)
    y = (target[..., 1, None] + 0.5) * height - 0.5 - torch.arange(height, device=target.device)
    x, y = x[..., None, :], y[..., :, None]
    if covariance is None:
        distance = (x.square() + y.square()) / _SIGMA**2
    else:
        xx, xy, yy = (covariance * torch.tensor([width**2, width * height, height**2], device=target.device)).unbind(-1)
        xx, yy = xx + _SOFTENING**2, yy + _SOFTENING**2
        xx, xy, yy = (value[..., None, None] for value in (xx, xy, yy))
        distance = (yy * x.square() - 2 * xy * x * y + xx * y.square()) / (xx * yy - xy.square())
    wanted = torch.exp(-0.5 * distance)
    mass = wanted.sum((-2, -1), keepdim=True)
    counts = inside.to(log_heatmaps.dtype) if weight is None else inside * weight
    entropy = -(wanted / mass.clamp_min(1e-6) * log_heatmaps).sum((-2, -1))
    return (entropy * counts).sum() / counts.sum().clamp_min(1e-6)


def heatmap_covariance(log_heatmaps: Tensor) -> Tensor:
    """Return the covariance of heatmaps.

    Args:
        log_heatmaps: (B, N, h, w) log-probabilities.

    Returns:
        (B, N, 3): xx, xy, yy in normalised units (squared fractions of the frame).
    """
    height, width = log_heatmaps.shape[-2:]
    heat = log_heatmaps.exp()
    x = torch.arange(width, device=heat.device) / width
    y = torch.arange(height, device=heat.device) / height
    along_x, along_y = heat.sum(-2), heat.sum(-1)
    mean_x, mean_y = (along_x * x).sum(-1, keepdim=True), (along_y * y).sum(-1, keepdim=True)
    xx = (along_x * (x - mean_x).square()).sum(-1)
    yy = (along_y * (y - mean_y).square()).sum(-1)
    xy = ((heat * (x - mean_x)[..., None, :]).sum(-1) * (y - mean_y)).sum(-1)
    return torch.stack([xx, xy, yy], dim=-1)
