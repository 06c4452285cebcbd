"""Networks: heads, weights, and the file that describes itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from facekd.errors import ModelError
from facekd.geometry import BoxTransform
from facekd.markup import IBUG68
from facekd.networks import network as networks
from facekd.networks.heads import Coordinates
from facekd.networks.network import About, Architecture, LandmarkNet, TorchModel
from facekd.networks.refinement import Refinement
from facekd.recipes import schema as recipe

SMALL = Architecture("mobilenetv2_035", "coordinate", 68, 64)


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
    parameters, macs = networks.cost(net)
    assert parameters == sum(p.numel() for p in net.parameters()) and net.training
    assert round(macs / 1e6) == 300  # MobileNetV2's paper: 300 M with its classifier; 136 outputs cost as little
    for name in ("facekd-68", "facekd-68-lite"):
        r = recipe.load(name)
        student = LandmarkNet(Architecture(r.student.backbone, r.student.head, 68, r.size("student"), sigma=True))
        parameters, macs = networks.cost(student)
        assert parameters <= 4e6 and macs <= 0.4e9


@pytest.mark.parametrize(("size", "stride", "cells"), [(112, 8, 14), (112, 4, 28), (100, 8, 13), (64, 16, 4)])
def test_strides_and_sizes_that_do_not_divide(size: int, stride: int, cells: int) -> None:
    net = LandmarkNet(Architecture("mobilenetv2_035", "spatial", 5, size, stride=stride)).eval()
    prediction = net(torch.rand(1, 3, size, size))
    assert prediction.heatmaps.shape == (1, 5, cells, cells)


def test_the_head_starts_at_the_mean_shape() -> None:
    torch.manual_seed(0)
    net = LandmarkNet(SMALL).eval()
    mean = torch.rand(68, 2) - 0.5
    net.start_at(mean)
    with torch.no_grad():
        assert (net(torch.rand(2, 3, 64, 64)).landmarks - mean).abs().max() < 0.2


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
        landmarks, _, log_heat = net(torch.rand(2, 3, 64, 64))
    heat, axis = log_heat.double().exp(), (torch.arange(8) + 0.5) / 8 - 0.5
    by_hand = torch.stack([(heat.sum(2) * axis).sum(-1), (heat.sum(3) * axis).sum(-1)], dim=-1)
    torch.testing.assert_close(landmarks.double(), by_hand, rtol=0, atol=1e-5)


def test_coordinates_are_regressed_in_full_precision() -> None:
    torch.manual_seed(0)
    net = LandmarkNet(SMALL).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        landmarks = net(torch.rand(2, 3, 64, 64)).landmarks
    assert not torch.equal(landmarks, landmarks.bfloat16().float())


def test_a_file_of_another_version_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    networks.save(LandmarkNet(SMALL), About(IBUG68, 1.2), path)
    with safe_open(str(path), framework="pt") as file:
        record = json.loads(file.metadata()["facekd"])
    save_file(load_file(path), path, metadata={"facekd": json.dumps(record | {"colour": "red"})})
    with pytest.raises(ModelError, match=r"another version of facekd, upgrade it: .*colour"):
        networks.load(path)


def test_save_and_load(tmp_path: Path) -> None:
    net = LandmarkNet(SMALL).eval()
    data, recipe = [{"name": "300w", "terms": "research"}], {"name": "quick"}
    about = About(IBUG68, 1.2, BoxTransform(0.8, 0, 0.1), 0.021, (0.9, -0.4), data, recipe)
    networks.save(net, about, tmp_path / "a.safetensors")
    again, same = networks.load(tmp_path / "a.safetensors")
    assert same == about and again.architecture == SMALL
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(again(x).landmarks, net(x).landmarks, rtol=0, atol=0)


def test_a_refinement_is_saved_and_reaches_the_points(tmp_path: Path) -> None:
    net = LandmarkNet(SMALL)
    nothing, one = torch.zeros(136), torch.eye(136)
    doubled = Refinement(torch.full((136,), 0.25), nothing, 0 * one, torch.zeros(68), one, 2 * one)
    networks.save(net, About(IBUG68, 1.2, refinement=doubled), tmp_path / "a.safetensors")
    again, about = networks.load(tmp_path / "a.safetensors")
    assert about.refinement is not None
    for name, value in vars(doubled).items():
        torch.testing.assert_close(getattr(about.refinement, name), value)
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    plain, refined = (TorchModel(again, a).look(frames)[0] for a in (About(IBUG68, 1.2), about))
    np.testing.assert_allclose((refined - 31.5) / 64, 2 * ((plain - 31.5) / 64 - 0.25) + 0.25, atol=1e-5)


def test_the_predictor_takes_bytes_and_gives_pixels(tmp_path: Path) -> None:
    net = LandmarkNet(SMALL).eval()
    model = TorchModel(net, About(IBUG68, 1.2))
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    points, confidence = model.look(frames)
    assert points.shape == (3, 68, 2) and points.dtype == np.float32 and confidence is None
    with torch.no_grad():
        normalised = net(torch.from_numpy(frames).permute(0, 3, 1, 2) / 255).landmarks.numpy()
    np.testing.assert_allclose(points, normalised * 64 + 31.5, atol=1e-3)


def test_confidence_is_the_share_of_a_gaussian_inside_the_radius() -> None:
    rng = np.random.default_rng(0)
    inside = (np.hypot(*rng.normal(0, 0.03, (2, 100_000))) < 0.04).mean()
    assert abs(float(networks.confidence(torch.tensor(0.03).log(), 0.04)) - inside) < 0.005


def test_backbone_weights_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = timm.create_model("mobilenetv2_035", num_classes=1000)
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    for head in ("coordinate", "spatial"):
        net = LandmarkNet(Architecture("mobilenetv2_035", head, 68, 64))
        networks.load_backbone(net, str(tmp_path / "w.safetensors"))
        torch.testing.assert_close(net.backbone.conv_stem.weight, whole.conv_stem.weight)


def test_weights_that_do_not_fit_name_the_layers(tmp_path: Path) -> None:
    other = timm.create_model("mobilenetv2_050", num_classes=0)
    save_file(other.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"do not fit 'mobilenetv2_035': \d+ layers differ \(conv_stem|blocks"):
        networks.load_backbone(LandmarkNet(SMALL), str(tmp_path / "w.safetensors"))


@pytest.mark.parametrize("content", [None, b"", b"not safetensors at all"])
def test_files_that_are_no_network(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match="not a facekd network"):
        networks.load(path)
    with pytest.raises(ModelError, match="cannot be read"):
        networks.load_backbone(LandmarkNet(SMALL), str(path))


def test_an_unknown_backbone_is_answered_with_the_nearest() -> None:
    with pytest.raises(ModelError, match="did you mean 'mobilenetv2_"):
        LandmarkNet(Architecture("mobilenetv2_10", "coordinate", 68, 64))


def test_coordinates_with_sigma_keep_points_and_spread_apart() -> None:
    head = Coordinates(8, 5, 0.0, sigma=True)
    landmarks, log_sigma, _ = head(torch.zeros(2, 8))
    assert landmarks.shape == (2, 5, 2) and log_sigma.shape == (2, 5)
    torch.testing.assert_close(log_sigma, torch.full((2, 5), -3.5))


def test_weights_that_cannot_be_downloaded_name_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to the hub")

    net = LandmarkNet(SMALL)
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ModelError, match=r"--set tough\.weights=FILE"):
        networks.load_backbone(net, "timm", "tough.weights")
