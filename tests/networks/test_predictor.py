"""A network behind the interface of the ONNX one: bytes in, pixels out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from facekd.markup import IBUG68
from facekd.networks.architecture import Architecture
from facekd.networks.checkpoint import ModelMetadata, load, save
from facekd.networks.network import LandmarkNet
from facekd.networks.predictor import TorchModel
from facekd.networks.shape_prior import ShapePrior

SMALL = Architecture("mobilenetv2_035", "coordinate", 68, 64)


def test_a_shape_prior_is_saved_and_reaches_the_points(tmp_path: Path) -> None:
    net = LandmarkNet(SMALL)
    nothing, one = torch.zeros(136), torch.eye(136)
    doubled = ShapePrior(torch.full((136,), 0.25), nothing, 0 * one, torch.zeros(68), one, 2 * one)
    save(net, ModelMetadata(IBUG68, 1.2, shape_prior=doubled), tmp_path / "a.safetensors")
    again, metadata = load(tmp_path / "a.safetensors")
    assert metadata.shape_prior is not None
    for name, value in vars(doubled).items():
        torch.testing.assert_close(getattr(metadata.shape_prior, name), value)
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    plain, refined = (TorchModel(again, a).predict(frames)[0] for a in (ModelMetadata(IBUG68, 1.2), metadata))
    np.testing.assert_allclose((refined - 31.5) / 64, 2 * ((plain - 31.5) / 64 - 0.25) + 0.25, atol=1e-5)


def test_the_predictor_takes_bytes_and_gives_pixels() -> None:
    net = LandmarkNet(SMALL).eval()
    model = TorchModel(net, ModelMetadata(IBUG68, 1.2))
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    points, confidence, _ = model.predict(frames)
    assert points.shape == (3, 68, 2) and points.dtype == np.float32 and confidence is None
    with torch.no_grad():
        normalised = net(torch.from_numpy(frames).permute(0, 3, 1, 2) / 255).landmarks.numpy()
    np.testing.assert_allclose(points, normalised * 64 + 31.5, atol=1e-3)


def test_confidence_is_of_the_radius_and_calibrated() -> None:
    """Sigma is e^-3 everywhere; calibrated with slope 0.5 and offset -1 it is e^-2.5, at a radius of half of that."""
    net = LandmarkNet(Architecture("mobilenetv2_035", "coordinate", 68, 64, sigma=True)).eval()
    with torch.no_grad():
        net.head.linear.weight.zero_()
        net.head.linear.bias[136:] = -3.0
    metadata = ModelMetadata(IBUG68, 1.2, confidence_radius=0.5 * math.exp(-2.5), calibration=(0.5, -1.0))
    _, confidence, _ = TorchModel(net, metadata).predict(np.zeros((2, 64, 64, 3), np.uint8))
    np.testing.assert_allclose(confidence, np.full((2, 68), 1 - math.exp(-0.125)), rtol=1e-5)
