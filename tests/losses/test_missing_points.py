"""Missing points (NaN) have no part in any loss: no value, no gradient; without any, losses are what they were."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from facekd.losses import base, distance, kd, uncertainty
from facekd.losses.heatmap import heatmap_cross_entropy
from facekd.losses.kd import KDLoss
from facekd.losses.objective import Objective, TeacherKey, TeacherTerm
from facekd.losses.registry import Loss
from facekd.losses.uncertainty import gaussian_nll
from facekd.networks.network import Prediction

LOSSES = [*(kind().build() for kind in get_args(Loss)), KDLoss("released"), KDLoss("paper", main_break="tolerant")]
FORMS = [
    (TeacherTerm("a", "tough"), TeacherTerm("b", "tolerant")),
    (TeacherTerm("a", "landmarks", 0.5), TeacherTerm("b", "heatmaps", 0.5)),
]
SHAPE = (4, 5, 2)


def batch(seed: int, size: int = 4) -> tuple[Prediction, Tensor, dict[TeacherKey, Tensor], Tensor]:
    """Return a prediction that learns, labels, what teachers predict, and which points are visible."""
    generator = torch.Generator().manual_seed(seed)
    rand = lambda *shape: torch.rand(*shape, generator=generator) - 0.5  # noqa: E731
    heat = rand(*SHAPE[:2], size * size).log_softmax(-1).view(*SHAPE[:2], size, size)
    values = [rand(*SHAPE), rand(*SHAPE[:2]) - 3, heat, rand(*SHAPE[:2])]
    prediction = Prediction(*(value.requires_grad_() for value in values))
    spreads = torch.tensor([0.05, 0.0, 0.05]).expand(*SHAPE[:2], 3)
    teachers = {}
    for name in ("a", "b"):
        teachers[TeacherKey(name, "landmarks")] = rand(*SHAPE)
        teachers[TeacherKey(name, "moments")] = torch.cat([rand(*SHAPE), spreads], -1)
    return prediction, rand(*SHAPE), teachers, rand(*SHAPE[:2]) > 0


def objective(loss: nn.Module, terms: tuple[TeacherTerm, ...] = FORMS[0]) -> Objective:
    return Objective(loss, 0.3, 0.2, terms, visibility_weight=0.1, occluded_weight=0.5)


@given(st.integers(0, 10**6), st.sampled_from(LOSSES), st.sampled_from([0.0, 0.3, 1.0]))
@settings(max_examples=60, deadline=None)
def test_a_missing_point_has_no_gradient_and_no_value(seed: int, loss: nn.Module, share: float) -> None:
    prediction, target, teachers, visible = batch(seed)
    missing = torch.rand(SHAPE[:2], generator=torch.Generator().manual_seed(seed)) < share
    target[missing] = torch.nan
    total = objective(loss)(prediction, target, teachers, visible=visible)["total"]
    total.backward()
    assert total.isfinite()
    for value in prediction:
        assert value.grad.isfinite().all()
        assert (value.grad[missing] == 0).all()
        assert missing.all() or (value.grad[~missing] != 0).any()
    # Wherever the network, its teachers and the flags say that a missing point is, the loss is the same.
    with torch.no_grad():
        moved = [torch.where(missing.view(*SHAPE[:2], *[1] * (v.dim() - 2)), v - 0.7, v) for v in prediction]
        others = {key: torch.where(missing[..., None], value + 0.3, value) for key, value in teachers.items()}
        again = objective(loss)(Prediction(*moved), target, others, visible=visible ^ missing)["total"]
    torch.testing.assert_close(again, total.detach(), rtol=0, atol=0)


def test_the_mean_is_that_of_the_points_that_are_there() -> None:
    pred = torch.zeros(1, 3, 2)
    target = torch.tensor([[[0.1, 0.3], [torch.nan, torch.nan], [0.2, 0.2]]])
    assert distance.L1()(pred, target).total.item() == pytest.approx(0.8 / 4)
    assert distance.L2()(pred, target).total.item() == pytest.approx((0.01 + 0.09 + 0.04 + 0.04) / 4)
    # The second has a sigma of 1, whose log is 0; the third is out of the mean of the weighted points.
    sigma = torch.tensor([[0.0, -5.0, 0.0]])
    assert gaussian_nll(pred, sigma, target).item() == pytest.approx((0.5 * 0.1 + 0.5 * 0.08) / 2)
    weight = torch.tensor([[1.0, 1.0, 0.5]])
    assert distance.L1()(pred, target, weight=weight).total.item() == pytest.approx((0.4 + 0.5 * 0.4) / 3)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("form", FORMS)
def test_with_nothing_missing_every_bit_is_as_without_masks(
    loss: nn.Module, form: tuple[TeacherTerm, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    if form == FORMS[1] and isinstance(loss, KDLoss):
        pytest.skip("KD-Loss listens to teachers of its own form")

    def gradients(seed: int) -> list[Tensor]:
        prediction, target, teachers, _ = batch(seed)
        total = Objective(loss, 0.3, 0.2, form)(prediction, target, teachers)["total"]
        total.backward()
        return [total.detach(), *(value.grad for value in prediction[:3])]

    masked = [gradients(seed) for seed in range(5)]

    def plain_mean(values: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        return values.mean()

    for module in (base, kd, uncertainty):
        monkeypatch.setattr(module, "mean_of_labelled", plain_mean)
    for seed, before in enumerate(masked):
        for one, other in zip(before, gradients(seed), strict=True):
            assert torch.equal(one, other)


def test_heatmaps_with_nothing_missing_are_as_without_masks() -> None:
    prediction, target, *_ = batch(0)
    target[0, 0] = 0.7  # outside of the frame: left out, as before
    heat = prediction.heatmaps
    axis = torch.arange(4) - 1.5
    x, y = (target[..., k, None] * 4 - axis for k in (0, 1))
    wanted = torch.exp(-0.5 * (x[..., None, :].square() + y[..., :, None].square()))
    entropy = -(wanted / wanted.sum((-2, -1), keepdim=True) * heat).sum((-2, -1))
    inside = (target.abs() <= 0.5).all(-1)
    torch.testing.assert_close(heatmap_cross_entropy(heat, target), entropy[inside].mean())
    target[1, 1] = torch.nan
    inside[1, 1] = False
    torch.testing.assert_close(heatmap_cross_entropy(heat, target), entropy[inside].mean())


def test_imitated_teachers_teach_what_the_labels_lack() -> None:
    prediction, target, teachers, visible = batch(3)
    target[:] = torch.nan
    terms = objective(distance.L1(), FORMS[1])(prediction, target, teachers, visible=visible)
    assert terms["main"] == terms["nll"] == terms["heatmap"] == terms["visibility"] == 0
    expected = (prediction.landmarks - teachers[TeacherKey("a", "moments")][..., :2]).abs().mean()
    torch.testing.assert_close(terms["a_landmarks"], expected)


def test_visibility_and_its_weights_by_hand() -> None:
    """Logits 0 and 2 for an occluded and a visible point; the third is missing, and nobody knows."""
    prediction = Prediction(torch.zeros(1, 3, 2), visibility=torch.tensor([[0.0, 2.0, -9.0]]))
    target = torch.tensor([[[0.1, 0.1], [0.2, 0.2], [torch.nan, torch.nan]]])
    visible = torch.tensor([[False, True, False]])
    terms = Objective(distance.L1(), visibility_weight=0.5, occluded_weight=0.25)(prediction, target, visible=visible)
    entropy = (torch.tensor(2.0).log() + torch.tensor(-2.0).exp().log1p()) / 2
    torch.testing.assert_close(terms["visibility"], entropy)
    torch.testing.assert_close(terms["main"], torch.tensor((0.25 * 0.1 + 0.2) / 1.25))
    torch.testing.assert_close(terms["total"], terms["main"] + 0.5 * entropy)


def test_heatmaps_of_occluded_points_count_less() -> None:
    prediction, target, _, visible = batch(5)
    weighted = Objective(distance.L1(), heatmap_weight=1, occluded_weight=0.25)(prediction, target, visible=visible)
    seen, hidden = (heatmap_cross_entropy(prediction.heatmaps[of], target[of]) * of.sum() for of in (visible, ~visible))
    expected = (seen + 0.25 * hidden) / (visible.sum() + 0.25 * (~visible).sum())
    torch.testing.assert_close(weighted["heatmap"], expected)
