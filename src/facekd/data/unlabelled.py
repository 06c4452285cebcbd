"""Photos without labels, on which a teacher can still teach a student: `facekd prepare unlabelled SRC OUT`.

The bundled network finds each face; its points are stored as quality "predicted", and are no labels to learn from.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from facekd.data.dataset import Annotation, Dataset, Item, Problem
from facekd.errors import InputError
from facekd.geometry import centre_and_side
from facekd.images import photo_suffixes, read_image
from facekd.markup import IBUG68
from facekd.runtime.landmarker import Landmarker


def read(source: Path) -> Iterator[Item]:
    """Yield the largest face of every photo below a folder.

    Args:
        source: the dataset's folder.

    Yields:
        A function per photo that finds its face; worker processes call it.

    Raises:
        InputError: there are no photos below the folder.
    """
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


@cache
def _landmarker() -> Landmarker:
    """One for each of `prepare`'s processes, which are as many as there are cores."""
    return Landmarker(threads=1)


DATASET = Dataset("unlabelled", read, IBUG68, "Your own photos: you know the terms.")
