"""Reading recipes: what comes with the package is valid, and settings are changed by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from facekd.errors import RecipeError
from facekd.losses.kd import PRESETS, KDSettings
from facekd.recipes.averages import AverageSettings
from facekd.recipes.load import bundled, load
from facekd.recipes.schema import Recipe

ALIASED = """
name: mine
stages:
  tough: &teacher {backbone: mobilenetv2_035, init: none, loss: l2, epochs: 5}
  tolerant: {<<: *teacher, targets: soft, epochs: 2}
  student: &student
    <<: *teacher
    teachers: [tough, tolerant]
    loss: kd
  again: *student
"""


@pytest.fixture
def aliased(tmp_path: Path) -> Path:
    """A recipe whose stages share what they have in common."""
    path = tmp_path / "mine.yaml"
    path.write_text(ALIASED)
    return path


def test_the_bundled_recipes() -> None:
    bases = ["demo", "facekd-68", "facekd-68-lite", "finetune", "paper", "quick"]
    assert bundled() == bases


@pytest.mark.parametrize("name", bundled())
def test_bundled_recipes_are_valid_and_written_in_full(name: str, tmp_path: Path) -> None:
    settings = load(name)
    last = "finetuned" if name == "demo" else "student"
    assert settings.name == name and settings.result == last == list(settings.stages)[-1]
    # finetune takes over what a network knows.
    taught = [stage for stage in settings.stages.values() if not isinstance(stage, AverageSettings) and stage.teachers]
    assert bool(taught) == (name != "finetune")
    path = tmp_path / "again.yaml"
    path.write_text(settings.to_yaml())
    assert load(path) == settings
    assert load(f"{name}.yaml") == settings


def test_the_papers_recipe_is_the_papers() -> None:
    """The table "Networks and training" of the specification."""
    paper = load("paper")
    tough, tolerant, baseline, student = (paper.trained(name) for name in paper.stages)
    assert list(paper.stages) == ["tough", "tolerant", "baseline", "student"]
    assert (paper.input.size, student.epochs, student.batch, student.lr) == (224, 150, 70, 1e-3)
    assert (tough.backbone, student.backbone) == ("efficientnet_b3", "mobilenetv2_100")
    assert (tough.dropout, tough.loss.name, tolerant.loss.name, tough.init) == (0.5, "l2", "l2", "none")
    assert (student.optimiser, student.schedule, paper.augment.rotation) == ("adam", "paper", 31.5)
    assert (paper.shape.variance, paper.shape.clip, paper.shape.procrustes) == (90, 3, False)
    assert [stage.targets for stage in (tough, tolerant, baseline, student)] == ["hard", "soft", "hard", "hard"]
    assert tolerant == tough.model_copy(update={"targets": "soft"})
    assert [(teacher.stage, teacher.how) for teacher in student.teachers] == [("tough", "kd"), ("tolerant", "kd")]
    assert [paper.role_of(teacher) for teacher in student.teachers] == ["tough", "tolerant"]
    assert student.loss == PRESETS["released"] and student.teacher_view == "same"
    without = {"loss": baseline.loss, "teachers": ()}
    assert student.model_copy(update=without) == baseline  # but for the teachers the same
    for stage in (tough, tolerant, baseline, student):
        assert (stage.head, stage.views, stage.ema, stage.clip_grad, stage.weight_decay) == ("coordinate", 0, 0, 0, 0)
        assert (stage.mean_start, stage.standardise, stage.warmup, stage.num_epochs) == (False, False, 0, 150)


def test_facekd_68_learns_hard_faces_twice_and_stays_near_the_network_for_plain_ones() -> None:
    """Alone first, then, with two seeds, taught by what it was; of their mean with that two thirds are that."""
    found = load("facekd-68")
    hard, taught, again = (found.trained(name) for name in ("hard", "taught", "taught-again"))
    assert (hard.init, hard.teachers, hard.epochs, hard.lr) == ("plain", (), 5, 5e-4)
    assert (taught.init, taught.epochs, taught.lr) == ("robust", 5, 1e-3)
    assert {each.stage for each in taught.teachers} == {"plain"} and taught.teacher_view == "plain"
    assert hard.augment and taught.augment and hard.augment.occlusion > taught.augment.occlusion > 0
    assert load("facekd-68-lite").trained("hard").augment == taught.augment
    assert taught.model_copy(update={"seed": 1, "view_seed": 1}) == again
    assert {(stage.exclude_subsets, stage.size) for stage in (hard, taught)} == {((), 240)}
    robust, student = found.stages["robust"], found.stages["student"]
    assert isinstance(robust, AverageSettings) and isinstance(student, AverageSettings)
    assert [(mean.of, mean.start, mean.start_weight) for mean in (robust, student)] == [
        (("hard",), None, 1), (("taught", "taught-again"), "plain", 4),
    ]  # fmt: skip
    assert student.shape_prior and not robust.shape_prior


def test_facekd_68_is_for_plain_faces_the_mean_of_three() -> None:
    """What its members differ in; all else they share."""
    found = load("facekd-68")
    mean = found.stages["plain"]
    assert isinstance(mean, AverageSettings) and mean.of == ("finish", "finish-rare", "finish-all")
    members = [found.trained(name) for name in mean.of]
    assert [(m.seed, m.view_seed) for m in members] == [(0, 0), (2, 2), (3, 3)]
    assert [m.rare_shape_fraction for m in members] == [0, 0.5, 0.5]
    assert [m.nll_weight for m in members] == [0.02, 0.005, 0.005]
    assert [m.clip_grad for m in members] == [1.0, 0.03, 0.03]
    assert [m.train_on for m in members] == [("train",), ("train",), ("train", "val")]
    differ = {"seed", "view_seed", "rare_shape_fraction", "nll_weight", "clip_grad", "train_on"}
    assert len({m.model_dump_json(exclude=differ) for m in members}) == 1
    assert [(m.init, m.size, m.epochs, m.num_epochs) for m in members] == [("grow", 240, 45, 28)] * 3
    assert {found.trained(name).exclude_subsets for name in ("pretrain", "grow", *mean.of)} == {("rotated",)}
    sizes = [(found.trained(name).size, found.trained(name).num_epochs) for name in ("pretrain", "grow")]
    assert sizes == [(128, 60), (224, 30)] and found.trained("grow").init == "pretrain"


def test_facekd_68_lite_learns_plain_faces_first_and_stays_near_what_it_was() -> None:
    """Rotated faces and hard views come last; facekd-68 as it is teaches then, and sees plain crops."""
    found = load("facekd-68-lite")
    plain, teacher, hard = (found.trained(name) for name in ("plain", "teacher-240", "hard"))
    early = [found.trained(name).exclude_subsets for name in ("pretrain", "teacher", "plain")]
    assert early == [("rotated",)] * 3 and hard.exclude_subsets == ()
    assert (teacher.init, teacher.epochs, teacher.size) == ("facekd-68", 0, 240)
    assert {each.stage for each in hard.teachers} == {"teacher-240"} and hard.teacher_view == "plain"
    assert (hard.init, hard.size, hard.epochs, hard.lr) == ("plain", 112, 12, 2e-3)
    assert hard.augment and plain.augment and hard.augment.occlusion > plain.augment.occlusion == 0
    mean = found.stages["student"]
    assert isinstance(mean, AverageSettings) and (mean.of, mean.start_weight) == (("hard",), 2)


def test_settings_change_by_name() -> None:
    changes = ["student.epochs=3", "seed=7", "evaluation.boxes=[truth]", "student.loss.beta=0.2", "student.lr=1e-4"]
    settings = load("quick", changes)
    student = settings.trained("student")
    assert (student.epochs, student.lr) == (3, 1e-4)
    assert (settings.seed, settings.evaluation.boxes) == (7, ("truth",))
    assert student.loss == KDSettings(preset="released", beta=0.2)
    assert settings.trained("baseline").epochs == load("quick").trained("baseline").epochs != 3


def test_a_stages_name_stands_for_its_path() -> None:
    short, full = load("quick", ["student.epochs=3"]), load("quick", ["stages.student.epochs=3"])
    assert short == full == load("quick", {"student.epochs": 3}) != load("quick")
    assert list(load("quick", {"student": {"backbone": "resnet10t"}}).stages) == list(load("quick").stages)
    assert load("quick", ["stages.student.augment.rotation=3"]).trained("student").augment.rotation == 3
    new = load("quick", ["stages.more.backbone=resnet10t", "more.epochs=2"])
    assert list(new.stages)[-1] == "more" and new.trained("more").epochs == 2 and new.result == "student"


def test_a_loss_given_by_its_name_takes_options(aliased: Path) -> None:
    """loss: kd is short for loss: {name: kd}."""
    settings = load(aliased, ["student.loss.preset=released", "student.loss.beta=0.2"])
    assert settings.trained("student").loss == KDSettings(preset="released", beta=0.2)
    assert settings.trained("again").loss == KDSettings()
    assert load(aliased, ["tough.loss=wing", "tough.loss.width=0.1"]).trained("tough").loss.model_dump() == {
        "name": "wing",
        "width": 0.1,
        "curvature": 2 / 256,
    }


def test_a_stage_set_to_null_is_left_out(aliased: Path) -> None:
    settings = load(aliased, ["again=null"])
    assert list(settings.stages) == ["tough", "tolerant", "student"] and settings.result == "student"
    with pytest.raises(RecipeError, match="stage student: no earlier stage 'tolerant'; allowed: tough"):
        load(aliased, ["tolerant=null"])
    with pytest.raises(RecipeError, match="result: no stage 'student'; allowed: tough, tolerant, baseline"):
        load("quick", ["student=null"])


def test_a_change_stays_where_it_was_made(aliased: Path) -> None:
    """YAML's aliases make one group of settings of two stages', and its defaults one of all files'."""
    changed = load("paper", ["tough.epochs=3"])
    assert changed.trained("tough").epochs == 3
    assert changed.trained("tolerant").epochs == load("paper").trained("tolerant").epochs == 150
    settings = load(aliased, ["student.teachers=[tough]", "student.epochs=9"])  # again is an alias of all of it
    assert (settings.trained("student").epochs, len(settings.trained("student").teachers)) == (9, 1)
    assert (settings.trained("again").epochs, len(settings.trained("again").teachers)) == (5, 2)
    assert load(aliased, ["student.augment.rotation=3"]).trained("again").augment is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("student.epoch=3", "unknown key 'stages.student.epoch'; did you mean 'epochs'?"),
        ("augmnt.rotation=3", "--set augmnt.rotation: no stage or setting 'augmnt'; did you mean 'augment'?"),
        (
            "studnet.epochs=3",
            "--set studnet.epochs: no stage or setting 'studnet'; did you mean 'student'? allowed: tough",
        ),
        ("stages.studnet.epochs=3", "'stages.studnet.backbone' is missing"),
        (
            "teaching.mode=views",
            "'teaching' is of an earlier version; it is now a stage's own: views, teacher_view and",
        ),
        ("student.weights=none", "'stages.student.weights' is of an earlier version; it is now init"),
        (
            "student.loss_options.beta=1",
            "'stages.student.loss_options' is of an earlier version; it is now loss: {name",
        ),
        ("student.head=spatal", "did you mean 'spatial'? allowed: coordinate, spatial"),
        ("student.lr=-1", "stages.student.lr = -1: Input should be greater than 0"),
        ("student.epochs=abc", "stages.student.epochs = 'abc'"),
        ("tough.loss=kd", "stages.tough: loss kd needs teachers"),
        ("student.loss=l1", "loss l1 does not listen to the teachers of how: kd"),
        ("baseline.loss.beta=1", "unknown key 'stages.baseline.loss.beta'; allowed: name"),
        ("tough.init=tough", "stage tough uses itself"),
        ("tough.init=student", "stage tough uses 'student', which comes after it"),
        ("tolerant=null", "stage student: no earlier stage 'tolerant'"),
        ("student.stride=7", "allowed: 4, 8, 16"),
        ("student.stop_epoch=1000", "stop_epoch = 1000 lies beyond epochs"),
        ("student.seed=-1", "stages.student.seed = -1"),
        ("seed=-1", "seed = -1"),
        ("student.size=100", "student reads heatmaps of a 100 px frame; set size to a multiple of 8"),
        ("student.rare_shape_fraction=2", "stages.student.rare_shape_fraction = 2"),
        ("student.teachers=[]", "kd needs teachers"),
        ("student.teachers=[tough,tough]", "teachers name tough twice"),
        ("student.teachers=[toug]", "did you mean 'tough'"),
        ("baseline.head=coordinate", "heatmap_weight is a term of head: spatial"),
        ("result=studnt", "result: no stage 'studnt'; did you mean 'student'?"),
        ("stages=3", "stages = 3: it must hold keys and values"),
        ("student", "write it as key=value"),
        ("=3", "write it as key=value"),
        ("seed={", "--set seed={: the value is not YAML"),
        ("name.x=1", "name is a value, it has no setting 'x'"),
        ("student.teachers.0=tough", "teachers is a value, it has no setting '0'"),
        ("student.loss.name.x=1", "name is a value, it has no setting 'x'"),
    ],
)
def test_a_wrong_change_is_refused_in_a_sentence(change: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load("quick", [change])
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "must hold keys and values"),
        ("", "must hold keys and values"),
        ("a: [", "is not YAML"),
        ("name: x", "'stages' is missing"),
        ("name: x\nstages: {a: {backbone: b}}\nstages: {c: {backbone: d}}", "the key 'stages' is there twice"),
        ("name: x\nstages:\n  a: {backbone: b}\n  a: {backbone: d}", "the key 'a' is there twice.*line 4"),
        ("name: x\nstudent: {backbone: b}", "'student' is of an earlier version"),
    ],
)
def test_wrong_files(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_change_of_an_earlier_versions_recipe_is_told_that_it_is_one(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: x\nstudent: {backbone: b}\n")
    with pytest.raises(RecipeError, match="'student' is of an earlier version; it is now stages"):
        load(path, ["student.epochs=3"])


def test_a_recipe_that_is_not_there_is_told_which_are() -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'quik'; did you mean 'quick'.* or a YAML file of your own"):
        load("quik")
    with pytest.raises(RecipeError, match="no recipe"):
        load("elsewhere/quick")


def test_a_file_goes_before_a_bundled_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "quick").write_text(yaml.safe_dump({"name": "mine", "stages": {"a": {"backbone": "resnet10t"}}}))
    monkeypatch.chdir(tmp_path)
    assert load("quick").name == "mine"
    assert load("quick.yaml").name == "quick"
    assert isinstance(load(tmp_path / "quick"), Recipe)


def test_a_preset_changed_in_a_runs_own_recipe_brings_its_numbers(tmp_path: Path) -> None:
    """What is written is the preset and what differs from it: its numbers, in full, would outlive it."""
    first = load("quick", ["student.loss.beta=0.2"])
    path = tmp_path / "recipe.yaml"
    path.write_text(first.to_yaml())
    assert load(path) == first
    loss = load(path, ["student.loss.preset=paper"]).trained("student").loss
    assert isinstance(loss, KDSettings)
    assert (loss.preset, loss.beta, loss.main_coefficient, loss.tough_positive) == ("paper", 0.2, 2.5, 1.0)


@pytest.mark.parametrize("content", [b"name: \xff\xfe", "name: a".encode("utf-16"), b"\x00\x80\x81"])
def test_a_recipe_that_is_no_utf_8_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"recipe .*r.yaml is no UTF-8 text"):
        load(path)
