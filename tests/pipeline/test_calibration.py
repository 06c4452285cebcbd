"""Whether confidence is made to keep its word."""

from __future__ import annotations

import math

import pytest
import torch

from facekd.networks.network import confidence
from facekd.pipeline.calibration import calibrate

RADIUS = 0.02


def errors(true_log_sigma: torch.Tensor) -> torch.Tensor:
    """Return distances of points whose errors are round Gaussians of these sigmas."""
    noise = torch.randn(*true_log_sigma.shape, 2, generator=torch.Generator().manual_seed(1))
    return (noise * true_log_sigma.exp()[..., None]).norm(dim=-1)


@pytest.fixture
def said() -> torch.Tensor:
    return torch.empty(400, 68).uniform_(-5.5, -3, generator=torch.Generator().manual_seed(0))


def test_by_hand() -> None:
    """At radius = sigma a Gaussian in the plane holds 1 - exp(-1/2) of its points; corrected to twice that, 1/8."""
    log_sigma = torch.tensor([math.log(0.1)])
    torch.testing.assert_close(confidence(log_sigma, 0.1), torch.tensor([1 - math.exp(-0.5)]))
    doubled = confidence(log_sigma, 0.1, 1.0, math.log(2))
    torch.testing.assert_close(doubled, torch.tensor([1 - math.exp(-0.125)]))


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (1.0, math.log(2)), (0.7, -0.8), (1.4, 1.5)])
def test_a_known_correction_is_found(said: torch.Tensor, slope: float, offset: float) -> None:
    found = calibrate(said, errors(slope * said + offset), RADIUS)
    assert found == pytest.approx((slope, offset), abs=0.1)


def test_what_is_said_is_then_what_is_seen(said: torch.Tensor) -> None:
    """Also where errors are no Gaussians: with long tails, as faces have them."""
    distance = errors(said) * torch.empty(said.shape).exponential_(generator=torch.Generator().manual_seed(2)) * 2

    def off(slope: float, offset: float) -> float:
        sure = confidence(said, RADIUS, slope, offset).flatten()
        groups = torch.argsort(sure).chunk(10)
        within = (distance.flatten() <= RADIUS).float()
        return sum(abs(float(sure[group].mean() - within[group].mean())) for group in groups) / len(groups)

    assert off(*calibrate(said, distance, RADIUS)) < 0.03 < 0.06 < off(1.0, 0.0)


def test_a_handful_of_points_decides_little() -> None:
    """A network that is right wherever it is asked is not declared infallible."""
    log_sigma = torch.full((2, 5), math.log(RADIUS))
    slope, offset = calibrate(log_sigma, torch.zeros(2, 5), RADIUS)
    assert math.isfinite(slope) and -4 < offset < 0
