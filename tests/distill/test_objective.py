"""Terms beside the landmarks' own loss."""

from __future__ import annotations

import math

import torch

from facekd.distill.networks import Prediction
from facekd.distill.objective import Objective, heatmap_entropy, likelihood
from facekd.distill.recipe import Stage


def test_the_likelihood_is_least_where_sigma_is_the_spread() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.zeros(2000, 1, 2)
    landmarks = 0.02 * torch.randn(2000, 1, 2, generator=generator)
    values = [float(likelihood(landmarks, torch.full((2000, 1), math.log(s)), target)) for s in (0.01, 0.02, 0.04)]
    assert values[1] < values[0] and values[1] < values[2]
    # Two log-sigmas, and half of the two coordinates' squares: 2 ln 0.02 + 1.
    assert abs(values[1] - (2 * math.log(0.02) + 1)) < 0.05


def test_the_likelihood_teaches_sigma_only() -> None:
    landmarks = torch.rand(2, 3, 2, requires_grad=True)
    log_sigma = torch.zeros(2, 3, requires_grad=True)
    likelihood(landmarks, log_sigma - 2, torch.rand(2, 3, 2)).backward()
    assert landmarks.grad is None and log_sigma.grad.abs().min() > 0


def test_heatmap_entropy_by_hand() -> None:
    """An even heatmap of 16 cells costs ln 16 wherever the landmark is; one outside the frame costs nothing."""
    even = torch.full((1, 2, 4, 4), -math.log(16))
    inside = torch.tensor([[[0.1, -0.3], [0.4, 0.4]]])
    torch.testing.assert_close(heatmap_entropy(even, inside), torch.tensor(math.log(16)))
    assert heatmap_entropy(even, torch.full((1, 2, 2), 0.6)) == 0


def test_heatmap_entropy_wants_the_peak_at_the_landmark() -> None:
    target = torch.tensor([[[0.125 * 2.5 - 0.5 + 0.0, 0.125 * 5.5 - 0.5]]])  # the centre of cell x = 2, y = 5 of 8 x 8
    costs = torch.empty(8, 8)
    for y in range(8):
        for x in range(8):
            heat = torch.zeros(1, 1, 8, 8)
            heat[..., y, x] = 3
            costs[y, x] = heatmap_entropy(heat.flatten(2).log_softmax(-1).view_as(heat), target)
    assert divmod(int(costs.argmin()), 8) == (5, 2)


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
