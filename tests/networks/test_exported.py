"""Exported networks read back: the same landmarks, and the same in training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from facekd.errors import ModelError
from facekd.exporters import onnx as exporter
from facekd.markup import FIVE
from facekd.networks import exported as reader
from facekd.networks.architecture import Architecture
from facekd.networks.checkpoint import ModelMetadata, save
from facekd.networks.exported import load_exported, load_network, set_statistics
from facekd.networks.network import LandmarkNet
from facekd.networks.predictor import TorchModel
from facekd.networks.shape_prior import ShapePrior
from facekd.runtime.model import OnnxModel
from facekd.runtime.names import bundled


def crops(size: int, count: int = 12) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3), np.uint8)


def lived_in(net: LandmarkNet, widest: float = 1) -> LandmarkNet:
    """Give a network's batch normalisations statistics and weights that are not those of a new one."""
    torch.manual_seed(1)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            module.weight.data *= torch.linspace(1, widest, len(module.weight)) ** -2
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return net.eval()


def prior(points: int) -> ShapePrior:
    random = torch.Generator().manual_seed(2)

    def matrix() -> torch.Tensor:
        return torch.eye(2 * points) + 0.05 * torch.randn(2 * points, 2 * points, generator=random)

    mean, bias = (0.1 * torch.randn(2 * points, generator=random) for _ in range(2))
    return ShapePrior(mean, bias, 0.01 * torch.eye(2 * points), torch.full((points,), -3.5), matrix(), matrix())


def exported(folder: Path, with_prior: bool = False, folded: bool = False, **architecture: object) -> Path:
    values = {"backbone": "mobilenetv2_035", "head": "spatial", "points": 5, "size": 64} | architecture
    torch.manual_seed(0)
    net = lived_in(LandmarkNet(Architecture(**values)), 30 if folded else 1)
    metadata = ModelMetadata(FIVE, 1.25, calibration=(0.9, -0.3), shape_prior=prior(5) if with_prior else None)
    save(net, metadata, folder / "net.safetensors")
    exporter.export(folder / "net.safetensors", folder / "net.onnx")
    return folder / "net.onnx"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "settings"),
    [
        ("mobilenetv2_035", {"sigma": True, "with_prior": True}),
        ("mobilenetv2_035", {"with_prior": True, "standardise": False}),
        ("mobilenetv2_035", {"head": "coordinate", "sigma": True}),
        ("resnet10t", {"sigma": True}),
        ("mobilenetv3_small_050", {}),
        ("efficientnet_b0", {}),
    ],
)
def test_reads_back_what_was_exported(tmp_path: Path, backbone: str, settings: dict) -> None:
    path = exported(tmp_path, backbone=backbone, **settings)
    net, metadata = load_exported(path)
    points, confidence, visible = TorchModel(net, metadata).predict(crops(64))
    wanted, level, _ = OnnxModel(path).predict(crops(64))
    assert visible is None
    np.testing.assert_allclose(points, wanted, atol=64 * 1e-4)  # 1e-4 of the frame
    assert metadata.markup == FIVE and metadata.scale == 1.25
    if settings.get("sigma"):
        np.testing.assert_allclose(confidence, level, atol=1e-4)
        np.testing.assert_allclose(metadata.calibration, (0.9, -0.3), atol=1e-3)
    else:
        assert confidence is None and level is None


@pytest.mark.parametrize("name", bundled())
def test_the_bundled_networks_come_back(name: str) -> None:
    net, metadata = load_network(name)
    model = OnnxModel(name)
    found, wanted = TorchModel(net, metadata).predict(crops(model.size)), model.predict(crops(model.size))
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-3)
    np.testing.assert_allclose(found[1], wanted[1], atol=1e-4)
    assert net.architecture.backbone == "mobilenetv2_100" and metadata.shape_prior is not None


def test_what_was_folded_into_convolutions_is_taken_out_again(tmp_path: Path) -> None:
    """A step of an optimiser moves each channel as far: folded ones would be a thousandth to a hundredfold."""
    path = exported(tmp_path, folded=True)
    graph = {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}
    stems = [one for one in graph.values() if one.shape[1:] == (3, 3, 3)]
    norms = np.linalg.norm(stems[0].reshape(len(stems[0]), -1), axis=1)
    assert norms.max() > 100 * norms.min()
    net = load_exported(path)[0]
    for name, module in net.named_modules():
        if isinstance(module, torch.nn.Conv2d) and module.bias is None and "lateral" not in name:
            norms = module.weight.flatten(1).norm(dim=1).detach()
            torch.testing.assert_close(norms, torch.ones_like(norms), msg=name)


def test_a_checkpoint_and_what_was_exported_from_it_are_one_network(tmp_path: Path) -> None:
    net = lived_in(LandmarkNet(Architecture("mobilenetv2_035", "coordinate", points=5, size=64)))
    save(net, ModelMetadata(FIVE, 1.25), tmp_path / "model.safetensors")
    for name in (tmp_path, tmp_path / "model.safetensors"):  # a stage's folder, and its file
        same, metadata = load_network(name)
        assert metadata.scale == 1.25
        for key, value in net.state_dict().items():
            torch.testing.assert_close(same.state_dict()[key], value, rtol=0, atol=0)
    with pytest.raises(ModelError, match="no model 'facekd-69'"):
        load_network("facekd-69")


def test_statistics_change_nothing_but_how_it_trains() -> None:
    """In training, batch normalisation uses the batch's own statistics: with those stored, both modes are one."""
    torch.manual_seed(0)
    net = lived_in(LandmarkNet(Architecture("mobilenetv2_035", "spatial", points=5, size=64)))
    images = torch.from_numpy(crops(64)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        before = net(images).landmarks
        unlike = net.train()(images).landmarks
        net = lived_in(net)  # training has moved the statistics
        set_statistics(net, images, batch=5)
        after = net(images).landmarks
        alike = net.train()(images).landmarks
    torch.testing.assert_close(after, before, atol=1e-4, rtol=0)
    torch.testing.assert_close(alike, before, atol=1e-4, rtol=0)
    assert (unlike - before).abs().max() > 1e-2


@pytest.mark.slow
def test_a_file_that_is_not_what_its_card_says_is_refused(tmp_path: Path) -> None:
    path = exported(tmp_path)
    card = path.with_suffix(".json")
    values = json.loads(card.read_text())
    other = values["made_with"]["architecture"] | {"backbone": "mobilenetv2_050"}
    card.write_text(json.dumps(values | {"made_with": {"architecture": other}}))
    with pytest.raises(ModelError, match="does not fit its card"):
        load_exported(path)
    card.write_text(json.dumps(values | {"made_with": {}}))
    with pytest.raises(ModelError, match="does not say what network it is"):
        load_exported(path)


@pytest.mark.slow
def test_what_would_compute_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = exported(tmp_path, with_prior=True)
    monkeypatch.setitem(reader._PRIOR, "whiten", "/MatMul_1")  # a node that gives another tensor of that shape
    with pytest.raises(ModelError, match="cannot be read back into torch: its landmarks would differ by"):
        load_exported(path)
