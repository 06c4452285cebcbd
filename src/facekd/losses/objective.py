"""What a network is trained to make small: a loss between landmarks, and the terms of the outputs beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from facekd.losses.heatmap import heatmap_cross_entropy
from facekd.losses.uncertainty import gaussian_nll
from facekd.losses.visibility import visibility_cross_entropy
from facekd.networks.network import Prediction


class TeacherKey(NamedTuple):
    """What tells predictions of teachers apart: whose they are, and of what form.

    Attributes:
        name: the teacher's.
        form: "landmarks", (B, N, 2); or "moments", (B, N, 5), with the covariance of its heatmaps.
    """

    name: str
    form: Literal["landmarks", "moments"]


@dataclass(frozen=True)
class TeacherTerm:
    """How one teacher's predictions enter the loss.

    Attributes:
        name: the teacher's.
        role: "tough" or "tolerant": KD-Loss listens to it. "landmarks": the L1 distance to its landmarks counts.
            "heatmaps": the cross-entropy with a Gaussian of its heatmaps' mean and covariance counts.
        weight: of the last two.
    """

    name: str
    role: Literal["tough", "tolerant", "landmarks", "heatmaps"]
    weight: float = 1.0

    @property
    def needs_labels(self) -> bool:
        """Return whether it teaches labelled faces only: KD-Loss compares both with the ground truth."""
        return self.role in ("tough", "tolerant")

    @property
    def key(self) -> TeacherKey:
        """Return which predictions it is about."""
        return TeacherKey(self.name, "landmarks" if self.needs_labels else "moments")


class Objective(nn.Module):
    """A loss between landmarks, plus the terms beside it: sigma, heatmaps, visibility, teachers that are imitated.

    A missing point (NaN) has no part in the terms that need labels. Imitated teachers say where it is.

    Args:
        loss: between landmarks, as `facekd.losses.base` says.
        nll_weight: of the negative log-likelihood of sigma.
        heatmap_weight: of the cross-entropy of heatmaps with the label.
        teachers: who teaches, and how.
        visibility_weight: of the cross-entropy of visibility.
        occluded_weight: how much the landmark and heatmap losses of an occluded point count; a visible one's is 1.
    """

    def __init__(
        self,
        loss: nn.Module,
        nll_weight: float = 0.0,
        heatmap_weight: float = 0.0,
        teachers: Sequence[TeacherTerm] = (),
        visibility_weight: float = 0.0,
        occluded_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.landmarks = loss
        self.nll_weight, self.heatmap_weight = nll_weight, heatmap_weight
        self.visibility_weight, self.occluded_weight = visibility_weight, occluded_weight
        self.kd = {term.role: term.key for term in teachers if term.needs_labels}
        self.imitated = [term for term in teachers if not term.needs_labels]

    def forward(
        self,
        prediction: Prediction,
        target: Tensor,
        teachers: Mapping[TeacherKey, Tensor] | None = None,
        labelled: Tensor | None = None,
        weight: Tensor | None = None,
        visible: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the terms of a batch.

        Args:
            prediction: of the network, for B faces of N points.
            target: (B, N, 2), normalised; NaN where a point is missing.
            teachers: the predictions of every teacher.
            labelled: (B,) bool, the faces whose target counts; imitated teachers count for all. None: all are.
            weight: scalar, of the terms that need labels, where several processes share a batch:
                `facekd.training.distributed.labelled_weight`.
            visible: (B, N) bool, False where a point is occluded or missing; None: not known.

        Returns:
            Scalars by name, always the same ones; `total` is what to descend, the others are without their weights.
        """
        predictions = teachers or {}
        tough, tolerant = (predictions[self.kd[role]] if role in self.kd else None for role in ("tough", "tolerant"))
        terms = self._labelled(*_only(labelled, prediction, target, tough, tolerant, visible))
        if labelled is not None:  # without labels they are there, and count nothing
            weight = labelled.any() if weight is None else weight
            terms = {name: weight * term for name, term in terms.items()}
        for term in self.imitated:
            landmarks, covariance = predictions[term.key][..., :2], predictions[term.key][..., 2:]
            if term.role == "landmarks":
                value = (prediction.landmarks - landmarks).abs().mean()
            else:
                assert prediction.heatmaps is not None  # the recipe sees to it
                value = heatmap_cross_entropy(prediction.heatmaps, landmarks, covariance)
            terms[f"{term.name}_{term.role}"] = value
            terms["total"] = terms["total"] + term.weight * value
        return terms

    def _labelled(
        self,
        prediction: Prediction,
        target: Tensor,
        tough: Tensor | None,
        tolerant: Tensor | None,
        visible: Tensor | None,
    ) -> dict[str, Tensor]:
        """Return the terms that need labels."""
        weight = None
        if visible is not None and self.occluded_weight != 1:
            weight = torch.where(visible, 1.0, self.occluded_weight)
        terms: dict[str, Tensor] = self.landmarks(prediction.landmarks, target, tough, tolerant, weight)._asdict()
        if self.nll_weight and prediction.log_sigma is not None:
            terms["nll"] = gaussian_nll(prediction.landmarks, prediction.log_sigma, target)
            terms["total"] = terms["total"] + self.nll_weight * terms["nll"]
        if self.heatmap_weight and prediction.heatmaps is not None:
            terms["heatmap"] = heatmap_cross_entropy(prediction.heatmaps, target, weight=weight)
            terms["total"] = terms["total"] + self.heatmap_weight * terms["heatmap"]
        if self.visibility_weight and prediction.visibility is not None and visible is not None:
            terms["visibility"] = visibility_cross_entropy(prediction.visibility, visible, target)
            terms["total"] = terms["total"] + self.visibility_weight * terms["visibility"]
        return terms


def _only(
    labelled: Tensor | None,
    prediction: Prediction,
    target: Tensor,
    tough: Tensor | None,
    tolerant: Tensor | None,
    visible: Tensor | None,
) -> tuple[Prediction, Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Return what belongs to the labelled faces of a batch; all of it where none is, for no weight."""
    if labelled is None or not labelled.any() or bool(labelled.all()):
        return prediction, target, tough, tolerant, visible

    def rows(values: Tensor | None) -> Tensor | None:
        return None if values is None else values[labelled]

    landmarks, *others = prediction
    return (
        Prediction(landmarks[labelled], *map(rows, others)),
        target[labelled],
        rows(tough),
        rows(tolerant),
        rows(visible),
    )
