"""Recipes: stages by name, in any order that can be trained; what is wrong is refused in a sentence."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from facekd.errors import RecipeError
from facekd.losses.distance import L1Settings, WingSettings
from facekd.losses.kd import PRESETS
from facekd.recipes.averages import AverageSettings
from facekd.recipes.load import load, parse
from facekd.recipes.resolve import resolve
from facekd.recipes.schema import Recipe, Teacher, TrainSettings

NET = {"backbone": "mobilenetv2_035", "init": "none"}
SPATIAL = NET | {"head": "spatial"}
KD = NET | {"loss": "kd"}
FROM_BASE = NET | {"init": "base"}
MEAN = {"kind": "weight_average", "of": ["m", "n"]}
SOUP = {"base": NET, "m": FROM_BASE, "n": FROM_BASE, "mean": MEAN}
BOTH = ["train", "val"]


def recipe(stages: Any, **more: Any) -> Recipe:
    return parse({"name": "x", "stages": stages} | more, "x")


def refusal(stages: Any, **more: Any) -> str:
    """Return the sentence with which a recipe is refused."""
    with pytest.raises(RecipeError) as caught:
        recipe(stages, **more)
    told = str(caught.value)
    assert told.startswith("recipe x: ") and "\n" not in told and "Settings" not in told, told
    return told


def test_a_stage_starts_from_and_learns_from_any_earlier_one() -> None:
    """Three networks, each from the one before, and one more that learns from all of them."""
    stages = {
        "small": SPATIAL,
        "middle": SPATIAL | {"init": "small", "teachers": [{"stage": "small", "how": "landmarks"}]},
        "large": SPATIAL | {"init": "middle", "targets": "soft"},
        "last": SPATIAL
        | {
            "init": "small",
            "loss": "kd",
            "teachers": [
                "middle",
                {"stage": "large"},
                {"stage": "large", "how": "landmarks", "weight": 0.5},
                {"stage": "small", "how": "heatmaps", "weight": 0.02},
            ],
        },
    }
    found = recipe(stages)
    assert list(found.stages) == ["small", "middle", "large", "last"] and found.result == "last"
    last = found.trained("last")
    assert last.uses == ["small", "middle", "large", "large", "small"]
    assert last.teachers[0] == Teacher(stage="middle", how="kd", weight=1.0)
    assert [(teacher.how, teacher.weight) for teacher in last.teachers[2:]] == [("landmarks", 0.5), ("heatmaps", 0.02)]
    assert [found.role_of(teacher) for teacher in last.teachers[:2]] == ["tough", "tolerant"]


def test_a_stage_is_one_that_trains_unless_it_says_otherwise() -> None:
    found = recipe(SOUP)
    assert isinstance(found.stages["m"], TrainSettings) and found.stages["m"].kind == "train"
    assert isinstance(found.stages["mean"], AverageSettings) and found.stages["mean"].uses == ["m", "n"]
    assert recipe({"a": NET | {"kind": "train"}}) == recipe({"a": NET})
    assert found.trained("mean") == found.stages["m"]


def test_a_stage_set_to_null_is_none() -> None:
    found = recipe({"a": NET, "b": None, "c": NET, "d": None})
    assert list(found.stages) == ["a", "c"] and found.result == "c"
    assert "stages needs at least 1, not 0" in refusal({"a": None})
    assert "no earlier stage 'b'" in refusal({"a": NET, "b": None, "c": NET | {"init": "b"}})


def test_the_result_is_the_last_stage_or_the_one_that_is_named() -> None:
    assert recipe({"a": NET, "b": NET}).result == "b"
    assert recipe({"a": NET, "b": NET}, result="a").result == "a"
    assert recipe({"a": NET, "b": NET}, result="").result == "b"
    told = refusal({"tough": NET, "b": NET}, result="toug")
    assert "result: no stage 'toug'; did you mean 'tough'? allowed: tough, b" in told
    told = refusal({"tough": NET, "b": NET}, evaluation={"stages": ["b", "toug"]})
    assert "evaluation.stages: no stage 'toug'; did you mean 'tough'? allowed: tough, b" in told


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"a": NET | {"init": "a"}}, "stage a uses itself"),
        ({"a": KD | {"teachers": ["a"]}}, "stage a uses itself"),
        ({"a": NET | {"init": "b"}, "b": NET | {"init": "a"}}, "stage a uses 'b', which comes after it"),
        ({"a": KD | {"teachers": ["b"]}, "b": NET}, "stage a uses 'b', which comes after it"),
        (
            {"a": NET | {"teachers": [{"stage": "b", "how": "landmarks"}]}, "b": NET},
            "stage a uses 'b', which comes after it",
        ),
        ({"base": NET, "m": FROM_BASE, "mean": MEAN, "n": FROM_BASE}, "stage mean uses 'n', which comes after it"),
        ({"base": NET, "m": FROM_BASE, "mean": MEAN | {"of": ["m", "mean"]}}, "stage mean uses itself"),
        (
            {"tough": NET, "b": KD | {"teachers": ["toug"]}},
            "stage b: no earlier stage 'toug'; did you mean 'tough'? allowed: tough",
        ),
        (
            {"tough": NET, "b": NET | {"init": "toug"}},
            "no earlier stage 'toug'; did you mean 'tough'? allowed: tough, none, timm, facekd-68-lite, facekd-68, or",
        ),
        (
            {"a": NET | {"init": "tim"}},
            "no earlier stage 'tim'; did you mean 'timm'? allowed: none, timm, facekd-68-lite, facekd-68",
        ),
        ({"base": NET, "m": FROM_BASE, "nn": FROM_BASE, "mean": MEAN}, "no earlier stage 'n'; did you mean 'nn'?"),
        # A file is a start, and no teacher.
        ({"a": KD | {"teachers": ["w.safetensors"]}}, "stage a: no earlier stage 'w.safetensors'"),
        ({"a": KD | {"init": "timm", "teachers": ["timm"]}}, "stage a: no earlier stage 'timm'"),
        ({"a": KD | {"init": "none", "teachers": ["none"]}}, "stage a: no earlier stage 'none'"),
    ],
)
def test_a_stage_uses_earlier_ones_only(stages: dict[str, Any], message: str) -> None:
    assert message in refusal(stages)


@pytest.mark.parametrize(
    "name",
    [
        *("cache", "Report", "networks", "runs", "none", "timm", "stages", "input", "evaluation"),
        *("a b", "-a", ".a", "a.b", "a/b", "", "../a", "w.safetensors", "ä"),
    ],
)
def test_a_stage_cannot_have_every_name(name: str) -> None:
    """It is a folder, a start, and the beginning of a key of --set."""
    assert f"a stage cannot be called '{name}'" in refusal({name: NET})


def test_a_stages_name_is_a_folder_on_any_machine() -> None:
    assert "a stage cannot be called 'Tough'" in refusal({"tough": NET, "Tough": NET})
    assert list(recipe({"A-1_b": NET, "2": NET, 3: NET}).stages) == ["A-1_b", "2", "3"]


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ({"loss": "kd"}, "stages.student: loss kd needs teachers, such as teachers: [tough, tolerant]"),
        ({"loss": "kd", "teachers": []}, "loss kd needs teachers"),
        ({"loss": "kd", "teachers": [{"stage": "tough", "how": "landmarks"}]}, "loss kd needs teachers"),
        ({"loss": "kd", "teachers": ["tough", "soft", "tough"]}, "teachers name tough twice with how: kd"),
        (
            {"teachers": [{"stage": "soft", "how": "landmarks"}, {"stage": "soft", "how": "landmarks", "weight": 2}]},
            "teachers name soft twice with how: landmarks",
        ),
        ({"loss": "kd", "teachers": ["tough", "other"]}, "student has two tough teachers"),
        ({"loss": "kd", "teachers": ["soft", {"stage": "tough", "role": "tolerant"}]}, "has two tolerant teachers"),
        ({"loss": "l1", "teachers": ["tough"]}, "loss l1 does not listen to the teachers of how: kd; set loss to kd"),
        (
            {"teachers": [{"stage": "tough", "how": "landmark"}]},
            "did you mean 'landmarks'? allowed: kd, landmarks, heat",
        ),
        (
            {"teachers": [{"stage": "tough", "hw": "kd"}]},
            "unknown key 'stages.student.teachers.0.hw'; did you mean 'how'",
        ),
        ({"teachers": [{"how": "kd"}]}, "'stages.student.teachers.0.stage' is missing"),
        ({"teachers": [3]}, "stages.student.teachers.0 = 3: it must hold keys and values"),
        ({"teachers": "tough"}, "stages.student.teachers = 'tough': it must be a list"),
        (
            {"loss": "kd", "teachers": [{"stage": "tough", "role": "though"}]},
            "did you mean 'tough'? allowed: tough, tol",
        ),
        # What would have no effect.
        ({"loss": "kd", "teachers": [{"stage": "tough", "weight": 0.5}]}, "a teacher of how: kd has no weight"),
        ({"teachers": [{"stage": "tough", "how": "landmarks", "role": "tough"}]}, "landmarks has no role"),
        ({"teachers": [{"stage": "tough", "how": "landmarks", "weight": -1}]}, "teachers.0.weight = -1"),
        (
            {"teachers": [{"stage": "tough", "how": "heatmaps"}]},
            "student learns the heatmaps of tough, which has none; set its head to spatial",
        ),
        (
            {"head": "coordinate", "teachers": [{"stage": "maps", "how": "heatmaps"}]},
            "a teacher of how: heatmaps needs head: spatial in its student too",
        ),
    ],
)
def test_wrong_teachers_are_refused(student: dict[str, Any], message: str) -> None:
    soft = NET | {"targets": "soft"}
    assert message in refusal({"tough": NET, "other": NET, "soft": soft, "maps": SPATIAL, "student": SPATIAL | student})


def test_a_teachers_role_is_what_its_targets_say_or_what_the_recipe_says() -> None:
    student = KD | {"teachers": ["b", {"stage": "a", "role": "tolerant"}]}
    found = recipe({"a": NET, "b": NET, "student": student})
    assert [found.role_of(teacher) for teacher in found.trained("student").teachers] == ["tough", "tolerant"]
    student = KD | {"teachers": [{"stage": "b", "role": "tough"}]}
    found = recipe({"a": NET, "b": NET | {"targets": "soft"}, "student": student})
    assert found.role_of(found.trained("student").teachers[0]) == "tough"
    soup = {name: stage | {"targets": "soft"} if name in "mn" else stage for name, stage in SOUP.items()}
    found = recipe(soup | {"student": KD | {"teachers": ["mean"]}})  # an average is what its members are
    assert found.role_of(found.trained("student").teachers[0]) == "tolerant"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": NET | {"init": "m"}}, "the mean of networks is none unless they start from one trained network"),
        (
            {"m": NET, "n": NET},
            "mean: the mean of networks is none unless they start from one trained network; set init",
        ),
        ({"m": FROM_BASE, "n": NET}, "the mean of networks is none"),
        ({"n": FROM_BASE | {"backbone": "resnet10t"}}, "mean: m, n must be one network: backbone, head"),
        ({"n": FROM_BASE | {"head": "spatial"}}, "must be one network"),
        ({"n": FROM_BASE | {"standardise": False}}, "must be one network"),
        ({"n": FROM_BASE | {"size": 64}}, "must be one network"),
        ({"n": FROM_BASE | {"nll_weight": 0.1}}, "visibility_weight 0 for all or none"),
        (
            {"m": FROM_BASE | {"head": "spatial"}, "n": FROM_BASE | {"head": "spatial", "stride": 16}},
            "must be one network",
        ),
        (
            {"m": FROM_BASE | {"train_on": BOTH}, "n": FROM_BASE | {"train_on": BOTH}},
            "mean: one of m, n must not have val in train_on",
        ),
        ({"again": MEAN | {"of": ["m", "mean"]}}, "again averages trained stages only, not other averages"),
        ({"mean": MEAN | {"of": ["m", "n", "m"]}}, "mean names a stage twice: m, n, m"),
        ({"mean": MEAN | {"of": ["m"]}}, "mean is the mean of one network; give of another, or set start_weight to 1"),
        ({"mean": MEAN | {"of": []}}, "stages.mean.of needs at least 1, not 0"),
        (
            {"n": NET, "mean": MEAN | {"of": ["n"], "start_weight": 1}},
            "the mean of networks is none unless they start",
        ),
        (
            {"mean": MEAN | {"epochs": 3}},
            "unknown key 'stages.mean.epochs'; allowed: kind, of, start_weight, start, shape_prior",
        ),
        ({"mean": {"kind": "weight_average"}}, "'stages.mean.of' is missing"),
        (
            {"mean": MEAN | {"kind": "weight_averag"}},
            "stages.mean.kind = 'weight_averag'; did you mean 'weight_average'",
        ),
    ],
)
def test_an_average_is_of_networks_that_have_one(changes: dict[str, Any], message: str) -> None:
    recipe(SOUP)
    assert message in refusal(SOUP | changes)


def test_a_network_may_be_averaged_with_what_it_started_from() -> None:
    """Be that a stage, or a network that is none of the recipe's."""
    for start in ("base", "facekd-68-lite"):
        stages = {"base": NET, "m": FROM_BASE | {"init": start}, "mean": MEAN | {"of": ["m"], "start_weight": 1}}
        assert resolve(recipe(stages))["mean"].describe() == "mean (the mean of m, their start)"
        stages["mean"]["start_weight"] = 1.5
        assert resolve(recipe(stages))["mean"].describe() == "mean (the mean of m, 1.5 times their start)"


def test_an_average_may_count_an_earlier_start() -> None:
    """One to which the members' init leads, through trained stages and averages."""
    mean = MEAN | {"of": ["m"], "start_weight": 2, "start": "base"}
    between = {"a": FROM_BASE, "b": FROM_BASE, "soup": MEAN | {"of": ["a", "b"]}}
    last = FROM_BASE | {"init": "soup"}
    stages = {"base": NET, **between, "m": last, "n": last, "mean": mean}
    resolved = resolve(recipe(stages))
    assert resolved["mean"].describe() == "mean (the mean of m, 2 times base)"
    assert set(resolved["mean"].needs) == {resolved["m"], resolved["base"]}
    soup = resolve(recipe(stages | {"mean": mean | {"start": "soup"}}))["mean"]
    same = resolve(recipe(stages | {"mean": {key: value for key, value in mean.items() if key != "start"}}))["mean"]
    assert len({str(stage.identity()) for stage in (resolved["mean"], soup, same)}) == 3
    for wrong, message in (
        ({"start": "a"}, "mean: m does not come from a; allowed: soup, base, or leave start out"),
        ({"start": "bas"}, "stage mean: no earlier stage 'bas'; did you mean 'base'?"),
        ({"start_weight": 0, "of": ["m", "n"]}, "mean: start = base does not count; set start_weight to 1, or leave"),
    ):
        assert message in refusal(stages | {"mean": mean | wrong})


def test_members_of_an_average_may_differ_in_how_they_are_trained() -> None:
    changed = {"size": 128, "seed": 3, "lr": 1e-4, "train_on": BOTH, "rare_shape_fraction": 0.5, "dropout": 0.1}
    found = recipe(SOUP | {"n": FROM_BASE | changed})  # 128 is the input's size: written down or not, it is the same
    assert found.input.size == 128 and found.trained("mean").size is None
    recipe(SOUP | {"m": FROM_BASE | {"nll_weight": 0.1}, "n": FROM_BASE | {"nll_weight": 0.2}})


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"epoch": 3}, "unknown key 'stages.a.epoch'; did you mean 'epochs'?"),
        ({"head": "spatal"}, "stages.a.head = 'spatal'; did you mean 'spatial'? allowed: coordinate, spatial"),
        ({"kind": "trian"}, "stages.a.kind = 'trian'; did you mean 'train'? allowed: train, weight_average"),
        ({"targets": "softly"}, "stages.a.targets = 'softly'; did you mean 'soft'? allowed: hard, soft"),
        ({"teacher_view": "plan"}, "stages.a.teacher_view = 'plan'; did you mean 'plain'? allowed: same, plain"),
        ({"stride": 7}, "stages.a.stride = 7; allowed: 4, 8, 16"),
        ({"lr": -1}, "stages.a.lr = -1: Input should be greater than 0"),
        ({"lr": float("inf")}, "stages.a.lr = inf: Input should be a finite number"),
        ({"lr": float("nan")}, "stages.a.lr = nan"),
        ({"lr": True}, "stages.a.lr = True: it must be a number"),
        ({"epochs": "abc"}, "stages.a.epochs = 'abc'"),
        ({"epochs": True}, "stages.a.epochs = True: it must be a number"),
        ({"size": 31}, "stages.a.size = 31"),
        ({"size": True}, "stages.a.size = True: it must be a number"),
        ({"seed": -1}, "stages.a.seed = -1"),
        ({"view_seed": -1}, "stages.a.view_seed = -1"),
        ({"views": -1}, "stages.a.views = -1"),
        ({"rare_shape_fraction": 2}, "stages.a.rare_shape_fraction = 2"),
        ({"nll_weight": -1}, "stages.a.nll_weight = -1"),
        ({"mean_start": "perhaps"}, "stages.a.mean_start = 'perhaps'"),
        ({"epochs": 0}, "stages.a: epochs = 0 keeps the network of init as it is; set init to a trained one"),
        ({"stop_epoch": 31}, "stages.a: stop_epoch = 31 lies beyond epochs = 30; lower it or leave it out"),
        ({"heatmap_weight": 0.1}, "heatmap_weight is a term of head: spatial"),
        ({"head": "spatial", "size": 100}, "a reads heatmaps of a 100 px frame; set size to a multiple of 8"),
        (
            {"head": "spatial", "size": 120, "stride": 16},
            "a reads heatmaps of a 120 px frame; set size to a multiple of 16",
        ),
        ({"train_on": ["val"]}, "train_on must be [train] or [train, val]"),
        ({"train_on": []}, "train_on must be [train] or [train, val]"),
        ({"train_on": ["train", "train"]}, "train_on must be [train] or [train, val]"),
        ({"train_on": ["train", "test"]}, "stages.a.train_on.1 = 'test'; allowed: train, val"),
        ({"train_on": "train"}, "stages.a.train_on = 'train': it must be a list"),
        ({"augment": {"rotaton": 3}}, "unknown key 'stages.a.augment.rotaton'; did you mean 'rotation'?"),
        ({"augment": 3}, "stages.a.augment = 3: it must hold keys and values"),
        ({"backbone": None}, "stages.a.backbone"),
        ({"loss": "kdd"}, "stages.a.loss = 'kdd'; did you mean 'kd'? allowed: l1, l2, smooth_l1, wing, kd"),
        ({"loss": {"name": "wing", "widht": 1}}, "unknown key 'stages.a.loss.widht'; did you mean 'width'?"),
        ({"loss": {"name": "l1", "preset": "paper"}}, "unknown key 'stages.a.loss.preset'; allowed: name"),
        ({"loss": {"preset": "paper"}}, "'stages.a.loss.name' is missing"),
        ({"loss": {"name": "wing", "width": True}}, "stages.a.loss.width = True: it must be a number"),
        ({"loss": {"name": "wing", "width": float("nan")}}, "stages.a.loss.width = nan"),
        (
            {"loss": {"name": "kd", "main_break": "tough"}},
            "stages.a.loss.main_break = 'tough': it must be tolerant or a n",
        ),
    ],
)
def test_a_wrong_setting_of_a_stage_is_refused(stage: dict[str, Any], message: str) -> None:
    assert message in refusal({"a": NET | stage})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stages": None}, "stages = None: it must hold keys and values"),
        ({"stages": [NET]}, "stages: it must hold keys and values"),
        ({"stages": {"a": 3}}, "stages.a = 3: it must hold keys and values"),
        ({"stages": {}}, "stages needs at least 1, not 0"),
        ({"stages": {"a": {"init": "none"}}}, "'stages.a.backbone' is missing"),
        ({"augmnt": {}}, "unknown key 'augmnt'; did you mean 'augment'?"),
        ({"seed": -1}, "seed = -1"),
        ({"precision": "16"}, "precision = '16'; did you mean 'bf16'? allowed: auto, 32, bf16"),
        ({"input": {"size": 128, "scal": 1}}, "unknown key 'input.scal'; did you mean 'scale'?"),
        ({"shape": {"variance": 0}}, "shape.variance = 0"),
        ({"evaluation": {"boxes": ["detectr"]}}, "evaluation.boxes.0 = 'detectr'; did you mean 'detector'?"),
        ({"evaluation": {"boxes": []}}, "evaluation.boxes needs at least 1, not 0"),
    ],
)
def test_a_wrong_setting_of_the_recipe_is_refused(values: dict[str, Any], message: str) -> None:
    assert message in refusal(**{"stages": {"a": NET}} | values)


def test_a_precision_of_32_bits_is_a_number_in_yaml() -> None:
    assert recipe({"a": NET}, precision=32).precision == "32"


def test_what_is_missing_is_named() -> None:
    with pytest.raises(RecipeError, match=r"^recipe x: 'name' is missing; 'stages' is missing$"):
        parse({}, "x")


def test_every_error_is_told_at_once() -> None:
    told = refusal({"a": NET | {"lr": -1, "epoch": 3}}, augmnt={})
    assert "stages.a.lr = -1" in told and "'stages.a.epoch'" in told and "'augmnt'" in told and told.count("; ") >= 2


@pytest.mark.parametrize("old", Recipe.renamed)
def test_a_key_of_an_earlier_recipe_is_refused_with_what_it_is_now(old: str) -> None:
    told = refusal({"a": NET}, **{old: {"epochs": 3}})
    new = "views, teacher_view and teacher_mirror" if old == "teaching" else f"stages: {{{old}: ...}}"
    assert f"'{old}' is of an earlier version; it is now" in told and new in told


@pytest.mark.parametrize("old", TrainSettings.renamed)
def test_a_key_of_an_earlier_stage_is_refused_with_what_it_is_now(old: str) -> None:
    told = refusal({"a": NET | {old: 1}})
    assert f"'stages.a.{old}' is of an earlier version; it is now {TrainSettings.renamed[old]}" in told
    assert old not in TrainSettings.model_fields and old not in Recipe.model_fields


def test_the_names_of_an_earlier_version_are_all_known() -> None:
    """As its recipes had them: five stages, and of a stage the keys that are called otherwise now."""
    assert set(Recipe.renamed) == {"tough", "tolerant", "baseline", "expert", "student", "teaching"}
    assert set(TrainSettings.renamed) == {
        *("weights", "loss_options", "rare", "sigma", "heatmap", "expert", "expert_heatmap", "unlabelled", "stop"),
        *("clip", "refine", "copies", "learn_val"),
    }


def test_the_new_names_of_a_stages_keys_are_there() -> None:
    """What a sentence sends a user to must be taken."""
    teacher = {"stage": "t", "how": "landmarks", "weight": 0.5}
    new = {
        "init": "none", "rare_shape_fraction": 0.5, "nll_weight": 0.1, "heatmap_weight": 0.1, "use_unlabelled": False,
        "stop_epoch": 2, "clip_grad": 0.1, "shape_prior": True, "train_on": BOTH, "views": 2, "teacher_view": "plain",
        "teachers": [teacher, teacher | {"how": "heatmaps"}], "teacher_mirror": False,
        "loss": {"name": "wing", "width": 0.1},
    }  # fmt: skip
    found = recipe({"t": SPATIAL, "a": SPATIAL | new}).trained("a")
    assert (found.stop_epoch, found.num_epochs, found.loss) == (2, 2, WingSettings(width=0.1))


def test_a_recipe_of_an_earlier_version_is_told_what_has_changed_not_what_is_missing() -> None:
    with pytest.raises(RecipeError) as caught:
        parse({"name": "x", "tough": NET, "student": NET | {"loss": "kd"}, "teaching": {"mode": "views"}}, "x")
    told = str(caught.value)
    assert "missing" not in told and all(f"'{name}' is of an earlier" in told for name in ("tough", "student"))


def test_a_losss_options_are_its_own() -> None:
    stages = {"a": NET | {"loss": {"name": "wing", "width": "1e-1"}}, "b": NET, "c": NET | {"loss": "l1"}}
    found = recipe(stages)
    assert found.trained("a").loss == WingSettings(width=0.1)  # YAML reads 1e-1 as a text
    assert found.trained("b").loss == found.trained("c").loss == L1Settings()
    student = KD | {"loss": {"name": "kd", "preset": "released", "beta": 0.2}, "teachers": ["a"]}
    found = recipe({"a": NET, "student": student})
    assert found.trained("student").loss == PRESETS["released"].model_copy(update={"beta": 0.2})


def test_a_recipe_is_read_again_as_it_was_written() -> None:
    student = SPATIAL | {
        "loss": {"name": "kd", "preset": "released", "beta": 0.2},
        "teachers": [{"stage": "m", "role": "tolerant"}, {"stage": "base", "how": "landmarks", "weight": 0.5}],
        "augment": {"rotation": 3},
        "train_on": BOTH,
    }
    found = recipe(SOUP | {"student": student}, result="mean")
    text = found.to_yaml()
    assert parse(yaml.safe_load(text), "again") == found
    assert list(yaml.safe_load(text)["stages"]) == [*SOUP, "student"]  # order is part of a recipe
    assert yaml.safe_load(text)["stages"]["base"]["teacher_mirror"] is True  # in full


def test_what_is_published_names_no_folder() -> None:
    stages = {"a": NET | {"init": "/home/someone/a.safetensors"}, "b": NET | {"init": "a"}, "c": NET | {"init": "timm"}}
    found = recipe(stages)
    values = found.published()
    assert [stage["init"] for stage in values["stages"].values()] == ["a.safetensors", "a", "timm"]
    assert "someone" not in yaml.safe_dump(values)
    assert (
        found.trained("a").init == "/home/someone/a.safetensors"
        and "init" not in recipe(SOUP).published()["stages"]["mean"]
    )
    assert load("facekd-68").published()["stages"]["finish"]["init"] == "grow"
