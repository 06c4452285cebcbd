"""What a network is trained to make small: a loss between landmarks, and the terms of the outputs beside them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facekd.distill import losses
from facekd.distill.networks import Prediction
from facekd.distill.recipe import Stage

_LOG_SIGMA = (-7.0, 0.0)  # 0.1 % of the frame to all of it: outside, the likelihood's gradient explodes
_HEAT_SPREAD = 1.0  # cells; standard deviation of the Gaussian that a heatmap is compared with


class Objective(nn.Module):
    """A stage's loss with its options, plus the likelihood of sigma and the heatmaps' cross-entropy where asked for.

    Raises RecipeError when the loss does not know an option.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.landmarks = losses.build(stage.loss, **stage.loss_options)
        self.sigma, self.heatmap = stage.sigma, stage.heatmap

    def forward(
        self, prediction: Prediction, target: Tensor, tough: Tensor | None = None, tolerant: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return scalar terms by name; `total` is what to descend. target and teachers: (B, N, 2), normalised."""
        terms = self.landmarks(prediction.landmarks, target, tough, tolerant)._asdict()
        if self.sigma and prediction.log_sigma is not None:
            terms["sigma"] = likelihood(prediction.landmarks, prediction.log_sigma, target)
            terms["total"] = terms["total"] + self.sigma * terms["sigma"]
        if self.heatmap and prediction.heatmaps is not None:
            terms["heatmap"] = heatmap_entropy(prediction.heatmaps, target)
            terms["total"] = terms["total"] + self.heatmap * terms["heatmap"]
        return terms


def likelihood(landmarks: Tensor, log_sigma: Tensor, target: Tensor) -> Tensor:
    """Mean negative log-likelihood (up to a constant) of the errors under a round Gaussian of that sigma per point.

    It teaches sigma only: no gradient flows into the landmarks, whose own loss stays what the recipe says.
    landmarks, target: (B, N, 2); log_sigma: (B, N).
    """
    log_sigma = log_sigma.clamp(*_LOG_SIGMA)
    squared = (landmarks.detach() - target).square().sum(-1)
    return (2 * log_sigma + 0.5 * squared * torch.exp(-2 * log_sigma)).mean()


def heatmap_entropy(log_heat: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of heatmaps (B, N, h, w) of log-probabilities with a Gaussian at the target (B, N, 2).

    Landmarks outside the frame have no cell, and no say.
    """
    height, width = log_heat.shape[-2:]
    x = (target[..., 0, None] + 0.5) * width - 0.5 - torch.arange(width, device=target.device)
    y = (target[..., 1, None] + 0.5) * height - 0.5 - torch.arange(height, device=target.device)
    wanted = torch.exp(-(x[:, :, None].square() + y[..., None].square()) / (2 * _HEAT_SPREAD**2))
    mass = wanted.sum((-2, -1), keepdim=True)
    inside = (target.abs() <= 0.5).all(-1)
    entropy = -(wanted / mass.clamp_min(1e-6) * log_heat).sum((-2, -1))
    return (entropy * inside).sum() / inside.sum().clamp_min(1)
