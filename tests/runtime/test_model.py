"""Cards and the ONNX Runtime model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facekd.errors import ModelError
from facekd.geometry import BoxTransform
from facekd.markup import FIVE, IBUG68
from facekd.runtime.card import ModelCard, sha256
from facekd.runtime.model import OnnxModel
from facekd.runtime.names import resolve

MakeModel = Callable[..., Path]


def test_card_round_trip(tmp_path: Path) -> None:
    card = ModelCard(
        "a",
        IBUG68,
        128,
        1.3,
        BoxTransform(0.777, 0.01, 0.126),
        "probability",
        0.03,
        None,
        ({"name": "300W", "terms": "research only"},),
        {"full": 4.0},
        "0" * 64,
        {"facekd": "0.1.0"},
        "2",
    )
    card.save(tmp_path / "a.onnx")
    assert ModelCard.load(tmp_path / "a.json") == card
    assert json.loads((tmp_path / "a.json").read_text())["input"] == {"size": 128, "scale": 1.3}


def test_cards_of_before_are_read(tmp_path: Path) -> None:
    card = ModelCard("a", FIVE, 64, 1.2, BoxTransform(0.8, 0.0, 0.1), "probability", 0.03)
    values = card.to_dict()
    values["detector"], values["within"] = values.pop("box_transform"), values.pop("confidence_radius")
    assert ModelCard.from_dict(values) == card
    assert ModelCard.from_dict(values | {"detector": None, "within": None}).box_transform is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": "a", "markup": {}, "input": {"size": 1, "scale": 1}}'])
def test_bad_card_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ModelError, match="export the model again"):
        ModelCard.load(tmp_path / "a.onnx")


def test_card_refuses_impossible_input(tmp_path: Path) -> None:
    values = ModelCard("a", FIVE, 32, 1.2).to_dict()
    values["input"]["scale"] = float("nan")
    with pytest.raises(ModelError, match=r"scale must be a number from 0\.001 to 1000, got nan"):
        ModelCard.from_dict(values)


def test_points_are_the_centre_of_brightness(make_model: MakeModel) -> None:
    offsets = np.arange(10.0).reshape(5, 2)
    model = OnnxModel(make_model(offsets=offsets), threads=1, second_pass=False)  # points on a line look rotated
    images = np.zeros((2, 32, 32, 3), np.uint8)
    images[0, 4, 7] = 200  # row 4, column 7
    images[1, 10:12, 20] = 100  # centre between rows 10 and 11
    points, confidence, _ = model.predict(images)
    np.testing.assert_allclose(points[0], np.add([7, 4], offsets), atol=1e-4)
    np.testing.assert_allclose(points[1], np.add([20, 10.5], offsets), atol=1e-4)
    np.testing.assert_allclose(confidence[:, 0], [200 / 1024 / 255, 200 / 1024 / 255], rtol=1e-5)


def test_batches_of_any_size(make_model: MakeModel) -> None:
    model = OnnxModel(make_model(), batch=4)
    images = np.random.default_rng(0).integers(0, 256, (11, 32, 32, 3), np.uint8)
    together, confidence, _ = model(images)
    singly = np.concatenate([model(image[None])[0] for image in images])
    np.testing.assert_allclose(together, singly, atol=1e-4)
    assert confidence.shape == (11, 5)
    assert model(images[:0])[0].shape == (0, 5, 2)


def test_model_without_confidence(make_model: MakeModel) -> None:
    assert OnnxModel(make_model(confidence=False))(np.zeros((1, 32, 32, 3), np.uint8))[1] is None


def test_wrong_crop_is_refused(make_model: MakeModel) -> None:
    model = OnnxModel(make_model())
    for crops in (np.zeros((1, 31, 32, 3), np.uint8), np.zeros((1, 32, 32, 3), np.float32)):
        with pytest.raises(ModelError, match=r"takes \(B, 32, 32, 3\) uint8"):
            model(crops)


def test_changed_file_is_refused(make_model: MakeModel) -> None:
    path = make_model()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="not the file its card describes"):
        OnnxModel(path)


@pytest.mark.parametrize("content", [b"", b"no onnx", b"\x08\x0a" * 50])
def test_file_that_is_no_model(make_model: MakeModel, content: bytes) -> None:
    path = make_model()
    path.write_bytes(content)
    card = ModelCard.load(path).to_dict()
    card["sha256"] = sha256(path)
    ModelCard.from_dict(card).save(path)
    with pytest.raises(ModelError, match=r"cannot be loaded|no ONNX file"):
        OnnxModel(path)


def test_model_of_another_kind_is_refused(make_model: MakeModel) -> None:
    path = make_model()
    card = ModelCard.load(path).to_dict()
    card["input"]["size"] = 64
    ModelCard.from_dict(card).save(path)
    with pytest.raises(ModelError, match="no landmark model of facekd for 5 points at 64 px"):
        OnnxModel(path)


def test_missing_models(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model file"):
        OnnxModel(tmp_path / "a.onnx")
    with pytest.raises(ModelError, match="no bundled model 'facekd-86'"):
        resolve("facekd-86")
    (tmp_path / "a.onnx").write_bytes(b"x")
    with pytest.raises(ModelError, match="no model card"):
        OnnxModel(tmp_path / "a.onnx")


def test_providers(make_model: MakeModel) -> None:
    assert OnnxModel(make_model()).providers == ("cpu",)
    with pytest.raises(ModelError, match=r"no provider 'abacus' \(it has cpu\)"):
        OnnxModel(make_model(), providers=["abacus", "cpu"])
    with pytest.raises(ModelError, match="threads must be 1 or more"):
        OnnxModel(make_model(), threads=0)


@pytest.mark.parametrize("number", [10**400, -(10**400), 1e300, -1, 0])
@pytest.mark.parametrize(
    "place", [("input", "size"), ("input", "scale"), ("confidence_radius",), ("box_transform", "scale")]
)
def test_impossible_numbers_on_a_card_are_one_sentence(
    make_model: MakeModel, number: float, place: tuple[str, ...]
) -> None:
    path = make_model()
    values = ModelCard.load(path).to_dict()
    group = values[place[0]] if len(place) > 1 else values
    group[place[-1]] = number
    if place == ("confidence_radius",) and number == 0:
        return
    with pytest.raises(ModelError, match=r"model card: .*must be"):
        ModelCard.from_dict(values)
