"""Optimisers step by hand-computed amounts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from facekd.recipes.groups import Optimisation
from facekd.training.optim import build_optimiser, learning_rate


class Scalar(nn.Module):
    """A network of one weight, as a 1 x 1 matrix, that starts at 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 1))


def after(settings: Optimisation, *gradients: float) -> float:
    """Return the weight after steps with these gradients."""
    net = Scalar()
    optimiser = build_optimiser(settings, net)
    for gradient in gradients:
        net.weight.grad = torch.full((1, 1), gradient)
        optimiser.step()
    return net.weight.item()


@pytest.mark.parametrize("optimiser", ["adam", "adamw"])
def test_two_steps_by_hand(optimiser: str) -> None:
    """Moments of 0.9 and 0.999, gradients 1 and 3: the first step is of the whole rate.

    Second: m = 0.9 * 0.1 + 0.1 * 3 = 0.39, over 1 - 0.9^2; v = 0.999 * 0.001 + 0.001 * 9, over 1 - 0.999^2.
    """
    settings = Optimisation(optimiser=optimiser, lr=0.1, weight_decay=0)
    second = (0.39 / 0.19) / math.sqrt(0.009999 / 0.001999)
    assert after(settings, 1.0, 3.0) == pytest.approx(1 - 0.1 - 0.1 * second, rel=1e-5)


def test_decay_is_of_the_weight_in_adamw_and_part_of_the_gradient_in_adam() -> None:
    """At rate 0.1 and decay 0.5, without a gradient: 0.95 in AdamW; in Adam a step of the whole rate."""
    assert after(Optimisation(optimiser="adamw", lr=0.1, weight_decay=0.5), 0.0) == pytest.approx(0.95)
    assert after(Optimisation(optimiser="adam", lr=0.1, weight_decay=0.5), 0.0) == pytest.approx(0.9)


def test_the_papers_schedule_halves_the_rate_in_ten_thousand_steps() -> None:
    settings = Optimisation(lr=1e-3, schedule="paper", warmup=0)
    assert learning_rate(settings, 0, 20_000) == 1e-3
    assert learning_rate(settings, 10_000, 20_000) == pytest.approx(5e-4)


def test_a_cosine_ends_near_zero_and_never_below() -> None:
    settings = Optimisation(lr=1e-3, schedule="cosine", warmup=0.1)
    rates = [learning_rate(settings, step, 1000) for step in range(1000)]
    assert 0 < min(rates) == rates[-1] < 1e-8 and max(rates) == rates[100] == 1e-3
