"""What a dataset's reader hands on: labelled faces still in their photos, and what could not be read.

A new dataset is one file with a reader and a `DATASET`, and one line in `registry.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facekd.images import photo_suffixes
from facekd.markup import MarkUp

VALIDATION_SHARE = 0.1  # of the training photos with exact labels


@dataclass(frozen=True)
class Annotation:
    """One labelled face in its photo.

    Attributes:
        name: the photo's path relative to the dataset's folder; from a photo's second face on with `#k` behind it.
        load: returns the photo, (h, w, 3) uint8 RGB; it runs in another process, so it must be picklable.
        points: (N, 2) float, photo pixels, the centre of the top-left pixel is (0, 0); NaN where one is missing.
        split: "train", "val" or "test".
        subsets: of the test set, such as ("full", "common"), or what kind of training face it is: ("rotated",).
        quality: "exact", "derived" or "predicted", as in `LabelledFace`.
        visible: (N,) bool, False where a point is occluded or missing; None if the dataset does not say.
        box: the dataset's own face box x0, y0, x1, y1, or None if it has none.
        orientation: of the photo, as EXIF counts it, that `load` undoes; 1 if none.
        tight_box: x0, y0, x1, y1 of all points, also of those that are missing; None: of the points that are there.
    """

    name: str
    load: Callable[[], np.ndarray]
    points: np.ndarray
    split: str
    subsets: tuple[str, ...] = ()
    quality: str = "exact"
    visible: np.ndarray | None = None
    box: np.ndarray | None = None
    orientation: int = 1
    tight_box: np.ndarray | None = None


# Kinds of problems that are counted, for they tell of paths that do not fit.
NO_PHOTO = "labels without a photo"
NO_LABEL = "photos without a label"


@dataclass(frozen=True)
class Problem:
    """A face that was left out, or a photo without one.

    Attributes:
        name: its photo or label file.
        reason: why.
        kind: NO_PHOTO, NO_LABEL or "".
    """

    name: str
    reason: str
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


# What a reader yields. A face that takes work to make comes as a picklable function, called in a worker process.
Item = Annotation | Problem | Callable[[], "Annotation | Problem"]


@dataclass(frozen=True)
class Dataset:
    """A dataset that `facekd prepare` knows.

    Attributes:
        name: as given to `facekd prepare`.
        read: yields the faces, in an order that is always the same. A dataset in a folder takes that folder's path, and
            raises InputError, with what it expected where, when the layout is not there; that of own photos takes the
            mark-up and options beside it, a generated one `count` and `seed`, one made of a pack its path and both.
        markup: what the points are; None where the user gives it.
        terms: one sentence on the terms the data come under.
        generated: made by a program, so that there is no folder to read.
        packed: made of a pack instead of a folder; the terms of the pack hold beside its own.
    """

    name: str
    read: Callable[..., Iterator[Item]]
    markup: MarkUp | None
    terms: str
    generated: bool = False
    packed: bool = False


def train_or_val(photo: str) -> str:
    """Return the split of a training photo; one in ten validates.

    The choice is a hash of the photo's name: it stays the same when other photos are missing, and all faces of a photo
    go the same way. Only faces with exact labels should be asked about.

    Args:
        photo: the photo's name.

    Returns:
        "train" or "val".
    """
    hashed = int.from_bytes(hashlib.sha256(photo.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2**64
    return "val" if hashed < VALIDATION_SHARE else "train"


def find_photo(labels: Path) -> Path | None:
    """Return the photo that lies beside a label file under the same name.

    Args:
        labels: the label file.

    Returns:
        The photo, its suffix in small or capital letters; None if there is none.
    """
    suffixes = (form for suffix in photo_suffixes() for form in (suffix, suffix.upper()))
    return next((photo for photo in map(labels.with_suffix, suffixes) if photo.exists()), None)
