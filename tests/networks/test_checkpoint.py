"""The file that describes itself: what is written is read again, and what is no network is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from facekd.errors import ModelError
from facekd.geometry import BoxTransform
from facekd.markup import IBUG68
from facekd.networks.architecture import Architecture
from facekd.networks.checkpoint import ModelMetadata, load, save
from facekd.networks.network import LandmarkNet
from facekd.networks.shape_prior import ShapePrior

SMALL = Architecture("mobilenetv2_035", "coordinate", 68, 64)


def test_a_file_of_another_version_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(LandmarkNet(SMALL), ModelMetadata(IBUG68, 1.2), path)
    with safe_open(str(path), framework="pt") as file:
        record = json.loads(file.metadata()["facekd"])
    save_file(load_file(path), path, metadata={"facekd": json.dumps(record | {"colour": "red"})})
    with pytest.raises(ModelError, match=r"another version of facekd, upgrade it: .*colour"):
        load(path)


def test_save_and_load(tmp_path: Path) -> None:
    net = LandmarkNet(SMALL).eval()
    data, recipe = [{"name": "300w", "terms": "research"}], {"name": "quick"}
    metadata = ModelMetadata(IBUG68, 1.2, BoxTransform(0.8, 0, 0.1), 0.021, (0.9, -0.4), data, recipe)
    save(net, metadata, tmp_path / "a.safetensors")
    again, same = load(tmp_path / "a.safetensors")
    assert same == metadata and again.architecture == SMALL
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(again(x).landmarks, net(x).landmarks, rtol=0, atol=0)


@pytest.mark.parametrize("content", [None, b"", b"not safetensors at all"])
def test_files_that_are_no_network(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match="not a facekd network"):
        load(path)


def test_a_file_from_before_the_names_changed_is_read(tmp_path: Path) -> None:
    """Up to version 0.1: `confident`, `detector`, and the shape prior's tensors `refinement.*`."""
    one = torch.eye(136)
    prior = ShapePrior(torch.full((136,), 0.25), torch.zeros(136), 0 * one, torch.zeros(68), one, 2 * one)
    path, net = tmp_path / "a.safetensors", LandmarkNet(SMALL)
    transform = BoxTransform(0.8, 0, 0.1)
    save(net, ModelMetadata(IBUG68, 1.2, transform, 0.031, shape_prior=prior), path)
    with safe_open(str(path), framework="pt") as file:
        record = json.loads(file.metadata()["facekd"])
    record["confident"], record["detector"] = record.pop("confidence_radius"), record.pop("box_transform")
    old = {key.replace("shape_prior.", "refinement."): value for key, value in load_file(path).items()}
    assert sum(key.startswith("refinement.") for key in old) == 6
    save_file(old, path, metadata={"facekd": json.dumps(record)})
    _, metadata = load(path)
    assert metadata.confidence_radius == 0.031 and metadata.box_transform == transform
    assert metadata.shape_prior is not None
    for name, value in vars(prior).items():
        torch.testing.assert_close(getattr(metadata.shape_prior, name), value, rtol=0, atol=0)


def rewritten(path: Path, tensors: Callable[[dict], object], record: Callable[[dict], object]) -> Path:
    """Write a student's file, with its tensors and metadata changed in place."""
    from tiny_student import write_student

    file = write_student(path) / "student" / "model.safetensors"
    with safe_open(file, framework="pt") as opened:
        about, state = json.loads(opened.metadata()["facekd"]), {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    tensors(state)
    record(about)
    save_file(state, file, metadata={"facekd": json.dumps(about)})
    return file


def same(values: dict) -> object:
    return None


@pytest.mark.parametrize(
    ("tensors", "record", "message"),
    [
        (lambda state: state.popitem(), same, "its tensors do not fit: no "),
        (lambda state: state.update(more=torch.zeros(1)), same, "unknown more"),
        (lambda state: state.update(mean=torch.zeros(2)), same, "mean .2,. torch.float32, not .1, 3, 1, 1."),
        (lambda state: state.update(mean=torch.zeros(1, 3, 1, 1, dtype=torch.int32)), same, "int32, not"),
        (lambda state: state["mean"].fill_(torch.nan), same, "mean has values that are not finite"),
        (same, lambda about: about.update(scale=float("nan")), "NaN is no JSON number"),
        (same, lambda about: about.update(scale=1e99), "scale must be a number"),
        (same, lambda about: about.pop("architecture"), "architecture must be keys and values"),
        (same, lambda about: about["architecture"].update(head="other"), "architecture.head must be one of"),
        (same, lambda about: about["architecture"].update(size=10**40), "architecture.size must be"),
        (same, lambda about: about["architecture"].update(points=7), "it gives 7 points, its mark-up has 5"),
        (same, lambda about: about["architecture"].update(backbone="resnet10"), "backbone"),
        (same, lambda about: about.update(calibration=[1]), "calibration must be slope and offset"),
        (same, lambda about: about.update(new=1), "of another version of facekd.*'new'"),
    ],
)
def test_a_file_with_wrong_tensors_or_metadata_is_one_sentence(
    tmp_path: Path, tensors: Callable[[dict], object], record: Callable[[dict], object], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        load(rewritten(tmp_path / "run", tensors, record))
