"""`facekd clean`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from facekd.cli import main
from facekd.files import atomic


def run(monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
    monkeypatch.setattr(sys, "argv", ["facekd", "clean", str(folder)])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


@pytest.mark.skipif(sys.platform == "win32", reason="no locks on this system")
def test_what_is_left_is_removed_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with atomic(tmp_path / "sub" / "a.json") as temporary:
        temporary.write_text("whole")
        left = temporary.name
    (tmp_path / "sub" / left).write_text("half")  # as a killed process leaves it
    assert run(monkeypatch, tmp_path) == 0
    assert f"removed {tmp_path / 'sub' / left}\n1 temporary file(s)" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["a.json"]


def test_a_folder_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path / "none") == 1
    assert f"there is no folder {tmp_path / 'none'}" in capsys.readouterr().err
