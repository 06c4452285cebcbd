"""Photos without labels, on which a teacher can still teach a student: `facekd prepare unlabelled SRC OUT`.

The bundled network finds each face; its points are stored as quality "predicted", and are no labels to learn from.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from facekd.data.dataset import Annotation, Dataset, Item, Problem
from facekd.data.formats.files import read_text
from facekd.errors import InputError
from facekd.geometry import centre_and_side
from facekd.images import photo_suffixes, read_image
from facekd.markup import IBUG68
from facekd.runtime.landmarker import Landmarker

_COLUMNS = ("file", "x0", "y0", "x1", "y1")


def read(source: Path, boxes: Path | None = None) -> Iterator[Item]:
    """Yield the largest face of every photo below a folder, or those whose boxes are given.

    Args:
        source: the dataset's folder.
        boxes: a CSV file with columns file (a photo below the folder), x0, y0, x1, y1 (photo pixels, as a face
            detector gives them) and any others, a row per face; None: the faces are found.

    Yields:
        A function per face that finds its landmarks; worker processes call it.

    Raises:
        InputError: there are no photos below the folder, or the file of boxes cannot be used.
    """
    if boxes is not None:
        yield from _given(source, boxes)
        return
    suffixes = photo_suffixes()
    photos = sorted(path for path in source.rglob("*") if path.suffix.lower() in suffixes)
    if not photos:
        raise InputError(f"there are no photos below {source}")
    yield from (partial(_find, source, path) for path in photos)


def _find(source: Path, path: Path) -> Annotation | Problem:
    name, load = path.relative_to(source).as_posix(), partial(read_image, path)
    try:
        faces = _landmarker().detect(load())
    except InputError as error:
        return Problem(name, str(error))
    if not faces:
        return Problem(name, "no face was found whose landmarks can be trusted")
    face = max(faces, key=lambda face: float(centre_and_side(face.box)[1]))
    return Annotation(name, load, face.points, "train", quality="predicted")


def _given(source: Path, boxes: Path) -> Iterator[Item]:
    """Yield a function per row of a file of boxes."""
    table = csv.DictReader(read_text(boxes).splitlines())
    if missing := [key for key in _COLUMNS if key not in (table.fieldnames or ())]:
        raise InputError(f"{boxes} has no column '{missing[0]}'; a file of boxes has {', '.join(_COLUMNS)}")
    counts: Counter[str] = Counter()
    for row in table:
        where, name = f"{boxes}, line {table.line_num}", row["file"] or ""
        try:
            box = [float(row[key]) for key in _COLUMNS[1:]]
        except (TypeError, ValueError):
            raise InputError(f"{where}: x0, y0, x1 and y1 must be numbers") from None
        if not name:
            raise InputError(f"{where}: it names no file")
        counts[name] += 1
        suffix = f"#{counts[name]}" if counts[name] > 1 else ""
        yield partial(_within, source, name, suffix, box)


def _within(source: Path, name: str, suffix: str, box: list[float]) -> Annotation | Problem:
    load = partial(read_image, source / name)
    try:
        (face,) = _landmarker().detect(load(), boxes=[box])
    except InputError as error:
        return Problem(f"{name}{suffix}", str(error))
    return Annotation(f"{name}{suffix}", load, face.points, "train", quality="predicted")


@cache
def _landmarker() -> Landmarker:
    """One for each of `prepare`'s processes, which are as many as there are cores."""
    return Landmarker(threads=1)


DATASET = Dataset("unlabelled", read, IBUG68, "Your own photos: you know the terms.")
