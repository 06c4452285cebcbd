"""The last net: whatever happens, one sentence and a defined exit code."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from facekd import cli


def run(monkeypatch: pytest.MonkeyPatch, error: BaseException, *arguments: str) -> int:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "build", lambda: fail)
    monkeypatch.setattr(sys, "argv", ["facekd", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert isinstance(left.value.code, int)
    return left.value.code


def test_an_unexpected_error_is_one_sentence_and_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run(monkeypatch, KeyError("what the photo says")) == 70
    said = capsys.readouterr().err
    (log,) = tmp_path.iterdir()
    assert said.count("\n") == 1 and str(log) in said and "Traceback" not in said
    text = log.read_text(encoding="utf-8")
    assert "KeyError" in text and "test_crash.py" in text and "numpy " in text
    assert "what the photo says" not in text


def test_debug_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyError):
        run(monkeypatch, KeyError("x"), "--debug")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "not enough memory"),
        (OSError(errno.ENOSPC, "No space left on device", "out/a.json"), "out/a.json cannot be used: No space left"),
        (OSError(errno.EROFS, "Read-only file system", "out"), "out cannot be used: Read-only file system"),
        (OSError(errno.ELOOP, "Too many levels of symbolic links", "a.jpg"), "a.jpg cannot be used: Too many levels"),
    ],
)
def test_what_the_system_refuses_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, message: str
) -> None:
    assert run(monkeypatch, error) == 1
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="pipes end in another way there")
def test_a_reader_that_leaves_is_no_crash() -> None:
    script = (
        "import sys; from facekd import cli\n"
        "cli.build = lambda: lambda: [print('x' * 1000) for _ in range(10000)]\n"
        "cli.main()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (1, b"")
