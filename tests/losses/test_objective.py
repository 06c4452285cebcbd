"""Terms beside the landmarks' own loss."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from facekd.losses.distance import L1, L2
from facekd.losses.kd import KDLoss
from facekd.losses.objective import Objective, TeacherKey, TeacherTerm
from facekd.networks.network import Prediction
from facekd.training.distributed import labelled_weight


def test_the_total_is_the_sum_of_what_the_stage_asks_for() -> None:
    heat = torch.zeros(1, 1, 4, 4).flatten(2).log_softmax(-1).view(1, 1, 4, 4)
    prediction = Prediction(torch.tensor([[[0.1, 0.0]]]), torch.zeros(1, 1), heat)
    terms = Objective(L1(), nll_weight=0.5, heatmap_weight=2.0)(prediction, torch.zeros(1, 1, 2))
    torch.testing.assert_close(terms["main"], torch.tensor(0.05))
    torch.testing.assert_close(terms["nll"], torch.tensor(0.005))
    torch.testing.assert_close(terms["heatmap"], torch.tensor(math.log(16)))
    torch.testing.assert_close(terms["total"], torch.tensor(0.05 + 0.5 * 0.005 + 2 * math.log(16)))


def test_what_a_head_does_not_give_is_not_asked_for() -> None:
    terms = Objective(L2(), nll_weight=1.0, heatmap_weight=1.0)(
        Prediction(torch.full((1, 1, 2), 0.1)), torch.zeros(1, 1, 2)
    )
    torch.testing.assert_close(terms["total"], torch.tensor(0.01))


IMITATED = (TeacherTerm("big", "landmarks", 3.0), TeacherTerm("big", "heatmaps", 0.1))
BIG = TeacherKey("big", "moments")


def test_an_unlabelled_face_has_imitated_teachers_only() -> None:
    generator = torch.Generator().manual_seed(0)
    heat = torch.randn(2, 4, 16, generator=generator).log_softmax(-1).view(2, 4, 4, 4)
    prediction = Prediction(torch.rand(2, 4, 2, generator=generator) - 0.5, torch.zeros(2, 4), heat)
    target = torch.rand(2, 4, 2, generator=generator) - 0.5
    # Covariances xx, xy, yy: the middle one is below the others.
    spreads = torch.tensor([0.05, 0.0, 0.05]) + 0.04 * torch.rand(2, 4, 3, generator=generator)
    moments = torch.cat([torch.rand(2, 4, 2, generator=generator) - 0.5, spreads], dim=-1)
    labelled = torch.tensor([True, False])
    objective = Objective(L1(), nll_weight=0.5, heatmap_weight=2.0, teachers=IMITATED)
    terms = objective(prediction, target, {BIG: moments}, labelled)
    first = Prediction(*(values[:1] for values in prediction))
    alone = objective(first, target[:1], {BIG: moments[:1]})
    for name in ("main", "nll", "heatmap"):
        torch.testing.assert_close(terms[name], alone[name])
    torch.testing.assert_close(terms["big_landmarks"], (prediction.landmarks - moments[..., :2]).abs().mean())
    parts = terms["main"] + 0.5 * terms["nll"] + 2 * terms["heatmap"]
    torch.testing.assert_close(terms["total"], parts + 3 * terms["big_landmarks"] + 0.1 * terms["big_heatmaps"])
    changed = torch.cat([target[:1], target[1:] + 9])  # what an unlabelled face is said to look like
    torch.testing.assert_close(objective(prediction, changed, {BIG: moments}, labelled)["total"], terms["total"])


def test_a_batch_without_labels_is_still_a_number_and_names_every_term() -> None:
    kd, imitated = TeacherTerm("a", "tough"), TeacherTerm("big", "landmarks", 1.0)
    objective = Objective(KDLoss(), nll_weight=1.0, heatmap_weight=1.0, teachers=[kd, imitated])
    landmarks = torch.rand(2, 4, 2, requires_grad=True)
    moments = torch.cat([landmarks.detach() + 0.1, torch.zeros(2, 4, 3)], -1)
    teachers = {kd.key: moments[..., :2], BIG: moments}
    prediction = Prediction(landmarks, torch.zeros(2, 4), torch.zeros(2, 4, 3, 3))
    every = objective(prediction, torch.rand(2, 4, 2), teachers)
    terms = objective(prediction, torch.rand(2, 4, 2), teachers, torch.zeros(2).bool())
    assert set(terms) == set(every)  # processes add up each other's
    assert all(terms[name] == 0 for name in ("main", "tough", "nll", "heatmap"))
    torch.testing.assert_close(terms["total"], torch.tensor(0.1))
    terms["total"].backward()
    torch.testing.assert_close(landmarks.grad, torch.full((2, 4, 2), -1 / 16))


def test_the_labelled_faces_of_all_processes_count_alike() -> None:
    """One has three labelled faces, the other one: the mean of what both descend is that of the four together."""

    class Two:
        def all_reduce(self, value: Tensor, reduce_op: str) -> Tensor:
            assert reduce_op == "mean"
            return torch.tensor(2.0)

    objective, target = Objective(L1()), torch.zeros(4, 2, 2)
    landmarks = torch.arange(4.0)[:, None, None].expand(4, 2, 2)
    halves = [torch.tensor([True, True, True, False]), torch.tensor([False, False, False, True])]
    terms = [
        objective(Prediction(landmarks), target, labelled=half, weight=labelled_weight(half, Two()))["main"]
        for half in halves
    ]
    assert float(sum(terms) / 2) == pytest.approx(1.5)


def test_each_teacher_speaks_in_its_role() -> None:
    """The student is 0.02 off; the tough teacher 0.01, the tolerant one 0.04: the first pulls, the second holds back.

    By hand, preset released: tough 1.9 * (0.02 - 0.01), tolerant -0.4 * (0.04 - 0.02), main 2 * 3 * 0.02.
    """
    tough, tolerant = TeacherTerm("a", "tough"), TeacherTerm("b", "tolerant")
    objective = Objective(KDLoss("released"), teachers=[tolerant, tough])
    at = {key: torch.full((1, 1, 2), value) for key, value in ((tough.key, 0.01), (tolerant.key, 0.04))}
    terms = objective(Prediction(torch.full((1, 1, 2), 0.02)), torch.zeros(1, 1, 2), at)
    assert {name: float(value) for name, value in terms.items()} == pytest.approx(
        {"total": 0.131, "main": 0.12, "tough": 0.019, "tolerant": -0.008}
    )
