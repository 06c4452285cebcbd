"""`.pts` files, one beside each photo: `a.pts` or `a.jpg.pts`. Pixels are counted from 1; NaN is a missing point."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from facekd.data.dataset import Problem
from facekd.data.formats.label import Format, Label
from facekd.errors import InputError
from facekd.markup import MarkUp
from facekd.pts import read_pts


def read(files: list[Path], markup: MarkUp) -> Iterator[Label | Problem]:
    """Yield the face of each file.

    Args:
        files: the label files.
        markup: what the points are.

    Yields:
        Faces, and a Problem for each file that cannot be read.
    """
    for path in files:
        try:
            yield Label(path.stem, str(path), path.parent, read_pts(path), origin=1.0)
        except InputError as error:
            yield Problem(str(path), str(error))


FORMAT = Format("pts", (".pts",), lambda path, markup: True, read)
