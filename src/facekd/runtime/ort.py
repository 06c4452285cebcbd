"""ONNX Runtime: the one module that imports it, for what it does to the process is decided before its import."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

# ONNX Runtime from 1.32 on sends usage data unless this is set before it is imported, and the threads that do so hang
# forked children when they exit. A value of the user's own stays.
TELEMETRY = "ORT_DISABLE_TELEMETRY"
os.environ.setdefault(TELEMETRY, "1")

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402

from facekd.errors import ModelError  # noqa: E402


def available_providers() -> list[str]:
    """List the execution providers that this build of ONNX Runtime has.

    Returns:
        Its own names, such as "CPUExecutionProvider".
    """
    names: list[str] = onnxruntime.get_available_providers()
    return names


class Session:
    """A network in ONNX Runtime. Calls from several threads are safe, and so are forked children and copies.

    A child has none of the threads of its parent's session, and would wait for them for ever; so it opens its own when
    it first needs one. Pickled is not the network but where it lies.

    Args:
        path: the .onnx file.
        threads: CPU threads per call; None: as many as there are cores.
        providers: ONNX Runtime's names, first choice first.
        plan_memory: keep a plan of the memory for every shape of input; of use where they are few.

    Raises:
        ModelError: the file cannot be loaded, or `threads` is below 1.
    """

    def __init__(
        self,
        path: str | Path,
        threads: int | None = None,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        plan_memory: bool = True,
    ) -> None:
        if threads is not None and threads < 1:
            raise ModelError(f"threads must be 1 or more, got {threads}")
        self._path, self._threads, self._providers, self._plan_memory = path, threads, providers, plan_memory
        self._session: Any = self._opened()
        _SESSIONS.add(self)

    def __reduce__(self) -> tuple[type[Session], tuple[Any, ...]]:
        return type(self), (self._path, self._threads, self._providers, self._plan_memory)

    @property
    def session(self) -> Any:
        """The `onnxruntime.InferenceSession`."""
        session = self._session
        if session is None:  # this is a forked child; two threads at once open two, and one is kept
            session = self._session = self._opened()
        return session

    def run(self, outputs: Sequence[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Run the network.

        Args:
            outputs: names of those wanted.
            inputs: arrays by name.

        Returns:
            The outputs, in the order of their names.
        """
        found: list[np.ndarray] = self.session.run(list(outputs), inputs)
        return found

    def _opened(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only: they come as exceptions as well
        options.enable_mem_pattern = self._plan_memory
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        try:
            return onnxruntime.InferenceSession(str(self._path), options, providers=list(self._providers))
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise ModelError(f"model {self._path} cannot be loaded: {str(error).splitlines()[0]}") from error


_SESSIONS: weakref.WeakSet[Session] = weakref.WeakSet()


def _forget_sessions() -> None:
    """Leave the sessions of the parent alone in a forked child: closing one waits for threads that are not there."""
    for session in _SESSIONS:
        if session._session is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(session._session))  # so it outlives even the interpreter
            session._session = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_sessions)


def quantization() -> ModuleType:
    """Import ONNX Runtime's tools for quantisation, which need the package onnx.

    Returns:
        `onnxruntime.quantization`.
    """
    import onnxruntime.quantization.shape_inference

    tools: ModuleType = onnxruntime.quantization
    return tools
