"""Readers that do all that a reader must not, to see whether it is noticed."""

from __future__ import annotations

import os
import time
from pathlib import Path

from fuzzing import Kind

from facekd.errors import InputError

_HELD: list[bytearray] = []


def _make() -> None:
    Path("a.txt").write_text("a")


def _raise() -> None:
    raise KeyError("a")


def _refuse() -> None:
    raise InputError("a.txt is no good")


def _hold() -> None:
    _HELD.append(bytearray(b"x") * 1_200_000_000)
    _HELD.clear()


def _compute() -> None:
    end = time.process_time() + 0.5
    while time.process_time() < end:
        pass


_READERS = {
    "read": lambda: None,
    "refused": _refuse,
    "traceback": _raise,
    "dead": lambda: os._exit(3),
    "memory": _hold,
    "hang": lambda: time.sleep(60),
    "busy": _compute,
}
KINDS = {name: Kind(name, (_make,), read, {".txt": ()}) for name, read in _READERS.items()}
