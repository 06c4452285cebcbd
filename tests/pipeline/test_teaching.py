"""Teachers asked as a stage says, and what is remembered of their predictions."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facekd.data.pack import Pack
from facekd.errors import RecipeError
from facekd.markup import FIVE
from facekd.networks import checkpoint as networks
from facekd.pipeline import finish
from facekd.pipeline.stages import train_stage
from facekd.recipes.groups import Augment
from facekd.recipes.resolve import resolve
from facekd.training import logger
from tiny_run import SPATIAL, STAGE, context, recipe

WISE = {"stage": "wise", "how": "landmarks"}


def train(pack: Pack, folder: Path, stages: dict[str, Any], **more: Any) -> None:
    """Train the last stage, and what it needs."""
    settings = recipe(stages, **more)
    train_stage(context(pack, folder, settings), resolve(settings)[settings.result])


@pytest.mark.slow
def test_networks_grow_and_predictions_are_warped_with_each_view(
    tiny_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stages start from smaller ones (progressive resizing); the teacher sees each face once."""
    monkeypatch.setattr(finish, "TELLING", 6)  # validation faces, which are all there are
    teachers = [WISE, {"stage": "wise", "how": "heatmaps", "weight": 0.5}]
    stages = {
        "small": SPATIAL | {"size": 32},
        "wise": SPATIAL | {"size": 48, "init": "small", "lr": 1e-12},
        "start": SPATIAL | {"size": 32, "nll_weight": 0.1},
        "student": SPATIAL
        | {"size": 64, "init": "start", "teachers": teachers, "teacher_view": "plain", "nll_weight": 0.1},
    }
    train(tiny_pack, tmp_path, stages)
    files = {name: networks.load(tmp_path / name / "model.safetensors") for name in stages}
    assert {name: net.architecture.size for name, (net, _) in files.items()} == {
        "small": 32, "wise": 48, "start": 32, "student": 64,
    }  # fmt: skip
    before, after = files["small"][0].named_parameters(), files["wise"][0].named_parameters()
    for (key, start), (_, end) in zip(before, after, strict=True):
        torch.testing.assert_close(end, start, rtol=0, atol=1e-6, msg=key)  # at that rate nothing changes
    assert [np.load(path).shape for path in (tmp_path / "cache").glob("wise_plain_*.npy")] == [(1, 24, 5, 5)]
    assert logger.read(tmp_path / "student" / "log.jsonl")[0]["wise_landmarks"] > 0
    untouched = (1.0, 0.0)
    calibrations = {name: about.calibration for name, (_, about) in files.items()}
    assert calibrations["small"] == untouched == calibrations["wise"]  # they have no sigma
    assert calibrations["student"] != untouched != calibrations["start"]


@pytest.mark.slow
def test_teachers_see_the_students_own_views(tiny_pack: Pack, tmp_path: Path) -> None:
    """Where a student's views vary in nothing, a teacher predicts the same for one view as for the other."""
    still = dict.fromkeys(Augment.model_fields, 0) | {"mirror": False}
    stored = []
    for own in ({}, {"augment": still}):
        student = SPATIAL | own | {"teachers": [WISE], "teacher_mirror": False, "views": 2, "epochs": 2}
        train(tiny_pack, tmp_path, {"wise": SPATIAL, "student": student})
        (tmp_path / "student" / "model.safetensors").unlink()  # the next student has the same teacher and cache
        (newest,) = set((tmp_path / "cache").glob("wise_2*.npy")) - {path for path, _ in stored}
        stored.append((newest, np.load(newest)))
    assert not np.allclose(stored[0][1][0], stored[0][1][1])
    np.testing.assert_array_equal(stored[1][1][0], stored[1][1][1])


@pytest.mark.slow
def test_predictions_are_not_taken_for_those_of_another_kind(tiny_pack: Pack, tmp_path: Path) -> None:
    pack = replace(tiny_pack, subsets=np.array([("turned",)] + [()] * (len(tiny_pack) - 1), object))
    fewer = {"exclude_subsets": ["turned"]}
    for more in ({}, {"teacher_mirror": False}, {"augment": {"rotation": 5}}, {"view_seed": 1}, fewer):
        student = SPATIAL | {"teachers": [WISE], "views": 1} | more
        train(pack, tmp_path, {"wise": SPATIAL, "student": student})
        (tmp_path / "student" / "model.safetensors").unlink()  # the same teacher teaches the next
    stored = [np.load(path) for path in (tmp_path / "cache").glob("wise_1_*.npy")]
    assert sorted(each.shape[1] for each in stored) == [23, 24, 24, 24, 24]
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(stored, 2))


@pytest.mark.slow
def test_one_teacher_can_serve_kd_loss_and_be_imitated(tiny_pack: Pack, tmp_path: Path) -> None:
    student = SPATIAL | {"loss": "kd", "teachers": ["wise", WISE], "views": 1}
    train(tiny_pack, tmp_path, {"wise": SPATIAL, "student": student})
    record = logger.read(tmp_path / "student" / "log.jsonl")[0]
    assert record["tough"] != 0 and record["wise_landmarks"] > 0 and record["tolerant"] == 0
    shapes = sorted(np.load(path).shape for path in (tmp_path / "cache").glob("wise_1_*.npy"))
    assert shapes == [(1, 24, 5, 2), (1, 24, 5, 5)]


def test_a_teacher_of_another_mark_up_is_refused(tiny_pack: Pack, tmp_path: Path) -> None:
    once = STAGE | {"epochs": 1}
    stages = {"tough": once, "student": once | {"loss": "kd", "teachers": ["tough"]}}
    train(tiny_pack, tmp_path, {"tough": once})
    values = FIVE.to_dict() | {"name": "mine"}
    other = Pack(**vars(tiny_pack) | {"markup": type(FIVE).from_dict(values)})
    with pytest.raises(RecipeError, match="the teacher tough has the mark-up five5, the faces mine"):
        train(other, tmp_path, stages)
