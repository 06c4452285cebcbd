"""Heads: from features to landmarks, by hand and in full precision."""

from __future__ import annotations

import pytest
import torch

from facekd.networks.architecture import Architecture
from facekd.networks.heads import CoordinateHead
from facekd.networks.network import LandmarkNet

SMALL = Architecture("mobilenetv2_035", "coordinate", 68, 64)


@pytest.mark.parametrize(("size", "stride", "cells"), [(112, 8, 14), (112, 4, 28), (100, 8, 13), (64, 16, 4)])
def test_strides_and_sizes_that_do_not_divide(size: int, stride: int, cells: int) -> None:
    net = LandmarkNet(Architecture("mobilenetv2_035", "spatial", 5, size, stride=stride)).eval()
    prediction = net(torch.rand(1, 3, size, size))
    assert prediction.heatmaps.shape == (1, 5, cells, cells)


def test_soft_argmax_reads_a_heatmap_where_its_peak_is() -> None:
    net = LandmarkNet(Architecture("mobilenetv2_035", "spatial", 2, 64)).eval()
    head = net.head
    torch.nn.init.zeros_(head.out.weight)
    with torch.no_grad():
        head.out.bias.zero_()
        flat = net(torch.rand(1, 3, 64, 64)).landmarks
        torch.testing.assert_close(flat, torch.zeros(1, 2, 2), atol=1e-6, rtol=0)  # an even heatmap: the middle
        head.out.bias[2:4] = torch.tensor([1.0, -2.0])  # x offsets of the two points, in cells of 1/8 of the frame
        torch.testing.assert_close(net(torch.rand(1, 3, 64, 64)).landmarks[0, :, 0], torch.tensor([0.125, -0.25]))


def test_landmarks_are_read_from_the_heatmaps_in_full_precision() -> None:
    """Whatever the convolutions were computed in: bfloat16 knows a coordinate to 1/256 only."""
    torch.manual_seed(0)
    net = LandmarkNet(Architecture("mobilenetv2_035", "spatial", 5, 64)).eval()
    net.head.cell = 0.0  # no offsets: what is left is the mean of the cells' centres
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        landmarks, _, log_heat, _ = net(torch.rand(2, 3, 64, 64))
    heat, axis = log_heat.double().exp(), (torch.arange(8) + 0.5) / 8 - 0.5
    by_hand = torch.stack([(heat.sum(2) * axis).sum(-1), (heat.sum(3) * axis).sum(-1)], dim=-1)
    torch.testing.assert_close(landmarks.double(), by_hand, rtol=0, atol=1e-5)


def test_coordinates_are_regressed_in_full_precision() -> None:
    torch.manual_seed(0)
    net = LandmarkNet(SMALL).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        landmarks = net(torch.rand(2, 3, 64, 64)).landmarks
    assert not torch.equal(landmarks, landmarks.bfloat16().float())


def test_coordinates_with_sigma_keep_points_and_spread_apart() -> None:
    head = CoordinateHead(8, 5, 0.0, sigma=True)
    landmarks, log_sigma, _, _ = head(torch.zeros(2, 8))
    assert landmarks.shape == (2, 5, 2) and log_sigma.shape == (2, 5)
    torch.testing.assert_close(log_sigma, torch.full((2, 5), -3.5))


def test_the_head_starts_at_the_mean_shape() -> None:
    torch.manual_seed(0)
    net = LandmarkNet(SMALL).eval()
    mean = torch.rand(68, 2) - 0.5
    net.start_at(mean)
    with torch.no_grad():
        assert (net(torch.rand(2, 3, 64, 64)).landmarks - mean).abs().max() < 0.2


def test_a_spatial_heads_log_sigma_starts_at_three_percent_of_the_frame() -> None:
    """e^-3.5 is 0.03; with an even heatmap the expectation of the map is the map's own level."""
    net = LandmarkNet(Architecture("mobilenetv2_035", "spatial", 5, 64, sigma=True)).eval()
    torch.nn.init.zeros_(net.head.out.weight)
    with torch.no_grad():
        torch.testing.assert_close(net(torch.rand(2, 3, 64, 64)).log_sigma, torch.full((2, 5), -3.5))


def test_coarse_and_fine_features_both_reach_the_heatmaps() -> None:
    torch.manual_seed(0)
    head = LandmarkNet(Architecture("mobilenetv2_035", "spatial", 5, 64)).eval().head
    sides = zip(head.lateral, (8, 4, 2), strict=True)
    features = [torch.rand(1, lateral.in_channels, side, side) for lateral, side in sides]
    with torch.no_grad():
        before = head(features)[2]
        for level in range(3):
            changed = [f + (i == level) for i, f in enumerate(features)]
            assert (head(changed)[2] - before).abs().max() > 1e-4, level


def test_dropout_takes_half_of_the_features_in_training() -> None:
    """Of 1000 features that all count 1 about 500 are left, each doubled; none is taken in evaluation."""
    torch.manual_seed(0)
    head = CoordinateHead(1000, 1, 0.5, sigma=False)
    torch.nn.init.ones_(head.linear.weight)
    torch.nn.init.zeros_(head.linear.bias)
    values = head.train()(torch.ones(20, 1000))[0]
    assert 900 < values.min() < values.max() < 1100 and values.std() > 10
    torch.testing.assert_close(head.eval()(torch.ones(1, 1000))[0], torch.full((1, 1, 2), 1000.0))
