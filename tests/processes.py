"""Processes that a test holds or ends at a known call, in place of a signal after a guessed time."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from run_stopped import ENDED

_SCRIPT = Path(__file__).with_name("run_stopped.py")
_LONGEST = 300  # seconds: no test waits for them, but one that fails
_TO_END = 60  # likewise, for processes that are about to end


@dataclass
class Held:
    """A process that waits at a call of one of its functions."""

    process: subprocess.Popen[str]
    errors: IO[str]

    def release(self) -> None:
        """Let it go on."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def interrupt(self) -> None:
        """Press Ctrl-C where it is held. The signal is there before the line that lets it go on."""
        self.process.send_signal(signal.SIGINT)
        self.release()

    def finish(self) -> tuple[int, str, str]:
        """Wait for the end; return the exit code, what was written to stdout since it was held, and all of stderr."""
        printed, _ = self.process.communicate(timeout=_LONGEST)
        return self.process.returncode, printed, self.said()

    def said(self) -> str:
        """Return what was written to stderr so far."""
        self.errors.seek(0)
        return self.errors.read()


def _command(action: str, script: object, arguments: tuple[object, ...], *stop: object) -> list[str]:
    return [sys.executable, *map(str, (_SCRIPT, action, *stop, script, *arguments))]


@contextmanager
def held(script: object, *arguments: object, at: str, when: str = "after", count: int = 1) -> Iterator[Held]:
    """Start a script, or the command line ("facekd"), and wait until it is held at the count-th call of a function.

    at: the function, as "facekd.runtime.tracking:Tracker.update".
    when: "before" or "after" that call.
    """
    command = _command("hold", script, arguments, when, at, count, "")
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8"
        ) as process,
    ):
        given_up = threading.Timer(_LONGEST, process.kill)
        given_up.start()
        try:
            assert process.stdout
            found = Held(process, errors)
            assert any(line == "held\n" for line in process.stdout), f"it never came to {at}: {found.said()}"
            yield found
        finally:
            given_up.cancel()
            process.kill()


def ended(script: object, *arguments: object, at: str, when: str, count: int = 1, text: str = "") -> None:
    """Run a script until it is ended, as by SIGKILL, at a call of a function.

    count: of the calls with `text` in their arguments, from 1.
    """
    command = _command("end", script, arguments, when, at, count, text)
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=_LONGEST)
    assert done.returncode == ENDED, done.stderr


def descendants(pid: int) -> dict[int, str]:
    """Return what a process started, and what those started: when, by number. Linux only."""
    about = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if fields[0] != "Z":
            about[int(path.parent.name)] = (int(fields[1]), fields[19])
    found: dict[int, str] = {}
    while new := {each: start for each, (parent, start) in about.items() if parent in {pid, *found} - {each}}:
        if new.keys() <= found.keys():
            break
        found |= new
    return found


def alive(processes: dict[int, str], patience: float = _TO_END) -> dict[int, str]:
    """Return which of these, as `descendants` gives them, still run; waits some seconds for those about to end."""
    end = time.monotonic() + patience
    while left := {pid: start for pid, start in processes.items() if _runs(pid, start)}:
        if time.monotonic() > end:
            break
        time.sleep(0.02)
    return left


def _runs(pid: int, start: str) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return False
    return fields[0] != "Z" and fields[19] == start
