"""Export to LiteRT and Core ML with the real converters, which `make test-export` installs."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from facekd import api
from facekd.errors import ModelError
from facekd.geometry import BoxTransform
from facekd.markup import FIVE, IBUG68
from facekd.networks.architecture import Architecture
from facekd.networks.checkpoint import ModelMetadata, save
from facekd.networks.network import LandmarkNet
from facekd.networks.predictor import TorchModel
from facekd.pipeline.shape_prior import posterior

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """Return what writes a network of random weights with a shape prior: its head, and 68 or 5 points."""

    def write(head: str, points: int) -> Path:
        torch.manual_seed(0)
        sigma = head == "spatial"
        net = LandmarkNet(Architecture("mobilenetv2_035", head, points, 64, sigma=sigma, visibility=sigma)).eval()
        shapes, typical = 0.3 * torch.randn(500, points, 2), torch.randn(points).double()
        noise, bias = 0.01 * torch.eye(2 * points).double(), 0.01 * torch.randn(2 * points).double()
        prior = posterior(shapes, noise, bias, typical) if sigma else None
        markup = IBUG68 if points == 68 else FIVE
        path = tmp_path_factory.mktemp("net") / "net.safetensors"
        metadata = ModelMetadata(markup, 1.25, BoxTransform(), calibration=(0.8, -0.5), shape_prior=prior)
        save(net, metadata, path)
        return path

    return write


def frames(count: int) -> np.ndarray:
    """Return smooth pictures (count, 64, 64, 3)."""
    coarse = torch.from_numpy(np.random.default_rng(1).uniform(0, 255, (count, 3, 8, 8)))
    large = torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear")
    return large.permute(0, 2, 3, 1).numpy().astype(np.uint8)


def operators(path: Path) -> list[str]:
    """Return the kinds of a .tflite file's operators, in order."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    names = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    return [names[model.operatorCodes[each.opcodeIndex].builtinCode] for each in model.subgraphs[0].operators]


@pytest.mark.parametrize(("head", "batch"), [("spatial", 1), ("coordinate", 3)])
def test_litert_computes_what_torch_does(
    head: str, batch: int, checkpoint: Callable[[str, int], Path], tmp_path: Path
) -> None:
    pytest.importorskip("litert_torch", reason="no litert-torch here: make test-export")
    source = checkpoint(head, 68)
    written = api.export(source, tmp_path / "net.tflite", name="mine", batch=batch)
    assert written.parity.points < 0.01
    exported, original = api.load_model(tmp_path / "net.tflite", threads=1), TorchModel.load(source)
    (points, confidence, visible), (expected, sure, seen) = exported.predict(frames(5)), original.predict(frames(5))
    np.testing.assert_allclose(points, expected, atol=0.01)
    if head == "spatial":
        np.testing.assert_allclose(confidence, sure, atol=1e-3)
        np.testing.assert_allclose(visible, seen, atol=1e-3)
    else:
        assert confidence is sure is visible is seen is None
    assert exported.batch == batch and exported.card == written.card and written.card.name == "mine"
    assert json.loads(zipfile.ZipFile(tmp_path / "net.tflite").read("facekd.json"))["markup"]["name"] == "ibug68"
    assert [path.name for path in tmp_path.iterdir()] == ["net.tflite"]


def test_float16_halves_the_file(checkpoint: Callable[[str, int], Path], tmp_path: Path) -> None:
    pytest.importorskip("litert_torch", reason="no litert-torch here: make test-export")
    source = checkpoint("spatial", 68)
    whole = api.export(source, tmp_path / "whole.tflite").path.stat().st_size
    half = api.export(source, tmp_path / "half.tflite", precision="float16")
    assert half.path.stat().st_size < 0.7 * whole  # the shape prior's matrices, which stay float32, are much of it
    expected = TorchModel.load(source).predict(frames(4))[0]
    np.testing.assert_allclose(api.load_model(half.path).predict(frames(4))[0], expected, atol=0.5)


def test_int8_up_to_the_last_convolutions(
    checkpoint: Callable[[str, int], Path], tmp_path: Path, tiny_pack: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("litert_torch", reason="no litert-torch here: make test-export")
    from facekd.exporters import litert

    source, out = checkpoint("spatial", 5), tmp_path / "net.tflite"
    monkeypatch.setattr(litert, "_LOST", -1e9)
    with pytest.raises(ModelError, match=r"net-int8.tflite would have an NME of .* nothing was written"):
        api.export(source, out, int8_data=tiny_pack)
    assert [path.name for path in tmp_path.iterdir()] == ["net.tflite"]
    monkeypatch.setattr(litert, "_LOST", 1e9)  # of random weights, any number comes out
    small = tmp_path / "net-int8.tflite"
    lost = litert.quantise(out, small, tiny_pack)
    whole, card = operators(out), api.load_model(small).card
    kinds = operators(small)
    assert kinds.index("QUANTIZE") < kinds.index("CONV_2D")
    assert "CONV_2D" not in kinds[kinds.index("DEQUANTIZE") :]  # no way to float32 and back between
    # Heatmaps, offsets, log-sigmas and visibility have a scale each.
    assert Counter(kinds) - Counter(whole) == Counter(QUANTIZE=1, DEQUANTIZE=4)
    assert small.stat().st_size < 0.55 * out.stat().st_size and np.isfinite(lost)
    assert card.made_with["precision"] == "int8" and card.made_with["calibrated_on"] == 24 and card.figures == {}


@pytest.mark.parametrize(("head", "precision"), [("spatial", "float16"), ("coordinate", "float32")])
def test_core_ml_computes_what_torch_does(
    head: str, precision: str, checkpoint: Callable[[str, int], Path], tmp_path: Path
) -> None:
    tools = pytest.importorskip("coremltools", reason="no coremltools here: make test-export")
    from facekd.exporters import formats, mil

    source, out = checkpoint(head, 68), tmp_path / "net.mlpackage"
    written = api.export(source, out, precision=precision)
    spec = tools.models.MLModel(str(out), skip_model_load=True).get_spec()
    (image,) = spec.description.input
    assert (image.name, image.type.imageType.width, image.type.imageType.height) == ("image", 64, 64)
    assert image.type.imageType.colorSpace == image.type.imageType.RGB
    outputs = {each.name: list(each.type.multiArrayType.shape) for each in spec.description.output}
    expected = {"points": [1, 68, 2], "confidence": [1, 68], "visible": [1, 68]}
    assert outputs == ({"points": [1, 68, 2]} if head == "coordinate" else expected)
    assert {each.type.multiArrayType.dataType for each in spec.description.output} == {65568}  # FLOAT32
    assert spec.specificationVersion == 7  # iOS 16, macOS 13
    assert formats.read_card(out) == written.card and written.card.markup == IBUG68
    images = torch.from_numpy(frames(2)).permute(0, 3, 1, 2).float()
    found = [mil.evaluate(out, {"image": each[None]})["points"][0] for each in images]
    points = TorchModel.load(source).predict(frames(2))[0]
    np.testing.assert_allclose(found, points, atol=0.01 if precision == "float32" else 0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["net.mlpackage"]


def test_core_ml_keeps_what_follows_the_convolutions_in_float32(
    checkpoint: Callable[[str, int], Path], tmp_path: Path
) -> None:
    tools = pytest.importorskip("coremltools", reason="no coremltools here: make test-export")
    api.export(checkpoint("spatial", 68), tmp_path / "half.mlpackage")
    api.export(checkpoint("spatial", 68), tmp_path / "small.mlpackage", precision="palette8")
    half, small = (
        (tmp_path / name / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").stat().st_size
        for name in ("half.mlpackage", "small.mlpackage")
    )
    assert small < 0.8 * half
    spec = tools.models.MLModel(str(tmp_path / "half.mlpackage"), skip_model_load=True).get_spec()
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    kinds = [(op.type, op.outputs[0].type.tensorType.dataType) for op in block.operations if op.type != "const"]
    convolutions = [at for at, (kind, _) in enumerate(kinds) if kind == "conv"]
    assert {kinds[at][1] for at in convolutions} == {10}  # FLOAT16
    rest = [data for kind, data in kinds[convolutions[-1] + 1 :] if kind not in ("const", "cast")]
    assert len(rest) > 50 and set(rest) == {11}  # FLOAT32


def test_what_core_ml_would_compute_wrongly_is_not_written(
    checkpoint: Callable[[str, int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("coremltools", reason="no coremltools here: make test-export")
    from facekd.exporters import mil

    source = checkpoint("coordinate", 5)
    right = mil.evaluate
    monkeypatch.setattr(mil, "evaluate", lambda *given: {"points": right(*given)["points"] + 1})
    with pytest.raises(ModelError, match=r"points differ by 1 px.* nothing was written"):
        api.export(source, tmp_path / "net.mlpackage", precision="float32")
    monkeypatch.setattr(mil, "_OPERATORS", {})
    monkeypatch.setattr(mil, "evaluate", right)
    with pytest.raises(ModelError, match=r"has the operator '.*', which cannot be computed here"):
        api.export(source, tmp_path / "net.mlpackage")
    assert list(tmp_path.iterdir()) == []
