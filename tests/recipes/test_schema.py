"""Recipes: what comes with the package is valid, and what is wrong is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from facekd.errors import RecipeError
from facekd.recipes import schema as recipe


@pytest.mark.parametrize("name", recipe.bundled())
def test_bundled_recipes_are_valid_and_written_in_full(name: str, tmp_path: Path) -> None:
    settings = recipe.load(name)
    assert settings.name == name and settings.stages[-1] == "student"
    # facekd-68 is on its own: no network here is better.
    assert bool(settings.student.teachings) == (name != "facekd-68")
    path = tmp_path / "again.yaml"
    path.write_text(settings.to_yaml())
    assert recipe.load(path) == settings
    assert recipe.load(f"{name}.yaml") == settings


def test_the_papers_recipe_is_the_papers() -> None:
    """The table "Networks and training" of the specification."""
    paper = recipe.load("paper")
    assert (paper.input.size, paper.student.epochs, paper.student.batch, paper.student.lr) == (224, 150, 70, 1e-3)
    assert (paper.tough.backbone, paper.student.backbone) == ("efficientnet_b3", "mobilenetv2_100")
    assert (paper.tough.dropout, paper.tough.loss, paper.tolerant.loss, paper.tough.weights) == (
        0.5,
        "l2",
        "l2",
        "none",
    )
    assert (paper.student.optimiser, paper.student.schedule, paper.augment.rotation) == ("adam", "paper", 31.5)


def test_settings_change_by_name() -> None:
    settings = recipe.load(
        "quick", ["student.epochs=3", "seed=7", "evaluation.boxes=[truth]", "student.loss_options.beta=0.2"]
    )
    assert (settings.student.epochs, settings.seed, settings.evaluation.boxes) == (3, 7, ("truth",))
    assert settings.student.loss_options == {"preset": "released", "beta": 0.2}
    assert settings.baseline.epochs == recipe.load("quick").baseline.epochs


def test_a_change_stays_where_it_was_made() -> None:
    """YAML's aliases make one group of settings of two stages', and its defaults one of all files'."""
    changed = recipe.load("paper", ["tough.epochs=3"])
    assert changed.tough.epochs == 3 and changed.tolerant.epochs == recipe.load("paper").tolerant.epochs != 3


def test_a_copys_sigma_is_there_or_not_for_all() -> None:
    with pytest.raises(RecipeError, match="sigma must be 0 for all copies and the stage itself, or for none"):
        recipe.load("facekd-68", ["student.copies=[{}, {sigma: 0}]"])


def test_two_files_of_one_name_are_two_starts(tmp_path: Path) -> None:
    identities = []
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "model.safetensors"
        path.write_text("one" if folder == "c" else folder)
        identities.append(recipe.load("quick", [f"tough.weights={path}"]).identity("tough"))
    assert identities[0] != identities[1] and str(tmp_path) not in str(identities)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("student.epoch=3", "unknown key 'student.epoch'; did you mean 'epochs'?"),
        ("augmnt.rotation=3", "unknown key 'augmnt'; did you mean 'augment'?"),
        ("student.head=spatal", "did you mean 'spatial'? allowed: coordinate, spatial"),
        ("student.lr=-1", "student.lr = -1: Input should be greater than 0"),
        ("student.epochs=abc", "student.epochs = 'abc'"),
        ("tough.loss=kd", "needs teachers"),
        ("tough.weights=tough", "starts from an earlier one"),
        ("tough.weights=student", "starts from an earlier one"),
        ("tolerant=null", "student needs the network tolerant, which the recipe does not have"),
        ("student.expert=1", "student needs the network expert"),
        ("baseline.expert=1", "only the student can have them"),
        ("student.stride=7", "allowed: 4, 8, 16"),
        ("student.stop=1000", "stop = 1000 lies beyond epochs"),
        ("student.copies=[{backbone: x}]", "copies cannot differ in backbone, only in seed, learn_val, augment"),
        ("student.copies=[{learn_val: true}]", "all copies have learn_val; one must not"),
        ("student.copies=[{}, {lr: -1}]", "-1"),
        ("student.copies=[{}, {learn_val: perhaps}]", "learn_val"),
        ("student.copies=[{}]", "copies need a trained network to start from"),
        ("student.copies=[{}, {sigma: 0.5}]", "copies need a trained network"),
        ("student.seed=-1", "student.seed = -1"),
        ("seed=-1", "seed = -1"),
        ("student.size=100", "student reads heatmaps of a 100 px frame; set size to a multiple of 8"),
        ("student.rare=2", "student.rare = 2"),
        ("student.teachers=[]", "kd needs teachers"),
        ("student.teachers=[tough,tough]", "kd needs teachers"),
        ("student.teachers=[toug]", "did you mean 'tough'"),
        ("baseline.head=coordinate", "heatmap is a term of head: spatial"),
        ("student", "write it as key=value"),
        ("seed={", "not YAML"),
        ("name.x=1", "name is a value"),
    ],
)
def test_a_wrong_change_is_refused_in_a_sentence(change: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.load("quick", [change])
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'quick'"):
        recipe.load("quik")
    path = tmp_path / "r.yaml"
    for text, message in [("[1]", "keys and values"), ("a: [", "not YAML"), ("name: x", "'student' is missing")]:
        path.write_text(text)
        with pytest.raises(RecipeError, match=message):
            recipe.load(path)


def test_what_is_published_names_no_folder() -> None:
    settings = recipe.load("quick", ["student.weights=/home/someone/weights.safetensors"])
    assert settings.published()["student"]["weights"] == "weights.safetensors"
    assert "someone" not in yaml.safe_dump(settings.published())


def test_fixed_views_are_the_students_and_the_baselines() -> None:
    assert recipe.load("quick", ["student.epochs=3"]).fixed_views("student") == 3
    assert recipe.load("quick", ["student.epochs=1000"]).fixed_views("student") == 12
    assert recipe.load("quick", ["student.epochs=1000", "student.stop=4"]).fixed_views("student") == 4
    assert recipe.load("quick").fixed_views("tough") is None
    assert recipe.load("paper").fixed_views("student") is None


def test_what_a_network_needs_comes_first() -> None:
    quick = recipe.load("quick")
    assert quick.stages == ("tough", "tolerant", "baseline", "student")
    assert [quick.needs(name) for name in quick.stages] == [[], ["tough"], [], ["tough", "tolerant"]]
    assert recipe.load("quick", {"student.teachers": ["tolerant"]}).needs("student") == ["tolerant"]
    assert recipe.load(
        "quick", {"student.weights": "tolerant", "student.loss": "l1", "student.loss_options": {}}
    ).needs("student") == ["tolerant"]
