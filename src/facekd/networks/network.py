"""Landmark networks: any backbone of timm under a landmark head.

A network maps images (B, 3, S, S) in [0, 1] to normalised landmarks (B, N, 2): pixels from the frame's centre, divided
by the input size S.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from facekd.networks.architecture import Architecture
from facekd.networks.backbone import create_backbone, pixel_statistics
from facekd.networks.heads import HEADS, CoordinateHead


class Prediction(NamedTuple):
    """A network's output for a batch.

    Attributes:
        landmarks: (B, N, 2), normalised.
        log_sigma: (B, N), log of each landmark's standard deviation per axis, normalised; None if the head has none.
        heatmaps: (B, N, h, w), log-probabilities over the cells of a grid; None but for the spatial head.
        visibility: (B, N), logit of the probability that each landmark is visible; None if the head has none.
    """

    landmarks: Tensor
    log_sigma: Tensor | None = None
    heatmaps: Tensor | None = None
    visibility: Tensor | None = None


class LandmarkNet(nn.Module):
    """A backbone of timm and a landmark head.

    Args:
        architecture: what it is built of; its weights are random.

    Raises:
        ModelError: timm has no such backbone.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.head, self.backbone = HEADS[architecture.head](architecture, create_backbone)
        mean, std = pixel_statistics(architecture.backbone)
        if not architecture.standardise:
            mean, std = (0.0,) * 3, (1.0,) * 3
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def start_at(self, mean: Tensor) -> None:
        """Initialise a coordinate head so that it predicts about the mean shape; a spatial head needs no such start.

        Args:
            mean: (N, 2), the mean shape of the training faces, normalised.
        """
        if isinstance(self.head, CoordinateHead):
            self.head.start_at(mean)

    def forward(self, images: Tensor) -> Prediction:
        """Predict the landmarks of a batch.

        Args:
            images: (B, 3, S, S) RGB in [0, 1].

        Returns:
            Landmarks (B, N, 2); log-sigma (B, N), log-heatmaps (B, N, h, w) and visibility (B, N), or None for each.
        """
        standardised = (images - self.get_buffer("mean")) / self.get_buffer("std")
        return Prediction(*self.head(self.backbone(standardised)))


def confidence(log_sigma: Tensor, radius: float, slope: float | Tensor = 1.0, offset: float | Tensor = 0.0) -> Tensor:
    """Return the probability that a landmark lies within a radius of the truth, its error being Gaussian.

    Args:
        log_sigma: any shape, log of the standard deviation per axis.
        radius: in the unit of sigma.
        slope: of the calibration, which replaces log-sigma by slope * log-sigma + offset.
        offset: of the calibration.

    Returns:
        Probabilities in [0, 1] of the shape of `log_sigma`: 1 - exp(-radius^2 / (2 sigma^2)).
    """
    return 1 - torch.exp(-0.5 * radius**2 * torch.exp(-2 * (slope * log_sigma + offset)))


def cost(net: LandmarkNet) -> tuple[int, int]:
    """Return what a network costs.

    Args:
        net: left as it is.

    Returns:
        The number of parameters, and the multiply-accumulates for one face.
    """
    size = net.architecture.size
    device = next(net.parameters()).device
    training, counter = net.training, FlopCounterMode(display=False)
    # The counter watches gradients, and views of parameters, such as a transformer's class token, have none here.
    values = {name: parameter.detach() for name, parameter in net.named_parameters()}
    with torch.no_grad(), counter:
        torch.func.functional_call(net.eval(), values, torch.zeros(1, 3, size, size, device=device))
    net.train(training)
    return sum(p.numel() for p in net.parameters()), counter.get_total_flops() // 2
