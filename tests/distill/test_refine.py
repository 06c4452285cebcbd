"""The linear map behind a network, on shapes and errors whose statistics are known."""

from __future__ import annotations

import torch
from torch import Tensor

from facekd.distill import refine
from facekd.distill.refine import Refinement, refinement

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


def error(truth: Tensor, said: Tensor) -> Tensor:
    return (said - truth).norm(dim=-1).mean(-1)


def test_by_hand() -> None:
    """One point, of variance 4 and 1 about (1, 2), and noise of variance 1: x keeps 4/5 of what was said, y half."""
    corners = torch.tensor([[2.0, 0], [-2, 0], [0, 1], [0, -1]]) * (1.5**0.5)  # whose covariance is 4, 1
    found = refinement(corners[:, None] + torch.tensor([1.0, 2]), torch.tensor([1.0]))
    torch.testing.assert_close(found.matrix, torch.diag(torch.tensor([0.8, 0.5])))
    torch.testing.assert_close(found(torch.tensor([[[6.0, 4.0]]])), torch.tensor([[[5.0, 3.0]]]))


def test_points_that_move_together_share_their_noise() -> None:
    """Along x the mean of the three counts, so that the variance of the error falls to a third; along y to almost 0."""
    truth = faces(4000)
    found = refinement(faces(20000), torch.full((3,), 0.02**2))
    left = found(truth + noise(4000, 0.02)) - truth
    torch.testing.assert_close(left[..., 0].std(), torch.tensor(0.02 / 3**0.5), rtol=0.05, atol=0)
    assert left[:, :2, 1].std() < 1e-3


def test_a_refinement_that_helps_is_found() -> None:
    truth = faces(200)
    said = truth + noise(200, 0.02)
    found = refine.fit(faces(5000), said, truth, MIRROR, lambda points: error(truth, points))
    assert isinstance(found, Refinement)
    unseen = faces(1000)
    again = unseen + noise(1000, 0.02)
    assert error(unseen, found(again)).mean() < 0.8 * error(unseen, again).mean()


def test_none_is_kept_that_is_not_clearly_good() -> None:
    truth = faces(200)
    together = truth + 0.02 * torch.randn(200, 1, 2, generator=GENERATOR)  # errors that are themselves a likely move
    together[..., 1] = truth[..., 1]
    assert refine.fit(faces(5000), together, truth, MIRROR, lambda points: error(truth, points)) is None
    few = truth[:20] + noise(20, 0.02)
    assert refine.fit(faces(5000), few, truth[:20], MIRROR, lambda points: error(truth[:20], points)) is None
    said = truth + noise(200, 0.02)
    assert refine.fit(faces(6), said, truth, MIRROR, lambda points: error(truth, points)) is None  # too few shapes
