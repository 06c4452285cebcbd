"""Terms beside the landmarks' own loss."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from facekd.losses.objective import Objective
from facekd.networks.network import Prediction
from facekd.recipes.schema import Stage
from facekd.training.distributed import labelled_weight


def test_the_total_is_the_sum_of_what_the_stage_asks_for() -> None:
    stage = Stage(backbone="x", head="spatial", loss="l1", sigma=0.5, heatmap=2.0)
    heat = torch.zeros(1, 1, 4, 4).flatten(2).log_softmax(-1).view(1, 1, 4, 4)
    prediction = Prediction(torch.tensor([[[0.1, 0.0]]]), torch.zeros(1, 1), heat)
    terms = Objective(stage)(prediction, torch.zeros(1, 1, 2))
    torch.testing.assert_close(terms["main"], torch.tensor(0.05))
    torch.testing.assert_close(terms["sigma"], torch.tensor(0.005))
    torch.testing.assert_close(terms["heatmap"], torch.tensor(math.log(16)))
    torch.testing.assert_close(terms["total"], torch.tensor(0.05 + 0.5 * 0.005 + 2 * math.log(16)))


def test_what_a_head_does_not_give_is_not_asked_for() -> None:
    stage = Stage(backbone="x", loss="l2", sigma=1.0)
    terms = Objective(stage)(Prediction(torch.full((1, 1, 2), 0.1)), torch.zeros(1, 1, 2))
    torch.testing.assert_close(terms["total"], torch.tensor(0.01))


def test_an_unlabelled_face_has_the_expert_only() -> None:
    stage = Stage(backbone="x", head="spatial", loss="l1", sigma=0.5, heatmap=2.0, expert=3.0, expert_heatmap=0.1)
    generator = torch.Generator().manual_seed(0)
    heat = torch.randn(2, 4, 16, generator=generator).log_softmax(-1).view(2, 4, 4, 4)
    prediction = Prediction(torch.rand(2, 4, 2, generator=generator) - 0.5, torch.zeros(2, 4), heat)
    target = torch.rand(2, 4, 2, generator=generator) - 0.5
    # Covariances xx, xy, yy: the middle one is below the others.
    spreads = torch.tensor([0.05, 0.0, 0.05]) + 0.04 * torch.rand(2, 4, 3, generator=generator)
    expert = torch.cat([torch.rand(2, 4, 2, generator=generator) - 0.5, spreads], dim=-1)
    labelled = torch.tensor([True, False])
    objective = Objective(stage)
    terms = objective(prediction, target, expert=expert, labelled=labelled)
    first = Prediction(*(values[:1] for values in prediction))
    alone = objective(first, target[:1], expert=expert[:1])
    for name in ("main", "sigma", "heatmap"):
        torch.testing.assert_close(terms[name], alone[name])
    torch.testing.assert_close(terms["expert"], (prediction.landmarks - expert[..., :2]).abs().mean())
    parts = terms["main"] + 0.5 * terms["sigma"] + 2 * terms["heatmap"]
    torch.testing.assert_close(terms["total"], parts + 3 * terms["expert"] + 0.1 * terms["expert_heatmap"])
    changed = torch.cat([target[:1], target[1:] + 9])  # what an unlabelled face is said to look like
    torch.testing.assert_close(
        objective(prediction, changed, expert=expert, labelled=labelled)["total"], terms["total"]
    )


def test_a_batch_without_labels_is_still_a_number_and_names_every_term() -> None:
    stage = Stage(backbone="x", loss="kd", expert=1.0, sigma=1.0, head="spatial", heatmap=1.0)
    landmarks = torch.rand(2, 4, 2, requires_grad=True)
    expert = torch.cat([landmarks.detach() + 0.1, torch.zeros(2, 4, 3)], -1)
    prediction = Prediction(landmarks, torch.zeros(2, 4), torch.zeros(2, 4, 3, 3))
    every = Objective(stage)(prediction, torch.rand(2, 4, 2), tough=expert[..., :2], expert=expert)
    terms = Objective(stage)(
        prediction, torch.rand(2, 4, 2), tough=expert[..., :2], expert=expert, labelled=torch.zeros(2).bool()
    )
    assert set(terms) == set(every)  # processes add up each other's
    assert all(terms[name] == 0 for name in ("main", "tough", "sigma", "heatmap"))
    torch.testing.assert_close(terms["total"], torch.tensor(0.1))
    terms["total"].backward()
    torch.testing.assert_close(landmarks.grad, torch.full((2, 4, 2), -1 / 16))


def test_the_labelled_faces_of_all_processes_count_alike() -> None:
    """One has three labelled faces, the other one: the mean of what both descend is that of the four together."""

    class Two:
        def all_reduce(self, value: Tensor, reduce_op: str) -> Tensor:
            assert reduce_op == "mean"
            return torch.tensor(2.0)

    objective, target = Objective(Stage(backbone="x")), torch.zeros(4, 2, 2)
    landmarks = torch.arange(4.0)[:, None, None].expand(4, 2, 2)
    halves = [torch.tensor([True, True, True, False]), torch.tensor([False, False, False, True])]
    terms = [
        objective(Prediction(landmarks), target, labelled=half, weight=labelled_weight(half, Two()))["main"]
        for half in halves
    ]
    assert float(sum(terms) / 2) == pytest.approx(1.5)
