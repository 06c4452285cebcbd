"""ONNX Runtime: the one module that imports it, for what it does to the process is decided before its import."""

from __future__ import annotations

import ctypes
import io
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

# ONNX Runtime from 1.32 on sends usage data unless this is set before it is imported, and the threads that do so hang
# forked children when they exit. A value of the user's own stays.
TELEMETRY = "ORT_DISABLE_TELEMETRY"
os.environ.setdefault(TELEMETRY, "1")

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402

from facekd.cores import usable_cores  # noqa: E402
from facekd.errors import ModelError  # noqa: E402

Provider = str | tuple[str, Mapping[str, Any]]  # a name, or a name and options
Providers = Provider | Sequence[Provider]
_NAMES = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
}
_SHORT = {name: short for short, name in _NAMES.items()}


class Session:
    """A network in ONNX Runtime. Calls from several threads are safe, and so are those in forked children.

    A child has none of the threads of its parent's session, and would wait for them for ever; so it opens its own when
    it first needs one.

    Args:
        path: the .onnx file.
        threads: CPU threads per call; None: as many as there are cores that this process may use.
        providers: where it runs, first choice first: "cpu", "cuda", "coreml", ... or ONNX Runtime's own names; each
            alone or with options, as ("cuda", {"device_id": 1}).
        plan_memory: keep a plan of the memory for every shape of input; of use where they are few.

    Raises:
        ModelError: the file cannot be loaded, `threads` is below 1, or a provider is not in this ONNX Runtime or does
            not start.
    """

    def __init__(
        self,
        path: str | Path,
        threads: int | None = None,
        providers: Providers = "cpu",
        plan_memory: bool = True,
    ) -> None:
        if threads is not None and threads < 1:
            raise ModelError(f"threads must be 1 or more, got {threads}")
        self._path, self._threads, self._providers, self._plan_memory = path, threads, providers, plan_memory
        self._session: Any = self._opened()
        _SESSIONS.add(self)

    @property
    def session(self) -> Any:
        """The `onnxruntime.InferenceSession`."""
        session = self._session
        if session is None:  # this is a forked child; two threads at once open two, and one is kept
            session = self._session = self._opened()
        return session

    @property
    def providers(self) -> tuple[str, ...]:
        """Short names of the providers in use, first choice first."""
        return tuple(_SHORT.get(name, name) for name in self.session.get_providers())

    def run(self, outputs: Sequence[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Run the network.

        Args:
            outputs: names of those wanted.
            inputs: arrays by name.

        Returns:
            The outputs, in the order of their names.

        Raises:
            ModelError: the network fails on them.
        """
        try:
            found: list[np.ndarray] = self.session.run(list(outputs), inputs)
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise ModelError(f"model {self._path} cannot be run: {_first_line(error)}") from error
        return found

    def _opened(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only: they come as exceptions as well
        options.enable_mem_pattern = self._plan_memory
        # Else threads wait for the next run by spinning: for tens of milliseconds a core is busy with nothing, and kept
        # from the other network, as detector and landmark network take turns.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        elif (usable := usable_cores()) < (os.cpu_count() or 1):  # ONNX Runtime does not know a container's quota
            options.intra_op_num_threads = usable
        wanted = provider_names(self._providers)
        with _quiet(wanted):
            try:
                # Without its fallback, which prints to stdout and goes on where nobody asked it to.
                session = onnxruntime.InferenceSession(
                    str(self._path), options, providers=wanted, enable_fallback=False
                )
            except Exception as error:  # ONNX Runtime's own exceptions share no base class
                raise ModelError(f"model {self._path} cannot be loaded: {_first_line(error)}") from error
        session.disable_fallback()
        for name, _ in wanted:
            if name not in session.get_providers():
                raise ModelError(
                    f"provider '{_SHORT.get(name, name)}' does not start, most often because its libraries are "
                    "missing; install them, or choose another provider"
                )
        return session


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


_SESSIONS: weakref.WeakSet[Session] = weakref.WeakSet()


def _forget_sessions() -> None:
    """Leave the sessions of the parent alone in a forked child: closing one waits for threads that are not there."""
    for session in _SESSIONS:
        if session._session is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(session._session))  # so it outlives even the interpreter
            session._session = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_sessions)


def split_providers(providers: Providers) -> list[tuple[str, dict[str, Any]]]:
    """List providers with the options of each.

    Args:
        providers: one or several, each alone or with options.

    Returns:
        Names as they were given, and options.

    Raises:
        ModelError: something else than names and options is given.
    """
    several: Any = [providers] if isinstance(providers, str) or _has_options(providers) else providers
    found = []
    for given in several:
        name, options = given if _has_options(given) else (given, {})
        if not isinstance(name, str):
            raise ModelError(f'provider {given!r} is no name; give "cuda", or ("cuda", {{"device_id": 1}})')
        found.append((name, dict(options)))
    return found


def provider_names(providers: Providers) -> list[tuple[str, dict[str, Any]]]:
    """Translate the short names of providers into ONNX Runtime's.

    Args:
        providers: as for `Session`.

    Returns:
        ONNX Runtime's names and the options of each, in the same order.

    Raises:
        ModelError: the installed ONNX Runtime has no such provider, or something else than names and options is given.
    """
    available, names = onnxruntime.get_available_providers(), []
    for given, options in split_providers(providers):
        name = _NAMES.get(given.lower(), given)
        if name not in available:
            has = ", ".join(short for short, full in _NAMES.items() if full in available)
            raise ModelError(
                f"this ONNX Runtime has no provider '{given}' (it has {has}); "
                "install the build that has it, such as onnxruntime-gpu for cuda"
            )
        names.append((name, options))
    return names


def _has_options(provider: Any) -> bool:
    """Whether it is a provider's name with options, rather than several providers."""
    return isinstance(provider, tuple) and len(provider) == 2 and isinstance(provider[1], Mapping)


@contextmanager
def _quiet(wanted: list[tuple[str, dict[str, Any]]]) -> Iterator[None]:
    """Load CUDA's libraries if they are wanted; what ONNX Runtime prints about GPUs is kept from stdout."""
    if not any(name in (_NAMES["cuda"], _NAMES["tensorrt"]) for name, _ in wanted):
        yield
        return
    with redirect_stdout(io.StringIO()):
        if hasattr(onnxruntime, "preload_dlls"):  # finds those that pip installed, also with torch
            onnxruntime.preload_dlls()
        yield


def quantization() -> ModuleType:
    """Import ONNX Runtime's tools for quantisation, which need the package onnx.

    Returns:
        `onnxruntime.quantization`.
    """
    import onnxruntime.quantization.shape_inference

    tools: ModuleType = onnxruntime.quantization
    return tools
