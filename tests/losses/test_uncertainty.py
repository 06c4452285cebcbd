"""The loss that log-sigma learns from."""

from __future__ import annotations

import math

import torch

from facekd.losses.uncertainty import gaussian_nll


def test_the_likelihood_is_least_where_sigma_is_the_spread() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.zeros(2000, 1, 2)
    landmarks = 0.02 * torch.randn(2000, 1, 2, generator=generator)
    values = [float(gaussian_nll(landmarks, torch.full((2000, 1), math.log(s)), target)) for s in (0.01, 0.02, 0.04)]
    assert values[1] < values[0] and values[1] < values[2]
    # Two log-sigmas, and half of the two coordinates' squares: 2 ln 0.02 + 1.
    assert abs(values[1] - (2 * math.log(0.02) + 1)) < 0.05


def test_the_likelihood_teaches_sigma_only() -> None:
    landmarks = torch.rand(2, 3, 2, requires_grad=True)
    log_sigma = torch.zeros(2, 3, requires_grad=True)
    gaussian_nll(landmarks, log_sigma - 2, torch.rand(2, 3, 2)).backward()
    assert landmarks.grad is None and log_sigma.grad.abs().min() > 0


def test_log_sigma_is_held_between_a_thousandth_of_the_frame_and_all_of_it() -> None:
    """Beyond, the value stays that of the bound: 2 * -7 + e^14 * 0.001^2 / 2 for an error of a thousandth."""
    landmarks, target = torch.zeros(1, 1, 2), torch.tensor([[[0.001, 0.0]]])
    least = -14 + 0.5 * 1e-6 * math.exp(14)
    for log_sigma, expected in ((-7.0, least), (-9.0, least), (0.0, 0.5e-6), (3.0, 0.5e-6)):
        loss = gaussian_nll(landmarks, torch.full((1, 1), log_sigma), target)
        torch.testing.assert_close(loss, torch.tensor(expected))
