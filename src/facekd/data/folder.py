"""Your own photos: a folder, at any depth, with a `.pts` file beside each photo, or with one CSV of all faces.

The CSV has the columns image,x0,y0,x1,y1,... with paths relative to the folder and pixels counted from 0 (`.pts` files
count from 1); a photo with several faces has several rows. Photos below a folder `test/`, at any depth, are the test
set; of the others one in ten validates.
"""

from __future__ import annotations

import csv
import posixpath
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from facekd.data.dataset import Annotation, Dataset, Problem, find_photo, train_or_val
from facekd.errors import InputError
from facekd.images import read_image
from facekd.pts import read_pts


def read(source: Path) -> Iterator[Annotation | Problem]:
    """Yield the faces of the folder's one CSV or, without a CSV, of its `.pts` files in the order of their names.

    Args:
        source: the dataset's folder.

    Yields:
        Faces, and a Problem for each label that cannot be read or has no photo.

    Raises:
        InputError: the folder holds neither labels nor a CSV, or several CSVs.
    """
    tables, labels = sorted(source.glob("*.csv")), sorted(source.rglob("*.pts"))
    if len(tables) > 1 or not (tables or labels):
        found = ", ".join(path.name for path in tables) or "neither"
        raise InputError(f"{source} must hold a .pts file beside each photo, or one CSV with all faces; found {found}")
    yield from _read_csv(source, tables[0]) if tables else _read_pts_files(source, labels)


def _annotation(source: Path, name: str, points: np.ndarray, face: int = 1) -> Annotation:
    test = any(part.lower() == "test" for part in name.split("/")[:-1])
    return Annotation(
        name=name if face == 1 else f"{name}#{face}",
        load=partial(read_image, source / name),  # upright: people label what their viewer shows
        points=points,
        split="test" if test else train_or_val(name),
        subsets=("full",) if test else (),
    )


def _read_pts_files(source: Path, labels: list[Path]) -> Iterator[Annotation | Problem]:
    for path in labels:
        photo = find_photo(path)
        try:
            if photo is None:
                raise InputError("no photo lies beside it")
            yield _annotation(source, photo.relative_to(source).as_posix(), read_pts(path))
        except InputError as error:
            yield Problem(path.relative_to(source).as_posix(), str(error))


def _read_csv(source: Path, table: Path) -> Iterator[Annotation | Problem]:
    faces: Counter[str] = Counter()
    with table.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        for number, (name, *values) in enumerate((row for row in csv.reader(file) if row), 1):
            if number == 1 and name == "image":  # the heading
                continue
            name = posixpath.normpath(name)  # ./a.jpg is a.jpg: one photo has one name, and goes one way
            faces[name] += 1
            try:
                points = np.array([value or "nan" for value in values], np.float64).reshape(-1, 2)
            except ValueError:
                yield Problem(f"{table.name}, row {number}", f"{name}: expected image,x0,y0,x1,y1,... with numbers")
                continue
            yield _annotation(source, name, points, faces[name])


DATASET = Dataset("folder", read, None, "Your own photos: you know the terms.")
