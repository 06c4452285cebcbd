"""Results in files: what is done already, and the formats."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from facekd.errors import InputError, nearest
from facekd.markup import MarkUp


class ResumeLog:
    """One JSON line per photo that is done, so that a second run skips it and a killed one goes on.

    Args:
        path: the file; made if it is not there.
        settings: what the results depend on (model, mark-up, ...), plain values.

    Raises:
        InputError: the file holds results of other settings.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self._done: dict[str, tuple[list[int], int]] = {}  # photo -> stamp, place in the file
        end = 0
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
            record = _parsed(line)
            if not end and line.endswith(b"\n") and record != {"settings": settings}:
                made_with = (record or {}).get("settings", "something else")
                raise InputError(f"{path} holds results of {made_with}, not of {settings}; choose another folder")
            if record is None:  # half a line, left by a killed run
                break
            if end:
                self._done[record["photo"]] = record["stamp"], end
            end += len(line)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "a+b")  # noqa: SIM115  close() closes it
        self._file.truncate(end)
        if not end:
            self._write({"settings": settings})

    def __contains__(self, photo: Path) -> bool:
        """Whether a photo is done and has not changed since."""
        return str(photo) in self._done and self._done[str(photo)][0] == _stamp(photo)

    def __getitem__(self, photo: Path) -> dict[str, Any]:
        """Return the record of a photo that is done."""
        self._file.seek(self._done[str(photo)][1])
        return {key: value for key, value in json.loads(self._file.readline()).items() if key != "stamp"}

    def add(self, photo: Path, record: dict[str, Any]) -> None:
        """Add the record of a photo that is done.

        Args:
            photo: its file.
            record: plain values, which name it as "photo".
        """
        self._write({"stamp": _stamp(photo), **record})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()


def _stamp(photo: Path) -> list[int]:
    """Return what changes when a photo changes: its length and its time; nothing if it is not there."""
    try:
        status = photo.stat()
    except (OSError, ValueError):
        return []
    return [status.st_size, status.st_mtime_ns]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and line.endswith(b"\n") else None


class RecordWriter:
    """Writes records one after the other into one text: a JSON array, JSON lines, or CSV.

    Args:
        stream: takes the text.
        format: "json" (one array, whole only after `close`), "jsonl" (a record per line) or "csv" (as `csv_rows`).
        markup: what the points are.
        keys: names of the first columns of CSV, taken from the face or else from the record.

    Raises:
        InputError: there is no such format.
    """

    def __init__(self, stream: TextIO, format: str, markup: MarkUp, *keys: str) -> None:
        if format not in ("json", "jsonl", "csv"):
            raise InputError(f"no format '{format}' of one text; {nearest(format, ('json', 'jsonl', 'csv'))}")
        self._stream, self._format, self._markup, self._keys = stream, format, markup, keys
        self._empty = True
        if format == "csv":
            stream.write(csv_header(markup, *keys))

    def write(self, record: dict[str, Any]) -> None:
        """Add a record.

        Args:
            record: plain values, with `Face.to_dict` of each face under "faces".
        """
        if self._format == "csv":
            self._stream.write(csv_rows(record, self._markup, *self._keys))
        elif self._format == "jsonl":
            self._stream.write(json.dumps(record) + "\n")
        else:
            self._stream.write(("[\n" if self._empty else ",\n") + json.dumps(record))
        self._empty = False

    def close(self) -> None:
        """Write the end of the text; the stream stays open."""
        if self._format == "json":
            self._stream.write("[\n]\n" if self._empty else "\n]\n")


def csv_header(markup: MarkUp, *keys: str) -> str:
    """Write the first line of a CSV file: keys, score, box, face_confidence, pose, points, confidence, visible, error.

    Args:
        markup: what the points are.
        keys: names of the first columns.

    Returns:
        The line.
    """
    return _csv_line([*keys, *_columns(markup), "error"])


def csv_rows(record: dict[str, Any], markup: MarkUp, *keys: str) -> str:
    """Write the lines of a record: one per face, and one with empty columns for a photo or frame without faces.

    Args:
        record: as JSON has it, with `Face.to_dict` of each face under "faces", or the sentence under "error".
        markup: what the points are.
        keys: what comes first, taken from the face or else from the record.

    Returns:
        The lines.
    """
    lines = []
    for face in record.get("faces", ()):
        first = [face.get(key, record.get(key, "")) for key in keys]
        turn = [(face["pose"] or {}).get(angle, "") for angle in ("yaw", "pitch", "roll")]
        points = [value for point in face["points"] for value in point]
        blank = [""] * len(face["points"])
        confidence, visible = face["confidence"] or blank, face.get("visible") or blank
        sure = face.get("face_confidence")
        sure = "" if sure is None else sure
        values = [face["score"], *face["box"], sure, *turn, *points, *confidence, *visible]
        lines.append(_csv_line([*first, *values, ""]))
    if not lines:  # "looked at, and no face" is not "left out"
        first = [record.get(key, "") for key in keys]
        lines.append(_csv_line([*first, *[""] * len(_columns(markup)), record.get("error", "")]))
    return "".join(lines)


def _columns(markup: MarkUp) -> list[str]:
    """Return the names of a face's columns."""
    columns = ["score", "box_x0", "box_y0", "box_x1", "box_y1", "face_confidence", "yaw", "pitch", "roll"]
    columns += [f"{axis}{index}" for index in range(markup.count) for axis in "xy"]
    return columns + [f"{name}{index}" for name in ("confidence", "visible") for index in range(markup.count)]


def _csv_line(values: Iterable[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()
