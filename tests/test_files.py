"""A partial file never looks whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from facekd.errors import InputError, nearest
from facekd.files import atomic, atomic_folder, claim, claim_folder, clean, scratch_folder, write_text

locks = pytest.mark.skipif(sys.platform == "win32", reason="no locks on this system")


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


WRITES = """
import sys
from facekd.files import atomic, atomic_folder

with atomic(sys.argv[1] + "/a.json") as file, atomic_folder(sys.argv[1] + "/b.parts") as folder:
    file.write_text("half")
    (folder / "c").write_text("half")
    print("there", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def writer(tmp_path: Path) -> subprocess.Popen[bytes]:
    """A process in the middle of writing a.json and b.parts/."""
    command = [sys.executable, "-c", WRITES, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"there\n"
    return process


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_the_next_writer_removes_what_a_killed_one_left_and_no_other(
    tmp_path: Path, writer: subprocess.Popen[bytes]
) -> None:
    (tmp_path / ".a.12345678.9.json").write_text("somebody's own: not the checksum of a.json")
    before = sorted(tmp_path.iterdir())
    assert len(before) == 3
    write_text(tmp_path / "a.json", "whole")  # the other is still at work
    with atomic_folder(tmp_path / "b.parts"):
        pass
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "a.json", tmp_path / "b.parts"])
    writer.kill()
    writer.wait()
    write_text(tmp_path / "a.json", "whole")
    with atomic_folder(tmp_path / "b.parts"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {".a.12345678.9.json", "a.json", "b.parts"}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_clean_removes_what_killed_processes_left(tmp_path: Path, writer: subprocess.Popen[bytes]) -> None:
    others = [".a.12345678.9.json", ".git", ".a", "a.json", f".{'n' * 39}.12345678.1.json"]
    for name in others:
        (tmp_path / name).write_text("somebody's own")
    assert clean(tmp_path) == []
    left = sorted(path for path in tmp_path.iterdir() if path.name not in others)
    assert len(left) == 2
    writer.kill()
    writer.wait()
    assert sorted(clean(tmp_path)) == left
    assert sorted(os.listdir(tmp_path)) == sorted(others)


@locks
def test_an_output_has_one_writer(tmp_path: Path) -> None:
    path, folder = tmp_path / "new" / "a.json", tmp_path / "new" / "b"
    with claim(path), claim(path.with_name("c.json")), claim_folder(folder):
        with (
            pytest.raises(InputError, match=r"another process is writing .*a\.json; wait until it has ended"),
            claim(path),
        ):
            pytest.fail("both write")
        with pytest.raises(InputError, match=r"another process is writing .*b; "), claim_folder(folder):
            pytest.fail("both write")
        write_text(path, "whole")
        with atomic_folder(folder / "c") as temporary:
            (temporary / "d").write_text("whole")
    assert sorted(each.name for each in path.parent.iterdir()) == ["a.json", "b"]
    with claim(path), claim_folder(folder):
        pass
    assert [each.name for each in folder.iterdir()] == ["c"]


@locks
def test_a_claim_may_wait(tmp_path: Path) -> None:
    order = []

    def second() -> None:
        with claim(tmp_path / "a", wait=True):
            order.append("second")

    with claim(tmp_path / "a"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.05)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_folder_is_no_file_to_claim_and_a_file_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(FileExistsError), claim_folder(tmp_path / "a"):
        pytest.fail("the work was begun")


CLAIMS = """
import sys
from pathlib import Path
from facekd.files import claim, claim_folder, scratch_folder

with claim(sys.argv[1] + "/a.json"), claim_folder(sys.argv[1]), scratch_folder("facekd-test") as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@locks
def test_a_claim_ends_with_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    out, command = tmp_path / "out", [sys.executable, "-c", CLAIMS, str(tmp_path / "out")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    scratch = Path(process.stdout.readline().strip())
    for claimed in (claim(out / "a.json"), claim_folder(out)):
        with pytest.raises(InputError, match="another process is writing"), claimed:
            pytest.fail("both write")
    with scratch_folder("facekd-test") as other:
        assert scratch.is_dir() and scratch != other and scratch.parent == other.parent
    process.kill()
    process.communicate()
    with claim(out / "a.json"), claim_folder(out), scratch_folder("facekd-test"):
        assert not scratch.exists()
    assert list(out.iterdir()) == [] and list((tmp_path / "tmp").iterdir()) == []
