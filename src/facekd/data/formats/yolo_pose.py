"""YOLO pose: a `.txt` per photo, a line per face: class, box (centre, width, height), points; shares of the photo.

With a visibility per point, 0 is a missing point, 1 an occluded one; without, 0,0 is a missing point. The label of
`images/a.jpg` is `labels/a.txt`, or lies beside the photo.

Source: https://docs.ultralytics.com/datasets/pose/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from facekd.data.dataset import Problem
from facekd.data.formats.files import read_text
from facekd.data.formats.label import Format, Label
from facekd.errors import InputError
from facekd.markup import MarkUp

_AT_MOST = 1.5  # of a share: a point may lie a little outside its photo


def recognise(path: Path, markup: MarkUp) -> bool:
    """Say whether a file holds faces in YOLO's pose format, of the mark-up's number of points.

    Args:
        path: a text file.
        markup: what the points are.

    Returns:
        Whether its first line does.
    """
    try:
        numbers = np.array(read_text(path).strip().partition("\n")[0].split(), np.float64)
    except (ValueError, InputError):
        return False
    if len(numbers) not in (5 + 2 * markup.count, 5 + 3 * markup.count):
        return False
    return bool(np.abs(numbers[1:5]).max() <= _AT_MOST) and float(numbers[0]).is_integer()


def read(files: list[Path], markup: MarkUp) -> Iterator[Label | Problem]:
    """Yield the faces of each file.

    Args:
        files: the label files.
        markup: what the points are.

    Yields:
        Faces, whose points and boxes are shares of their photos; photos without one, whose files are empty; a Problem
        for each line that is not as the format has it.
    """
    folders = sorted({path.parent for path in files})
    for path in (path for folder in folders for path in sorted(folder.glob("*.txt")) if not path.stat().st_size):
        yield Label(_photo(path), str(path), path.parent, np.empty((0, 2)))  # how the format says that there is no face
    for path in files:
        for number, line in enumerate(read_text(path).splitlines(), 1):
            where, words = f"{path}, line {number}", line.split()
            if not words:
                continue
            try:
                numbers = np.array(words, np.float64)
                table = numbers[5:].reshape(markup.count, -1)
                if table.shape[1] not in (2, 3):
                    raise ValueError
            except ValueError:
                expected = f"{5 + 2 * markup.count} or {5 + 3 * markup.count} numbers"
                yield Problem(where, f"expected {expected} for {markup.count} points, found {len(words)} words")
                continue
            flags = table[:, 2] if table.shape[1] == 3 else np.where(table.any(axis=1), 2.0, 0.0)
            points = np.where(flags[:, None] > 0, table[:, :2], np.nan)
            (x, y), half = numbers[1:3], numbers[3:5] / 2
            box = np.array([x - half[0], y - half[1], x + half[0], y + half[1]])
            visible = flags >= 2 if table.shape[1] == 3 else None
            yield Label(_photo(path), where, path.parent, points, visible, box, origin=0.5, shares=True)


def _photo(path: Path) -> str:
    """Return a label file's photo, without suffix, in the folder called images where its own is called labels."""
    return re.sub(r"(^|/)labels(?=/)(?!.*/labels/)", r"\1images", path.with_suffix("").as_posix())


FORMAT = Format("yolo-pose", (".txt",), recognise, read)
