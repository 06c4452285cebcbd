"""COFW: 29 points with occlusion, photos and labels in MATLAB v7.3 files.

MATLAB stores columns first, so that every array arrives transposed, and counts pixels from 1.

Source: https://www.vision.caltech.edu/xpburgos/ICCV13/
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from facekd.data.dataset import Annotation, Dataset, Problem, train_or_val
from facekd.errors import InputError
from facekd.images import MAX_PIXELS, read_image
from facekd.markup import COFW29

# Split, the files it may lie in, and what the photos, labels and boxes are called inside.
_MOST_NUMBERS = 100_000_000  # of a table; those of the dataset have some 100,000
# What h5py raises for files that are damaged.
_DAMAGE = (OSError, KeyError, IndexError, ValueError, TypeError, AttributeError, RuntimeError, OverflowError)
_FILES = (
    ("train", ("COFW_train_color.mat", "COFW_train.mat"), ("IsTr", "phisTr", "bboxesTr")),
    ("test", ("COFW_test_color.mat", "COFW_test.mat"), ("IsT", "phisT", "bboxesT")),
)


def read(source: Path) -> Iterator[Annotation | Problem]:
    """Yield the faces of the two files, training first.

    Args:
        source: the dataset's folder.

    Yields:
        Faces with visibility and box; every test face is in the subset "full".

    Raises:
        InputError: a file is missing, or does not hold what it should.
    """
    import h5py

    paths = [next((source / name for name in names if (source / name).is_file()), None) for _, names, _ in _FILES]
    for (split, _, (photos, labels, boxes)), path in zip(_FILES, paths, strict=True):
        if path is None or None in paths:
            raise InputError(f"COFW needs {' and '.join(' or '.join(names) for _, names, _ in _FILES)} in {source}")
        try:
            with h5py.File(path) as file:
                table, box = (_array(file[name], _MOST_NUMBERS).astype(np.float64) for name in (labels, boxes))
        except _DAMAGE as error:
            raise InputError(
                f"{path} must be a MATLAB v7.3 file with {photos}, {labels} and {boxes} ({error})"
            ) from error
        if table.ndim != 2 or table.shape[0] != 3 * COFW29.count or box.shape != (4, table.shape[1]):
            raise InputError(f"{path}: expected {3 * COFW29.count} values per face in {labels}, and 4 in {boxes}")
        for i, (row, (x, y, width, height)) in enumerate(zip(table.T, box.T, strict=True)):
            xs, ys, occluded = row.reshape(3, -1)
            yield Annotation(
                name=f"{path.name}/{i:04d}",
                load=partial(_load, path, photos, i),
                points=np.column_stack([xs, ys]) - 1,
                split="test" if split == "test" else train_or_val(f"train/{i:04d}"),
                subsets=("full",) if split == "test" else (),
                visible=occluded == 0,
                box=np.array([x, y, x + width, y + height]) - 1,
            )


def _array(dataset: Any, most: int) -> np.ndarray:
    """Return what a dataset of a file holds; ValueError if it is none, or claims more numbers than it may have."""
    size = getattr(dataset, "size", None)
    if not isinstance(size, int | np.integer) or size > most:
        raise ValueError("it holds too many numbers, or none")
    return np.array(dataset[()])


def _load(path: Path, photos: str, index: int) -> np.ndarray:
    """Read the index-th photo, grey or colour: (h, w, 3) uint8 RGB."""
    import h5py

    try:
        with h5py.File(path) as file:
            photo = _array(file[photos], _MOST_NUMBERS).ravel()[index]
            image = _array(file[photo], 3 * MAX_PIXELS).T
    except _DAMAGE as error:
        raise InputError(f"the photo cannot be read ({error})") from error
    return read_image(image)


DATASET = Dataset("cofw", read, COFW29, "COFW (Caltech): for research; the photos belong to their owners.")
