"""What runs on the workers of a bulk run: photos of a part in, one Parquet file of rows out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from facekd.api import load_model
from facekd.bulk.sources import KINDS, Part, open_location, read_part
from facekd.documents import Fields, parse_json
from facekd.errors import InputError
from facekd.files import atomic
from facekd.markup import get
from facekd.runtime.detector import YuNet
from facekd.runtime.face import Face
from facekd.runtime.landmarker import Landmarker

METADATA = b"facekd"  # key of what a results file tells of itself
_DOUBLE = pa.list_(pa.float32())
SCHEMA = pa.schema(
    [
        ("photo", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("face", pa.int32()),  # counted from 0; null: no face, or an error
        ("box", _DOUBLE),
        ("score", pa.float32()),
        ("face_confidence", pa.float32()),
        ("points", pa.list_(_DOUBLE)),
        ("confidence", _DOUBLE),
        ("visible", _DOUBLE),
        ("pose", pa.struct([("yaw", pa.float32()), ("pitch", pa.float32()), ("roll", pa.float32())])),
        ("error", pa.string()),
    ]
)

_PART = ("kind", "files", "group", "column")
_MOST_FILES = 100_000  # of a part
_OF_FACES = ("box", "score", "face_confidence", "points", "confidence", "visible", "pose")


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker needs to know.

    Attributes:
        source: of the photos, for their file system.
        out: of the results.
        model: as for `facekd.api.load_model`.
        markup: name of what the points are converted to; None: the network's own.
        min_score: lowest detector score that counts as a face.
        max_faces: most faces of a photo, the largest; None: all.
        providers: where the network runs.
    """

    source: str
    out: str
    model: str
    markup: str | None = None
    min_score: float = 0.6
    max_faces: int | None = None
    providers: tuple[str, ...] = ("cpu",)


class PartWriter:
    """One network on one thread, which processes parts. Ray makes one per worker.

    Args:
        settings: of the run.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        cv2.setNumThreads(1)  # there are as many actors as cores, and their threads would fight for them
        model = load_model(settings.model, threads=1, providers=settings.providers)
        self.landmarker = Landmarker(model, YuNet(settings.min_score, threads=1))
        self.markup = get(settings.markup) if settings.markup else self.landmarker.model.markup
        self.source, _ = open_location(settings.source)
        self.target, self.folder = open_location(settings.out)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Process a part; its file is there whole or not at all, and a second time it is the same.

        Args:
            batch: of Ray Data: one row of number and part.

        Returns:
            The same row's number, and how many photos, faces and failures it had.
        """
        (number,), (part,) = batch["number"], batch["part"]
        rows = list(self._rows(decode_part(part)))
        write(self.target, part_path(self.folder, int(number)), self._table(rows))
        photos = {row["photo"]: row["error"] for row in rows}
        return {
            "number": np.array([number]),
            "photos": np.array([sum(1 for row in rows if not row["face"])]),
            "faces": np.array([sum(row["face"] is not None for row in rows)]),
            "failed": np.array([sum(error is not None for error in photos.values())]),
        }

    def _rows(self, part: Part) -> Iterator[dict[str, Any]]:
        """Yield the rows of a part: one per face, or one per photo without any."""
        names: list[str] = []

        def contents() -> Iterator[bytes]:
            for name, content in read_part(self.source, part):
                names.append(name)
                # What cannot be read has no bytes; the landmarker's own sentence would say that it is empty.
                errors.append(content if isinstance(content, InputError) else None)
                yield b"" if isinstance(content, InputError) else content

        errors: list[InputError | None] = []
        results = self.landmarker.stream_sized(contents(), self.settings.max_faces)
        for index, result in enumerate(results):
            row: dict[str, Any] = dict.fromkeys(SCHEMA.names) | {"photo": names[index]}
            if isinstance(result, InputError):
                yield row | {"error": str(errors[index] or result)}
                continue
            (row["width"], row["height"]), faces = result
            if not faces:
                yield row
            for place, face in enumerate(faces):
                yield row | {"face": place} | self._values(face)

    def _values(self, face: Face) -> dict[str, Any]:
        values = face.convert(self.markup).to_dict()
        return {key: values[key] for key in _OF_FACES}

    def _table(self, rows: list[dict[str, Any]]) -> pa.Table:
        about = {"markup": self.markup.to_dict(), "model": self.settings.model}
        return pa.Table.from_pylist(rows, SCHEMA.with_metadata({METADATA: json.dumps(about).encode()}))


def part_path(folder: str, number: int) -> str:
    """Name the file of a part.

    Args:
        folder: of the results.
        number: of the part.

    Returns:
        Its path.
    """
    return f"{folder}/part-{number:06d}.parquet"


def encode_part(part: Part) -> str:
    """Write a part as text, as Ray's rows hold it.

    Args:
        part: of the source.

    Returns:
        JSON.
    """
    return json.dumps([part.kind, part.files, part.group, part.column])


def decode_part(text: str, where: str = "part of the bulk run") -> Part:
    """Read what `encode_part` wrote.

    Args:
        text: JSON.
        where: names it in messages.

    Returns:
        The part.

    Raises:
        InputError: it is damaged.
    """
    advice = "give another folder for the results"
    listed = parse_json(text, where, advice=advice)
    if not isinstance(listed, list) or len(listed) != len(_PART):
        raise InputError(f"{where} is no part of a bulk run: it must be a list of {', '.join(_PART)}; {advice}")
    fields = Fields(dict(zip(_PART, listed, strict=True)), where, advice=advice)
    if (kind := fields.text("kind")) not in KINDS:
        fields.refuse("kind", " or ".join(KINDS))
    files = fields.list("files", lambda name: isinstance(name, str), "paths", _MOST_FILES)
    if not files:
        fields.refuse("files", "at least one path")
    return Part(kind, tuple(files), fields.integer("group", 0, 10**9), fields.text("column"))


def write(system: pafs.FileSystem, path: str, table: pa.Table) -> None:
    """Write a Parquet file whole or not at all.

    Args:
        system: where.
        path: of the file.
        table: what.
    """
    if not isinstance(system, pafs.LocalFileSystem):  # an object is there once it is whole
        pq.write_table(table, path, filesystem=system, compression="zstd")
        return
    with atomic(path) as temporary:  # a killed actor's is removed when the run goes on
        pq.write_table(table, temporary, compression="zstd")
