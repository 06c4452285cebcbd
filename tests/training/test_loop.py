"""What a step is made of: which faces, in which views."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from facekd.data.pack import Pack
from facekd.errors import TrainingError
from facekd.geometry import tight_box
from facekd.losses.objective import TeacherKey
from facekd.markup import FIVE
from facekd.networks.architecture import Architecture
from facekd.networks.network import LandmarkNet
from facekd.recipes.load import parse
from facekd.recipes.resolve import TrainStage, resolve
from facekd.training import distributed as parallel
from facekd.training import loop
from facekd.training.augment import Augmenter
from facekd.training.faces import Batch, Faces, sampling_weights
from facekd.training.loop import TrainingData, batches, fit, validate

FACES = Faces(
    np.arange(12, dtype=np.uint8)[:, None, None, None] + np.zeros((12, 2, 2, 3), np.uint8),
    np.zeros((12, 5, 2), np.float32),
    np.zeros((12, 4)),
)


def steps(data: Faces, count: int, start: int = 0, views: int = 0) -> list[Batch]:
    return list(islice(batches(data, 4, 0, start, views, parallel.fabric("32", "cpu")), count))


def test_an_epoch_has_each_face_once_in_its_own_view() -> None:
    for epoch in range(3):
        taken = steps(FACES, 3, start=3 * epoch)
        assert sorted(np.concatenate([batch.faces for batch in taken])) == list(range(12))
        assert {int(view) for batch in taken for view in batch.view} == {epoch}
        assert all((batch.frames[:, 0, 0, 0].numpy() == batch.faces).all() for batch in taken)


def test_each_epoch_has_another_order() -> None:
    orders = [tuple(np.concatenate([batch.faces for batch in steps(FACES, 3, start=3 * epoch)])) for epoch in range(4)]
    assert len(set(orders)) == 4


def test_a_frequent_face_comes_in_a_view_of_its_own_each_time() -> None:
    weights = np.array([4.0] + [8 / 11] * 11)
    taken = steps(replace(FACES, sampling_weights=weights), 12)
    seen = [(int(face), int(view)) for batch in taken for face, view in zip(batch.faces, batch.view, strict=True)]
    assert sum(face == 0 for face, _ in seen) == 16  # four times in each of four epochs
    assert len(set(seen)) == len(seen) == 48
    assert {view for _, view in seen if view < 4} == {0, 1, 2, 3}
    fixed = steps(replace(FACES, sampling_weights=weights), 3, views=2)
    assert {int(view) for batch in fixed for view in batch.view} == {0, 1}


def test_steps_go_on_where_a_run_was_broken() -> None:
    data = replace(FACES, sampling_weights=np.array([4.0] + [8 / 11] * 11))
    for whole, resumed in zip(steps(data, 8)[5:], steps(data, 3, start=5), strict=True):
        np.testing.assert_array_equal(whole.faces, resumed.faces)
        np.testing.assert_array_equal(whole.view, resumed.view)


def test_unusual_shapes_come_more_often() -> None:
    square = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    wider = np.array([[-0.01, 0], [0.01, 0], [0.01, 0], [-0.01, 0]])
    points = np.array([square, 3 * square + 5, square, square, square + wider, square - wider, square, square])
    np.testing.assert_allclose(sampling_weights(points, 1.0), [0, 0, 0, 0, 4, 4, 0, 0], atol=0.1)
    np.testing.assert_allclose(
        sampling_weights(points, 0.25), [0.75, 0.75, 0.75, 0.75, 1.75, 1.75, 0.75, 0.75], atol=0.03
    )
    np.testing.assert_array_equal(sampling_weights(points[:4], 0.5), [1, 1, 1, 1])


def stage_of(**settings: Any) -> TrainStage:
    """The student of a small recipe, which may learn from a teacher t."""
    small = {"backbone": "mobilenetv2_035", "init": "none", "epochs": 2, "batch": 8, "lr": 1e-3, "ema": 0.0}
    stages = {"t": small | {"head": "spatial"}, "student": small | {"loss": "l2"} | settings}
    values = {"name": "x", "precision": "32", "input": {"size": 32, "scale": 1.3}, "stages": stages}
    stage = resolve(parse(values, "x"))["student"]
    assert isinstance(stage, TrainStage)
    return stage


def untrained(head: str = "coordinate") -> LandmarkNet:
    torch.manual_seed(0)
    return LandmarkNet(Architecture("mobilenetv2_035", head, 5, 32, dropout=0.2 if head == "coordinate" else 0))


@pytest.fixture(scope="module")
def data(tiny_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """24 faces to train on, 6 for validation."""
    parts = []
    for split in ("train", "val"):
        frames, points = tiny_pack.select(split).frames(tmp_path_factory.mktemp("faces") / "f.npy", 48)
        parts.append(Faces(frames, points, tight_box(points)))
    stage = stage_of()
    return TrainingData(
        parts[0], parts[1], Augmenter(stage.augment, stage.frame, FIVE), Augmenter(None, stage.frame, FIVE), FIVE
    )


def trained(
    stage: TrainStage, data: TrainingData, folder: Path, teachers: Any = None
) -> tuple[LandmarkNet, dict[str, Any]]:
    net = untrained(stage.network.head)
    return net, fit(parallel.fabric("32", "cpu"), net, stage, data, folder, teachers)


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def alike(a: LandmarkNet, b: LandmarkNet) -> bool:
    return all(torch.equal(value, b.state_dict()[key]) for key, value in a.state_dict().items())


def test_a_stage_trains_until_its_stop_at_the_rates_of_all_its_epochs(data: TrainingData, tmp_path: Path) -> None:
    """Three steps an epoch, four epochs planned: a cosine of 12 steps, of which six are done."""
    net, summary = trained(stage_of(epochs=4, stop_epoch=2, warmup=0), data, tmp_path)
    log = log_of(tmp_path)
    assert [record["step"] for record in log] == [3, 6] and summary["epochs"] == 2
    rates = [1e-3 * (1 + math.cos(math.pi * step / 12)) / 2 for step in (2, 5)]
    assert [record["lr"] for record in log] == pytest.approx(rates)
    assert log[1]["total"] == pytest.approx(log[1]["main"]) and log[1]["tough"] == log[1]["tolerant"] == 0
    assert (
        summary["val_nme"]
        == log[1]["val_nme"]
        == pytest.approx(validate(parallel.fabric("32", "cpu"), net, data.val, data.plain, FIVE, 4), rel=1e-4)
    )


def test_a_stage_without_validation_faces_is_measured_on_none(data: TrainingData, tmp_path: Path) -> None:
    none = Faces(data.val.frames[:0], data.val.points[:0], data.val.boxes[:0])
    _, summary = trained(stage_of(epochs=1), replace(data, val=none), tmp_path)
    assert "val_nme" not in summary and "val_nme" not in log_of(tmp_path)[0]


@pytest.mark.slow
def test_a_seed_is_of_order_and_dropout(data: TrainingData, tmp_path: Path) -> None:
    first, again, other, quicker = (
        trained(stage_of(epochs=1, **settings), data, tmp_path / str(i))[0]
        for i, settings in enumerate([{}, {}, {"seed": 1}, {"lr": 2e-3}])
    )
    assert alike(first, again) and not alike(first, other) and not alike(first, quicker)


@pytest.mark.slow
def test_a_broken_run_ends_as_one_that_was_not(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_SAVE_EVERY", 0)
    stage = stage_of(epochs=3, loss="kd", teachers=["t"], ema=0.9)
    key, calls = TeacherKey("t", "landmarks"), 0

    def predict(images: Tensor, faces: np.ndarray, view: np.ndarray) -> dict[TeacherKey, Tensor]:
        return {key: torch.full((len(images), 5, 2), 0.1)}

    def breaks(images: Tensor, faces: np.ndarray, view: np.ndarray) -> dict[TeacherKey, Tensor]:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return predict(images, faces, view)

    whole, _ = trained(stage, data, tmp_path / "whole", predict)
    with pytest.raises(KeyboardInterrupt):
        trained(stage, data, tmp_path / "broken", breaks)
    assert [record["epoch"] for record in log_of(tmp_path / "broken")] == [1]
    broken, _ = trained(stage, data, tmp_path / "broken", predict)
    assert alike(whole, broken)
    known = ("epoch", "step", "total", "main", "tough", "lr", "val_nme")
    for a, b in zip(log_of(tmp_path / "whole"), log_of(tmp_path / "broken"), strict=True):
        assert [a[name] for name in known] == [b[name] for name in known]


@pytest.mark.slow
def test_teachers_are_asked_for_the_views_that_the_student_sees(data: TrainingData, tmp_path: Path) -> None:
    """Of two fixed views, in turn; each face once an epoch. What they predict is in the log under their names."""
    stage = stage_of(
        head="spatial",
        loss={"name": "kd", "main_break": 9},
        views=2,
        epochs=3,
        teachers=["t", {"stage": "t", "how": "landmarks"}, {"stage": "t", "how": "heatmaps"}],
    )
    seen: list[tuple[int, int]] = []

    def predict(images: Tensor, faces: np.ndarray, view: np.ndarray) -> dict[TeacherKey, Tensor]:
        rows, frames = np.asarray(faces), torch.from_numpy(data.train.frames[faces])
        again = data.augmenter(frames, data.train.points[rows], data.train.boxes[rows], rows, view)
        torch.testing.assert_close(images, again.images)
        seen.extend(zip(faces.tolist(), view.tolist(), strict=True))
        moments = torch.cat([again.landmarks, torch.full((len(rows), 5, 3), 0.01) * torch.tensor([1, 0, 1])], -1)
        return {TeacherKey("t", "landmarks"): again.landmarks, TeacherKey("t", "moments"): moments}

    trained(stage, data, tmp_path, predict)
    for epoch, view in enumerate((0, 1, 0)):
        assert sorted(seen[24 * epoch : 24 * (epoch + 1)]) == [(face, view) for face in range(24)]
    for record in log_of(tmp_path):
        # A teacher that is never wrong: KD-Loss sees the student's whole error, and so does who imitates it.
        assert record["tough"] == pytest.approx(record["t_landmarks"], rel=1e-5) and record["t_heatmaps"] > 0
        assert record["main"] == pytest.approx(2.5 * record["t_landmarks"], rel=1e-5) and record["tolerant"] == 0


@pytest.mark.slow
def test_what_unlabelled_faces_are_said_to_look_like_teaches_nothing(data: TrainingData, tmp_path: Path) -> None:
    stage = stage_of(epochs=1, loss="l1", teachers=[{"stage": "t", "how": "landmarks", "weight": 0.5}])
    key, labelled = TeacherKey("t", "moments"), np.arange(24) % 2 == 0

    def predict(images: Tensor, faces: np.ndarray, view: np.ndarray) -> dict[TeacherKey, Tensor]:
        return {key: torch.full((len(images), 5, 5), 0.1)}

    nets = []
    for name, moved in (("a", ~labelled), ("b", np.zeros(24, bool)), ("c", labelled)):
        points = data.train.points + 9 * moved[:, None, None].astype(np.float32)
        train = replace(data.train, points=points, labelled=labelled)
        nets.append(trained(stage, replace(data, train=train), tmp_path / name, predict)[0])
    assert alike(nets[0], nets[1]) and not alike(nets[1], nets[2])


def test_a_loss_that_is_no_number_names_the_stages_rate(data: TrainingData, tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"^student: the loss is (nan|inf) in epoch 1; .*lower student\.lr \(now 1e"
    ):
        trained(stage_of(epochs=1, lr=1e30, clip_grad=0, warmup=0), data, tmp_path)
