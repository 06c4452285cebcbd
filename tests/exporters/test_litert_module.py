"""What is exported to LiteRT computes what the network does; the converter itself is tested in `test_converters`."""

from __future__ import annotations

import pytest
import torch

from facekd.exporters.litert_module import LiteRTModule
from facekd.exporters.onnx import ExportModule
from facekd.markup import FIVE
from facekd.networks.architecture import Architecture
from facekd.networks.checkpoint import ModelMetadata
from facekd.networks.network import LandmarkNet
from facekd.pipeline.shape_prior import posterior

POINTS = 5


def metadata(prior: bool, strongly: float = 1.0) -> ModelMetadata:
    """Return those of a network of five points; `strongly`: how far log-sigmas are from typical."""
    shapes = 0.2 * torch.randn(500, POINTS, 2) + torch.randn(POINTS, 2)
    mixed = 0.05 * torch.randn(2 * POINTS, 2 * POINTS).double()
    noise, bias = mixed @ mixed.T + 0.001 * torch.eye(2 * POINTS), 0.01 * torch.randn(2 * POINTS).double()
    typical = -3.5 + strongly * torch.randn(POINTS).double()
    return ModelMetadata(
        FIVE,
        1.25,
        calibration=(0.8, -0.5),
        shape_prior=posterior(shapes, noise, bias, typical) if prior else None,
    )


@pytest.mark.parametrize("prior", [True, False])
@pytest.mark.parametrize(
    ("head", "sigma", "visibility"),
    [("spatial", True, True), ("spatial", True, False), ("spatial", False, True), ("coordinate", True, True)],
)
def test_it_computes_what_the_network_does(head: str, sigma: bool, visibility: bool, prior: bool) -> None:
    torch.manual_seed(1)
    net = LandmarkNet(Architecture("mobilenetv2_035", head, POINTS, 64, sigma=sigma, visibility=visibility)).eval()
    if head == "spatial":
        with torch.no_grad():  # peaks, and the kinds of maps of ranges of their own
            net.head.out.weight[:POINTS] *= 100
            net.head.out.weight[POINTS : 3 * POINTS] *= 5
    given, images = metadata(prior), torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected, found = ExportModule(net, given).named(images), LiteRTModule(net, given)(images)
        alone = ExportModule(net, metadata(False)).named(images)["points"]
    assert list(found) == list(expected) == ["points", *["confidence"] * sigma, *["visible"] * visibility]
    torch.testing.assert_close(found["points"], expected["points"], atol=1e-3, rtol=0)
    assert not prior or (expected["points"] - alone).abs().max() > 0.5
    for name in list(found)[1:]:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=0)


def test_nothing_left_to_solve_gives_no_nan() -> None:
    torch.manual_seed(0)
    net = LandmarkNet(Architecture("mobilenetv2_035", "spatial", POINTS, 64, sigma=True)).eval()
    given = metadata(True)
    assert given.shape_prior is not None
    with torch.inference_mode():
        for values in (net.head.out.weight[3 * POINTS :], net.head.out.bias[3 * POINTS :], given.shape_prior.typical):
            values.zero_()  # log-sigma is typical everywhere
        images = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
        expected, found = ExportModule(net, given).named(images), LiteRTModule(net, given)(images)
    torch.testing.assert_close(found["points"], expected["points"], atol=1e-3, rtol=0)
