"""A partial file never looks whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from facekd.errors import nearest
from facekd.files import atomic, write_text


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    with atomic(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists() and temporary.parent == path.parent and temporary.suffix == ".json"
    assert path.read_text() == "whole" and list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_not_a_file_to_write(tmp_path: Path) -> None:
    for path in (tmp_path, Path(".")):
        with pytest.raises(IsADirectoryError) as caught, atomic(path):
            pytest.fail("the work was begun")
        assert caught.value.filename == str(path)


def test_a_name_as_long_as_can_be_is_written(tmp_path: Path) -> None:
    path = tmp_path / f"{'n' * 250}.json"
    with atomic(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"


def test_a_text_is_the_same_on_every_system(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.md", "\N{MINUS SIGN}1\n")
    assert (tmp_path / "new" / "a.md").read_bytes() == b"\xe2\x88\x921\n"


def test_nearest_names_what_is_allowed() -> None:
    assert nearest("epoch", ["epochs", "lr"]) == "did you mean 'epochs'? allowed: epochs, lr"
    assert nearest("zzz", ["epochs", "lr"]) == "allowed: epochs, lr"
