"""Networks as a whole: shapes, parameters, cost, confidence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facekd.networks.architecture import Architecture
from facekd.networks.network import LandmarkNet, confidence, cost
from facekd.recipes.load import load
from facekd.recipes.resolve import TrainStage, resolve


@pytest.mark.parametrize("sigma", [False, True])
@pytest.mark.parametrize("head", ["coordinate", "spatial"])
def test_shapes_and_ranges(head: str, sigma: bool) -> None:
    net = LandmarkNet(Architecture("mobilenetv2_035", head, 68, 64, sigma=sigma)).eval()
    prediction = net(torch.rand(3, 3, 64, 64))
    assert prediction.landmarks.shape == (3, 68, 2)
    assert (prediction.log_sigma is not None) == sigma
    if head == "spatial":
        assert prediction.heatmaps.shape == (3, 68, 8, 8)
        torch.testing.assert_close(prediction.heatmaps.exp().sum((-2, -1)), torch.ones(3, 68))
        assert prediction.landmarks.abs().max() < 0.75  # the grid's cells and a little offset


@pytest.mark.parametrize("backbone", ["mobilenetv3_small_050", "resnet18", "edgenext_xx_small"])
@pytest.mark.parametrize("head", ["coordinate", "spatial"])
def test_any_backbone_of_timm(backbone: str, head: str) -> None:
    net = LandmarkNet(Architecture(backbone, head, 68, 64)).eval()
    assert net(torch.rand(1, 3, 64, 64)).landmarks.shape == (1, 68, 2)


def test_parameters_of_the_papers_networks() -> None:
    """Paper: student 2.40 M, teacher 10.9 M parameters."""
    student = LandmarkNet(Architecture("mobilenetv2_100", "coordinate", 68, 224))
    teacher = LandmarkNet(Architecture("efficientnet_b3", "coordinate", 68, 224))
    assert round(sum(p.numel() for p in student.parameters()) / 1e6, 2) == 2.40
    assert round(sum(p.numel() for p in teacher.parameters()) / 1e6, 1) == 10.9


def test_cost_by_hand() -> None:
    """The students of the bundled recipes: at most 4 M parameters and 0.4 G multiply-accumulates."""
    net = LandmarkNet(Architecture("mobilenetv2_100", "coordinate", 68, 224)).train()
    parameters, macs = cost(net)
    assert parameters == sum(p.numel() for p in net.parameters()) and net.training
    assert round(macs / 1e6) == 300  # MobileNetV2's paper: 300 M with its classifier; 136 outputs cost as little
    for name in ("facekd-68", "facekd-68-lite"):
        recipe = load(name)
        stage = resolve(recipe)[recipe.result]
        settings = stage if isinstance(stage, TrainStage) else stage.members[0]
        architecture = Architecture(
            settings.network.backbone, settings.network.head, 68, settings.frame.size, sigma=True
        )
        parameters, macs = cost(LandmarkNet(architecture))
        assert parameters <= 4e6 and macs <= 0.4e9


def test_confidence_is_the_share_of_a_gaussian_inside_the_radius() -> None:
    rng = np.random.default_rng(0)
    inside = (np.hypot(*rng.normal(0, 0.03, (2, 100_000))) < 0.04).mean()
    assert abs(float(confidence(torch.tensor(0.03).log(), 0.04)) - inside) < 0.005


@pytest.mark.parametrize(
    ("standardise", "expected"), [(True, [0.015 / 0.229, 0.044 / 0.224, 0.094 / 0.225]), (False, [0.5, 0.5, 0.5])]
)
def test_a_backbone_sees_standardised_pixels_or_plain_ones(standardise: bool, expected: list[float]) -> None:
    """Mid-grey less ImageNet's mean 0.485, 0.456, 0.406, over its deviation 0.229, 0.224, 0.225."""
    net = LandmarkNet(Architecture("mobilenetv2_035", "coordinate", 5, 32, standardise=standardise)).eval()
    seen = []
    net.backbone.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    with torch.no_grad():
        net(torch.full((1, 3, 32, 32), 0.5))
    torch.testing.assert_close(seen[0][0, :, 7, 9], torch.tensor(expected), rtol=1e-5, atol=1e-6)
