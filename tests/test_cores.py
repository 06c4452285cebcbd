"""Cores that a process may use: those it may run on, less where its control group has a quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from facekd.cores import usable_cores


@pytest.mark.parametrize(
    ("inner", "outer", "cores"),
    [
        (None, None, 8),
        ("max 100000", "max 100000", 8),
        ("200000 100000", None, 2),
        ("max 100000", "150000 100000", 2),  # half a core is one
        ("300000 100000", "1600000 100000", 3),
        ("5000 100000", None, 1),
        ("what is this", None, 8),
    ],
)
def test_the_least_of_what_is_allowed_counts(
    inner: str | None, outer: str | None, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    (tmp_path / "own").write_text("0::/slice/task\n")
    (tmp_path / "slice" / "task").mkdir(parents=True)
    for folder, text in (("slice/task", inner), ("slice", outer)):
        if text:
            (tmp_path / folder / "cpu.max").write_text(f"{text}\n")
    assert usable_cores(tmp_path, tmp_path / "own") == cores


def test_elsewhere_the_cores_are_those_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores(tmp_path, tmp_path / "nowhere") == 6
