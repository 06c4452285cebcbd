"""Many photos to named results in a folder; a second run skips what is done, and a killed one goes on.

    OUT/facekd.jsonl                    which photos are done, under which name, and what was found (`ResumeLog`)
    OUT/<name>.json                     per photo: format "json"
    OUT/<name>.pts  <name>.face2.pts    per face, points counted from 1: format "pts"
    OUT/landmarks.jsonl, .csv           one file of all photos: formats "jsonl" and "csv"
    OUT/<name>.landmarks.jpg            per photo: the faces drawn into a copy

A photo of a folder is named by its path within it, so that results keep the folder's structure.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facekd.documents import Fields
from facekd.errors import InputError, nearest
from facekd.files import atomic, claim_folder, expand, write_text
from facekd.images import find_photos, read_image
from facekd.markup import MarkUp, convert
from facekd.pts import write_pts
from facekd.runtime.detector import YuNet
from facekd.runtime.face import Face
from facekd.runtime.finder import check_count
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.results import Log, RecordWriter, ResumeLog, check_record, read_log, stamp

FORMATS = ("json", "jsonl", "csv", "pts")
_ONE_FILE = ("jsonl", "csv")  # formats that hold all photos in one file
_LOG = "facekd.jsonl"
DRAWN = ".landmarks.jpg"  # how the names of drawings end
_WRITTEN = (".json", ".jsonl", ".csv", ".pts")
_FACE = re.compile(r"\.face\d+$")  # a .pts file of another face than the first ends so, and no photo's name does

DrawFn = Callable[[np.ndarray, list[Face]], np.ndarray]  # photo (H, W, 3) RGB and its faces -> a picture of them


@dataclass(frozen=True)
class FileResult:
    """What is known of one photo.

    Attributes:
        photo: its file.
        record: plain values for JSON: "photo"; "width" and "height" in pixels, "markup" and "faces" (`Face.to_dict`
            each), or "error".
        error: one sentence on why there are no faces to find; "" if there is nothing wrong.
    """

    photo: Path
    record: dict[str, Any]
    error: str = ""

    @property
    def faces(self) -> int:
        """How many faces were found."""
        return len(self.record.get("faces", ()))


@dataclass(frozen=True)
class Summary:
    """How a batch went.

    Attributes:
        photos: how many there were.
        faces: how many were found.
        failed: how many photos could not be used.
        skipped: how many files of the folders are no photos by their suffix.
    """

    photos: int
    faces: int
    failed: int
    skipped: int = 0


@dataclass(frozen=True)
class _Job:
    """A photo to process, the name of its results, whether an earlier run gave it, and why it cannot be processed."""

    path: Path
    name: str = ""
    seen: bool = False
    error: str = ""


class PhotoBatch:
    """Photos whose landmarks are to be found, with results written to a folder or only returned.

    Making one finds the photos and refuses what cannot be; nothing is written before `run`.

    Args:
        photos: files, folders with all below them, or patterns (`*.jpg`); or one of these alone. Drawings
            (`*.landmarks.jpg`) are left out.
        landmarker: finds the faces.
        out: folder for the results; None: nothing is written.
        format: one of FORMATS; without `out` it does not matter.
        markup: what the points are converted to; default: the model's own.
        draw: draws the faces into a copy of each photo, such as `facekd.draw`; None: no drawings. Needs `out`.
        settings: what the results depend on, plain values; a folder with results of others is refused. Default: what
            can be told of the landmarker; say yourself what tells apart two detectors of your own, or two networks that
            are no OnnxModel.
        max_faces: most faces of a photo, the largest; None: all.

    Attributes:
        skipped: files in the folders that are no photos by their suffix, results of earlier runs left out.

    Raises:
        InputError: there is no photo, no such format or conversion, `draw` has no `out`, `max_faces` is below 1, or
            `out` holds results of other settings, or files that this would write and that are not known as its results.
    """

    def __init__(
        self,
        photos: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
        landmarker: Landmarker,
        out: str | os.PathLike[str] | None = None,
        *,
        format: str = "json",
        markup: MarkUp | None = None,
        draw: DrawFn | None = None,
        settings: dict[str, Any] | None = None,
        max_faces: int | None = None,
    ) -> None:
        if format not in FORMATS:
            raise InputError(f"no format '{format}' of results; {nearest(format, FORMATS)}")
        if out is None and draw:
            raise InputError("drawings are files; give a folder for the results")
        check_count(max_faces)
        own = landmarker.model.markup
        self.landmarker, self.format, self.draw, self.max_faces = landmarker, format, draw, max_faces
        self.markup = markup or own
        convert(np.zeros((own.count, 2)), own, self.markup)  # what cannot be is told at once
        self.out = None if out is None else expand(out)
        self.settings = settings or _settings(landmarker, self.markup)
        if max_faces is not None:  # only then, so that folders of earlier versions go on
            self.settings = {**self.settings, "max_faces": max_faces}
        given = [photos] if isinstance(photos, str | os.PathLike) else photos
        self._arguments = [str(expand(photo)) for photo in given]
        if not self._arguments:
            raise InputError("no photos were given; give files, folders or patterns (*.jpg)")
        self._plan()

    def _plan(self) -> None:
        """Find the photos, and name their results as far as the folder's log does not do so already."""
        arguments, others = self._arguments, dict[Path, None]()
        self._planned_for = _state(self.out)
        self._log = read_log(self.out / _LOG, self.settings, self._check_record) if self.out else Log()
        self._jobs = list(_jobs(arguments, self._log, others, self.out))
        self._names = {"facekd", "landmarks", *(job.name for job in self._jobs)}
        if not self._jobs:
            given = " ".join(arguments)
            raise InputError(f"{given} holds only drawings (*{DRAWN}); give the photos they were made from")
        if self.out:
            _refuse_unknown_files(self.out, [job.name for job in self._jobs if job.name and not job.seen])
        self.skipped = [path for path in others if not (self.out and self._is_result(path, self.out))]

    def __len__(self) -> int:
        """How many photos there are, those included that cannot be used."""
        return len(self._jobs)

    def _is_result(self, path: Path, out: Path) -> bool:
        """Whether a file is a result of an earlier run, for results may lie among the photos."""
        if path.suffix not in _WRITTEN or not path.is_relative_to(out):
            return False
        name = _FACE.sub("", str(path.relative_to(out).with_suffix("")))
        return name in self._names

    def run(self) -> Generator[FileResult, None, None]:
        """Find the faces and write the results; what an earlier run did is not computed again.

        What is done is kept when the run is stopped. To be safe, close the iterator (`contextlib.closing`) if it is not
        read to the end: one file of all photos is written only then.

        Yields:
            What is known of each photo, in order, once its files are written.

        Raises:
            InputError: the folder holds results of other settings, or another process is writing into it.
        """
        with ExitStack() as stack:
            log = writer = None
            if self.out:
                stack.enter_context(claim_folder(self.out))
                if _state(self.out) != self._planned_for:  # by another process, or by an earlier call
                    self._plan()
                log = stack.enter_context(closing(ResumeLog(self.out / _LOG, self.settings, known=self._log)))
                if self.format in _ONE_FILE:
                    temporary = stack.enter_context(atomic(self.out / f"landmarks.{self.format}"))
                    file = open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="\n")  # noqa: SIM115
                    writer = RecordWriter(stack.enter_context(file), self.format, self.markup, "photo")
            for job, record in self._records(log):
                if writer:
                    writer.write(record)
                if self.out and "error" not in record:
                    self._write_files(job, record, self.out)
                yield FileResult(job.path, record, record.get("error", ""))

    def _check_record(self, fields: Fields) -> None:
        check_record(fields, self.markup.count)
        if fields.values["markup"] != self.markup.name:
            fields.refuse("markup", self.markup.name)

    def _records(self, log: ResumeLog | None) -> Iterator[tuple[_Job, dict[str, Any]]]:
        """Yield what is known of each photo, in order; only what the log lacks is computed."""
        known = {job.path for job in self._jobs if job.error or (log and job.path in log)}
        photos = (job.path for job in self._jobs if job.path not in known)
        found = self.landmarker.stream_sized(photos, max_faces=self.max_faces)
        for job in self._jobs:
            if job.error:
                yield job, {"photo": str(job.path), "error": job.error}
            elif log and job.path in known:
                yield job, {key: value for key, value in log[job.path].items() if key != "name"}
            else:
                result = next(found)
                if isinstance(result, InputError):
                    yield job, {"photo": str(job.path), "error": str(result)}
                    continue
                (width, height), faces = result
                values = [face.convert(self.markup).to_dict() for face in faces]
                size = {"width": width, "height": height}
                record = {"photo": str(job.path), **size, "markup": self.markup.name, "faces": values}
                if self.out and log:
                    for path in _results(self.out, job.name) if job.seen else ():  # of the photo before it changed
                        path.unlink()
                    log.add(job.path, {"name": job.name, **record})
                yield job, record

    def _write_files(self, job: _Job, record: dict[str, Any], out: Path) -> None:
        """Write the files that belong to one photo and are not there yet."""
        values, picture = out / f"{job.name}.json", out / f"{job.name}{DRAWN}"
        if self.format == "json" and not values.exists():
            write_text(values, json.dumps(record) + "\n")
        for index, face in enumerate(record["faces"] if self.format == "pts" else ()):
            if not (points := _pts(out, job.name, index)).exists():
                write_pts(points, face["points"])
        if self.draw and not picture.exists():
            faces = [Face.from_dict(face, self.markup) for face in record["faces"]]
            with atomic(picture) as temporary:
                Image.fromarray(self.draw(read_image(job.path), faces)).save(temporary, quality=92)


def detect_files(
    photos: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
    landmarker: Landmarker,
    out: str | os.PathLike[str],
    *,
    format: str = "json",
    markup: MarkUp | None = None,
    draw: DrawFn | None = None,
    settings: dict[str, Any] | None = None,
    max_faces: int | None = None,
) -> Summary:
    """Find the landmarks of many photos and write them to a folder; the same call again skips what is done.

    Args:
        photos: as for `PhotoBatch`, as are all others.
        landmarker: finds the faces.
        out: folder for the results.
        format: "json" or "pts": files per photo; "jsonl" or "csv": one file.
        markup: what the points are converted to; default: the model's own.
        draw: draws the faces into a copy of each photo, such as `facekd.draw`; None: no drawings.
        settings: what the results depend on; default: what can be told of the landmarker.
        max_faces: most faces of a photo, the largest; None: all.

    Returns:
        How many photos, faces and failures there were; records tell which and why, and so does `PhotoBatch.run`.

    Raises:
        InputError: as `PhotoBatch` and its `run`.
    """
    batch = PhotoBatch(
        photos, landmarker, out, format=format, markup=markup, draw=draw, settings=settings, max_faces=max_faces
    )
    results = [(result.faces, bool(result.error)) for result in batch.run()]
    return Summary(
        len(results), sum(faces for faces, _ in results), sum(failed for _, failed in results), len(batch.skipped)
    )


def _settings(landmarker: Landmarker, markup: MarkUp) -> dict[str, Any]:
    """Return what results depend on, as far as a landmarker tells."""
    model, detector = landmarker.model, landmarker.detector
    own = ("threshold", "size", "small_faces", "thorough") if isinstance(detector, YuNet) else ()
    card = getattr(model, "card", None)
    return {
        "markup": markup.name,
        "detector": {"name": type(detector).__name__, **{key: getattr(detector, key) for key in own}},
        "box_transform": landmarker.box_transform.to_dict(),
        "roll": landmarker.roll,
        "min_confidence": landmarker.min_confidence,
        "network": card.sha256 if card else type(model).__name__,
    }


def _state(out: Path | None) -> list[int]:
    """Return what changes when results are added to a folder."""
    return stamp(out / _LOG) if out else []


def _jobs(arguments: list[str], log: Log, others: dict[Path, None], out: Path | None) -> Iterator[_Job]:
    """Yield each photo once, in the order given; names keep a folder's structure and never clash.

    log: of earlier runs, whose names stay. The results of a photo that a damaged line still names are its own; beside
        other files that are there, which may be results of a line that says nothing any more or the user's, it gets a
        name of its own.
    others: takes the files in folders that are no photos, once each.
    """
    known, damaged = log.names, [line for _, line in log.damaged]
    paths: set[Path] = set()
    taken = {name.casefold() for name in known.values()}  # A.jpg and a.png are one name where case does not count
    for argument in arguments:
        try:
            found, besides = find_photos(argument)
        except InputError as error:
            yield _Job(Path(argument), error=str(error))
            continue
        others.update(dict.fromkeys(besides))
        for path in found:
            if path in paths or path.name.endswith(DRAWN):
                continue
            below = path.relative_to(argument) if Path(argument).is_dir() else Path(path.name)
            seen = str(path) in known or any(json.dumps(str(path)).encode() in line for line in damaged)
            beside = out if damaged and not seen else None
            name = known.get(str(path)) or _free(str(below.with_suffix("")), taken, beside)
            paths.add(path)
            taken.add(name.casefold())
            yield _Job(path, name, seen)


def _free(stem: str, taken: set[str], beside: Path | None) -> str:
    """Return the first of stem, stem-2, stem-3, ... that no photo has and that no second face could have.

    beside: a folder where it must be free, too.
    """
    for name in itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2))):
        if name.casefold() in taken or _FACE.search(name.casefold()) or (beside and _results(beside, name)):
            continue
        return name
    raise AssertionError  # there is no end of numbers


def _pts(out: Path, name: str, index: int) -> Path:
    """Return the .pts file of a photo's face, the faces counted from 0 here and from 1 in the file's name."""
    return out / (f"{name}.face{index + 1}.pts" if index else f"{name}.pts")


def _results(out: Path, name: str) -> list[Path]:
    """Return the files there are of a photo's results, in any format."""
    first = filter(os.path.exists, (out / f"{name}.json", out / f"{name}{DRAWN}", _pts(out, name, 0)))
    more = itertools.takewhile(os.path.exists, (_pts(out, name, index) for index in itertools.count(1)))
    return [*first, *more]


def _refuse_unknown_files(out: Path, names: list[str]) -> None:
    """Raise if files are there already that would hold the results of photos new to the folder's log."""
    unknown = [path for name in names for path in _results(out, name)]
    if not (out / _LOG).exists():
        unknown += filter(os.path.exists, (out / f"landmarks.{kind}" for kind in _ONE_FILE))
    if unknown:
        known = "is there already, and not known as a result of an earlier run"
        raise InputError(f"{unknown[0]} {known}; choose another folder for the results")
