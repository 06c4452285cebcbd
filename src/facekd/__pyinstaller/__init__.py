"""What PyInstaller needs to know of facekd; it finds this package by an entry point."""

from __future__ import annotations

from pathlib import Path


def hook_dirs() -> list[str]:
    """List the folders of hooks.

    Returns:
        This one.
    """
    return [str(Path(__file__).parent)]
