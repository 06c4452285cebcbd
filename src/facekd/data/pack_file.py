"""The file of a pack: its columns, and the one place where all that they hold is checked before it is used."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from facekd.data.face import QUALITIES, SPLITS
from facekd.documents import Fields, parse_json
from facekd.errors import InputError
from facekd.images import MAX_SIDE
from facekd.markup import MarkUp

VERSION = 1  # of the table's layout; a reader refuses a newer one
METADATA = "facekd"  # key of what the file tells of itself, as JSON
_LATER = ("orientation",)  # columns that packs of 0.1.0 do not have
_NULLABLE = ("photo_box", "visible")
_FARTHEST = 1e6  # pixels from a crop's corner
_MOST_FACES = 20_000_000
_LABEL_BYTES = 65_536  # of a face, unpacked; labels of 68 points take about 1 kB
_ADVICE = "make the pack again with `facekd prepare`"


def schema(count: int) -> pa.Schema:
    """Return the columns of a pack.

    Args:
        count: N, points of a face.

    Returns:
        Names and types.
    """

    def floats(n: int) -> pa.DataType:
        return pa.list_(pa.float32(), n)

    return pa.schema(
        [
            ("image", pa.binary()),
            ("size", pa.int32()),
            ("points", floats(2 * count)),
            ("box", floats(4)),
            ("photo_box", floats(4)),
            ("to_photo", floats(6)),
            ("name", pa.string()),
            ("split", pa.string()),
            ("subsets", pa.list_(pa.string())),
            ("quality", pa.string()),
            ("visible", pa.list_(pa.bool_())),
            ("orientation", pa.int8()),
        ]
    )


def checksum(columns: pa.Schema) -> str:
    """Compute a checksum of names and types of columns.

    Args:
        columns: of a table.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256("\n".join(f"{field.name} {field.type}" for field in columns).encode()).hexdigest()


def read(path: Path) -> tuple[pq.ParquetFile, dict[str, Any], MarkUp, pa.Table]:
    """Open a pack and check all of it but the images.

    Args:
        path: the Parquet file.

    Returns:
        The open file, its metadata, the mark-up, and the table of all columns but the images, without nulls where there
        may be none.

    Raises:
        InputError: it is no pack, is of a newer version, or holds what no pack does; says which column or key.
    """
    try:
        file = pq.ParquetFile(path, memory_map=True)
        text = (file.metadata.metadata or {}).get(METADATA.encode())
        found = file.schema_arrow
    except (pa.ArrowException, OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} is not a pack, or it is damaged; make it with `facekd prepare`") from error
    if text is None:
        raise InputError(f"{path} is not a pack: it lacks the metadata '{METADATA}'; make it with `facekd prepare`")
    fields = Fields(parse_json(text, f"pack {path}: metadata", advice=_ADVICE), f"pack {path}", advice=_ADVICE)
    version = fields.integer("version", 1, 10_000)
    if version > VERSION:
        raise InputError(f"{path} has pack version {version}, above {VERSION}; upgrade facekd")
    markup = MarkUp.from_dict(fields.values.get("markup"), f"pack {path}: markup")
    meta = _metadata(fields, file.metadata.num_rows)
    _check_columns(path, found, schema(markup.count), fields)
    table = _table(path, file, [name for name in schema(markup.count).names if name in found.names and name != "image"])
    _Rows(path, table, markup.count).check()
    return file, meta, markup, table


def _metadata(fields: Fields, rows: int) -> dict[str, Any]:
    """Return the metadata of a pack, checked."""
    counts = fields.group("counts")
    faces = counts.integer("faces", 1, _MOST_FACES)
    if faces != rows:
        raise InputError(f"{fields.where} has {rows} rows, its metadata say {faces}; {_ADVICE}")
    for kind in ("split", "subset", "quality"):
        group = counts.group(kind)
        for name in group.values:
            group.integer(name, 0, faces)
    fields.text("dataset")
    fields.text("evaluation_dataset", None)
    fields.text("terms")
    fields.text("sha256", most=64)
    fields.number("margin", 0.1, 100)
    fields.integer("size", 1, MAX_SIDE)
    fields.integer("jpeg_quality", 1, 100)
    return dict(fields.values)


def _check_columns(path: Path, found: pa.Schema, wanted: pa.Schema, fields: Fields) -> None:
    """Refuse other columns than a pack has; those that somebody added are left alone."""
    for column in wanted:
        if column.name not in found.names:
            if column.name in _LATER:
                continue
            raise InputError(f"pack {path} lacks the column '{column.name}' ({column.type}); {_ADVICE}")
        places = found.get_all_field_indices(column.name)
        if len(places) > 1 or found.field(places[0]).type != column.type:
            given = "there twice" if len(places) > 1 else str(found.field(places[0]).type)
            raise InputError(f"pack {path}: column '{column.name}' must be {column.type}, it is {given}; {_ADVICE}")
    stated = fields.text("schema", None, most=64)
    if stated is not None and stated != checksum(wanted):
        raise InputError(f"pack {path}: its columns are not those it was written with; {_ADVICE}")


def _table(path: Path, file: pq.ParquetFile, names: list[str]) -> pa.Table:
    """Read the labels; their size is bounded before."""
    about = file.metadata
    try:
        groups = [about.row_group(index) for index in range(about.num_row_groups)]
        columns = [group.column(index) for group in groups for index in range(group.num_columns)]
        size = sum(each.total_uncompressed_size for each in columns if not each.path_in_schema.startswith("image"))
        if size > _LABEL_BYTES * about.num_rows + 1_000_000:
            raise InputError(f"pack {path}: its labels would take {size / 1e6:.0f} MB, which no pack's do; {_ADVICE}")
        table = file.read(columns=names)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, RuntimeError) as error:
        raise InputError(f"pack {path} is damaged: {str(error).partition(chr(10))[0]}; {_ADVICE}") from error
    if table.num_rows != about.num_rows:
        raise InputError(f"pack {path} is damaged: it ends after {table.num_rows} of {about.num_rows} rows; {_ADVICE}")
    return table


class _Rows:
    """The values of a pack's labels, to be checked column by column; a wrong one is named by its row.

    Args:
        path: of the pack.
        table: its labels.
        count: N.
    """

    def __init__(self, path: Path, table: pa.Table, count: int) -> None:
        self.path, self.table, self.count = path, table, count

    def check(self) -> None:
        """Check every column; InputError at the first value that cannot be."""
        for name in self.table.column_names:
            if name not in _NULLABLE and self.table[name].null_count:
                self._refuse(name, self.table[name].is_null().to_numpy(), "there")
        points = self._floats("points", 2 * self.count).reshape(-1, self.count, 2)
        missing = np.isnan(points)
        self._all("points", ~(missing[..., 0] ^ missing[..., 1]).any(axis=1), "x and y, or neither")
        self._all("points", ~missing.all(axis=(1, 2)), "there, one of them at least")
        self._all("points", ~(np.abs(points) > _FARTHEST).any(axis=(1, 2)), "finite, and near the crop")
        box = self._floats("box", 4)
        near = (np.abs(box) < _FARTHEST).all(axis=1)
        self._all("box", near & (box[:, 2:] >= box[:, :2]).all(axis=1), "x0, y0, x1, y1 in pixels")
        self._all("to_photo", (np.abs(self._floats("to_photo", 6)) < 1e9).all(axis=1), "finite")
        self._photo_boxes()
        sizes = self.table["size"].to_numpy()
        self._all("size", (sizes >= 1) & (sizes <= MAX_SIDE), f"from 1 to {MAX_SIDE}")
        for name, allowed in (("split", SPLITS), ("quality", QUALITIES)):
            self._all(name, np.isin(self._words(name), allowed), " or ".join(allowed))
        self._all("name", np.char.str_len(self._words("name")) <= 4096, "of at most 4096 characters")
        self._lists()
        if "orientation" in self.table.column_names:
            turned = self.table["orientation"].to_numpy()
            self._all("orientation", (turned >= 1) & (turned <= 8), "from 1 to 8")

    def _photo_boxes(self) -> None:
        boxes = self.table["photo_box"].drop_null()
        values = boxes.combine_chunks().flatten()
        flat = values.to_numpy(zero_copy_only=False)
        if values.null_count or len(flat) != 4 * len(boxes) or (np.abs(flat) > 1e9).any():
            raise InputError(f"pack {self.path}: column 'photo_box' must hold four finite numbers, or null; {_ADVICE}")

    def _lists(self) -> None:
        """Check the columns of lists: how long each is, and that no entry is null."""
        for name in ("subsets", "visible"):
            if self.table[name].combine_chunks().flatten().null_count:
                raise InputError(f"pack {self.path}: a list of column '{name}' has null in it; {_ADVICE}")
        lengths = np.array([self.count if each is None else len(each) for each in self.table["visible"].to_pylist()])
        self._all("visible", lengths == self.count, f"{self.count} values, or null")

    def _floats(self, name: str, width: int) -> np.ndarray:
        values = self.table[name].combine_chunks().flatten()
        if values.null_count or len(values) != width * self.table.num_rows:
            raise InputError(f"pack {self.path}: column '{name}' must hold {width} numbers a row; {_ADVICE}")
        floats: np.ndarray = values.to_numpy(zero_copy_only=False).reshape(-1, width)
        return floats

    def _words(self, name: str) -> np.ndarray:
        return np.array(self.table[name].to_pylist(), dtype=str)

    def _all(self, name: str, right: np.ndarray, wanted: str) -> None:
        if not right.all():
            self._refuse(name, ~right, wanted)

    def _refuse(self, name: str, wrong: np.ndarray, wanted: str) -> NoReturn:
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(f"pack {self.path}: column '{name}' must be {wanted}; in row {row} it is not: {_ADVICE}")
