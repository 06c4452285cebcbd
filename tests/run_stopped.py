"""Run a script, or the command line ("facekd"), that stops at a call: ACTION WHEN MODULE:NAME COUNT TEXT SCRIPT ...

It stops before or after (WHEN) the COUNT-th call of that function among those with TEXT in their arguments. ACTION
`hold` says "held" on stdout and waits for a line on stdin; `end` ends the process as SIGKILL does: no handler, no
`finally`.
"""

from __future__ import annotations

import functools
import importlib
import os
import runpy
import signal
import sys
from typing import Any

ENDED = 137  # the exit code a shell shows for SIGKILL


def stop(action: str) -> None:
    """Hold the process, or end it."""
    if action == "end":
        os._exit(ENDED)
    print("held", flush=True)
    sys.stdin.readline()


def install(action: str, when: str, point: str, count: int, text: str) -> None:
    """Put the stop around the function."""
    module, _, name = point.partition(":")
    *classes, last = name.split(".")
    place = functools.reduce(getattr, classes, importlib.import_module(module))
    function, calls = getattr(place, last), 0

    @functools.wraps(function)
    def stopping(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        meant = not text or text in " ".join(map(str, (*arguments, *named.values())))
        calls += meant
        here = meant and calls == count
        if here and when == "before":
            stop(action)
        result = function(*arguments, **named)
        if here and when == "after":
            stop(action)
        return result

    setattr(place, last, stopping)


if __name__ == "__main__":
    _, action, when, point, count, text, script, *rest = sys.argv
    # A shell that starts the tests in the background has them ignore Ctrl-C, and their processes too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    install(action, when, point, int(count), text)
    sys.argv = [script, *rest]
    if script == "facekd":
        from facekd.cli import main

        main()
    else:
        runpy.run_path(script, run_name="__main__")
