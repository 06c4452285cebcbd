"""The posterior mean of landmarks, on shapes and errors whose statistics are known."""

from __future__ import annotations

import math
from unittest.mock import patch

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from facekd.networks import shape_prior as layer
from facekd.networks.shape_prior import ShapePrior
from facekd.pipeline.shape_prior import error_statistics, fit_shape_prior, posterior

GENERATOR = torch.Generator().manual_seed(0)
MEAN = torch.tensor([[-0.2, 0.0], [0.2, 0.0], [0.0, 0.3]])
MIRROR = torch.tensor([1, 0, 2])


def faces(count: int) -> Tensor:
    """Shapes (count, 3, 2) that differ in two ways only: all points move along x together, the third along y."""
    moved = torch.zeros(count, 3, 2)
    moved[:, :, 0] = 0.1 * torch.randn(count, 1, generator=GENERATOR)
    moved[:, 2, 1] = 0.05 * torch.randn(count, generator=GENERATOR)
    return MEAN + moved


def noise(count: int, sigma: float) -> Tensor:
    return sigma * torch.randn(count, 3, 2, generator=GENERATOR)


def error(said: Tensor, truth: Tensor) -> Tensor:
    return (said - truth).norm(dim=-1).mean(-1)


def test_by_hand() -> None:
    """One point, of variance 4 and 1 about (1, 2), and noise of variance 1: x keeps 4/5 of what was said, y half."""
    corners = torch.tensor([[2.0, 0], [-2, 0], [0, 1], [0, -1]]) * (1.5**0.5)  # whose covariance is 4, 1
    shapes = corners[:, None] + torch.tensor([1.0, 2])
    noise, usual = torch.eye(2).double(), torch.zeros(1).double()
    found = posterior(shapes, noise, torch.zeros(2).double(), usual)
    torch.testing.assert_close(found(torch.tensor([[[6.0, 4.0]]])), torch.tensor([[[5.0, 3.0]]]))
    biased = posterior(shapes, noise, torch.tensor([10.0, -4.0]).double(), usual)
    torch.testing.assert_close(biased(torch.tensor([[[16.0, 0.0]]])), torch.tensor([[[5.0, 3.0]]]))
    # Twice as unsure: noise of variance 4, of which x keeps half, y a fifth.
    twice = found(torch.tensor([[[6.0, 4.0]]]), torch.tensor([[2.0]]).log())
    torch.testing.assert_close(twice, torch.tensor([[[3.5, 2.4]]]))


@given(seed=st.integers(0, 2**31))
def test_the_iteration_solves_what_it_is_meant_to(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shapes = 0.1 * torch.randn(50, 4, 2, generator=generator)
    root = 0.02 * torch.randn(8, 8, generator=generator).double()
    noise, bias = root @ root.T + 1e-4 * torch.eye(8).double(), 0.01 * torch.randn(8, generator=generator).double()
    typical = torch.randn(4, generator=generator).double()
    said, log_sigma = torch.randn(3, 4, 2, generator=generator), typical + 0.6 * torch.randn(3, 4, generator=generator)
    flat = shapes.double().flatten(1)
    mean, covariance = flat.mean(0), flat.T.cov()
    found = posterior(shapes, noise, bias, typical)
    few, none = found(said, log_sigma).flatten(1).double(), found(said).flatten(1).double()
    with patch.object(layer, "ITERATIONS", 20):
        got = found(said, log_sigma).flatten(1).double()
    for row in range(3):
        ratio = (log_sigma[row] - typical).clamp(-1.4, 1.4).exp().repeat_interleave(2).diag()
        away = said[row].double().flatten() - bias - mean
        wanted = mean + covariance @ torch.linalg.solve(covariance + ratio @ noise @ ratio, away)
        assert (got[row] - wanted).norm() < 0.01 * away.norm()
        # Three iterations are most of the way from the estimate without sigma.
        assert (few[row] - wanted).norm() < 0.5 * (none[row] - wanted).norm() + 0.01 * away.norm()


def test_errors_by_hand() -> None:
    """Points 0 and 1 are a pair: an error of (3, 1) at 0 is one of (-3, 1) at 1 in the mirror."""
    said = torch.tensor([[[3.0, 1.0], [0, 0], [0, 0]]])
    noise, bias = error_statistics(said, torch.zeros(1, 3, 2), torch.ones(1, 3), MIRROR)
    mean = torch.tensor([1.5, 0.5, -1.5, 0.5, 0, 0]).double()
    torch.testing.assert_close(bias, 0.8 * mean)
    first = torch.tensor([3.0, 1, 0, 0, 0, 0]).double() - bias
    second = torch.tensor([0.0, 0, -3, 1, 0, 0]).double() - bias
    spread = (torch.outer(first, first) + torch.outer(second, second)) / 2
    torch.testing.assert_close(noise.diag(), spread.diag())
    torch.testing.assert_close(noise[0, 1], spread[0, 1] / 2)
    halved, _ = error_statistics(said, torch.zeros(1, 3, 2), torch.full((1, 3), 2.0), MIRROR)
    torch.testing.assert_close(halved, noise / 4)


def test_points_that_move_together_share_their_noise() -> None:
    """Along x the mean of the three counts, so that the variance of the error falls to a third; along y to almost 0."""
    truth = faces(4000)
    found = posterior(faces(20000), 0.02**2 * torch.eye(6).double(), torch.zeros(6).double(), torch.zeros(3))
    left = found(truth + noise(4000, 0.02)) - truth
    torch.testing.assert_close(left[..., 0].std(), torch.tensor(0.02 / 3**0.5), rtol=0.05, atol=0)
    assert left[:, :2, 1].std() < 1e-3


def test_a_prior_that_helps_is_found() -> None:
    truth, off = faces(200), torch.tensor([[0.0, 0.01], [0, 0.01], [0, 0]])  # and a bias, alike for the pair
    said = truth + noise(200, 0.02) + off
    found = fit_shape_prior(faces(5000), said, None, truth, MIRROR, error)
    assert isinstance(found, ShapePrior)
    unseen = faces(1000)
    again = unseen + noise(1000, 0.02) + off
    assert error(found(again), unseen).mean() < 0.75 * error(again, unseen).mean()


def test_none_is_kept_that_is_not_clearly_good() -> None:
    truth = faces(200)
    together = truth.clone()
    together[..., 0] += 0.02 * torch.randn(200, 1, generator=GENERATOR)  # errors that are themselves likely moves
    assert fit_shape_prior(faces(5000), together, None, truth, MIRROR, error) is None
    said = truth + noise(200, 0.02)
    assert fit_shape_prior(faces(5000), said[:20], None, truth[:20], MIRROR, error) is None  # too few faces
    assert fit_shape_prior(faces(6), said, None, truth, MIRROR, error) is None  # too few shapes


def test_points_it_is_sure_of_stay_where_they_are() -> None:
    """Of three that move along x together one is hidden: it comes to where the others want it, and they stay."""
    truth = faces(400)
    log_sigma = torch.full((400, 3), 0.005).log()
    rows, hidden = torch.arange(400), torch.randint(3, (400,), generator=GENERATOR)
    log_sigma[rows, hidden] = math.log(0.05)
    said = truth + log_sigma.exp()[..., None] * torch.randn(400, 3, 2, generator=GENERATOR)
    shapes = faces(5000)
    alike = fit_shape_prior(shapes, said, None, truth, MIRROR, error)
    each = fit_shape_prior(shapes, said, log_sigma, truth, MIRROR, error)
    assert alike is not None and each is not None
    raw, plain, refined = error(said, truth), error(alike(said), truth), error(each(said, log_sigma), truth)
    assert refined.mean() < 0.75 * plain.mean() < 0.75 * raw.mean()


def test_without_mirror_pairs_only_faces_as_they_are_tell_of_errors() -> None:
    """Both points lie 0.1 to the right: were they mirrored without being renamed, no mean would be left."""
    said = torch.tensor([[[0.1, 0.0], [0.1, 0.0]]])
    _, bias = error_statistics(said, torch.zeros(1, 2, 2), torch.ones(1, 2), None)
    torch.testing.assert_close(bias, torch.tensor([0.08, 0.0, 0.08, 0.0]).double())
