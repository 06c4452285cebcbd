"""Results of `facekd bulk`, read back as faces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from facekd.bulk.actor import METADATA, SCHEMA
from facekd.bulk.sources import open_location
from facekd.documents import Fields, parse_json
from facekd.errors import InputError
from facekd.images import MAX_SIDE
from facekd.markup import MarkUp
from facekd.runtime.face import Face
from facekd.runtime.results import check_face

_COLUMNS = [(field.name, field.type) for field in SCHEMA]
_ADVICE = "delete it, and the same facekd bulk makes it again"


@dataclass(frozen=True)
class PhotoResult:
    """What was found in a photo.

    Attributes:
        photo: its name, as the results have it.
        width: in pixels, once upright; None for a photo that could not be read.
        height: likewise.
        faces: those that were found.
        error: why there are none to find; "" if there is nothing wrong.
    """

    photo: str
    width: int | None
    height: int | None
    faces: list[Face]
    error: str = ""


def read(out: str) -> Iterator[PhotoResult]:
    """Read the results of `facekd bulk`, one photo after another.

    Args:
        out: the folder, or the URL, of the results.

    Yields:
        What was found in each photo.

    Raises:
        InputError: there are no such results.
    """
    system, folder = open_location(str(out))
    selector = pafs.FileSelector(folder, allow_not_found=True)
    files = sorted(info.path for info in system.get_file_info(selector) if info.path.endswith(".parquet"))
    if not files:
        raise InputError(f"{out} holds no results of facekd bulk")
    for path in files:
        try:
            with system.open_input_file(path) as file:
                yield from _photos(pq.ParquetFile(file), path)
        except (pa.ArrowException, OSError, ValueError) as error:
            what = str(error).partition("\n")[0]
            raise InputError(f"{path} is damaged ({what}); {_ADVICE}") from error


def _photos(parquet: pq.ParquetFile, path: str) -> Iterator[PhotoResult]:
    columns = parquet.schema_arrow
    about = (columns.metadata or {}).get(METADATA)
    types = {name: [column.type for column in columns if column.name == name] for name, _ in _COLUMNS}
    if about is None or any(types[name] != [kind] for name, kind in _COLUMNS):
        raise InputError(f"{path} was not written by facekd bulk")
    fields = Fields(parse_json(about, path, advice=_ADVICE), path, advice=_ADVICE)
    markup = MarkUp.from_dict(fields.values.get("markup"), f"{path}: markup")
    waiting: list[dict[str, Any]] = []
    for batch in parquet.iter_batches(1024):
        for row in batch.to_pylist():
            _check(Fields(row, path, advice=_ADVICE), markup.count)
            if waiting and not row["face"]:  # null or 0: the next photo
                yield _result(waiting, markup)
                waiting = []
            waiting.append(row)
    if waiting:
        yield _result(waiting, markup)


def _check(row: Fields, count: int) -> None:
    """Refuse a row that a bulk run does not write."""
    row.text("photo")
    row.text("error", None)
    for key in ("width", "height"):
        row.integer(key, 1, MAX_SIDE, None)
    if row.has("face"):
        row.integer("face", 0, 10**6)
        check_face(row, count)


def _result(rows: list[dict[str, Any]], markup: MarkUp) -> PhotoResult:
    first = rows[0]
    faces = [Face.from_dict(row, markup) for row in rows if row["face"] is not None]
    return PhotoResult(first["photo"], first["width"], first["height"], faces, first["error"] or "")
