"""Weights taken over by networks of other points."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facekd.networks.architecture import Architecture
from facekd.networks.network import LandmarkNet
from facekd.networks.transfer import correspondence, transfer


def pair(head: str, points: int) -> tuple[LandmarkNet, LandmarkNet, torch.Tensor]:
    torch.manual_seed(0)
    source = LandmarkNet(Architecture("mobilenetv2_035", head, points=5, size=64, sigma=True)).eval()
    net = LandmarkNet(Architecture("mobilenetv2_035", head, points=points, size=64, sigma=True)).eval()
    return net, source, torch.rand(3, 3, 64, 64)


@pytest.mark.parametrize("head", ["spatial", "coordinate"])
def test_points_that_correspond_start_where_the_source_sees_them(head: str) -> None:
    """Point 0 is the source's point 3, a tenth of the frame further right; point 1 corresponds to none."""
    net, source, images = pair(head, 2)
    weights, shift = torch.zeros(2, 5), torch.tensor([[0.1, 0.0], [0.0, 0.0]])
    weights[0, 3] = 1
    before = net.head.state_dict()
    kept = {key: value.clone() for key, value in before.items()}
    transfer(net, source, weights, shift)
    with torch.no_grad():
        found, wanted = net(images), source(images)
    torch.testing.assert_close(found.landmarks[:, 0], wanted.landmarks[:, 3] + shift[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.log_sigma[:, 0], wanted.log_sigma[:, 3], atol=1e-4, rtol=1e-4)
    bias = "out.bias" if head == "spatial" else "linear.bias"
    row = slice(1, None, 2) if head == "spatial" else slice(2, 4)
    torch.testing.assert_close(net.head.state_dict()[bias][row], kept[bias][row])


def test_a_point_corresponds_to_the_one_it_moves_with() -> None:
    random = np.random.default_rng(0)
    predicted = random.uniform(-0.5, 0.5, (40, 3, 2))
    labels = np.stack([predicted[:, 2] + [0.02, -0.01], random.uniform(-0.5, 0.5, (40, 2))], axis=1)
    labels[:10, 0] = np.nan  # missing points say nothing
    weights, shift = correspondence(predicted, labels)
    np.testing.assert_array_equal(weights, [[0, 0, 1], [0, 0, 0]])
    np.testing.assert_allclose(shift[0], [0.02, -0.01], atol=1e-6)


def test_a_point_between_others_is_their_mean() -> None:
    """The first lies in the middle of two, as an eye's centre does; the second a quarter of the way between them."""
    rng = np.random.default_rng(0)
    first, second = rng.uniform(-0.2, 0.2, (2, 40, 2)) * [[[1.0]], [[0.05]]] + [[[0.0, 0]], [[0.06, 0]]]
    second = first + second
    far = first + 0.3  # moves with them, but its heatmap lies elsewhere
    labels = np.stack([(first + second) / 2, 0.75 * first + 0.25 * second + [0.0, 0.01]], axis=1)
    weights, shift = correspondence(np.stack([first, second, far], axis=1), labels)
    np.testing.assert_allclose(weights, [[0.5, 0.5, 0], [0.75, 0.25, 0]], atol=0.04)
    np.testing.assert_allclose(shift, [[0, 0], [0, 0.01]], atol=0.005)
