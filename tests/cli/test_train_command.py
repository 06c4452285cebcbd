"""distill, study and export as typed: a wrong word costs one sentence, not a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def facekd(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import facekd.cli; facekd.cli.main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["distill", "quik", "--data", "x.parquet", "--out", "r"], "did you mean 'quick'"),
        (["distill", "quick", "--data", "x.parquet", "--out", "r", "--set", "seeed=1"], "did you mean 'seed'"),
        (["distill", "quick", "--data", "nowhere.parquet", "--out", "r"], "no pack at nowhere.parquet"),
        (["study", "nowhere.yaml", "--data", "x.parquet", "--out", "r"], "no study nowhere.yaml"),
        (["export", "nowhere", "out.onnx"], "no network at nowhere"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = facekd(*arguments)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_version_and_help() -> None:
    assert facekd("--version").stdout.startswith("facekd ")
    shown = facekd("--help").stdout
    for command in ("prepare", "inspect", "distill", "study", "evaluate", "export", "detect", "track"):
        assert command in shown
