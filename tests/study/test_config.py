"""Plans of studies: what a grid means, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from facekd.errors import RecipeError
from facekd.study import config as plan
from tiny_run import write_study

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_row_comes_with_its_first_seed_before_any_with_its_second(tmp_path: Path) -> None:
    rows = [
        {"name": "a", "seeds": [0, 5]},
        {"name": "{student.lr}", "over": {"student.lr": [0.1, 0.2]}},
        {"name": "t", "network": "tough", "seeds": [3]},
    ]
    found = plan.entries(plan.load(write_study(tmp_path, rows=rows)))
    assert [(e.row, e.seed) for e in found] == [("a", 0), ("0.1", 0), ("0.2", 0), ("t", 3), ("a", 5)]
    assert [e.recipe.student.lr for e in found[1:3]] == [0.1, 0.2]
    assert found[3].recipe.stage("tough").seed == 3 and found[4].recipe.student.seed == 5


def test_a_rows_settings_come_after_the_command_lines_and_the_studys(tmp_path: Path) -> None:
    rows = [{"name": "a", "set": {"student.lr": 0.3}}, {"name": "b"}]
    study = plan.load(write_study(tmp_path, rows=rows, set={"student.lr": 0.1, "student.batch": 4}))
    a, b = plan.entries(study, {"student.lr": 0.2})
    assert (a.recipe.student.lr, b.recipe.student.lr, b.recipe.student.batch) == (0.3, 0.2, 4)


def test_a_rows_settings_are_its_own(tmp_path: Path) -> None:
    rows = [{"name": "a", "set": {"student.loss_options.beta": 0.3}}, {"name": "b"}]
    study = plan.load(write_study(tmp_path, rows=rows, set={"student.loss_options": {"preset": "released"}}))
    a, b = (entry.recipe.student.loss_options for entry in plan.entries(study))
    assert a == {"preset": "released", "beta": 0.3} and b == {"preset": "released"}


@pytest.mark.parametrize("name", ["kd-loss", "paper", "spatial"])
def test_the_studies_of_the_documentation_can_be(name: str) -> None:
    study = plan.load(DOCS / "studies" / f"{name}.yaml")
    assert {entry.row for entry in plan.entries(study)} == set(study.names)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rows": []}, "rows = []"),
        ({"rows": [{"name": "a"}, {"name": "A"}]}, "two rows are called 'a'"),
        ({"rows": [{"name": "a", "over": {"student.lr": [1, 2]}}]}, "put {key} into the name"),
        ({"rows": [{"name": "a", "netwrk": "tough"}]}, "unknown key 'rows.0.netwrk'; did you mean 'network'"),
        ({"rows": [{"name": "a", "set": {"student.lss": "l1"}}]}, "row 'a': recipe"),
        ({"reference": "teachr"}, "did you mean 'teacher'"),
        ({"sets": {}}, "unknown key 'sets'; did you mean 'set'"),
        ({"recipe": "quik"}, "did you mean 'quick'"),
    ],
)
def test_a_wrong_study_is_refused_in_a_sentence(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        plan.entries(plan.load(write_study(tmp_path, **values)))
    assert message in str(caught.value) and "\n" not in str(caught.value)
