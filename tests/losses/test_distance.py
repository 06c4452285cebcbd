"""The baselines against hand-computed values, and what every loss of the registry must do."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import nn

from facekd.errors import InputError
from facekd.losses.distance import L1, L2, L1Settings, L2Settings, SmoothL1, SmoothL1Settings, Wing, WingSettings
from facekd.losses.registry import Loss

LOSSES = get_args(Loss)


def at(*values: float) -> list[torch.Tensor]:
    """One coordinate each as (1, 1, 1) tensors: then the mean reduction changes nothing."""
    return [torch.tensor([[[value]]], dtype=torch.float64) for value in values]


def test_mean_over_all_coordinates_in_float32_for_bf16_predictions() -> None:
    pred = torch.zeros(2, 3, 2, dtype=torch.bfloat16)
    pred[0, 0, 0] = 0.25
    terms = L1()(pred, torch.zeros(2, 3, 2))
    assert terms.total.dtype == torch.float32
    assert terms.total.item() == pytest.approx(0.25 / 12)


@pytest.mark.parametrize(
    ("loss", "error", "expected"),
    [
        (L1(), 0.2, 0.2),
        (L2(), 0.2, 0.04),
        (SmoothL1(width=0.1), 0.05, 0.0125),
        (SmoothL1(width=0.1), 0.2, 0.15),
        (Wing(width=0.04, curvature=0.01), 0.01, 0.04 * math.log(2)),
        (Wing(width=0.04, curvature=0.01), 0.2, 0.2 - (0.04 - 0.04 * math.log(5))),
    ],
)
def test_baselines_by_hand(loss: nn.Module, error: float, expected: float) -> None:
    terms = loss(*at(-error, 0, 0.01, 0.03))
    assert terms.total.item() == terms.main.item() == pytest.approx(expected)
    assert terms.tough == terms.tolerant == 0


@pytest.mark.parametrize("kind", LOSSES)
def test_every_loss_is_called_alike_and_pulls_to_the_ground_truth(kind: type[Loss]) -> None:
    loss = kind().build()
    for error in (0.003, 0.05, 0.2, -0.003, -0.05, -0.2):
        student, *others = at(error, 0, -0.01, 0.03)
        loss(student.requires_grad_(), *others).total.backward()
        assert student.grad.sign() == math.copysign(1, error)


@pytest.mark.parametrize("kind", LOSSES)
def test_shapes_that_differ_are_refused(kind: type[Loss]) -> None:
    """Broadcasting (B, N, 2) with (1, N, 2) would train on the wrong faces without a word."""
    with pytest.raises(InputError, match=r"\(2, 5, 2\).*\(1, 5, 2\)"):
        kind().build()(torch.zeros(2, 5, 2), torch.zeros(1, 5, 2))


@pytest.mark.parametrize(
    ("settings", "error", "expected"),
    [
        (L1Settings(), 0.2, 0.2),
        (L2Settings(), 0.2, 0.04),
        # One pixel of 224: half a pixel of error costs a quarter of half a pixel, two pixels one and a half.
        (SmoothL1Settings(), 0.5 / 224, 0.125 / 224),
        (SmoothL1Settings(), 2 / 224, 1.5 / 224),
        (SmoothL1Settings(width=0.1), 0.05, 0.0125),
        # w = 10 px and eps = 2 px of 256, in units of the input: at 2 px w ln 2.
        (WingSettings(), 2 / 256, 10 / 256 * math.log(2)),
        (WingSettings(), 20 / 256, (20 - 10 + 10 * math.log(6)) / 256),
        (WingSettings(width=0.04, curvature=0.01), 0.01, 0.04 * math.log(2)),
    ],
)
def test_settings_build_their_loss_with_their_numbers(settings: Loss, error: float, expected: float) -> None:
    assert settings.build()(*at(error, 0)).total.item() == pytest.approx(expected)
