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

EXPERT = TeacherKey("expert", "moments")


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


def test_an_unlabelled_face_has_imitated_teachers_only() -> None:
    terms_of = [TeacherTerm("expert", "landmarks", 3.0), TeacherTerm("expert", "heatmaps", 0.1)]
    generator = torch.Generator().manual_seed(0)
    heat = torch.randn(2, 4, 16, generator=generator).log_softmax(-1).view(2, 4, 4, 4)
    prediction = Prediction(torch.rand(2, 4, 2, generator=generator) - 0.5, torch.zeros(2, 4), heat)
    target = torch.rand(2, 4, 2, generator=generator) - 0.5
    # Covariances xx, xy, yy: the middle one is below the others.
    spreads = torch.tensor([0.05, 0.0, 0.05]) + 0.04 * torch.rand(2, 4, 3, generator=generator)
    expert = torch.cat([torch.rand(2, 4, 2, generator=generator) - 0.5, spreads], dim=-1)
    labelled = torch.tensor([True, False])
    objective = Objective(L1(), 0.5, 2.0, terms_of)
    terms = objective(prediction, target, {EXPERT: expert}, labelled)
    first = Prediction(*(None if values is None else values[:1] for values in prediction))
    alone = objective(first, target[:1], {EXPERT: expert[:1]})
    for name in ("main", "nll", "heatmap"):
        torch.testing.assert_close(terms[name], alone[name])
    torch.testing.assert_close(terms["expert_landmarks"], (prediction.landmarks - expert[..., :2]).abs().mean())
    parts = terms["main"] + 0.5 * terms["nll"] + 2 * terms["heatmap"]
    torch.testing.assert_close(terms["total"], parts + 3 * terms["expert_landmarks"] + 0.1 * terms["expert_heatmaps"])
    changed = torch.cat([target[:1], target[1:] + 9])  # what an unlabelled face is said to look like
    torch.testing.assert_close(objective(prediction, changed, {EXPERT: expert}, labelled)["total"], terms["total"])


def test_a_batch_without_labels_is_still_a_number_and_names_every_term() -> None:
    terms_of = [TeacherTerm("tough", "tough"), TeacherTerm("expert", "landmarks")]
    objective = Objective(KDLoss(), nll_weight=1.0, heatmap_weight=1.0, teachers=terms_of)
    landmarks = torch.rand(2, 4, 2, requires_grad=True)
    expert = torch.cat([landmarks.detach() + 0.1, torch.zeros(2, 4, 3)], -1)
    prediction = Prediction(landmarks, torch.zeros(2, 4), torch.zeros(2, 4, 3, 3))
    said = {TeacherKey("tough", "landmarks"): expert[..., :2], EXPERT: expert}
    every = objective(prediction, torch.rand(2, 4, 2), said)
    terms = objective(prediction, torch.rand(2, 4, 2), said, torch.zeros(2).bool())
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


def test_kd_listens_to_each_teacher_in_its_role_whatever_it_is_called() -> None:
    """Tough and tolerant differ in the released weights: at an error of 0.05, 1.9 and 1.8 of what it is behind."""
    a, b = TeacherKey("a", "landmarks"), TeacherKey("b", "landmarks")
    said = {a: torch.full((1, 1, 2), 0.01), b: torch.full((1, 1, 2), 0.03)}
    prediction, target = Prediction(torch.full((1, 1, 2), 0.05)), torch.zeros(1, 1, 2)
    for roles, tough, tolerant in (
        (("tough", "tolerant"), 1.9 * 0.04, 1.8 * 0.02),
        (("tolerant", "tough"), 1.9 * 0.02, 1.8 * 0.04),
    ):
        objective = Objective(KDLoss("released"), teachers=[TeacherTerm("a", roles[0]), TeacherTerm("b", roles[1])])
        terms = objective(prediction, target, said)
        assert float(terms["tough"]) == pytest.approx(tough) and float(terms["tolerant"]) == pytest.approx(tolerant)
        total = float(terms["main"]) + tough + tolerant
        assert float(terms["total"]) == pytest.approx(total) and set(terms) == {"total", "main", "tough", "tolerant"}
    alone = Objective(KDLoss("released"), teachers=[TeacherTerm("b", "tolerant")])(prediction, target, said)
    assert float(alone["tough"]) == 0 and float(alone["tolerant"]) == pytest.approx(1.8 * 0.02)


def test_several_teachers_are_imitated_at_once_each_with_its_weight() -> None:
    """Two of landmarks, 0.1 and 0.2 from the prediction, and one of heatmaps, which are flat: ln 16, whatever it is."""
    heat = torch.full((1, 1, 4, 4), -math.log(16))
    prediction, target = Prediction(torch.zeros(1, 1, 2), None, heat), torch.full((1, 1, 2), 0.3)

    def moments(x: float) -> Tensor:
        return torch.tensor([[[x, x, 0.01, 0.0, 0.01]]])

    roles = (("big", "landmarks", 0.5), ("wide", "landmarks", 4.0), ("wide", "heatmaps", 0.25))
    terms_of = [TeacherTerm(*role) for role in roles]
    said = {TeacherKey("big", "moments"): moments(0.1), TeacherKey("wide", "moments"): moments(-0.2)}
    terms = Objective(L1(), teachers=terms_of)(prediction, target, said)
    assert list(terms) == ["total", "main", "tough", "tolerant", "big_landmarks", "wide_landmarks", "wide_heatmaps"]
    values = [float(terms[name]) for name in ("main", "big_landmarks", "wide_landmarks", "wide_heatmaps")]
    assert values == pytest.approx([0.3, 0.1, 0.2, math.log(16)])
    assert float(terms["total"]) == pytest.approx(0.3 + 0.5 * 0.1 + 4 * 0.2 + 0.25 * math.log(16))


def test_a_teacher_of_heatmaps_is_followed_in_place_and_spread() -> None:
    """A heatmap of the teacher's own Gaussian costs less than one beside it, and than a narrower one."""
    grid = torch.arange(16) - 7.5

    def gaussian(centre: float, sigma: float) -> Prediction:
        line = -0.5 * ((grid - centre) / sigma).square()
        log = (line[:, None] + line[None]).flatten().log_softmax(-1).view(1, 1, 16, 16)
        return Prediction(torch.zeros(1, 1, 2), None, log)

    objective = Objective(L1(), teachers=[TeacherTerm("t", "heatmaps")])
    # 2 cells of 16 are 0.125 of the frame; the loss adds half a cell to a teacher's spread: sqrt(2^2 - 0.5^2) makes 2.
    spread = (4 - 0.25) / 16**2
    said = {TeacherKey("t", "moments"): torch.tensor([[[0.125, 0.125, spread, 0.0, spread]]])}
    right, beside, narrow = (
        float(objective(gaussian(*which), torch.zeros(1, 1, 2), said)["t_heatmaps"])
        for which in ((2.0, 2.0), (0.0, 2.0), (2.0, 1.0))
    )
    # The entropy of a Gaussian over the plane: 1 + ln(2 pi sigma^2); the frame, at three sigma, cuts off a little.
    assert right == pytest.approx(1 + math.log(2 * math.pi * 4), abs=0.03)
    assert right < beside - 0.2 and right < narrow - 0.2


def test_of_which_predictions_a_term_is() -> None:
    """KD-Loss compares landmarks, of labelled faces only; what is imitated needs no label, and shares its moments."""
    for role in ("tough", "tolerant"):
        term = TeacherTerm("a", role)
        assert term.needs_labels and term.key == TeacherKey("a", "landmarks") and term.weight == 1
    for role in ("landmarks", "heatmaps"):
        assert not TeacherTerm("a", role).needs_labels and TeacherTerm("a", role).key == TeacherKey("a", "moments")


def test_a_mixed_batch_weighs_terms_with_labels_by_their_faces() -> None:
    """KD-Loss sees the labelled face and its teachers' word on that face alone."""
    objective = Objective(KDLoss("released"), teachers=[TeacherTerm("t", "tough")])
    said = {TeacherKey("t", "landmarks"): torch.tensor([[[0.5, 0.5]], [[0.01, 0.01]]])}
    prediction = Prediction(torch.tensor([[[0.4, 0.4]], [[0.05, 0.05]]]))
    terms = objective(prediction, torch.zeros(2, 1, 2), said, torch.tensor([False, True]))
    assert float(terms["tough"]) == pytest.approx(1.9 * 0.04)
    assert float(terms["main"]) == pytest.approx(6 * 0.05)  # no tolerant teacher, no break


def test_a_teacher_that_is_behind_holds_the_student_back() -> None:
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
