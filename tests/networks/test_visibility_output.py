"""The output of visibility: in both heads, in a checkpoint, in an exported file, and back in torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from facekd.exporters.onnx import export
from facekd.losses.visibility import visibility_cross_entropy
from facekd.markup import FIVE
from facekd.networks.architecture import Architecture
from facekd.networks.checkpoint import ModelMetadata, load, save
from facekd.networks.exported import load_exported
from facekd.networks.network import LandmarkNet
from facekd.networks.predictor import TorchModel
from facekd.runtime.model import OnnxModel


def network(head: str, visibility: bool = True, sigma: bool = True) -> LandmarkNet:
    torch.manual_seed(0)
    return LandmarkNet(Architecture("mobilenetv2_035", head, 5, 64, sigma=sigma, visibility=visibility)).eval()


@pytest.mark.parametrize("head", ["coordinate", "spatial"])
def test_it_stands_beside_the_other_outputs(head: str) -> None:
    images = torch.rand(2, 3, 64, 64)
    plain, seeing = network(head, visibility=False), network(head)
    own = {key for key in seeing.state_dict() if key.startswith("head.visibility.")}
    assert seeing.state_dict().keys() - plain.state_dict().keys() == own and len(own) == 2
    seeing.load_state_dict(plain.state_dict(), strict=False)
    before, after = plain(images), seeing(images)
    for one, other in zip(before[:3], after[:3], strict=True):
        assert (one is other is None) or torch.equal(one, other)
    assert before.visibility is None and after.visibility.shape == (2, 5)


def test_a_spatial_heads_visibility_is_the_mean_under_the_heatmap() -> None:
    net = network("spatial")
    with torch.no_grad():
        net.head.visibility.weight.zero_()
        net.head.visibility.bias.copy_(torch.arange(5.0))
    torch.testing.assert_close(net(torch.rand(2, 3, 64, 64)).visibility, torch.arange(5.0).expand(2, 5))


def test_learning_visibility_does_not_move_the_landmarks_maps() -> None:
    net = network("spatial").train()
    prediction = net(torch.rand(2, 3, 64, 64))
    visibility_cross_entropy(prediction.visibility, torch.rand(2, 5) > 0.5, torch.zeros(2, 5, 2)).backward()
    assert net.head.out.weight.grad is None and net.head.visibility.weight.grad.abs().max() > 0


@pytest.mark.parametrize(("head", "sigma"), [("coordinate", False), ("spatial", True), ("spatial", False)])
def test_files_hold_it(head: str, sigma: bool, tmp_path: Path) -> None:
    source = tmp_path / "net.safetensors"
    save(network(head, sigma=sigma), ModelMetadata(FIVE, 1.25), source)
    crops = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    wanted = TorchModel.load(source).predict(crops)
    with torch.no_grad():
        logits = load(source)[0](torch.from_numpy(crops).permute(0, 3, 1, 2) / 255).visibility
    np.testing.assert_allclose(wanted.visible, logits.sigmoid().numpy(), atol=1e-6)
    assert export(source, tmp_path / "net.onnx").confidence < 1e-4
    model = OnnxModel(tmp_path / "net.onnx")
    assert model.outputs == ["points", *["confidence"] * sigma, "visible"]
    assert (wanted.confidence is None) == (not sigma)
    for found in (model.predict(crops), TorchModel(*load_exported(tmp_path / "net.onnx")).predict(crops)):
        np.testing.assert_allclose(found.points, wanted.points, atol=0.01)
        np.testing.assert_allclose(found.visible, wanted.visible, atol=1e-4)
    assert model(crops[:0]).visible.shape == (0, 5)
