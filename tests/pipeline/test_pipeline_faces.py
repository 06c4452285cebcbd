"""The faces a stage learns from: hard and soft targets, splits, faces without labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facekd.data.face import LabelledFace
from facekd.data.pack import Pack, PackWriter
from facekd.errors import InputError
from facekd.geometry import apply, crop_matrix, normalise
from facekd.markup import FIVE, IBUG68, WFLW98
from facekd.pipeline import stages as stages_module
from facekd.pipeline.distill import distill
from facekd.pipeline.faces import labelled_faces, shapes, training_data, training_faces
from facekd.recipes.resolve import TrainStage, resolve
from facekd.shape import ShapeModel
from facekd.training.loop import TrainingData
from tiny_faces import POINTS, TRIANGLE
from tiny_faces import write_pack as write_triangles
from tiny_run import SHAPE, SPATIAL, STAGE, context, recipe


def resolved(stages: dict[str, Any], name: str, **more: Any) -> TrainStage:
    stage = resolve(recipe(stages, **more))[name]
    assert isinstance(stage, TrainStage)
    return stage


def test_a_soft_stage_learns_the_labels_projected_on_the_shape_model(tiny_pack: Pack, tmp_path: Path) -> None:
    """The paper's idea: the tolerant teacher learns Soft-landmarks. Worked out here from the labels alone."""
    settings = recipe({"tough": STAGE, "tolerant": STAGE | {"targets": "soft"}}, shape={"variance": 80, "clip": 2})
    hard, soft = (training_data(context(tiny_pack, tmp_path, settings), stage) for stage in resolve(settings).values())
    train = tiny_pack.select("train")
    scale = hard.train.frames.shape[1] / train.sizes.astype(np.float32)[:, None, None]
    labels = (train.points + 0.5) * scale - 0.5
    np.testing.assert_allclose(hard.train.points, labels, atol=1e-4)
    matrices = crop_matrix(hard.train.boxes, 32, 1.3)
    normalised = normalise(apply(matrices, labels), 32)
    expected = ShapeModel.fit(normalised, 80, 2).soft(normalised)
    np.testing.assert_allclose(normalise(apply(matrices, soft.train.points), 32), expected, atol=1e-5)
    assert np.abs(soft.train.points - hard.train.points).mean() > 0.3  # pixels: the two teachers learn different things
    model = ShapeModel.load(tmp_path / "tolerant" / "shape.npz")
    kept = model.modes()
    assert kept < len(model.variances)  # something was projected away: the rest of each soft shape is 0
    rest = (expected - model.mean).reshape(len(expected), -1) @ model.components[:, kept:]
    np.testing.assert_allclose(rest, 0, atol=1e-9)
    np.testing.assert_allclose(model.soft(expected), expected, atol=1e-6)  # a projection
    np.testing.assert_array_equal(soft.train.boxes, hard.train.boxes)  # crops stay those of the labels
    assert np.abs(soft.val.points - hard.val.points).mean() > 0.3  # validated on what it learns


def test_training_gets_the_targets_of_its_stage(
    tiny_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `fit` is given, whatever lies between: soft landmarks for the tolerant teacher, labels for the others."""
    seen: dict[str, TrainingData] = {}
    fit = stages_module.fit

    def watched(fabric: Any, net: Any, stage: TrainStage, data: TrainingData, *rest: Any) -> Any:
        seen[stage.name] = data
        return fit(fabric, net, stage, data, *rest)

    monkeypatch.setattr(stages_module, "fit", watched)
    once = STAGE | {"epochs": 1}
    settings = recipe({"tough": once, "tolerant": once | {"targets": "soft"}, "student": once})
    for stage in resolve(settings).values():
        stages_module.train_stage(context(tiny_pack, tmp_path, settings), stage)
    model = ShapeModel.load(tmp_path / "tolerant" / "shape.npz")
    frame = resolve(settings)["tough"].frame
    for name, data in seen.items():
        known = shapes(data.train, frame)
        assert np.allclose(model.soft(known), known, atol=1e-5) == (name == "tolerant"), name
    np.testing.assert_array_equal(seen["student"].train.points, seen["tough"].train.points)


def test_train_on_val_adds_those_faces_and_validates_on_none(tiny_pack: Pack, tmp_path: Path) -> None:
    settings = recipe({"a": STAGE, "b": STAGE | {"train_on": ["train", "val"]}})
    a, b = (training_data(context(tiny_pack, tmp_path, settings), stage) for stage in resolve(settings).values())
    assert (len(a.train), len(a.val), len(b.train), len(b.val)) == (24, 6, 30, 0)
    np.testing.assert_array_equal(b.train.frames[np.array([29])][0], a.val.frames[-1])
    np.testing.assert_array_equal(b.train.points[24:], a.val.points)


def test_rare_shapes_are_drawn_more_often_where_it_is_asked_for(tiny_pack: Pack, tmp_path: Path) -> None:
    settings = recipe({"a": STAGE, "b": STAGE | {"rare_shape_fraction": 0.5}})
    a, b = (training_data(context(tiny_pack, tmp_path, settings), stage) for stage in resolve(settings).values())
    assert a.train.sampling_weights is None and b.train.sampling_weights is not None
    assert b.train.sampling_weights.mean() == pytest.approx(1) and b.train.sampling_weights.min() >= 0.5


def test_a_stage_leaves_out_the_subsets_that_it_names(tiny_pack: Pack, tmp_path: Path) -> None:
    """Every third training face is a rotated one; another stage of the run learns from those too."""
    subsets = np.array([("rotated",) if i % 3 == 0 else () for i in range(len(tiny_pack))] + [None], object)[:-1]
    pack = replace(tiny_pack, subsets=subsets)
    fewer = {"exclude_subsets": ["rotated", "none has this"]}
    settings = recipe({"a": STAGE, "b": STAGE | fewer, "c": STAGE | fewer | {"train_on": ["train", "val"]}})
    shared, stages = context(pack, tmp_path, settings), resolve(settings).values()
    a, b, c = (training_data(shared, stage) for stage in stages if isinstance(stage, TrainStage))
    kept = np.array([i for i in range(24) if i % 3])
    assert [len(data.train) for data in (a, b, c)] == [24, 16, 20] and len(a.val) == len(b.val) == 6
    np.testing.assert_array_equal(b.train.points, a.train.points[kept])
    np.testing.assert_array_equal(b.train.frames[np.arange(16)], a.train.frames[kept])
    np.testing.assert_array_equal(c.train.points[16:], a.val.points[[1, 2, 4, 5]])
    everything = replace(tiny_pack, subsets=np.array([("rotated",)] * len(tiny_pack) + [None], object)[:-1])
    stage = resolve(settings)["b"]
    assert isinstance(stage, TrainStage)
    with pytest.raises(InputError, match=r"no faces to train on \(split train; b leaves out rotated, none has this"):
        labelled_faces(context(everything, tmp_path, settings), stage, stage.frame)


@pytest.fixture(scope="module")
def more_faces(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """Ten larger faces whose points are no labels."""
    path = tmp_path_factory.mktemp("more") / "more.parquet"
    with PackWriter(path, FIVE, dataset="more", margin=2.0, size=192, jpeg_quality=95, terms="Found.") as writer:
        for i in range(10):
            image = np.full((192, 192, 3), 20 * i, np.uint8)
            writer.add(LabelledFace(image=image, points=2 * SHAPE + i, name=f"m{i}.jpg", quality="predicted"))
    return Pack.open(path)


def test_points_that_are_no_labels_are_not_softened(tiny_pack: Pack, more_faces: Pack, tmp_path: Path) -> None:
    student = SPATIAL | {"targets": "soft", "teachers": [{"stage": "wise", "how": "landmarks"}], "size": 64}
    settings = recipe({"wise": SPATIAL, "student": student})
    shared, stage = context(tiny_pack, tmp_path, settings, more_faces), resolve(settings)["student"]
    assert isinstance(stage, TrainStage)
    plain, data = training_faces(shared, stage, stage.frame), training_data(shared, stage)
    assert data.train.labelled is not None and data.train.labelled.tolist() == [True] * 24 + [False] * 10
    np.testing.assert_array_equal(data.train.points[24:], plain.points[24:])
    assert np.abs(data.train.points[:24] - plain.points[:24]).mean() > 0.1
    frames = data.train.frames[np.arange(34)]  # packs of two sizes fit into one batch
    assert frames.shape == (34, 96, 96, 3)


def test_unlabelled_faces_of_a_mark_up_that_says_too_little_are_refused(
    tiny_pack: Pack, more_faces: Pack, tmp_path: Path
) -> None:
    student = SPATIAL | {"teachers": [{"stage": "wise", "how": "landmarks"}]}
    settings = recipe({"wise": SPATIAL, "student": student})
    stage = resolve(settings)["student"]
    assert isinstance(stage, TrainStage)
    bare = Pack(**vars(more_faces) | {"markup": IBUG68})
    other = Pack(**vars(tiny_pack) | {"markup": WFLW98})
    with pytest.raises(InputError, match="cannot say where a face of wflw98 is"):
        training_faces(context(other, tmp_path, settings, bare), stage, stage.frame)


def test_a_pack_without_training_faces_is_refused(tiny_pack: Pack, tmp_path: Path) -> None:
    stage, settings = resolved({"a": STAGE}, "a"), recipe({"a": STAGE})
    with pytest.raises(InputError, match=r"has no faces to train on \(split train\)"):
        training_data(context(tiny_pack.select("test"), tmp_path, settings), stage)


def test_a_frame_that_reaches_beyond_the_pack_is_refused_with_the_margin_that_fits(tmp_path: Path) -> None:
    """From the centre of the box of 32 px to the next edge of the crop there are 43.5 px: 2.72 of its sides in all."""
    pack = write_triangles(tmp_path / "p.parquet", TRIANGLE, POINTS)
    pack = replace(pack, splits=np.full(4, "train"))
    for scale, fits in ((2.7, True), (2.8, False)):
        settings = recipe({"a": STAGE}, input={"size": 32, "scale": scale})
        shared, frame, stage = (
            context(pack, tmp_path / str(scale), settings),
            settings.input,
            resolved({"a": STAGE}, "a"),
        )
        if fits:
            assert len(labelled_faces(shared, stage, frame)) == 4
            continue
        told = r"input.scale 2.8 is more than p.parquet holds, which is 2.7 times.*--margin 4.2, or lower input.scale"
        with pytest.raises(InputError, match=told):
            labelled_faces(shared, stage, frame)
        with pytest.raises(InputError, match=told):
            distill(settings, pack, tmp_path / "run", "cpu")
        assert not (tmp_path / "run").exists()
