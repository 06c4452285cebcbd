"""Stages trained once: starts, early stops, averages of weights, and what is fitted when they are done."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from facekd.data.pack import Pack
from facekd.errors import RecipeError
from facekd.exporters.onnx import export
from facekd.networks import checkpoint as networks
from facekd.pipeline import boxes, finish
from facekd.pipeline.face_calibration import LabelledCrops
from facekd.pipeline.stages import evaluate_stage, train_stage
from facekd.pipeline.start import check_network
from facekd.recipes.resolve import Stage, resolve
from facekd.training import logger
from tiny_run import SPATIAL, STAGE, context, recipe

TAUGHT = SPATIAL | {"init": "wise", "teachers": [{"stage": "wise", "how": "landmarks"}], "views": 2}


@pytest.mark.slow
def test_a_stage_that_stops_early_is_the_start_of_one_that_does_not(tiny_pack: Pack, tmp_path: Path) -> None:
    settings = recipe({"whole": STAGE | {"epochs": 4}, "stopped": STAGE | {"epochs": 4, "stop_epoch": 2}})
    for stage in resolve(settings).values():
        train_stage(context(tiny_pack, tmp_path, settings), stage)
    records = {name: logger.read(tmp_path / name / "log.jsonl") for name in ("whole", "stopped")}
    assert [len(records[name]) for name in ("whole", "stopped")] == [4, 2]
    assert json.loads((tmp_path / "stopped" / "summary.json").read_text())["epochs"] == 2
    for early, full in zip(records["stopped"], records["whole"], strict=False):
        assert early["lr"] == full["lr"] and early["val_nme"] == pytest.approx(full["val_nme"], rel=1e-5)


@pytest.mark.slow
def test_a_stage_starts_from_one_of_its_kind(tiny_pack: Pack, tmp_path: Path) -> None:
    once = STAGE | {"epochs": 1}
    settings = recipe({"first": once, "student": once | {"init": "first", "head": "spatial"}})
    with pytest.raises(RecipeError, match=r"student\.init is first, which is another network"):
        train_stage(context(tiny_pack, tmp_path, settings), resolve(settings)["student"])


@pytest.mark.slow
def test_seed_moves_the_start_and_view_seed_the_views(tiny_pack: Pack, tmp_path: Path) -> None:
    """Two stages that differ in nothing are equal; each of the seeds makes another network."""
    once = STAGE | {"epochs": 1}
    settings = recipe({"a": once, "b": once, "c": once | {"seed": 1}, "d": once | {"view_seed": 1}})
    for stage in resolve(settings).values():
        train_stage(context(tiny_pack, tmp_path, settings), stage)
    a, b, c, d = (load_file(tmp_path / name / "model.safetensors") for name in "abcd")
    assert all(torch.equal(a[key], b[key]) for key in a)
    for other in (c, d):
        assert any(not torch.equal(a[key], other[key]) for key in a)


@pytest.mark.slow
def test_an_average_is_the_mean_of_its_members_weights(tiny_pack: Pack, tmp_path: Path) -> None:
    settings = recipe(
        {
            "wise": SPATIAL,
            "a": TAUGHT,
            "b": TAUGHT | {"seed": 1, "view_seed": 1, "lr": 2e-3, "rare_shape_fraction": 0.5},
            "c": TAUGHT,
            "student": {"kind": "weight_average", "of": ["a", "b", "c"], "shape_prior": True},
        }
    )
    shared, stages = context(tiny_pack, tmp_path, settings), resolve(settings)
    train_stage(shared, stages["student"])
    mean, a, b, c = (load_file(tmp_path / name / "model.safetensors") for name in ("student", "a", "b", "c"))
    for key, value in mean.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, torch.stack([a[key], b[key], c[key]]).mean(0), msg=key)
        torch.testing.assert_close(c[key], a[key], msg=key)  # nothing differs
    assert any(not torch.equal(a[key], b[key]) for key in mean)
    assert len(list((tmp_path / "cache").glob("wise_1_*.npy"))) == 2  # the second has views of its own
    summaries = {
        name: json.loads((tmp_path / name / "summary.json").read_text()) for name in ("student", "a", "b", "c")
    }
    members = [summaries[name] for name in "abc"]
    assert summaries["student"]["seconds"] == pytest.approx(sum(one["seconds"] for one in members), abs=0.11)
    assert summaries["student"]["val_nme"] not in [one["val_nme"] for one in members]
    (result,) = evaluate_stage(shared, stages["student"], settings.evaluation)
    assert result.model == "student" and np.isfinite(result.errors).all()


@pytest.mark.slow
def test_an_average_with_the_start_of_its_members(tiny_pack: Pack, tmp_path: Path) -> None:
    """Of a stage it is that stage's network; of a file what training began with, which computes the same."""
    mean = {"kind": "weight_average", "of": ["a"], "start_weight": 1}
    trained = {"wise": SPATIAL, "a": SPATIAL | {"init": "wise", "lr": 1e-2}}
    settings = recipe(trained | {"mean": mean})
    train_stage(context(tiny_pack, tmp_path, settings), resolve(settings)["mean"])
    start, a, found = (load_file(tmp_path / name / "model.safetensors") for name in ("wise", "a", "mean"))
    for key, value in found.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (start[key] + a[key]) / 2, msg=key)
    assert any(not torch.equal(start[key], a[key]) for key in a)
    heavy = recipe(trained | {"heavy": mean | {"start_weight": 3}})
    train_stage(context(tiny_pack, tmp_path, heavy), resolve(heavy)["heavy"])
    for key, value in load_file(tmp_path / "heavy" / "model.safetensors").items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (3 * start[key] + a[key]) / 4, msg=key)
    further = recipe(trained | {"b": SPATIAL | {"init": "a"}, "far": mean | {"of": ["b"], "start": "wise"}})
    train_stage(context(tiny_pack, tmp_path, further), resolve(further)["far"])
    b = load_file(tmp_path / "b" / "model.safetensors")
    for key, value in load_file(tmp_path / "far" / "model.safetensors").items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (start[key] + b[key]) / 2, msg=key)
    assert any(not torch.equal(a[key], b[key]) for key in a)
    file = tmp_path / "wise" / "model.safetensors"
    again = recipe({"a": SPATIAL | {"init": str(file), "lr": 1e-2}, "mean": mean})
    train_stage(context(tiny_pack, tmp_path / "again", again), resolve(again)["mean"])
    other = load_file(tmp_path / "again" / "mean" / "model.safetensors")
    for key, value in found.items():
        torch.testing.assert_close(other[key], value, msg=key, atol=2e-3, rtol=2e-3)


@pytest.mark.slow
def test_a_finished_network_teaches_as_it_is(tiny_pack: Pack, tmp_path: Path) -> None:
    """No epochs: the network of init, of a checkpoint or an exported file, is a stage like any other."""
    settings = recipe({"wise": SPATIAL})
    train_stage(context(tiny_pack, tmp_path, settings), resolve(settings)["wise"])
    file = tmp_path / "wise" / "model.safetensors"
    export(file, tmp_path / "wise.onnx")
    given = SPATIAL | {"epochs": 0}
    settings = recipe(
        {
            "checkpoint": given | {"init": str(file)},
            "exported": given | {"init": str(tmp_path / "wise.onnx")},
            "student": SPATIAL | {"teachers": [{"stage": "exported", "how": "heatmaps"}]},
        }
    )
    for stage in resolve(settings).values():
        train_stage(context(tiny_pack, tmp_path / "run", settings), stage)
    wise, same = load_file(file), load_file(tmp_path / "run" / "checkpoint" / "model.safetensors")
    for key, value in wise.items():
        torch.testing.assert_close(same[key], value, msg=key)
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted, found = (
            networks.load(path / "model.safetensors")[0](images).landmarks
            for path in (tmp_path / "wise", tmp_path / "run" / "exported")
        )
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    assert json.loads((tmp_path / "run" / "exported" / "summary.json").read_text())["epochs"] == 0
    assert logger.read(tmp_path / "run" / "student" / "log.jsonl")[-1]["exported_heatmaps"] > 0


def test_a_backbone_alone_is_no_finished_network(tiny_pack: Pack, tmp_path: Path) -> None:
    save_file({"conv_stem.weight": torch.zeros(1)}, tmp_path / "backbone.safetensors")
    settings = recipe({"a": SPATIAL | {"epochs": 0, "init": str(tmp_path / "backbone.safetensors")}})
    with pytest.raises(RecipeError, match=r"a\.init is backbone\.safetensors, a backbone alone, which with epochs = 0"):
        check_network(resolve(settings)["a"], 5)


@pytest.mark.slow
def test_a_member_that_learns_the_validation_faces_is_not_measured_on_them(
    tiny_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = TAUGHT | {"nll_weight": 0.1, "views": 1}
    settings = recipe(
        {
            "wise": SPATIAL | {"nll_weight": 0.1},
            "held_out": member,
            "all": member | {"train_on": ["train", "val"]},
            "student": {"kind": "weight_average", "of": ["held_out", "all"]},
        }
    )
    tuned: dict[str, Any] = {}
    fitted = finish.fitted

    def kept(shared: Any, stage: Stage, net: Any, about: Any) -> Any:
        tuned[stage.name] = net.state_dict()
        return fitted(shared, stage, net, about)

    monkeypatch.setattr(finish, "fitted", kept)
    train_stage(context(tiny_pack, tmp_path, settings), resolve(settings)["student"])
    assert set(tuned) == {"wise", "held_out", "student"}  # nothing of "all" is fitted on faces that it learned
    held_out, other = (load_file(tmp_path / name / "model.safetensors") for name in ("held_out", "all"))
    for key, value in tuned["student"].items():
        torch.testing.assert_close(value, held_out[key], msg=key)  # the mean of those that never saw those faces
    assert any(not torch.equal(held_out[key], other[key]) for key in held_out)
    summaries = {
        name: json.loads((tmp_path / name / "summary.json").read_text()) for name in ("student", "held_out", "all")
    }
    assert summaries["student"]["val_nme"] == pytest.approx(summaries["held_out"]["val_nme"], abs=0.05)
    assert "val_nme" not in summaries["all"]
    seen = {np.load(path).shape[1] for path in (tmp_path / "cache").glob("wise_1_*.npy")}
    assert seen == {24, 30}  # the teacher predicted the added faces too


@pytest.mark.slow
def test_confidence_in_faces_is_fitted_on_varied_views_of_validation_faces(
    tiny_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    augment = {name: 0 for name in ("brightness", "contrast", "saturation", "tint", "blur", "noise", "cutout")}
    member = SPATIAL | {"nll_weight": 0.1, "augment": {"rotation": 30, "scale": 0.1, "shift": 0.02} | augment}
    stages = {
        "wise": member,
        "all": member | {"init": "wise", "train_on": ["train", "val"]},
        "held_out": member | {"init": "wise"},
        "student": {"kind": "weight_average", "of": ["all", "held_out"]},
        "later": member | {"init": "student", "epochs": 1},
    }
    given: list[LabelledCrops] = []
    monkeypatch.setattr(finish, "TELLING", 6)
    monkeypatch.setattr(finish, "fit_face_calibration", lambda model, faces, views: given.append(views))
    settings = recipe(stages)
    train_stage(context(tiny_pack, tmp_path, settings), resolve(settings)["student"])
    assert len(given) == 3  # nothing for the stage that has learned those faces
    views = given[-1]
    assert views.images.shape == (18, 32, 32, 3) and views.points.shape == (18, 5, 2)
    assert len(np.unique(views.points.round(3), axis=0)) == 18
    eyes = views.points[:, 1] - views.points[:, 0]
    assert np.ptp(np.degrees(np.arctan2(eyes[:, 1], eyes[:, 0]))) > 20
    for image, points in zip(views.images, views.points, strict=True):  # white dots on a grey ground
        x, y = points.round().astype(int).clip(0, 31).T
        assert np.median(image[y, x]) > 150 > np.median(image)
    assert "has learned the validation faces" not in caplog.text
    train_stage(context(tiny_pack, tmp_path, settings), resolve(settings)["later"])
    assert "later comes from student, which has learned the validation faces: its validation error" in caplog.text


def test_the_confidence_radius_is_a_share_of_the_primary_normaliser(tiny_pack: Pack, tmp_path: Path) -> None:
    """5 % of the mean distance of the eye centres in the crop: five points have no outer eye corners."""
    settings = recipe({"a": STAGE | {"epochs": 1}})
    train_stage(context(tiny_pack, tmp_path, settings), resolve(settings)["a"])
    about = networks.load(tmp_path / "a" / "model.safetensors")[1]
    train = tiny_pack.select("train")
    sides = np.ptp(train.points, axis=1).max(axis=1) * 1.3  # of the crops
    eyes = np.linalg.norm(train.points[:, 0] - train.points[:, 1], axis=1)
    assert about.confidence_radius == pytest.approx(0.05 * (eyes / sides).mean(), rel=1e-3)


def test_rotated_faces_tell_neither_the_confidence_radius_nor_the_detector_s_boxes(
    tiny_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels that no person set may be of faces that no photo shows: turned, with eyes near to each other."""
    train = np.flatnonzero(tiny_pack.splits == "train")
    quality, points = tiny_pack.quality.astype("<U9"), tiny_pack.points.copy()
    quality[train[::2]] = "derived"
    points[train[::2], 0] = points[train[::2], 1]  # no eye distance at all
    seen: list[Pack] = []
    monkeypatch.setattr(boxes, "fit_box_transform", lambda pack: seen.append(pack) or boxes.DetectorBoxes(1, 0))
    settings = recipe({"a": STAGE | {"epochs": 1}})
    stage = resolve(settings)["a"]
    given = context(replace(tiny_pack, quality=quality, points=points), tmp_path, settings)
    kept = tiny_pack.select(indices=train[1::2])
    eyes = np.linalg.norm(kept.points[:, 0] - kept.points[:, 1], axis=1)
    sides = np.ptp(kept.points, axis=1).max(axis=1) * 1.3
    assert finish.metadata(given, stage).confidence_radius == pytest.approx(0.05 * (eyes / sides).mean(), rel=1e-3)
    assert [list(pack.names) for pack in seen] == [list(kept.names)]
    none = replace(tiny_pack, quality=np.full(len(tiny_pack), "derived"))
    assert len(none.annotated()) == len(none)  # better than nothing
