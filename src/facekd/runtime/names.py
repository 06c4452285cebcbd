"""Which file a name of a network means: that of a bundled one, a run's or a stage's folder, or a file."""

from __future__ import annotations

import logging
import os
from functools import cache
from os import PathLike
from pathlib import Path

from facekd.errors import ModelError, nearest
from facekd.files import expand
from facekd.run_folder import network_file
from facekd.runtime import litert, ort
from facekd.runtime.yunet import YUNET

DEFAULT = "facekd-68"
ENGINES = {"onnx": ".onnx", "litert": ".tflite"}  # and the files that each takes; "auto" chooses one
_LOG = logging.getLogger("facekd")
_CPU = ("cpu", "cpuexecutionprovider")
_BUNDLED = Path(__file__).parents[1] / "weights"


def bundled() -> dict[str, Path]:
    """List the landmark models that come with the package.

    Returns:
        Name -> .onnx file. The face detector's file, which lies beside them, is none of them.
    """
    return {path.stem: path for path in sorted(_BUNDLED.glob("*.onnx")) if path.name != YUNET}


def resolve(model: str | PathLike[str], engine: str = "auto", providers: ort.Providers | None = None) -> Path:
    """Find the file of a model.

    Args:
        model: a bundled model's name, or a path that ends with .onnx or .tflite.
        engine: "onnx", "litert", or "auto". Then a bundled name means its 8-bit .tflite if it has one, LiteRT is
            installed, the CPU has instructions for it and no other provider is asked for; otherwise the .onnx.
        providers: as for `load`.

    Returns:
        The file.

    Raises:
        ModelError: no such name, file or engine, or the model has no file for the engine.
    """
    if engine != "auto" and engine not in ENGINES:
        raise ModelError(f"engine '{engine}': {nearest(engine, ['auto', *ENGINES])}")
    path = expand(model)
    if path.suffix in ENGINES.values():
        if not os.path.isfile(path):
            raise ModelError(f"no model file {path}")
        if engine != "auto" and path.suffix != ENGINES[engine]:
            raise ModelError(f"engine '{engine}' takes {ENGINES[engine]} files, not {path}; `facekd export` writes one")
        return path
    models = bundled()
    if str(model) not in models:
        raise ModelError(
            f"no bundled model '{model}'; {nearest(str(model), models)}, or a path that ends with .onnx or .tflite"
        )
    onnx = models[str(model)]
    tflite = onnx.with_suffix(ENGINES["litert"])
    if engine == "litert" and not tflite.is_file():
        raise ModelError(f"the bundled model '{model}' has no .tflite file; `facekd export {model} OUT.tflite` does it")
    if engine == "auto" and tflite.is_file() and litert.installed() and litert.fast_int8() and not not_cpu(providers):
        return tflite
    return tflite if engine == "litert" else onnx


def resolve_model(model: str | PathLike[str], engine: str = "auto", providers: ort.Providers | None = None) -> Path:
    """Find the file of a network.

    Args:
        model: an .onnx, .tflite or .safetensors file, a run's folder (its result), a stage's folder, or else a bundled
            model's name; "" is the default one.
        engine: what is to run it, as for `resolve`.
        providers: where, as for `resolve`.

    Returns:
        The file.

    Raises:
        ModelError: nothing there has that name.
    """
    name, path = str(model), expand(model)
    if not name:
        return resolve(DEFAULT, engine, providers)
    file = given_file(model)
    if file.suffix in ENGINES.values() and os.path.isfile(file):
        return resolve(file, engine, providers)
    if file.suffix == ".safetensors" and os.path.isfile(file):
        return file
    if name in bundled():
        return resolve(name, engine, providers)
    if os.path.isdir(path):
        raise ModelError(f"the folder {name} is no run and no stage of one; give the --out of facekd distill")
    raise ModelError(
        f"no model '{name}'; give a run's folder, a .safetensors, .onnx or .tflite file, or a bundled model "
        f"({', '.join(bundled()) or 'none in this build'})"
    )


def given_file(model: str | PathLike[str]) -> Path:
    """Return the file that a path to a network means, and say so where a bundled network has that name, too.

    Args:
        model: a run's folder, which means its result, a stage's folder, or a file.

    Returns:
        The file, whether it is there or not.

    Raises:
        ModelError: a run whose result is not trained yet.
    """
    file = network_file(expand(model))
    if os.path.isfile(file) and str(model) in bundled():
        _say_meant(str(model))
    return file


@cache
def _say_meant(name: str) -> None:
    """Warn, once, that a folder is taken and not the bundled network."""
    _LOG.warning(
        "%s is taken to be the folder of that name here, not the bundled network; rename the folder to have that", name
    )


def not_cpu(providers: ort.Providers | None) -> str:
    """Return the first provider other than the CPU.

    Args:
        providers: as for `load`; None: the CPU.

    Returns:
        Its name, or "".
    """
    names = [name for name, _ in ort.split_providers(providers or "cpu")]
    return next((name for name in names if name.lower() not in _CPU), "")
