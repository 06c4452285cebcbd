"""The last net: an error that nobody expected becomes one sentence and a log to send to us."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import traceback
from importlib import metadata

from facekd.version import __version__

EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h
_PACKAGES = ("numpy", "opencv-python-headless", "onnxruntime", "pillow", "torch", "pyarrow")


def sentence(error: Exception) -> str:
    """Write a log of an error, and say where it is. It holds the stack and versions, and nothing of a photo.

    Args:
        error: as it was caught.

    Returns:
        One sentence.
    """
    what = f"an unexpected error ({type(error).__name__})"
    try:
        number, path = tempfile.mkstemp(prefix="facekd-crash-", suffix=".log")
        with os.fdopen(number, "w", encoding="utf-8", errors="replace") as file:
            file.write(_text(error))
    except OSError:
        return f"{what}, and no log of it could be written; the same command with --debug shows more"
    return f"{what}, a fault of facekd's; please report it with {path}, or see it with --debug"


def _text(error: Exception) -> str:
    """Return the stack, without the values that a message may quote, and the versions of what ran."""
    frames = traceback.format_list(traceback.extract_tb(error.__traceback__))
    lines = [f"{type(error).__module__}.{type(error).__name__}", *frames]
    lines.append(f"facekd {__version__}, Python {sys.version.split()[0]}, {platform.platform()}")
    for name in _PACKAGES:
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return "\n".join(lines) + "\n"
