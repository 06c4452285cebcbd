"""LiteRT: the one module that imports it, and only when a network is opened, for not everybody has it."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facekd.cores import usable_cores
from facekd.errors import ModelError

# OpenCV's numbers of instructions that multiply 8-bit numbers and add the products up: AVX-512 VNNI, Arm's dot product.
_DOT_PRODUCTS = (23, 101)


def installed() -> bool:
    """Tell whether LiteRT can be imported.

    Returns:
        Whether the package ai-edge-litert is there.
    """
    return importlib.util.find_spec("ai_edge_litert") is not None


def fast_int8() -> bool:
    """Tell whether this CPU computes faster with 8-bit numbers than with float32.

    Returns:
        Whether it has instructions for it; those with AVX2 alone gain nothing.
    """
    return any(cv2.checkHardwareSupport(feature) for feature in _DOT_PRODUCTS)


class Session:
    """A network in LiteRT, on the CPU. Calls from several threads are safe, and so are those in forked children.

    An interpreter serves one call at a time, so there are as many as there are calls at once. A forked child has none
    of the threads of its parent's interpreters, and opens its own.

    Args:
        path: the .tflite file.
        threads: CPU threads per call; None: as many as there are cores that this process may use.

    Raises:
        ModelError: LiteRT is not installed, the file cannot be loaded, or `threads` is below 1.
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ModelError(f"threads must be 1 or more, got {threads}")
        self._path, self._threads = path, threads or usable_cores()
        self._idle: list[Any] = []
        interpreter = self._opened()
        runner = interpreter.get_signature_runner()
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        self.inputs, self.outputs = _shapes(inputs), _shapes(outputs)
        # `run` goes to the tensors themselves: a signature's runner resizes, allocates and copies at each call.
        first = [*interpreter.get_input_details(), *interpreter.get_output_details()]
        tensors = {each["name"]: each["index"] for each in first}
        if any(tensors.get(each["name"]) != each["index"] for each in [*inputs.values(), *outputs.values()]):
            raise ModelError(f"model {path} cannot be loaded: its signature is not of its first graph; export it again")
        self._inputs, self._outputs = ({name: each["index"] for name, each in of.items()} for of in (inputs, outputs))
        self._idle.append(interpreter)
        _SESSIONS.add(self)

    def run(self, outputs: Sequence[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Run the network.

        Args:
            outputs: names of those wanted.
            inputs: arrays by name, of the shapes in `self.inputs`.

        Returns:
            The outputs, in the order of their names.

        Raises:
            ModelError: the network fails on them.
        """
        try:
            interpreter = self._idle.pop()
        except IndexError:  # all are at work in other threads
            interpreter = self._opened()
        try:
            # Only here, for LiteRT prints a line when it allocates the first time; later it does nothing.
            interpreter.allocate_tensors()
            for name, index in self._inputs.items():
                interpreter.set_tensor(index, inputs[name])
            interpreter.invoke()
            found = [interpreter.get_tensor(self._outputs[name]) for name in outputs]  # copies
        except (ValueError, RuntimeError, KeyError) as error:
            raise ModelError(f"model {self._path} cannot be run: {str(error).partition(chr(10))[0]}") from error
        self._idle.append(interpreter)
        return found

    def _opened(self) -> Any:
        """Return an interpreter whose tensors are not allocated yet; a file without a signature is refused."""
        interpreter = _interpreter()
        try:
            opened = interpreter(str(self._path), num_threads=self._threads)
            opened.get_signature_runner()
        except (ValueError, RuntimeError, KeyError) as error:
            raise ModelError(f"model {self._path} cannot be loaded: {str(error).partition(chr(10))[0]}") from error
        return opened


def _interpreter() -> Callable[..., Any]:
    """Return LiteRT's class of interpreters."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ModelError(
            "a .tflite network runs in LiteRT, which is not installed; pip install 'facekd[litert]'"
        ) from error
    found: Callable[..., Any] = Interpreter
    return found


def _shapes(details: dict[str, Any]) -> dict[str, tuple[str, list[int]]]:
    """Return type and shape by name."""
    return {
        name: (np.dtype(each["dtype"]).name, [int(side) for side in each["shape"]]) for name, each in details.items()
    }


_SESSIONS: weakref.WeakSet[Session] = weakref.WeakSet()


def _forget_interpreters() -> None:
    """Leave the parent's interpreters alone in a forked child: closing one waits for threads that are not there."""
    for session in _SESSIONS:
        for interpreter in session._idle:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(interpreter))  # so it outlives even the Python interpreter
        session._idle = []


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_interpreters)
