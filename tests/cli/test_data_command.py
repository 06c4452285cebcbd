"""prepare and inspect as typed: numbers at the end of their ranges."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from facekd.cli import data


def call(*words: object) -> Result:
    app = typer.Typer()
    data.register(app)
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_sheet_of_one_face(tmp_path: Path) -> None:
    pack = tmp_path / "a.parquet"
    assert call("prepare", "synthetic", pack, "--count", "4", "--size", "64", "--jobs", "1").exit_code == 0
    result = call("inspect", pack, "--faces", "1", "--out", tmp_path / "sheets")
    assert result.exit_code == 0, result.exception
    assert {path.name for path in (tmp_path / "sheets").iterdir()} >= {"soft.jpg", "inspect.json"}


@pytest.mark.parametrize("option", ["--seed=-1", "--count=-5", "--count=0"])
def test_numbers_that_make_no_faces_are_a_usage_error(tmp_path: Path, option: str) -> None:
    result = call("prepare", "synthetic", tmp_path / "a.parquet", option)
    assert result.exit_code == 2 and option.split("=")[0] in result.output
    assert list(tmp_path.iterdir()) == []
