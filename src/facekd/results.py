"""Results of `facekd bulk`, read back as faces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow.fs as pafs
import pyarrow.parquet as pq

from facekd.bulk.actor import METADATA
from facekd.bulk.sources import open_location
from facekd.errors import InputError
from facekd.markup import MarkUp
from facekd.runtime.face import Face


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
        with system.open_input_file(path) as file:
            yield from _photos(pq.ParquetFile(file), path)


def _photos(parquet: pq.ParquetFile, path: str) -> Iterator[PhotoResult]:
    about = (parquet.schema_arrow.metadata or {}).get(METADATA)
    if about is None:
        raise InputError(f"{path} was not written by facekd bulk")
    markup = MarkUp.from_dict(json.loads(about)["markup"])
    waiting: list[dict[str, Any]] = []
    for batch in parquet.iter_batches(1024):
        for row in batch.to_pylist():
            if waiting and not row["face"]:  # null or 0: the next photo
                yield _result(waiting, markup)
                waiting = []
            waiting.append(row)
    if waiting:
        yield _result(waiting, markup)


def _result(rows: list[dict[str, Any]], markup: MarkUp) -> PhotoResult:
    first = rows[0]
    faces = [Face.from_dict(row, markup) for row in rows if row["face"] is not None]
    return PhotoResult(first["photo"], first["width"], first["height"], faces, first["error"] or "")
