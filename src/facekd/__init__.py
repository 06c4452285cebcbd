"""facekd: small, fast face-landmark networks, distilled from large ones."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Exported names are imported when first used, so that `import facekd` stays cheap.
_EXPORTS = {
    "Landmarker": "facekd.runtime.landmarker",
    "Face": "facekd.runtime.landmarker",
    "Tracker": "facekd.runtime.tracking",
    "MarkUp": "facekd.markup",
    "FacekdError": "facekd.errors",
}
__all__ = [*_EXPORTS, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'facekd' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
