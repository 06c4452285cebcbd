"""What a reader of label files hands on, and what several of them need: names of points, marks that make faces."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from facekd.data.dataset import Problem
from facekd.errors import InputError
from facekd.markup import MarkUp

_SPLIT_WORDS = {
    "train": ("train", "training", "trainset"),
    "val": ("val", "valid", "validation", "valset", "dev"),
    "test": ("test", "testing", "testset"),
}
_SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Label:
    """One face as a label file has it; its photo is yet to be found.

    Attributes:
        photo: the photo as the file names it.
        where: the place in the file, for messages: "faces.csv, row 3".
        folder: of the label file; the photo is looked for from there first.
        points: (N, 2) float, the centre of the photo's top-left pixel being (0, 0), NaN where one is missing; (0, 2)
            says that the photo holds no labelled face.
        visible: (N,) bool, False where a point is occluded; None if the file does not say.
        box: the face's box x0, y0, x1, y1; None if the file has none.
        split: "train", "val", "test", or "" if the file does not say.
        subsets: of the face, a row of result tables each.
        group: what must stay in one split, such as a person; "" if the file does not say.
        size: width and height of the photo that the labels were made on; None if the file does not say.
        origin: what the file writes for the centre of the top-left pixel, so that a mark at 0,0 is known for one.
        shares: whether points and box are shares of width and height, from the photo's corner, and not pixels.
    """

    photo: str
    where: str
    folder: Path
    points: np.ndarray
    visible: np.ndarray | None = None
    box: np.ndarray | None = None
    split: str = ""
    subsets: tuple[str, ...] = ()
    group: str = ""
    size: tuple[int, int] | None = None
    origin: float = 0.0
    shares: bool = False


@dataclass(frozen=True)
class Format:
    """A format of label files.

    Attributes:
        name: as given to `facekd prepare folder --format`.
        suffixes: of its files, in small letters.
        recognise: whether a file with such a suffix holds labels in this format.
        read: yields the faces of files that were recognised, in their order.
        stored_pixels: whether its tools count in the stored pixels of photos that EXIF turns.
    """

    name: str
    suffixes: tuple[str, ...]
    recognise: Callable[[Path, MarkUp], bool]
    read: Callable[[list[Path], MarkUp], Iterator[Label | Problem]]
    stored_pixels: bool = False


def split_word(text: str) -> str:
    """Return the split that a word such as "valid" or a file's name such as "faces_test" means.

    Args:
        text: of words between which there are no letters.

    Returns:
        "train", "val", "test", or "" if it names none.
    """
    words = set(re.findall(r"[a-z]+", text.lower()))
    return next((split for split in ("test", "val", "train") if words.intersection(_SPLIT_WORDS[split])), "")


def split_of(path: Path, files: Sequence[Path]) -> str:
    """Return the split that a label file's name says; a single file may be called as it likes.

    Args:
        path: the file.
        files: all label files.

    Returns:
        "train", "val", "test" or "".
    """
    return split_word(path.stem) if len(files) > 1 else ""


def point_indices(names: Iterable[str], markup: MarkUp) -> dict[str, int]:
    """Find out which point each name in a data set's label files means.

    Names are those of the mark-up's `names` (capitals, spaces, - and _ do not count); without those, numbers, alone
    or behind one and the same word ("p0", "p1"), counted from 0 or from 1.

    Args:
        names: all that occur.
        markup: the points.

    Returns:
        For each name its point's index.

    Raises:
        InputError: a name is not known, or numbers do not tell whether they start at 0 or 1.
    """
    found = list(dict.fromkeys(names))
    shown = ", ".join(f"'{name}'" for name in found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
    known = {plain(name): index for index, name in enumerate(markup.names)}
    numbered = {name: re.fullmatch(r"(\D*?)[ _.-]?(\d{1,9})", name) for name in found}
    words = {match[1] for match in numbered.values() if match}
    are_numbers = None not in numbered.values() and len(words) < 2
    if known and (not are_numbers or any(plain(name) in known for name in found)):
        if unknown := [name for name in found if plain(name) not in known]:
            raise InputError(
                f"the labels name a point '{unknown[0]}', which is not among the names of mark-up '{markup.name}'"
            )
        return {name: known[plain(name)] for name in found}
    if not are_numbers:
        raise InputError(
            f"the labels name points {shown}; list those in mark-up '{markup.name}' under `names`, in its order"
        )
    numbers = {name: int(match[2]) for name, match in numbered.items() if match}
    lowest, highest = min(numbers.values(), default=0), max(numbers.values(), default=0)
    first = 0 if lowest == 0 else 1
    if highest - first >= markup.count:
        raise InputError(
            f"the labels name a point {highest}, but mark-up '{markup.name}' has {markup.count}, from {first}"
        )
    if first == 1 and highest < markup.count:
        raise InputError(
            f"the labels name points {shown}, and neither 0 nor {markup.count}, so that nobody knows whether they count"
            f" from 0 or 1; list them in mark-up '{markup.name}' under `names`"
        )
    return {name: number - first for name, number in numbers.items()}


def plain(name: str) -> str:
    """Return a point's name without what does not count in it.

    Args:
        name: as a person wrote it.

    Returns:
        In small letters, without spaces, - and _.
    """
    return re.sub(r"[\s_-]+", "", name).lower()


@dataclass
class Marks:
    """What a tool holds of one photo: single named points, runs of all points, boxes; some with the face's number.

    Attributes:
        points: (face, name, x, y, occluded) of each single point; face is "" where the tool does not say, and occluded
            None.
        runs: (face, points (N, 2), occluded) of each shape that holds all of a face's points in order.
        boxes: (face, x0, y0, x1, y1).
    """

    points: list[tuple[str, str, float, float, bool | None]] = field(default_factory=list)
    runs: list[tuple[str, np.ndarray, bool | None]] = field(default_factory=list)
    boxes: list[tuple[str, float, float, float, float]] = field(default_factory=list)

    def faces(self, indices: dict[str, int], count: int) -> Iterator[dict[str, Any]]:
        """Put the marks together.

        Args:
            indices: which point a name means.
            count: N, of the mark-up.

        Yields:
            What each face's `Label` says of `points`, `visible` and `box`.

        Raises:
            InputError: one face has a point twice.
        """
        groups: defaultdict[str, list[tuple[int, float, float, bool | None]]] = defaultdict(list)
        for face, name, x, y, occluded in self.points:
            groups[face].append((indices[name], x, y, occluded))
        faces = len(groups) + len(self.runs)
        for face, marks in groups.items():
            points, visible = np.full((count, 2), np.nan), np.ones(count, bool)
            for index, x, y, occluded in marks:
                if not np.isnan(points[index]).any():
                    raise InputError(
                        f"point {index} is there twice; of several faces, give each one's points a group of their own"
                    )
                points[index], visible[index] = (x, y), not occluded
            said = any(occluded is not None for *_, occluded in marks)
            yield {"points": points, "visible": visible if said else None, "box": self._box(face, faces)}
        for face, points, occluded in self.runs:
            seen = None if occluded is None else np.full(len(points), not occluded)
            yield {"points": points, "visible": seen, "box": self._box(face, faces)}

    def _box(self, face: str, faces: int) -> np.ndarray | None:
        """Return the box with a face's number or, of a photo's only face, the only box."""
        found = [box for number, *box in self.boxes if number == face and (face or faces == 1)]
        if faces == 1 and not found:
            found = [box for _, *box in self.boxes]
        return np.array(found[0], np.float64) if len(found) == 1 else None


def truth(value: object) -> bool | None:
    """Read a yes or no as tools and spreadsheets write it.

    Args:
        value: such as True, 1, "1", "yes", "true"; or None.

    Returns:
        What it means; None for nothing and for anything else.
    """
    word = str(value).strip().lower().removesuffix(".0")
    if word in ("1", "true", "yes", "y", "t"):
        return True
    return False if word in ("0", "false", "no", "n", "f") else None


def photo_size(width: object, height: object) -> tuple[int, int] | None:
    """Read the size of a photo that a label file gives.

    Args:
        width: in pixels, as the file has it; or None.
        height: the same.

    Returns:
        Width and height; None if the file does not say, or says nothing of use.
    """
    try:
        size = int(float(str(width))), int(float(str(height)))
    except (ValueError, OverflowError):
        return None
    return size if min(size) > 0 else None
