"""What a network is trained to make small: a loss between landmarks, and the terms of the outputs beside them."""

from __future__ import annotations

from torch import Tensor, nn

from facekd.losses import distance as losses
from facekd.losses.heatmap import heatmap_cross_entropy
from facekd.losses.uncertainty import gaussian_nll
from facekd.networks.network import Prediction
from facekd.recipes.schema import Stage


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
                terms["expert_heatmap"] = heatmap_cross_entropy(prediction.heatmaps, where, covariance)
                terms["total"] = terms["total"] + self.expert_heatmap * terms["expert_heatmap"]
        return terms

    def _labelled(
        self, prediction: Prediction, target: Tensor, tough: Tensor | None, tolerant: Tensor | None
    ) -> dict[str, Tensor]:
        """Return the terms that need labels."""
        terms: dict[str, Tensor] = self.landmarks(prediction.landmarks, target, tough, tolerant)._asdict()
        if self.sigma and prediction.log_sigma is not None:
            terms["sigma"] = gaussian_nll(prediction.landmarks, prediction.log_sigma, target)
            terms["total"] = terms["total"] + self.sigma * terms["sigma"]
        if self.heatmap and prediction.heatmaps is not None:
            terms["heatmap"] = heatmap_cross_entropy(prediction.heatmaps, target)
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
