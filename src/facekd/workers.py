"""Processes that work for this one, and end when it does, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

# Spawned, not forked: a fork copies the locks of Arrow's and torch's threads in whatever state they are. What a new
# process imports first is this module, which takes little: so it is watched from its first moments on.
_SPAWN = multiprocessing.get_context("spawn")
_MARK = "FACEKD_GUARDED"
# To setproctitle, by which Ray's processes write titles: not over the environment, so that the mark stays. By their
# parent they cannot be known, for that may have ended first.
_KEEP = "SPT_NOENV"


def pool(count: int) -> ProcessPoolExecutor:
    """Return processes for small pieces of work: one thread of OpenCV each, and Ctrl-C is this process's alone.

    Args:
        count: how many.

    Returns:
        The pool.
    """
    return ProcessPoolExecutor(count, _SPAWN, initializer=_begin)


def start(work: Callable[..., object], *arguments: Any) -> BaseProcess:
    """Start a process for one piece of work.

    Args:
        work: a function of a module.
        arguments: of it, which can be pickled.

    Returns:
        The process; its exit code is 0 if the work was done.
    """
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_work, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    with ours, suppress(OSError):  # it is dead already: so says its exit code
        ours.send((work, arguments))  # not with the process itself: their imports would come before the watch
    return process


@contextmanager
def guard() -> Iterator[None]:
    """Let processes that a library starts within the block end with this one, too, on Linux.

    A small process waits for the end of this one. It knows the others by a mark in their environment, which those that
    they start inherit.

    Yields:
        Nothing.
    """
    if not Path("/proc/self/environ").exists():
        yield
        return
    mark = secrets.token_hex(8)
    process = _SPAWN.Process(target=_guard, args=(mark,), daemon=True)
    process.start()
    # After the start: the guard has no mark.
    added = {_MARK: mark} | ({} if _KEEP in os.environ else {_KEEP: "1"})
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
        process.kill()
        process.join()


def _guard(mark: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    while found := _marked(mark):
        for number in found:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        time.sleep(0.02)


def _marked(mark: str) -> set[int]:
    """Return the numbers of the processes with a mark in their environment."""
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if f"{_MARK}={mark}".encode() in (path / "environ").read_bytes().split(b"\0"):
                found.add(int(path.name))
    return found


def _begin() -> None:
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import cv2

    cv2.setNumThreads(1)


def _work(task: Connection) -> None:
    end_with_parent()
    with task:
        work, arguments = task.recv()
    work(*arguments)


def end_with_parent() -> None:
    """Let this process end when the one that started it does."""
    threading.Thread(target=_await_parent, daemon=True).start()


def _await_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
