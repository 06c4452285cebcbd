"""From names to stages: what each is trained with, what it needs first, and what decides what it becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from facekd.errors import ModelError
from facekd.losses.distance import L1Settings
from facekd.losses.kd import PRESETS
from facekd.losses.objective import TeacherTerm
from facekd.recipes.load import bundled, load, parse
from facekd.recipes.resolve import (
    AverageStage,
    HardLandmarks,
    RandomWeights,
    SoftLandmarks,
    Stage,
    TimmWeights,
    TrainStage,
    WeightFile,
    closure,
    resolve,
)
from facekd.recipes.schema import Augment, Input, Shape, TrainSettings
from facekd.runtime import names
from facekd.runtime.names import resolve_model

NET = {"backbone": "mobilenetv2_035", "init": "none", "epochs": 2}
SPATIAL = NET | {"head": "spatial"}
STAGES: dict[str, Any] = {
    "tough": NET | {"loss": "l2", "dropout": 0.2},
    "tolerant": NET | {"loss": "l2", "targets": "soft", "init": "tough"},
    "baseline": NET | {"views": 2, "epochs": 3},
    "student": NET | {"loss": "kd", "teachers": ["tough", "tolerant"], "views": 2, "epochs": 3},
}
SOUP: dict[str, Any] = {
    "base": NET,
    "m": NET | {"init": "base"},
    "n": NET | {"init": "base", "seed": 1},
    "mean": {"kind": "weight_average", "of": ["m", "n"], "shape_prior": True},
}


def stages_of(stages: dict[str, Any], **more: Any) -> dict[str, Stage]:
    return resolve(parse({"name": "x", "stages": stages} | more, "x"))


def trained(stages: dict[str, Any], name: str, **more: Any) -> TrainStage:
    stage = stages_of(stages, **more)[name]
    assert isinstance(stage, TrainStage)
    return stage


def test_all_that_a_stage_leaves_open_is_decided() -> None:
    stage = trained({"a": {"backbone": "mobilenetv2_035"}}, "a", input={"size": 96, "scale": 1.3}, seed=5)
    assert stage.name == "a" and stage.network.backbone == "mobilenetv2_035" and stage.network.head == "coordinate"
    assert (stage.frame, stage.augment, stage.views) == (Input(size=96, scale=1.3), Augment(), 0)
    assert (stage.targets, stage.start, stage.teachers, stage.needs) == (HardLandmarks(), TimmWeights(), (), ())
    assert (stage.loss, stage.nll_weight, stage.heatmap_weight) == (L1Settings(), 0, 0)
    assert (stage.train_on, stage.sees_val, stage.rare_shape_fraction) == (("train",), False, 0)
    assert (stage.seed, stage.view_seed, stage.precision) == (5, 5, "auto")
    assert (stage.optimisation.epochs, stage.optimisation.num_epochs, stage.optimisation.lr) == (30, 30, 1e-3)
    assert not stage.warp_predictions and stage.mirror_teachers and stage.use_unlabelled and not stage.shape_prior


def test_what_a_stage_says_goes_before_what_the_recipe_says() -> None:
    own = {"size": 64, "augment": {"rotation": 3}, "seed": 2, "view_seed": 3, "targets": "soft", "init": "none"}
    more = {"teacher_view": "plain", "teacher_mirror": False, "train_on": ["train", "val"], "stop_epoch": 1}
    top: dict[str, Any] = {"input": {"size": 96, "scale": 1.3}, "augment": {"rotation": 9, "blur": 0}, "seed": 5}
    stage = trained({"a": NET | own | more}, "a", **top, shape={"variance": 80}, precision="32")
    assert stage.frame == Input(size=64, scale=1.3)
    assert stage.augment == Augment(rotation=3)  # its own in full, not mixed with the recipe's
    assert (stage.seed, stage.view_seed, stage.precision) == (7, 8, "32")
    assert stage.targets == SoftLandmarks(Shape(variance=80)) and stage.start == RandomWeights()
    assert stage.warp_predictions and not stage.mirror_teachers and stage.sees_val
    assert (stage.optimisation.epochs, stage.optimisation.num_epochs) == (2, 1)
    assert trained({"a": NET}, "a", **top).augment == Augment(rotation=9, blur=0)


def test_teachers_come_with_their_role_and_are_the_very_stages() -> None:
    student = SPATIAL | {
        "loss": {"name": "kd", "preset": "released"},
        "teachers": [
            "tough",
            {"stage": "tough", "how": "landmarks", "weight": 0.5},
            {"stage": "maps", "how": "heatmaps", "weight": 0.02},
            {"stage": "maps", "role": "tolerant"},
        ],
    }
    found = stages_of({"tough": NET, "maps": SPATIAL, "student": student})
    stage = found["student"]
    assert isinstance(stage, TrainStage) and stage.loss == PRESETS["released"]
    assert [teacher.term for teacher in stage.teachers] == [
        TeacherTerm("tough", "tough"),
        TeacherTerm("tough", "landmarks", 0.5),
        TeacherTerm("maps", "heatmaps", 0.02),
        TeacherTerm("maps", "tolerant"),
    ]
    assert stage.teachers[0].stage is stage.teachers[1].stage is found["tough"]
    assert stage.needs == (found["tough"], found["maps"])  # each once


def test_a_start_is_a_stage_a_file_the_hub_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"weights")
    stages = {
        "a": NET | {"init": str(path)},
        "b": NET | {"init": "a"},
        "c": NET | {"init": "timm"},
        "d": NET | {"init": "none"},
        "e": NET | {"init": "b", "loss": "kd", "teachers": ["b", {"stage": "a", "role": "tolerant"}]},
    }
    found = stages_of(stages)
    starts = [stage.start for stage in found.values() if isinstance(stage, TrainStage)]
    assert starts == [WeightFile(path), found["a"], TimmWeights(), RandomWeights(), found["b"]]
    assert [stage.needs for stage in found.values()] == [(), (found["a"],), (), (), (found["b"], found["a"])]


def test_an_average_is_of_its_members() -> None:
    stages = SOUP | {"n": SOUP["n"] | {"train_on": ["train", "val"]}, "next": NET | {"init": "mean"}}
    found = stages_of(stages, input={"size": 64}, precision="32")
    mean = found["mean"]
    assert isinstance(mean, AverageStage) and mean.members == (found["m"], found["n"]) == mean.needs
    assert (mean.name, mean.shape_prior, mean.sees_val, mean.precision) == ("mean", True, False, "32")
    assert mean.frame == Input(size=64) and mean.describe() == "mean (the mean of m, n)"
    assert found["n"].sees_val and found["next"].needs == (mean,)


def test_a_network_that_comes_from_one_that_learned_validation_faces_has_learned_them() -> None:
    """The mean of such a network and others is fair: what is fitted is fitted to the others. What follows is not."""
    both, after = {"train_on": ["train", "val"]}, {"init": "mean"}
    stages = SOUP | {
        "n": SOUP["n"] | both,
        "next": NET | after,
        "last": NET | {"init": "next"},
        "taught": NET | {"teachers": [{"stage": "next", "how": "landmarks"}]},
        "near": {"kind": "weight_average", "of": ["next"], "start_weight": 1},
        "far": {"kind": "weight_average", "of": ["last"], "start": "base", "start_weight": 1},
        "all": NET | both,
        "of_all": NET | {"init": "all"},
        "beside": NET | {"init": "base"},
        "fair": {"kind": "weight_average", "of": ["m", "beside"], "start_weight": 1},
    }
    found = {name: stage.val_seen_before for name, stage in stages_of(stages).items()}
    told = {name: stage.name if stage else None for name, stage in found.items()}
    clean = dict.fromkeys(["base", "m", "n", "mean", "taught", "all", "beside", "fair"])
    assert told == clean | dict.fromkeys(["next", "last", "near", "far"], "mean") | {"of_all": "all"}
    plain = resolve(load("facekd-68"))
    assert plain["plain"].val_seen_before is None and plain["student"].val_seen_before is plain["plain"]


@pytest.mark.parametrize("name", bundled())
def test_bundled_recipes_resolve_in_their_order(name: str) -> None:
    recipe = load(name)
    found = resolve(recipe)
    assert list(found) == list(recipe.stages)
    for place, stage in enumerate(found.values()):
        assert set(stage.needs) <= set(list(found.values())[:place])


def test_what_a_stage_needs_comes_before_it_and_each_once() -> None:
    found = stages_of(STAGES)
    assert [stage.name for stage in closure(*found.values())] == ["tough", "tolerant", "baseline", "student"]
    assert [stage.name for stage in closure(found["student"])] == ["tough", "tolerant", "student"]
    assert [stage.name for stage in closure(found["baseline"], found["tolerant"], found["tough"])] == [
        "baseline",
        "tough",
        "tolerant",
    ]
    facekd = resolve(load("facekd-68"))["student"]
    assert [stage.name for stage in closure(facekd)] == [
        *("pretrain", "grow", "finish", "finish-rare", "finish-all", "plain"),
        *("hard", "robust", "taught", "taught-again", "student"),
    ]
    alone = stages_of(STAGES | {"student": STAGES["student"] | {"teachers": ["tolerant"]}})["student"]
    assert [stage.name for stage in alone.needs] == ["tolerant"]
    assert [stage.name for stage in closure(alone)] == ["tough", "tolerant", "student"]  # tolerant starts from tough
    plain = stages_of(STAGES | {"student": NET | {"init": "tolerant"}})["student"]
    assert [stage.name for stage in plain.needs] == ["tolerant"]


def test_fixed_views_are_no_more_than_the_epochs() -> None:
    def views(*changes: str) -> list[int]:
        return [stage.views for stage in resolve(load("quick", changes)).values() if isinstance(stage, TrainStage)]

    assert views("student.epochs=3") == [0, 0, 12, 3]
    assert views("student.epochs=1000") == [0, 0, 12, 12]
    assert views("student.epochs=1000", "student.stop_epoch=4") == [0, 0, 12, 4]
    assert views("tough.views=5", "student.views=0") == [5, 0, 12, 0]
    assert [stage.views for stage in resolve(load("paper")).values() if isinstance(stage, TrainStage)] == [0] * 4


def test_a_backbone_that_timm_does_not_have_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(ModelError, match=r"timm has no backbone 'mobilenetv2_10'; did you mean 'mobilenetv2_1.0'"):
        stages_of({"a": NET, "b": NET | {"backbone": "mobilenetv2_10"}})


def test_a_file_of_weights_that_is_not_there_is_refused_with_the_key_to_change(tmp_path: Path) -> None:
    path = tmp_path / "gone.safetensors"
    with pytest.raises(ModelError) as caught:
        stages_of({"a": NET, "b": NET | {"init": str(path)}})
    assert str(caught.value) == f"there is no file {path}; correct its path: --set b.init=FILE"


def test_who_learns_from_faces_without_labels() -> None:
    """Who imitates a teacher, unless told not to; of KD-Loss's teachers nobody learns without a label."""
    imitates = NET | {"teachers": [{"stage": "tough", "how": "landmarks"}]}
    stages = STAGES | {"imitates": imitates, "not": imitates | {"use_unlabelled": False}}
    learns = {name: stage.learns_unlabelled for name, stage in stages_of(stages).items()}
    assert learns == {name: name == "imitates" for name in stages}
    soup = SOUP | {"n": SOUP["n"] | {"teachers": [{"stage": "base", "how": "landmarks"}]}}
    found = stages_of(soup)
    assert not found["m"].learns_unlabelled and found["mean"].learns_unlabelled
    assert not stages_of(SOUP)["mean"].learns_unlabelled


def test_a_stage_in_a_few_words() -> None:
    stages = {
        "a": SPATIAL | {"stop_epoch": 1, "size": 64},
        "b": NET | {"loss": {"name": "wing", "width": 0.1}},
        "c": NET | {"loss": {"name": "kd", "preset": "released"}, "teachers": ["a"]},
        "d": NET | {"loss": {"name": "kd", "preset": "released", "beta": 0.2}, "teachers": ["a"]},
    }
    assert [stage.describe() for stage in stages_of(stages).values()] == [
        "a (mobilenetv2_035, spatial, l1, 64 px, 1 epochs)",
        "b (mobilenetv2_035, coordinate, wing width 0.1, 128 px, 2 epochs)",
        "c (mobilenetv2_035, coordinate, kd preset released, 128 px, 2 epochs)",
        "d (mobilenetv2_035, coordinate, kd preset released beta 0.2, 128 px, 2 epochs)",
    ]


def identity(name: str, changes: dict[str, Any] | None = None, base: str = "quick") -> dict[str, Any]:
    return resolve(load(base, {"tough.init": "none", "student.init": "none"} | (changes or {})))[name].identity()


def test_the_identity_of_a_network_is_what_decides_it() -> None:
    student, tough, tolerant = (identity(name) for name in ("student", "tough", "tolerant"))
    assert student == identity("student", {"baseline.epochs": 9, "evaluation.bootstrap": 200, "name": "other"})
    assert tough == identity("tough", {"student.seed": 1, "shape.variance": 80, "result": "tough"})
    assert tolerant != identity("tolerant", {"shape.variance": 80})
    assert student != identity("student", {"shape.variance": 80})  # by its tolerant teacher
    assert student != identity("student", {"tough.epochs": 1})
    assert tolerant != identity("tolerant", {"tough.epochs": 1})  # it starts from it
    plain = {"student.loss": "l1", "student.teachers": []}
    assert identity("student", plain) == identity("student", plain | {"tough.epochs": 1, "tolerant.seed": 3})
    assert identity("student", plain) == identity("baseline", {"baseline.init": "none"})  # names do not count
    assert student != identity("student", plain)


CHANGES: list[dict[str, Any]] = [
    {"seed": 1},
    {"precision": "32"},
    {"input.scale": 1.3},
    {"input.size": 64},
    {"augment.rotation": 0},
    {"student.seed": 1},
    {"student.view_seed": 1},
    {"student.size": 64},
    {"student.backbone": "mobilenetv2_050"},
    {"student.stride": 16},
    {"student.standardise": False},
    {"student.augment": {"rotation": 0}},
    {"student.targets": "soft"},
    {"student.init": "timm"},
    {"student.init": "baseline"},
    {"student.views": 3},
    {"student.epochs": 17},
    {"student.stop_epoch": 15},
    {"student.batch": 31},
    {"student.lr": 1e-3},
    {"student.clip_grad": 0},
    {"student.loss": {"name": "kd"}},
    {"student.loss.beta": 0.2},
    {"student.nll_weight": 0.01},
    {"student.heatmap_weight": 0.01},
    {"student.rare_shape_fraction": 0.5},
    {"student.train_on": ["train", "val"]},
    {"student.shape_prior": True},
    {"student.teacher_view": "plain"},
    {"student.teachers": ["tough"]},
    {"student.teachers": ["tolerant"]},
    {"student.teachers": [{"stage": "tough", "role": "tolerant"}, {"stage": "tolerant", "role": "tough"}]},
    {"student.teachers": ["tough", "tolerant", {"stage": "tough", "how": "landmarks"}]},
    {"tolerant.lr": 1e-4},
    {"student.exclude_subsets": ["rotated"]},
    {"student.head": "coordinate", "student.heatmap_weight": 0},
    {"student.dropout": 0.1},
    {"student.mean_start": False},
    {"student.optimiser": "adam"},
    {"student.weight_decay": 0.1},
    {"student.schedule": "paper"},
    {"student.warmup": 0},
    {"student.ema": 0},
    {"student.patience": 3},
    {"student.visibility_weight": 0.1},
    {"student.occluded_weight": 0.5},
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_a_students_identity(change: dict[str, Any]) -> None:
    assert identity("student", change) != identity("student")


def test_no_setting_of_a_stage_is_forgotten() -> None:
    """A setting that is added is one of these: of the others a test of their own says when they count."""
    changed = {key.split(".")[1] for change in CHANGES for key in change if key.startswith("student.")}
    assert set(TrainSettings.model_fields) - changed == {"kind", "teacher_mirror", "use_unlabelled"}


def test_how_a_teacher_is_imitated_is_part_of_the_identity() -> None:
    def of(*teachers: dict[str, Any], **more: Any) -> dict[str, Any]:
        both = ["tough", "tolerant", *({"stage": "tough", "how": "landmarks"} | teacher for teacher in teachers)]
        return identity(
            "student", {"student.teachers": both} | {f"student.{key}": value for key, value in more.items()}
        )

    assert of({}) == of({"weight": 1.0}) == of({}, teacher_mirror=True) == of({}, use_unlabelled=True)
    different = [of(), of({}), of({"weight": 0.5}), of({"how": "heatmaps"}), of({}, teacher_mirror=False)]
    different += [of({}, use_unlabelled=False), of({}, teacher_view="plain")]
    assert all(one != other for k, one in enumerate(different) for other in different[:k])


@pytest.mark.parametrize(
    "change",
    [
        {"student.size": 128},  # as the input has it
        {"student.augment": {}},  # the recipe's, which has the defaults
        {"student.use_unlabelled": False},  # KD-Loss's teachers teach labelled faces only
        {"student.teacher_mirror": False},  # and see no mirrored view
        {"student.loss": {"name": "kd", "preset": "released", "beta": 0.15}},  # the preset's own number
        {"student.teachers": [{"stage": "tough", "how": "kd"}, {"stage": "tolerant", "role": "tolerant"}]},
        {"student.ema": 0.999},  # the default, written down
        {"evaluation.boxes": ["truth"]},
        {"evaluation.stages": ["student"]},
    ],
)
def test_what_does_not_change_a_students_identity(change: dict[str, Any]) -> None:
    assert identity("student", change) == identity("student")


def test_a_stage_without_teachers_does_not_mind_how_they_would_be_asked() -> None:
    for change in ({"tough.teacher_view": "plain"}, {"tough.teacher_mirror": False}, {"tough.use_unlabelled": False}):
        assert identity("tough", change) == identity("tough")
    assert identity("tough", {"student.augment": {"rotation": 0}}) == identity("tough")
    assert identity("tough", {"tough.size": 64}) == identity("tough", {"input.size": 64}) != identity("tough")
    assert identity("tough", {"tough.views": 1000}) == identity("tough", {"tough.views": 12})  # its epochs


def test_the_identity_of_an_average_is_that_of_its_members() -> None:
    def of(**changes: Any) -> dict[str, Any]:
        return stages_of(SOUP | changes)["mean"].identity()

    assert (
        of()
        == stages_of({"base": NET, "a": SOUP["m"], "b": SOUP["n"], "s": SOUP["mean"] | {"of": ["a", "b"]}})[
            "s"
        ].identity()
    )
    for changes in (
        {"n": SOUP["n"] | {"seed": 2}},
        {"base": NET | {"seed": 2}},
        {"mean": SOUP["mean"] | {"shape_prior": False}},
    ):
        assert of(**changes) != of()
    soup = stages_of(SOUP)
    assert soup["mean"].identity() not in (soup["m"].identity(), soup["n"].identity())


def test_two_files_of_one_name_are_two_starts(tmp_path: Path) -> None:
    """A file is what it holds, wherever it lies and whatever it is called."""
    found = []
    for folder, name, content in (("a", "w", b"one"), ("b", "w", b"two"), ("c", "other", b"one")):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / f"{name}.safetensors"
        path.write_bytes(content)
        found.append(identity("tough", {"tough.init": str(path)}))
    assert found[0] != found[1] and found[0] == found[2] and str(tmp_path) not in str(found)
    assert identity("tough") not in found and identity("tough", {"tough.init": "timm"}) != identity("tough")


def test_a_folder_of_a_bundled_network_s_name_is_taken_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def start() -> Path:
        found = resolve(parse({"name": "t", "stages": {"a": NET | {"init": "facekd-68"}}}, "t"))["a"]
        assert isinstance(found, TrainStage) and isinstance(found.start, WeightFile)
        return found.start.path

    monkeypatch.chdir(tmp_path)
    names._say_meant.cache_clear()  # other tests may have heard it
    assert resolve_model("facekd-68", "onnx") == start() == names.bundled()["facekd-68"] and not caplog.messages
    stage = tmp_path / "facekd-68"
    stage.mkdir()
    (stage / "model.safetensors").touch()
    for file in (resolve_model("facekd-68"), start(), resolve_model("./facekd-68")):
        assert file.resolve() == stage / "model.safetensors"
    (said,) = caplog.messages  # once
    assert said.startswith("facekd-68 is taken to be the folder of that name here, not the bundled network")
