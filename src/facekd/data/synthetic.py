"""Synthetic faces as a dataset: `facekd prepare synthetic OUT`. `facekd.synthetic` renders them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from facekd.data.dataset import Annotation, Dataset, Item
from facekd.data.face import LabelledFace
from facekd.markup import IBUG68
from facekd.synthetic import render

_SPLITS = ("train",) * 8 + ("val", "test")  # by the last digit of the index
_LARGE_YAW = 30.0  # degrees; from here on, or with this share of its landmarks hidden, a test face is a challenge
_MANY_HIDDEN = 0.1


def annotation(seed: int, index: int, size: int = 256) -> Annotation:
    """Render one face and label it: of ten faces eight train, one validates, one tests.

    Test faces are in "full", and in "challenge" or "common", as those of 300W: a challenge is a head turned by more
    than 30 degrees, or a tenth of the landmarks hidden.

    Args:
        seed: names a dataset, 0 or more.
        index: the face's number in it, 0 or more.
        size: side of the image in pixels.

    Returns:
        The face in its image, as a dataset's reader yields it.
    """
    face = render(seed, index, size)
    split = _SPLITS[index % 10]
    challenge = abs(face.pose[0]) > _LARGE_YAW or np.mean(~face.visible) > _MANY_HIDDEN
    subsets = ("full", "challenge" if challenge else "common") if split == "test" else ()
    name = f"seed{seed}/{index:06d}"
    return Annotation(name, lambda: face.image, face.points, split, subsets, visible=face.visible)


def faces(count: int, seed: int = 0, size: int = 256) -> Iterator[LabelledFace]:
    """Yield the first faces of a dataset as a pack takes them, uncropped.

    Args:
        count: how many; it does not change the faces.
        seed: names a dataset, 0 or more.
        size: side of each image in pixels.

    Yields:
        Faces 0 to count - 1; see `annotation` for splits and subsets.
    """
    for index in range(count):
        made = annotation(seed, index, size)
        yield LabelledFace(made.load(), made.points, made.name, made.split, made.subsets, visible=made.visible)


def read(count: int, seed: int) -> Iterator[Item]:
    """Yield faces as functions that render them, so that worker processes do.

    Args:
        count: how many; it does not change the faces.
        seed: names a dataset, 0 or more.

    Yields:
        A picklable function per face that returns its `Annotation`.
    """
    for index in range(count):
        yield partial(annotation, seed, index)


DATASET = Dataset(
    "synthetic", read, IBUG68, "Rendered by facekd from a shape model of its own; free of any terms.", generated=True
)
