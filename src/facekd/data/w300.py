"""300W: `.pts` files beside png or jpg photos, 68 points.

Training is AFW and the training sets of LFPW and HELEN. Testing is their test sets ("common") and IBUG ("challenge").
A `derived_labels.txt` in the dataset's folder may list photos whose labels were registered rather than annotated.

Source: https://ibug.doc.ic.ac.uk/resources/300-W/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from facekd.data.dataset import Annotation, Dataset, Problem, find_photo, train_or_val
from facekd.data.formats.files import read_text
from facekd.errors import InputError
from facekd.images import read_image
from facekd.markup import IBUG68
from facekd.pts import read_pts

_FOLDERS: dict[str, tuple[str, ...]] = {  # and the test subsets, none for training
    "afw": (),
    "lfpw/trainset": (),
    "helen/trainset": (),
    "lfpw/testset": ("full", "common"),
    "helen/testset": ("full", "common"),
    "ibug": ("full", "challenge"),
}


def photo_of(name: str) -> str:
    """Return what all faces of a photo share: AFW and HELEN number them behind its name, LFPW numbers its photos.

    Args:
        name: a face's name, its photo's path below the dataset's folder.

    Returns:
        The name without suffix and, but for LFPW, without the face's number.
    """
    stem = name.rsplit(".", 1)[0]
    return stem if stem.startswith("lfpw/") else re.sub(r"_\d+$", "", stem)


def read(source: Path) -> Iterator[Annotation | Problem]:
    """Yield the faces of 300W, training first.

    Args:
        source: the dataset's folder.

    Yields:
        Faces, and a Problem for each missing folder or photo and each label file that cannot be read.

    Raises:
        InputError: none of 300W's folders is there.
    """
    if not any((source / folder).is_dir() for folder in _FOLDERS):
        raise InputError(f"300W needs the folders {', '.join(_FOLDERS)} with .pts files beside photos in {source}")
    list_of_derived = source / "derived_labels.txt"
    derived = set(read_text(list_of_derived).split()) if list_of_derived.exists() else set()
    # A photo with a derived label never validates, not even by its other faces.
    never_val = {photo_of(name) for name in derived}
    for folder, subsets in _FOLDERS.items():
        if not (source / folder).is_dir():
            yield Problem(folder, "this folder of 300W is missing")
        for labels in sorted((source / folder).glob("*.pts")):
            photo = find_photo(labels)
            if photo is None:
                yield Problem(labels.relative_to(source).as_posix(), "no photo lies beside it")
                continue
            name = photo.relative_to(source).as_posix()
            try:
                points = read_pts(labels)
            except InputError as error:
                yield Problem(labels.relative_to(source).as_posix(), str(error))
                continue
            split = "test" if subsets else "train" if photo_of(name) in never_val else train_or_val(photo_of(name))
            quality = "derived" if name in derived else "exact"
            load = partial(read_image, photo, apply_exif=False)
            yield Annotation(name, load, points, split, subsets, quality)


DATASET = Dataset("300w", read, IBUG68, "300W (iBUG): for research only; photos and labels may not be passed on.")
