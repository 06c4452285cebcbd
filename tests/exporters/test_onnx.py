"""The exported file computes what torch computes, and says what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from facekd.errors import ModelError
from facekd.exporters import onnx as module
from facekd.exporters.onnx import Parity, check, export
from facekd.geometry import BoxTransform
from facekd.markup import IBUG68
from facekd.networks.architecture import Architecture
from facekd.networks.checkpoint import ModelMetadata, save
from facekd.networks.network import LandmarkNet, Prediction
from facekd.networks.predictor import TorchModel
from facekd.pipeline.shape_prior import posterior
from facekd.runtime.model import OnnxModel


@pytest.fixture(params=["coordinate", "spatial"])
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Random weights and a shape prior; the coordinate head without log-sigma, the spatial one with it."""
    torch.manual_seed(0)
    net = LandmarkNet(Architecture("mobilenetv2_035", request.param, 68, 64, sigma=request.param == "spatial")).eval()
    data, recipe = [{"name": "tiny", "terms": "Made up."}], {"name": "r"}
    shapes = 0.3 * torch.randn(500, 68, 2)
    noise, bias, typical = 0.01 * torch.eye(136).double(), 0.01 * torch.randn(136).double(), torch.randn(68).double()
    shape_prior = posterior(shapes, noise, bias, typical)
    metadata = ModelMetadata(IBUG68, 1.25, BoxTransform(0.8, 0.0, 0.1), 0.02, (0.8, -0.5), data, recipe, shape_prior)
    save(net, metadata, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def test_the_file_computes_what_torch_does(checkpoint: Path, tmp_path: Path) -> None:
    parity = export(checkpoint, tmp_path / "out.onnx", figures={"nme": 5})
    assert parity.frames == 16 and parity.points < 0.01
    torch_model, onnx_model = TorchModel.load(checkpoint), OnnxModel(tmp_path / "out.onnx")
    frames = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    (points, sure, _), (onnx_points, onnx_sure, _) = torch_model.predict(frames), onnx_model.predict(frames)
    np.testing.assert_allclose(onnx_points, points, atol=0.01)
    if sure is None:
        assert onnx_sure is None and onnx_model.card.confidence is onnx_model.card.confidence_radius is None
    else:
        np.testing.assert_allclose(onnx_sure, sure, atol=1e-4)
        assert onnx_model.card.confidence_radius == 0.025  # 0.02 of the crop's side, which is 1.25 times the box's
        assert "2.5 % of the larger side" in onnx_model.card.confidence
    card = onnx_model.card
    assert (card.name, card.size, card.scale, card.markup) == ("out", 64, 1.25, IBUG68)
    assert (
        card.box_transform == BoxTransform(0.8, 0.0, 0.1)
        and card.data[0]["terms"] == "Made up."
        and card.figures == {"nme": 5}
    )
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 72])  # at 72 a level of the pyramid has an odd side
def test_the_graph_of_a_spatial_head_computes_no_shapes(size: int, tmp_path: Path) -> None:
    """All but the number of faces is known when it is written; arithmetic on shapes only takes time."""
    net = LandmarkNet(Architecture("mobilenetv2_035", "spatial", 68, size, sigma=True)).eval()
    save(net, ModelMetadata(IBUG68, 1.25), tmp_path / "net.safetensors")
    assert export(tmp_path / "net.safetensors", tmp_path / "out.onnx").points < 0.01
    kinds = {node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node}
    assert "Conv" in kinds and "Shape" not in kinds


@pytest.mark.slow
def test_the_matrices_of_a_shape_prior_are_written_once(checkpoint: Path, tmp_path: Path) -> None:
    export(checkpoint, tmp_path / "out.onnx")
    graph = onnx.load(tmp_path / "out.onnx").graph
    sizes = [list(tensor.dims) for tensor in graph.initializer]
    sizes += [list(node.attribute[0].t.dims) for node in graph.node if node.op_type == "Constant"]
    assert 2 <= sizes.count([136, 136]) <= 3  # noise only where there is sigma


@pytest.mark.slow
def test_a_file_that_computes_something_else_is_not_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "compare", lambda *_: Parity(16, 0.5, 0.0))
    with pytest.raises(ModelError, match=r"points differ by 0\.5 px"):
        export(checkpoint, tmp_path / "out.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.safetensors"]


def test_wrong_names(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"must end with \.onnx"):
        export(tmp_path / "x.safetensors", tmp_path / "out.bin")
    with pytest.raises(ModelError, match=r"no model .*x\.safetensors"):
        export(tmp_path / "x.safetensors", tmp_path / "out.onnx")


class Odd(nn.Module):
    """A network that ONNX cannot hold: it pools 2 x 2 cells to 7 x 7, or finds as many points as the image says."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.architecture, self.kind = Architecture("odd", "coordinate", 5, 32), kind

    def forward(self, images: Tensor) -> Prediction:
        if self.kind == "pools":
            pooled = nn.functional.adaptive_avg_pool2d(images[:, :, :2, :2], 7)
            return Prediction(pooled[:, 0, :5, :2])
        chosen = torch.nonzero(images[0, 0, 0, :5] >= 0).squeeze(1)
        return Prediction(images[:, 0, :5, :2][:, chosen])


@pytest.mark.parametrize(
    ("kind", "why"), [("pools", "Unsupported: .*adaptive_avg_pool2d"), ("chooses", "the shapes of")]
)
def test_what_cannot_be_exported_is_known_without_weights(
    kind: str, why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        ModelError, match=rf"^backbone 'odd' with head 'coordinate' at 32 px cannot be exported \({why}"
    ):
        check(Odd(kind))
    assert capfd.readouterr().out == ""  # of torch, which prints the graph
    check(LandmarkNet(Architecture("mobilenetv2_035", "coordinate", 5, 32)))
