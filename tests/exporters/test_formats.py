"""What `facekd export` refuses, and the folder for an app; the converters themselves are not needed here."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekd import api
from facekd.errors import InputError, ModelError
from facekd.exporters import formats
from facekd.exporters.onnx import sample_crops
from facekd.files import claim
from facekd.geometry import BoxTransform, crop_faces
from facekd.images import read_image
from facekd.markup import MarkUp
from facekd.networks.architecture import Architecture
from facekd.networks.checkpoint import ModelMetadata, save
from facekd.networks.network import LandmarkNet
from facekd.runtime.card import ModelCard
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.model import OnnxModel


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Random weights, and a mark-up of the user's own."""
    net = LandmarkNet(Architecture("mobilenetv2_035", "spatial", 7, 64, sigma=True)).eval()
    markup = MarkUp("mine", 7, tuple(range(7)))
    save(net, ModelMetadata(markup, 1.2, BoxTransform()), tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


@pytest.mark.parametrize(
    ("out", "wanted", "told"),
    [
        ("net.pt", {}, r"net.pt must end with .onnx, .tflite, .mlpackage"),
        ("net.onnx", {"precision": "float16"}, r"precision 'float16' of a .onnx file: .*allowed: float32"),
        ("net.tflite", {"precision": "float61"}, r"precision 'float61' .* did you mean 'float16'\?"),
        ("net.onnx", {"batch": 8}, r"a .onnx file takes any number of faces per call; leave batch out"),
        ("net.mlpackage", {"batch": 8}, r"a .mlpackage file takes one face per call; leave batch out"),
        ("net.tflite", {"batch": 0}, r"batch must be 1 or more, got 0"),
        ("net.mlpackage", {"int8_data": "faces.parquet"}, r"there is no int8 form of a .mlpackage file"),
    ],
)
def test_what_a_format_does_not_have(
    out: str, wanted: dict[str, object], told: str, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=told):
        api.export(checkpoint, tmp_path / "out" / out, **wanted)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("out", "module"), [("net.tflite", "litert_torch"), ("net.mlpackage", "coremltools")])
def test_a_missing_converter_is_one_sentence_and_nothing_is_written(
    out: str, module: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModelError, match=rf"export to \.\w+ needs '{module}'; pip install 'facekd\[export\]'"):
        api.export(checkpoint, tmp_path / "out" / out)
    assert list((tmp_path / "out").iterdir()) == []


def test_int8_without_training_faces_is_refused_before_anything_is_converted(
    checkpoint: Path, tmp_path: Path, tiny_pack: object
) -> None:
    with pytest.raises(InputError, match="no face with split train"):
        api.export(checkpoint, tmp_path / "net.onnx", int8_data=tiny_pack.select("test"))
    assert not (tmp_path / "net.onnx").exists()


def test_an_app_can_check_itself_with_the_bundle(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "app" / "facekd"
    written = api.export(checkpoint, tmp_path / "net.onnx", precision="float32", bundle=folder)
    assert written.bundle == folder
    names = {"net.onnx", "net.json", "card.json", "markup.json", "photo.jpg", "crop.png", "expected.json"}
    assert {path.name for path in folder.iterdir()} == names
    assert MarkUp.from_dict(json.loads((folder / "markup.json").read_text())).count == 7
    expected = json.loads((folder / "expected.json").read_text())
    model, found = OnnxModel(folder / "net.onnx"), expected["found"]["net.onnx"]
    # As an app would: the crop that is there, and the crop cut out of the photo.
    crop = np.asarray(Image.open(folder / "crop.png"))
    np.testing.assert_allclose(model.predict(crop[None])[0][0], found["points_in_crop"][0], atol=1e-3)
    photo = read_image(folder / "photo.jpg")
    assert len(expected["boxes"]) == len(found["points_in_photo"]) == 6
    tight = (model.box_transform or BoxTransform()).apply(np.array(expected["boxes"]))
    crops = crop_faces(photo, tight, model.size, model.scale)
    points, confidence, _ = model.predict(crops.images)
    np.testing.assert_allclose(crops.to_photo(points), found["points_in_photo"], atol=0.01)
    np.testing.assert_allclose(confidence, found["confidence"], atol=1e-3)
    matrix = np.array(expected["photo_to_crop"][2])
    there = np.array(found["points_in_photo"][2]) @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(there, found["points_in_crop"][2], atol=0.01)


def test_a_bundle_is_replaced_whole_or_not_at_all(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "old.txt").touch()
    from facekd.exporters import bundle

    with monkeypatch.context() as patched:
        patched.setattr(bundle.shutil, "copyfile", lambda *_: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            api.export(checkpoint, tmp_path / "net.onnx", bundle=folder)
    assert [path.name for path in folder.iterdir()] == ["old.txt"]
    api.export(checkpoint, tmp_path / "net.onnx", bundle=folder)
    assert not (folder / "old.txt").exists() and (folder / "net.onnx").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "net.json", "net.onnx", "net.safetensors"]


def test_the_sample_pictures_faces_are_cut_as_the_card_says() -> None:
    model = OnnxModel("facekd-68-lite", threads=1)
    crops = sample_crops(model)
    photo = read_image(Path(api.__file__).parent / "weights" / "sample.jpg")
    boxes, _ = Landmarker(model, threads=1).detect_boxes(photo)
    again = crop_faces(photo, model.box_transform.apply(boxes), 112, model.scale).images
    assert crops.shape == (6, 112, 112, 3)
    np.testing.assert_array_equal(crops, again)


def test_every_format_names_a_module_that_is_there() -> None:
    for suffix, each in formats.FORMATS.items():
        assert suffix.startswith(".") and callable(each.load().export)


@pytest.mark.skipif(sys.platform == "win32", reason="no locks on this system")
@pytest.mark.parametrize("claimed", ["net.onnx", "net-int8.onnx", "bundle"])
def test_what_is_exported_has_one_writer(claimed: str, run_folder: Path, tmp_path: Path, tiny_pack: object) -> None:
    with claim(tmp_path / "out" / claimed):
        with pytest.raises(InputError, match=f"another process is writing .*{claimed};"):
            api.export(
                run_folder, tmp_path / "out" / "net.onnx", int8_data=tiny_pack, bundle=tmp_path / "out" / "bundle"
            )
        assert [path.name for path in (tmp_path / "out").iterdir() if path.name[0] != "."] == []


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_a_network_never_lies_beside_the_card_of_another(
    stop: int, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever an export ends that replaces an earlier one, there is a network with its own card or none."""
    out, replaced, calls = tmp_path / "net.onnx", os.replace, []
    api.export(checkpoint, out, name="old")

    def end(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == stop:
            raise KeyboardInterrupt
        replaced(source, target)

    monkeypatch.setattr("os.replace", end)
    with suppress(KeyboardInterrupt):
        api.export(checkpoint, out, name="new")
    assert len(calls) == min(stop, 4) and out.exists() == (stop in (1, 2, 5))
    if out.exists():
        ModelCard.load(out).verify(out)
        assert ModelCard.load(out).name == ("new" if stop == 5 else "old")
