"""Results in files: what is done already, and the formats."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TextIO

from facekd.documents import MAX_BYTES, Fields, is_group, parse_json
from facekd.errors import InputError, nearest
from facekd.files import atomic
from facekd.images import MAX_SIDE
from facekd.markup import MarkUp

_LOG = logging.getLogger("facekd")


@dataclass
class Log:
    """What a log of results holds.

    Attributes:
        lines: place and length, in bytes, of the lines that are whole, that of the settings first.
        done: stamp and place by photo.
        names: of the results by photo.
        damaged: why, and the line, of those that are not as they must be; half a line, left by a killed run, is none.
    """

    lines: list[tuple[int, int]] = field(default_factory=list)
    done: dict[str, tuple[list[int], int]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    damaged: list[tuple[str, bytes]] = field(default_factory=list)


def read_log(path: Path, settings: dict[str, Any], check: Callable[[Fields], object]) -> Log:
    """Read a log of results.

    Args:
        path: the file, which need not be there.
        settings: what the results depend on, plain values.
        check: raises InputError where a record is not as it must be; its fields are given.

    Returns:
        What it holds.

    Raises:
        InputError: it holds results of other settings.
    """
    log, place = Log(), 0
    if not path.exists():
        return log
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_BYTES), b""), 1):
            where, whole = f"{path}, line {number}", line.endswith(b"\n")
            try:
                record = parse_json(line, where)
                if number > 1:
                    fields = Fields(record, where, advice="its photo is looked at again")
                    _check_stamp(fields)
                    check(fields)
                    log.names[record["photo"]] = record.get("name", "")
            except InputError as error:
                if whole and number > 1:
                    log.damaged.append((str(error), line))
                    place += len(line)
                    continue
                record = None
            if not whole:
                break
            if number > 1:
                log.done[record["photo"]] = record["stamp"], place
            elif record != {"settings": settings}:
                other = record.get("settings") if isinstance(record, dict) else "something else"
                raise InputError(f"{path} holds results of {other}, not of {settings}; choose another folder")
            log.lines.append((place, len(line)))
            place += len(line)
    return log


class ResumeLog:
    """One JSON line per photo that is done, so that a second run skips it and a killed one goes on.

    A line that is damaged is named in a warning of the log, and taken out: its photo is not done.

    Args:
        path: the file; made if it is not there.
        settings: what the results depend on (model, mark-up, ...), plain values.
        check: raises InputError where a record is not as it must be; its fields are given.
        known: what the file holds, of `read_log` with the same; None: it is read.

    Attributes:
        damaged: how many lines were.

    Raises:
        InputError: the file holds results of other settings.
    """

    def __init__(
        self,
        path: Path,
        settings: dict[str, Any],
        check: Callable[[Fields], object] = lambda fields: None,
        known: Log | None = None,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        log = known or read_log(path, settings, check)
        self._path, self._done, self.damaged = path, log.done, len(log.damaged)
        for why, _ in log.damaged:
            _LOG.warning("%s", why)
        if self.damaged:  # else the same lines would be told of for ever
            self._keep_only(log.lines)
        self._file = open(path, "a+b")  # noqa: SIM115  close() closes it
        self._file.truncate(sum(length for _, length in log.lines))
        if not log.lines:
            self._write({"settings": settings})

    def _keep_only(self, lines: list[tuple[int, int]]) -> None:
        """Take all other lines out of the file."""
        moved, end = {}, 0
        with atomic(self._path) as temporary, temporary.open("wb") as file, self._path.open("rb") as old:
            for place, length in lines:
                old.seek(place)
                file.write(old.read(length))
                moved[place], end = end, end + length
        self._done = {photo: (stamp, moved[place]) for photo, (stamp, place) in self._done.items()}

    def __contains__(self, photo: Path) -> bool:
        """Whether a photo is done and has not changed since."""
        return str(photo) in self._done and self._done[str(photo)][0] == stamp(photo)

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
        self._write({"stamp": stamp(photo), **record})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()


def stamp(photo: Path) -> list[int]:
    """Return what changes when a file changes.

    Args:
        photo: the file.

    Returns:
        Its length in bytes and its time in nanoseconds; nothing if it is not there.
    """
    try:
        status = photo.stat()
    except (OSError, ValueError):
        return []
    return [status.st_size, status.st_mtime_ns]


def _check_stamp(fields: Fields) -> None:
    fields.text("photo")
    if len(fields.list("stamp", _is_size, "whole numbers", 2)) == 1:
        fields.refuse("stamp", "length and time of the photo, or nothing")


def check_record(fields: Fields, count: int) -> None:
    """Check the record of a photo that a results folder holds.

    Args:
        fields: of the record.
        count: N, points of a face.

    Raises:
        InputError: it is not as `PhotoBatch` writes it.
    """
    name = fields.text("name", most=4096)
    if not is_inside(name):
        fields.refuse("name", "a path within the folder of the results")
    fields.text("markup")
    for key in ("width", "height"):
        fields.integer(key, 1, MAX_SIDE, None)
    for values in fields.list("faces", is_group, "groups of values", 100_000):
        check_face(fields.inner(values, "faces"), count)


def check_face(fields: Fields, count: int) -> None:
    """Check the plain values of a face, as `Face.to_dict` writes them.

    Args:
        fields: of the face.
        count: N, its points.

    Raises:
        InputError: a value is missing, of another kind, or not finite.
    """
    box = fields.numbers("box", 4)
    points = fields.points("points", count)
    sure = fields.numbers("confidence", count, None)
    seen = fields.numbers("visible", count, None)
    if len(box) != 4 or any(len(each) != count for each in (points, sure, seen) if each is not None):
        fields.refuse("points", f"{count}, as many as confidence and visible, beside a box of four numbers")
    fields.number("score")
    fields.number("face_confidence", default=None)
    for key in ("confidence", "pose"):
        if key not in fields.values:
            fields.refuse(key, "there, or null")
    pose = fields.group("pose", None)
    for angle in ("yaw", "pitch", "roll") if pose else ():
        pose.number(angle)


def is_inside(name: str) -> bool:
    """Return whether a name of results stays within their folder.

    Args:
        name: a relative path.

    Returns:
        Whether it does, on every system, and can be a path at all.
    """
    return (
        bool(name)
        and "\0" not in name
        and not any(
            path.is_absolute() or path.drive or ".." in path.parts
            for path in (PurePosixPath(name), PureWindowsPath(name))
        )
    )


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


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
