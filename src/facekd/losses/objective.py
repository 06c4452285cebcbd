"""What a network is trained to make small: a loss between landmarks, and the terms of the outputs beside them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facekd.losses import distance as losses
from facekd.networks.network import Prediction
from facekd.recipes.schema import Stage

_LOG_SIGMA = (-7.0, 0.0)  # 0.1 % of the frame to all of it: outside, the likelihood's gradient explodes
_HEAT_SPREAD = 1.0  # cells; standard deviation of the Gaussian that a heatmap is compared with
_LEAST_SPREAD = 0.5  # cells; added to an expert's: a heatmap of one cell could not be compared with


class Objective(nn.Module):
    """A stage's loss with its options, plus the terms it asks for beside: sigma, heatmaps, the expert's word.

    Raises RecipeError when the loss does not know an option.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.landmarks = losses.build(stage.loss, **stage.loss_options)
        self.sigma, self.heatmap = stage.sigma, stage.heatmap
        self.expert, self.expert_heatmap = stage.expert, stage.expert_heatmap

    def forward(
        self,
        prediction: Prediction,
        target: Tensor,
        tough: Tensor | None = None,
        tolerant: Tensor | None = None,
        expert: Tensor | None = None,
        labelled: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return scalar terms by name, always the same ones; `total` is what to descend.

        target, tough, tolerant: (B, N, 2), normalised. expert: (B, N, 5), as `teachers.expert_says` returns it.
        labelled: (B,) bool, the faces whose target counts; the expert's word counts for all. None: all are.
        weight: of the labelled faces' terms, where several processes share a batch: `parallel.labelled_weight`.
        """
        terms = self._labelled(*_only(labelled, prediction, target, tough, tolerant))
        if labelled is not None:  # without labels they are there, and count nothing
            weight = labelled.any() if weight is None else weight
            terms = {name: weight * term for name, term in terms.items()}
        if expert is not None:
            where, covariance = expert[..., :2], expert[..., 2:]
            terms["expert"] = (prediction.landmarks - where).abs().mean()
            terms["total"] = terms["total"] + self.expert * terms["expert"]
            if self.expert_heatmap and prediction.heatmaps is not None:
                terms["expert_heatmap"] = heatmap_entropy(prediction.heatmaps, where, covariance)
                terms["total"] = terms["total"] + self.expert_heatmap * terms["expert_heatmap"]
        return terms

    def _labelled(
        self, prediction: Prediction, target: Tensor, tough: Tensor | None, tolerant: Tensor | None
    ) -> dict[str, Tensor]:
        """Return the terms that need labels."""
        terms: dict[str, Tensor] = self.landmarks(prediction.landmarks, target, tough, tolerant)._asdict()
        if self.sigma and prediction.log_sigma is not None:
            terms["sigma"] = likelihood(prediction.landmarks, prediction.log_sigma, target)
            terms["total"] = terms["total"] + self.sigma * terms["sigma"]
        if self.heatmap and prediction.heatmaps is not None:
            terms["heatmap"] = heatmap_entropy(prediction.heatmaps, target)
            terms["total"] = terms["total"] + self.heatmap * terms["heatmap"]
        return terms


def _only(
    labelled: Tensor | None, prediction: Prediction, target: Tensor, tough: Tensor | None, tolerant: Tensor | None
) -> tuple[Prediction, Tensor, Tensor | None, Tensor | None]:
    """Return what belongs to the labelled faces of a batch; all of it where none is, for no weight."""
    if labelled is None or not labelled.any() or bool(labelled.all()):
        return prediction, target, tough, tolerant

    def rows(values: Tensor | None) -> Tensor | None:
        return None if values is None else values[labelled]

    landmarks, log_sigma, heatmaps = prediction
    return (
        Prediction(landmarks[labelled], rows(log_sigma), rows(heatmaps)),
        target[labelled],
        rows(tough),
        rows(tolerant),
    )


def likelihood(landmarks: Tensor, log_sigma: Tensor, target: Tensor) -> Tensor:
    """Mean negative log-likelihood (up to a constant) of the errors under a round Gaussian of that sigma per point.

    It teaches sigma only: no gradient flows into the landmarks, whose own loss stays what the recipe says.
    landmarks, target: (B, N, 2); log_sigma: (B, N).
    """
    log_sigma = log_sigma.clamp(*_LOG_SIGMA)
    squared = (landmarks.detach() - target).square().sum(-1)
    return (2 * log_sigma + 0.5 * squared * torch.exp(-2 * log_sigma)).mean()


def heatmap_entropy(log_heat: Tensor, target: Tensor, covariance: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of heatmaps (B, N, h, w) of log-probabilities with a Gaussian at the target (B, N, 2).

    covariance: (B, N, 3) xx, xy, yy in normalised units, as `spread` returns it; None: round, of one cell.
    Landmarks outside the frame have no cell, and no say.
    """
    height, width = log_heat.shape[-2:]
    x = (target[..., 0, None] + 0.5) * width - 0.5 - torch.arange(width, device=target.device)
    y = (target[..., 1, None] + 0.5) * height - 0.5 - torch.arange(height, device=target.device)
    x, y = x[..., None, :], y[..., :, None]
    if covariance is None:
        distance = (x.square() + y.square()) / _HEAT_SPREAD**2
    else:
        xx, xy, yy = (covariance * torch.tensor([width**2, width * height, height**2], device=target.device)).unbind(-1)
        xx, yy = xx + _LEAST_SPREAD**2, yy + _LEAST_SPREAD**2
        xx, xy, yy = (value[..., None, None] for value in (xx, xy, yy))
        distance = (yy * x.square() - 2 * xy * x * y + xx * y.square()) / (xx * yy - xy.square())
    wanted = torch.exp(-0.5 * distance)
    mass = wanted.sum((-2, -1), keepdim=True)
    inside = (target.abs() <= 0.5).all(-1)
    entropy = -(wanted / mass.clamp_min(1e-6) * log_heat).sum((-2, -1))
    return (entropy * inside).sum() / inside.sum().clamp_min(1)


def spread(log_heat: Tensor) -> Tensor:
    """Return the covariance (B, N, 3) of heatmaps (B, N, h, w) of log-probabilities: xx, xy, yy, normalised."""
    height, width = log_heat.shape[-2:]
    heat = log_heat.exp()
    x = torch.arange(width, device=heat.device) / width
    y = torch.arange(height, device=heat.device) / height
    along_x, along_y = heat.sum(-2), heat.sum(-1)
    mean_x, mean_y = (along_x * x).sum(-1, keepdim=True), (along_y * y).sum(-1, keepdim=True)
    xx = (along_x * (x - mean_x).square()).sum(-1)
    yy = (along_y * (y - mean_y).square()).sum(-1)
    xy = ((heat * (x - mean_x)[..., None, :]).sum(-1) * (y - mean_y)).sum(-1)
    return torch.stack([xx, xy, yy], dim=-1)
