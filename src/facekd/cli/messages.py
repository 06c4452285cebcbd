"""What several commands tell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

_SHOWN = 5  # skipped files that are named


def tell_skipped(paths: Sequence[Path]) -> None:
    """Say on stderr which files of a folder were left out, if any.

    Args:
        paths: the files; the first few are named, the others counted.
    """
    if paths:
        names = ", ".join(map(str, paths[:_SHOWN]))
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        typer.echo(f"skipped {len(paths)} files that are no photos: {names}{more}", err=True)
