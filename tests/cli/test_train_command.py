"""distill, study and export as typed: a wrong word costs one sentence, not a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from facekd.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the command line: (exit code, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["facekd", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return int(left.value.code or 0), printed.out, printed.err

    return call


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["distill", "quik", "--data", "x.parquet", "--out", "r"], "did you mean 'quick'"),
        (["distill", "quick", "--data", "x.parquet", "--out", "r", "--set", "seeed=1"], "did you mean 'seed'"),
        (["distill", "quick", "--data", "nowhere.parquet", "--out", "r"], "no pack at nowhere.parquet"),
        (["study", "nowhere.yaml", "--data", "x.parquet", "--out", "r"], "no study nowhere.yaml"),
        (["export", "nowhere", "out.onnx"], "no model 'nowhere'"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(run: Run, arguments: list[str], message: str) -> None:
    code, _, err = run(*arguments)
    assert code == 1 and message in err and len(err.strip().splitlines()) == 1


def test_version_and_help(run: Run) -> None:
    assert run("--version")[1].startswith("facekd ")
    shown = run("--help")[1]
    for command in ("prepare", "inspect", "distill", "study", "evaluate", "export", "detect", "track"):
        assert command in shown
