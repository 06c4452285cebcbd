"""Heatmaps against worked-out entropies and covariances."""

from __future__ import annotations

import math

import torch

from facekd.losses.heatmap import heatmap_covariance, heatmap_cross_entropy


def test_an_even_heatmap_costs_the_log_of_its_cells() -> None:
    """An even heatmap of 16 cells costs ln 16 wherever the landmark is; one outside the frame costs nothing."""
    even = torch.full((1, 2, 4, 4), -math.log(16))
    inside = torch.tensor([[[0.1, -0.3], [0.4, 0.4]]])
    torch.testing.assert_close(heatmap_cross_entropy(even, inside), torch.tensor(math.log(16)))
    assert heatmap_cross_entropy(even, torch.full((1, 2, 2), 0.6)) == 0


def test_a_label_is_a_gaussian_one_cell_wide() -> None:
    """Against a heatmap that is this Gaussian the cross-entropy is its entropy: ln(2 pi e) cells in two dimensions.

    Worked out for other widths s of the label's: ln(2 pi) + s^2; a Gaussian two cells wide would cost 5.84.
    """
    axis = torch.arange(21.0) - 10
    one_cell = -0.5 * (axis[:, None].square() + axis.square())
    log_heatmap = one_cell.flatten().log_softmax(-1).view(1, 1, 21, 21)
    centre = torch.zeros(1, 1, 2)
    torch.testing.assert_close(heatmap_cross_entropy(log_heatmap, centre), torch.tensor(math.log(2 * math.pi * math.e)))


def test_the_cross_entropy_is_least_with_the_peak_at_the_landmark() -> None:
    target = torch.tensor([[[0.125 * 2.5 - 0.5 + 0.0, 0.125 * 5.5 - 0.5]]])  # the centre of cell x = 2, y = 5 of 8 x 8
    costs = torch.empty(8, 8)
    for y in range(8):
        for x in range(8):
            heat = torch.zeros(1, 1, 8, 8)
            heat[..., y, x] = 3
            costs[y, x] = heatmap_cross_entropy(heat.flatten(2).log_softmax(-1).view_as(heat), target)
    assert divmod(int(costs.argmin()), 8) == (5, 2)


def test_the_covariance_of_a_heatmap() -> None:
    x, y = torch.meshgrid(torch.arange(32.0), torch.arange(64.0), indexing="xy")  # 64 high, 32 wide
    a, b = (x - 15) / 3, (y - 30 - 0.5 * (x - 15)) / 4  # y leans on x: var y = 16 + 0.25 * 9, cov = 0.5 * 9
    heat = (-0.5 * (a**2 + b**2)).flatten().log_softmax(-1).view(1, 1, 64, 32)
    expected = torch.tensor([9 / 32**2, 4.5 / (32 * 64), 18.25 / 64**2])
    torch.testing.assert_close(heatmap_covariance(heat)[0, 0], expected, rtol=1e-3, atol=0)


def test_a_heatmap_that_is_the_teachers_costs_its_own_entropy() -> None:
    """The least that a cross-entropy can be; any other costs more. The teacher's covariance gains half a cell."""
    where = torch.tensor([[[0.1, -0.05]]])
    covariance = torch.tensor([[[0.004, 0.001, 0.006]]])
    x = (torch.arange(16) + 0.5) / 16 - 0.5
    gap = torch.stack(torch.meshgrid(x, x, indexing="xy"), -1) - where[0, 0]
    least = (0.5 / 16) ** 2
    matrix = torch.tensor([[0.004 + least, 0.001], [0.001, 0.006 + least]])
    exponent = -0.5 * torch.einsum("hwi,ij,hwj->hw", gap, matrix.inverse(), gap)
    own = exponent.flatten().log_softmax(-1).view(1, 1, 16, 16)
    entropy = -(own.exp() * own).sum()
    torch.testing.assert_close(heatmap_cross_entropy(own, where, covariance), entropy)
    assert heatmap_cross_entropy(own.roll(1, -1), where, covariance) > entropy
