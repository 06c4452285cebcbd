"""Plans of studies: what a grid means, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from facekd.errors import RecipeError
from facekd.study import config
from tiny_run import write_study

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_row_comes_with_its_first_seed_before_any_with_its_second(tmp_path: Path) -> None:
    rows = [
        {"name": "a", "seeds": [0, 5]},
        {"name": "{student.lr}", "over": {"student.lr": [0.1, 0.2]}},
        {"name": "t", "stage": "tough", "seeds": [3]},
    ]
    found = config.entries(config.load(write_study(tmp_path, rows=rows)))
    assert [(e.row, e.seed) for e in found] == [("a", 0), ("0.1", 0), ("0.2", 0), ("t", 3), ("a", 5)]
    assert [e.recipe.trained("student").lr for e in found[1:3]] == [0.1, 0.2]
    assert found[3].recipe.trained("tough").seed == 3 and found[4].recipe.trained("student").seed == 5


def test_a_rows_settings_come_after_the_command_lines_and_the_studys(tmp_path: Path) -> None:
    rows = [{"name": "a", "set": {"student.lr": 0.3}}, {"name": "b"}]
    study = config.load(write_study(tmp_path, rows=rows, set={"student.lr": 0.1, "student.batch": 4}))
    a, b = config.entries(study, {"student.lr": 0.2})
    assert (a.recipe.trained("student").lr, b.recipe.trained("student").lr, b.recipe.trained("student").batch) == (
        0.3,
        0.2,
        4,
    )


def test_a_rows_settings_are_its_own(tmp_path: Path) -> None:
    rows = [{"name": "a", "set": {"student.loss.beta": 0.3}}, {"name": "b"}]
    study = config.load(write_study(tmp_path, rows=rows, set={"student.loss": {"name": "kd", "preset": "released"}}))
    a, b = (entry.recipe.trained("student").loss for entry in config.entries(study))
    assert (a.preset, a.beta) == ("released", 0.3) and (b.preset, b.beta) == ("released", 0.15)


@pytest.mark.parametrize("name", ["kd-loss", "paper", "spatial"])
def test_the_studies_of_the_documentation_can_be(name: str) -> None:
    study = config.load(DOCS / "studies" / f"{name}.yaml")
    assert {entry.row for entry in config.entries(study)} == set(study.names)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rows": []}, "rows needs at least 1, not 0"),
        ({"rows": [{"name": "a"}, {"name": "A"}]}, "two rows are called 'a'"),
        ({"rows": [{"name": "a", "over": {"student.lr": [1, 2]}}]}, "put {key} into the name"),
        ({"rows": [{"name": "a", "stge": "tough"}]}, "unknown key 'rows.0.stge'; did you mean 'stage'"),
        ({"rows": [{"name": "a", "network": "tough"}]}, "'rows.0.network' is of an earlier version; it is now stage"),
        ({"rows": [{"name": "a", "stage": "tuogh"}]}, "row 'a': no stage 'tuogh'; did you mean 'tough'"),
        ({"rows": [{"name": "a", "set": {"student.backbone": "mobilnetv2_100"}}]}, "row 'a': timm has no backbone"),
        ({"rows": [{"name": "a", "set": {"student.loss": "l3"}}]}, "row 'a': recipe"),
        ({"rows": [{"name": "a", "set": {"student.lss": "l1"}}]}, "row 'a': recipe"),
        ({"reference": "teachr"}, "did you mean 'teacher'"),
        ({"sets": {}}, "unknown key 'sets'; did you mean 'set'"),
        ({"recipe": "quik"}, "did you mean 'quick'"),
    ],
)
def test_a_wrong_study_is_refused_in_a_sentence(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        config.entries(config.load(write_study(tmp_path, **values)))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_study_that_is_no_utf_8_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"name: \xff")
    with pytest.raises(RecipeError, match=r"study .*s.yaml is no UTF-8 text"):
        config.load(path)
