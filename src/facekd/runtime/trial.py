"""A network run once in a process of its own: one that would end the process ends that one."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.connection import Connection
from os import PathLike
from pathlib import Path
from typing import Any

from facekd.errors import ModelError
from facekd.runtime.model import load
from facekd.runtime.names import ENGINES, bundled, resolve_model
from facekd.runtime.ort import Providers
from facekd.workers import end_with_parent

_LONGEST = 60  # seconds to load a network and to run it once; those of facekd take far less than one


def tried(model: str | PathLike[str], engine: str = "auto", providers: Providers | None = None) -> Path:
    """Find the file of a network, and try it out.

    Args:
        model: as for `facekd.runtime.model.resolve_model`.
        engine: likewise.
        providers: likewise.

    Returns:
        The file.

    Raises:
        ModelError: there is none, or it cannot be used.
    """
    path = resolve_model(model, engine, providers)
    try_out(path)
    return path


def try_out(path: Path) -> None:
    """Run a network's file once on blank crops, in a process of its own.

    A network is a program for ONNX Runtime or LiteRT, and some that no exporter writes end the process that runs them.
    Bundled files are not tried, and neither are checkpoints, which torch runs by layers of its own.

    Args:
        path: any network's file.

    Raises:
        ModelError: the file cannot be used, or running it ends the process or does not end.
    """
    if path.suffix not in ENGINES.values() or path.with_suffix(".onnx") in bundled().values():
        return
    # A fork costs some milliseconds, a new process some tenths of a second; both load the network once.
    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_load, args=(path, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        told = ours.recv() if ours.poll(_LONGEST) else f"model {path} does not end; do not use it"
    except EOFError:
        told = f"model {path} ends the process that runs it; do not use it, or export it again"
    finally:
        process.kill()
        process.join()
    if told:
        raise ModelError(told)


def _load(path: Path, told: Connection) -> None:
    end_with_parent()
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)  # of what ends a process, libraries in C say more than one sentence
    try:
        load(path, threads=1)
    except ModelError as error:
        told.send(str(error))
    else:
        told.send("")
