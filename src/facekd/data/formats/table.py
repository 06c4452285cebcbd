"""Tables of faces as spreadsheets and pandas write them: CSV by commas, semicolons or tabs, a row per face.

Without a heading a row is the photo's name and then x and y of each point, perhaps behind a row number. With one,
columns are known by their names: see `_Heading`. Pixels are counted from 0; an empty cell or NaN is a missing point.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from facekd.data.dataset import Problem
from facekd.data.formats.files import read_text
from facekd.data.formats.label import Format, Label, photo_size, plain, split_of, split_word, truth
from facekd.errors import InputError
from facekd.markup import MarkUp

_PHOTO = ("image", "filename", "file_name", "file", "photo", "path", "image_name", "image_path", "img", "name")
_GROUP = ("group", "person", "subject", "identity")
_SUBSET = ("subset", "subsets")
_EMPTY = ("", "nan", "na", "n/a", "null", "none", "-")
_SEP = r"[ _.-]?"
_POINT = (  # x0; x_0; p0_x; left eye x; landmark_x0
    re.compile(rf"(?P<axis>[xy]){_SEP}(?P<name>\d+)"),
    re.compile(r"(?P<name>.+?)[ _.-](?P<axis>[xy])"),
    re.compile(rf"(?:\w+?)[ _.-](?P<axis>[xy]){_SEP}(?P<name>\d+)"),
)
_FLAG = (  # visible0; v_0; p0_visible; left eye occluded
    re.compile(rf"(?P<flag>visible|visibility|occluded|v){_SEP}(?P<name>\d+)"),
    re.compile(r"(?P<name>.+?)[ _.-](?P<flag>visible|visibility|occluded|v)"),
)
_BOX = (
    (("x0", "y0", "x1", "y1"), False),
    (("xmin", "ymin", "xmax", "ymax"), False),
    (("left", "top", "right", "bottom"), False),
    (("x", "y", "w", "h"), True),
    (("x", "y", "width", "height"), True),
    (("left", "top", "width", "height"), True),
)


@dataclass
class _Heading:
    """Which column holds what.

    Attributes:
        photo: column of the photo's name.
        width: how many columns there are.
        points: columns of x and y, by the point's name, in the order of the table.
        flags: column and kind of each point's visibility, by the point's name.
        box: columns of the box's four numbers.
        box_has_size: whether the last two are width and height.
        split, subset, group: columns of those, None if there are none.
        size: columns of the photo's width and height.
    """

    photo: int
    width: int
    points: dict[str, tuple[int, int]] = field(default_factory=dict)
    flags: dict[str, tuple[int, str]] = field(default_factory=dict)
    box: tuple[int, ...] = ()
    box_has_size: bool = False
    split: int | None = None
    subset: int | None = None
    group: int | None = None
    size: tuple[int, int] | None = None


def recognise(path: Path, markup: MarkUp) -> bool:
    """Say whether a file is a table of faces.

    Args:
        path: a CSV or TSV file.
        markup: what the points are.

    Returns:
        Whether it has columns of points, or, without a heading, numbers behind a name.
    """
    try:
        rows = _rows(read_text(path))
        return bool(_heading(rows[0][1], markup).points) if rows else False
    except InputError:
        return False


def read(files: list[Path], markup: MarkUp) -> Iterator[Label | Problem]:
    """Yield the faces of each table, row by row.

    Args:
        files: the tables.
        markup: what the points are; its `names`, if it has any, choose among the columns.

    Yields:
        Faces, and a Problem for each row whose cells are not what the columns say.

    Raises:
        InputError: a table does not say which of its columns are what.
    """
    for path in files:
        rows = _rows(read_text(path))
        if not rows:
            raise InputError(f"table {path} is empty")
        try:
            heading = _heading(rows[0][1], markup)
            points = _in_order(list(heading.points), markup)
        except InputError as error:
            raise InputError(f"table {path}: {error}") from error
        body = rows[1:] if _is_heading(rows[0][1]) else rows
        coco = any(_cell(row, column) == "2" for _, row in body for column, _ in heading.flags.values())
        for number, row in body:
            where, photo = f"{path}, row {number}", _cell(row, heading.photo)
            try:
                if len(row) > heading.width:
                    raise ValueError(f"{len(row)} cells where the heading has {heading.width}")
                face = _face(row, heading, points, coco)
            except ValueError as error:
                yield Problem(where, f"{photo}: {error}")
                continue
            face["split"] = face["split"] or split_of(path, files)
            yield Label(photo, where, path.parent, **face)


def _rows(text: str) -> list[tuple[int, list[str]]]:
    """Return the rows that hold anything, each with its number; columns that are empty throughout end a table."""
    lines = text.splitlines()
    told = re.fullmatch(r"sep=(.)", lines[0].strip()) if lines else None  # a note of Excel's to itself
    delimiter = told[1] if told else _delimiter([line for line in lines if line.strip()][:5])
    table = list(enumerate(csv.reader(lines, delimiter=delimiter), 1))[1 if told else 0 :]
    rows = [(number, [cell.strip() for cell in row]) for number, row in table if any(cell.strip() for cell in row)]
    if delimiter != ",":  # where commas do not part cells, they are decimal
        rows = [(number, [re.sub(r"^(-?\d+),(\d+)$", r"\1.\2", cell) for cell in row]) for number, row in rows]
    filled = max((place + 1 for _, row in rows for place, cell in enumerate(row) if cell), default=0)
    return [(number, row[:filled]) for number, row in rows]


def _delimiter(lines: Sequence[str]) -> str:
    """Return what separates the columns: of several candidates the one that is no decimal comma."""
    for delimiter in ("\t", ";"):
        if lines and all(delimiter in re.sub(r'"[^"]*"', "", line) for line in lines):
            return delimiter
    return ","


def _is_heading(row: Sequence[str]) -> bool:
    """Whether a row names columns: numbers stand in none of its cells, and letters in some but the first."""
    return not any(_is_number(cell) and cell.lower() not in _EMPTY for cell in row) and any(row[1:])


def _heading(row: list[str], markup: MarkUp) -> _Heading:
    """Find out what the columns are.

    Raises:
        InputError: a table without a photo's name, or with a point's x and no y; without a heading, another number of
            columns than the points need.
    """
    if not _is_heading(row):
        first = next((place for place, cell in enumerate(row[:2]) if not _is_number(cell)), len(row) % 2 == 0)
        count = (len(row) - first - 1) // 2
        if (
            count < 1
            or (len(row) - first - 1) % 2
            or not all(_is_number(cell) or not cell for cell in row[first + 1 :])
        ):
            raise InputError("it has no heading, and its rows are not a photo, x0, y0, x1, y1, ...; give it one")
        points = {str(i): (first + 1 + 2 * i, first + 2 + 2 * i) for i in range(count)}
        return _Heading(int(first), len(row), points)
    names = [re.sub(r"^#\s*", "", cell).lower() for cell in row]
    photo = next((names.index(name) for name in _PHOTO if name in names), None)
    if photo is None:
        raise InputError(
            f"no column is called {', '.join(_PHOTO[:4])} or the like; its columns are {', '.join(row[:6])}"
        )
    found = _Heading(photo, len(row))
    found.group, found.subset, found.split = (
        next((names.index(name) for name in known if name in names), None) for known in (_GROUP, _SUBSET, ("split",))
    )
    if "width" in names and "height" in names:
        found.size = names.index("width"), names.index("height")
    taken = _find_box(names, found)
    axes: dict[str, dict[str, int]] = {}
    for column, name in enumerate(names):
        if column in taken:
            continue
        if match := next(filter(None, (pattern.fullmatch(name) for pattern in _FLAG)), None):
            found.flags[_point_name(match["name"])] = column, match["flag"]
        elif match := next(filter(None, (pattern.fullmatch(name) for pattern in _POINT)), None):
            if match["axis"] in axes.setdefault(_point_name(match["name"]), {}):
                raise InputError(f"two columns hold {match['axis']} of point '{match['name']}'")
            axes[_point_name(match["name"])][match["axis"]] = column
    for name, columns in axes.items():
        if len(columns) < 2:
            raise InputError(f"point '{name}' has a column of {next(iter(columns))} alone")
        found.points[name] = columns["x"], columns["y"]
    if unknown := found.flags.keys() - found.points.keys():
        raise InputError(f"point '{min(unknown)}' has a column of its visibility, but none of x and y")
    return found


def _point_name(text: str) -> str:
    """Return a point's name without what all points share: "p12", "point 12" and "012" are "12"."""
    numbered = re.fullmatch(r"(?:p|pt|point|part|lm|landmark|kp|kpt|keypoint)?[ _.-]?0*(\d+)", text)
    return numbered[1] if numbered else text


def _in_order(found: list[str], markup: MarkUp) -> list[str]:
    """Return the names of a table's points in the order of the mark-up's.

    Raises:
        InputError: they are not as many as the mark-up's, or lack one of them.
    """
    if markup.names:
        known = {plain(name): name for name in found}
        missing = [name for name in markup.names if plain(name) not in known]
        if len(missing) < markup.count:
            if missing:
                raise InputError(f"no columns hold point '{missing[0]}', which mark-up '{markup.name}' names")
            return [known[plain(name)] for name in markup.names]
    if len(found) != markup.count:
        raise InputError(f"it has columns of {len(found)} points where mark-up '{markup.name}' has {markup.count}")
    if all(name.isdecimal() for name in found):
        found = sorted(found, key=int)
        if int(found[-1]) - int(found[0]) != len(found) - 1 or int(found[0]) > 1:
            raise InputError(f"its points are numbered {found[0]} to {found[-1]} with gaps; number them from 0 or 1")
    return found


def _find_box(names: list[str], found: _Heading) -> set[int]:
    """Write the box's columns into `found`; return them."""
    for word in ("box", "bbox", "face_box", "face", "rect"):
        for parts, has_size in _BOX:
            columns = [f"{word}_{part}" for part in parts]
            if all(column in names for column in columns):
                found.box, found.box_has_size = tuple(map(names.index, columns)), has_size
                return set(found.box)
    return set()


def _face(row: list[str], heading: _Heading, order: list[str], coco: bool) -> dict[str, Any]:
    """Return what a row's `Label` says beside its photo; raise ValueError if a cell is not what its column says."""
    points = np.array([[_number(row, column) for column in heading.points[name]] for name in order])
    if np.isnan(points).all():  # as `facekd detect` writes a photo without a face
        return {"points": np.empty((0, 2)), "split": ""}
    visible = np.ones(len(order), bool) if heading.flags else None
    for place, name in enumerate(order):
        if visible is None or name not in heading.flags:
            continue
        column, kind = heading.flags[name]
        visible[place], there = _seen(_cell(row, column), kind, coco)
        if not there:
            points[place] = np.nan
    box = np.array([_number(row, column) for column in heading.box]) if heading.box else None
    if box is not None and heading.box_has_size:
        box[2:] += box[:2]
    split = "" if heading.split is None else _cell(row, heading.split)
    if split and not split_word(split):
        raise ValueError(f"split '{split}' is none of train, val and test")
    size = (None, None) if heading.size is None else tuple(_cell(row, column) for column in heading.size)
    return {
        "points": points,
        "visible": visible,
        "box": None if box is None or np.isnan(box).any() else box,
        "split": split_word(split),
        "subsets": () if heading.subset is None else tuple(re.findall(r"[^;|,\s]+", _cell(row, heading.subset))),
        "group": "" if heading.group is None else _cell(row, heading.group),
        "size": photo_size(*size),
    }


def _seen(cell: str, kind: str, coco: bool) -> tuple[bool, bool]:
    """Return whether a point is visible, and whether it is there at all; raise ValueError for other words.

    Flags are 0 (missing), 1 (occluded) and 2 (visible) in columns called v, and in others if there is a 2 among them.
    """
    if cell.lower() in _EMPTY:
        return True, True
    if kind == "v" or (coco and kind != "occluded"):
        if cell.removesuffix(".0") not in ("0", "1", "2"):
            raise ValueError(f"visibility '{cell}' is none of 0 (missing), 1 (occluded) and 2 (visible)")
        return cell[0] == "2", cell[0] != "0"
    said = truth(cell)
    if said is None:
        raise ValueError(f"{kind} '{cell}' is neither yes nor no")
    return said != (kind == "occluded"), True


def _cell(row: list[str], column: int) -> str:
    return row[column] if column < len(row) else ""


def _number(row: list[str], column: int) -> float:
    """Return a cell's number, NaN if it is empty; raise ValueError if it holds something else, or is not there."""
    if column >= len(row):
        raise ValueError("the row has fewer cells than the table has columns")
    if row[column].lower() in _EMPTY:
        return np.nan
    try:
        return float(row[column])
    except ValueError:
        raise ValueError(f"expected a number, found '{row[column]}'") from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
        return True
    except ValueError:
        return False


FORMAT = Format("csv", (".csv", ".tsv"), recognise, read)
