"""WFLW: 98 points, a box and six attributes per face in two text files.

Source: https://wywu.github.io/projects/LAB/WFLW.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from facekd.data.dataset import Annotation, Dataset, Problem, train_or_val
from facekd.data.formats.files import read_text
from facekd.errors import InputError
from facekd.images import read_image
from facekd.markup import WFLW98

ATTRIBUTES = ("pose", "expression", "illumination", "makeup", "occlusion", "blur")
_LISTS = "WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_{}.txt"
_NUMBERS = 2 * WFLW98.count + 4 + len(ATTRIBUTES)


def read(source: Path) -> Iterator[Annotation | Problem]:
    """Yield the faces of the two lists, training first.

    Args:
        source: the dataset's folder.

    Yields:
        Faces with box; a test face is in "full" and in the subsets of its attributes. A Problem for each bad line.

    Raises:
        InputError: a list or the folder of photos is missing.
    """
    lists = {split: source / _LISTS.format(split) for split in ("train", "test")}
    missing = [str(path.relative_to(source)) for path in lists.values() if not path.is_file()]
    missing += [] if (source / "WFLW_images").is_dir() else ["WFLW_images/"]
    if missing:
        raise InputError(
            f"WFLW needs {' and '.join(missing)} in {source}; unpack WFLW_annotations and WFLW_images there"
        )
    faces: Counter[str] = Counter()
    for split, path in lists.items():
        for number, line in enumerate(read_text(path).splitlines(), 1):
            *values, photo = line.split() or [""]
            if not photo:
                continue
            faces[photo] += 1
            try:
                numbers = np.array(values, np.float64)
            except ValueError:
                numbers = np.empty(0)
            if len(numbers) != _NUMBERS:
                reason = f"expected {_NUMBERS} numbers and a photo's name, found {len(values)} words before the name"
                yield Problem(f"{path.name}, line {number}", reason)
                continue
            attributes = [name for name, has in zip(ATTRIBUTES, numbers[-6:], strict=True) if has]
            yield Annotation(
                name=photo if faces[photo] == 1 else f"{photo}#{faces[photo]}",
                load=partial(read_image, source / "WFLW_images" / photo, apply_exif=False),
                points=numbers[: 2 * WFLW98.count].reshape(-1, 2),
                split="test" if split == "test" else train_or_val(photo),
                subsets=("full", *attributes) if split == "test" else (),
                box=numbers[-10:-6],
            )


DATASET = Dataset("wflw", read, WFLW98, "WFLW: for research; the photos, from WIDER FACE, belong to their owners.")
