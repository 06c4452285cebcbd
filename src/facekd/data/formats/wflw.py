"""Lists as WFLW's: a `.txt` with a line per face: x, y of each point, then a box, six attributes, the photo's name.

Box and attributes may be left out. `facekd prepare wflw` reads the published data set; this reads lists of own photos.
Pixels are counted from 0, in the stored photo.

Source: https://wywu.github.io/projects/LAB/WFLW.html
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from facekd.data.dataset import Problem
from facekd.data.formats.files import read_text
from facekd.data.formats.label import Format, Label, split_of
from facekd.data.wflw import ATTRIBUTES
from facekd.errors import InputError
from facekd.markup import MarkUp

_BOX = 4


def recognise(path: Path, markup: MarkUp) -> bool:
    """Say whether a file is a list of faces of the mark-up's number of points.

    Args:
        path: a text file.
        markup: what the points are.

    Returns:
        Whether its first line holds as many numbers as a list's, and then a word that is none.
    """
    try:
        return bool(_parse(read_text(path).strip().partition("\n")[0], markup.count))
    except (ValueError, InputError):
        return False


def read(files: list[Path], markup: MarkUp) -> Iterator[Label | Problem]:
    """Yield the faces of each file.

    Args:
        files: the label files.
        markup: what the points are.

    Yields:
        Faces with their boxes, in the subsets of their attributes; a Problem for each line that is not as the format
        has it.
    """
    for path in files:
        for number, line in enumerate(read_text(path).splitlines(), 1):
            if not line.strip():
                continue
            where, n = f"{path}, line {number}", 2 * markup.count
            try:
                numbers, photo = _parse(line, markup.count)
            except ValueError:
                yield Problem(where, f"expected {n}, {n + _BOX} or {n + _BOX + len(ATTRIBUTES)} numbers, then a photo")
                continue
            box = numbers[n : n + _BOX] if len(numbers) > n else None
            has = numbers[n + _BOX :]
            subsets = tuple(name for name, flag in zip(ATTRIBUTES, has, strict=True) if flag) if len(has) else ()
            points = numbers[:n].reshape(-1, 2)
            yield Label(photo, where, path.parent, points, box=box, split=split_of(path, files), subsets=subsets)


def _parse(line: str, count: int) -> tuple[np.ndarray, str]:
    """Return a line's numbers and its photo, whose name may hold spaces; raise ValueError if it is no such line."""
    words = line.split()
    for more in (_BOX + len(ATTRIBUTES), _BOX, 0):
        n = 2 * count + more
        if len(words) > n and all(map(_is_number, words[:n])):
            if sum(map(_is_number, words[n : n + 2])) == min(2, len(words) - n):
                break  # more numbers than a list of so many points has
            return np.array(words[:n], np.float64), line.split(maxsplit=n)[n].strip()
    raise ValueError


def _is_number(word: str) -> bool:
    try:
        float(word)
        return True
    except ValueError:
        return False


FORMAT = Format("wflw", (".txt",), recognise, read, stored_pixels=True)
