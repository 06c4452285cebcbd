"""`facekd detect`."""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from facekd.cli.models import demo, load, models, resolve
from facekd.cli.track import track
from facekd.errors import InputError, nearest

if TYPE_CHECKING:
    from facekd.markup import MarkUp
    from facekd.runtime.landmarker import Landmarker
    from facekd.runtime.results import ResumeLog

FORMATS = ("json", "jsonl", "csv", "pts")
_JOURNAL = "facekd.jsonl"
_DRAWN = ".landmarks.jpg"
_FACE = re.compile(r"\.face\d+$")  # a .pts file of another face than the first ends so, and no photo's name does
_INTERRUPTED = 130  # what a shell says of a command stopped by Ctrl-C


def register(app: typer.Typer) -> None:
    """Add the commands that use models."""
    for command in (detect, track, models, demo):
        app.command()(command)


def detect(
    photos: list[str] = typer.Argument(
        metavar="[MODEL] PHOTO|FOLDER|GLOB...", help="Photos, folders with all below them, or patterns such as '*.jpg'."
    ),
    model: str = typer.Option("", "--model", "-m", help="A bundled name, an .onnx file or a run; default facekd-68."),
    out: Path | None = typer.Option(None, "--out", "-o", help="Folder for the results; default: print them."),
    format: str = typer.Option(
        "json", help="json, pts: files per photo; jsonl, csv: one file. Only .pts count from 1."
    ),
    draw: bool = typer.Option(False, "--draw", help="Also draw the landmarks into a copy of each photo."),
    markup: str = typer.Option("", help="Convert the points, e.g. to five5; default: the model's own."),
    small_faces: bool = typer.Option(False, "--small-faces", help="Look tile by tile: slower, finds 20 px faces."),
    min_score: float = typer.Option(0.6, min=0.0, max=1.0, help="Lowest detector score that counts as a face."),
    threads: int | None = typer.Option(None, min=1, help="CPU threads of the network; default: all cores."),
    provider: list[str] = typer.Option(["cpu"], help="Where the network runs: cpu, cuda, coreml, ...; repeatable."),
) -> None:
    """Find faces and their landmarks in photos.

    A bad photo is reported and the rest go on; the exit code is then 1. The same command again skips what is done, and
    writes no file again unless its photo has changed. Drawings (*.landmarks.jpg) are not looked at.
    """
    import numpy as np

    from facekd import markup as markups
    from facekd.runtime.card import sha256
    from facekd.runtime.detector import YuNet
    from facekd.runtime.landmarker import Landmarker
    from facekd.runtime.results import ResumeLog

    if format not in FORMATS:
        raise InputError(f"--format {format}: {nearest(format, FORMATS)}")
    if out is None and (draw or format == "pts"):
        raise InputError(f"{'--draw' if draw else '--format pts'} writes files; give --out FOLDER")
    if not model and len(photos) > 1 and _is_model(photos[0]):
        model, photos = photos[0], photos[1:]
    weights = resolve(model)
    network = load(weights, threads, provider)
    target = markups.get(markup) if markup else network.markup
    markups.convert(np.zeros((network.markup.count, 2)), network.markup, target)  # what cannot be is told at once
    landmarker = Landmarker(network, YuNet(min_score, small_faces=small_faces))
    names = _names(out / _JOURNAL) if out is not None else {}
    jobs = list(_jobs(photos, names))
    if not jobs:
        raise InputError(f"{' '.join(photos)} holds only drawings (*{_DRAWN}); give the photos they were made from")
    with ExitStack() as stack:
        journal = None
        if out is not None:
            _refuse_strangers(out, [job.name for job in jobs if job.name and not job.seen])
            settings = {"markup": target.name, "small_faces": small_faces, "min_score": min_score}
            journal = ResumeLog(out / _JOURNAL, settings | {"network": sha256(weights)})
            stack.callback(journal.close)
        try:
            records = _records(jobs, landmarker, target, out, journal)
            failed = _write(records, len(jobs), target, out, format, draw)
        except KeyboardInterrupt:
            typer.echo("facekd: stopped; the same command goes on from here", err=True)
            raise typer.Exit(_INTERRUPTED) from None
    raise typer.Exit(1 if failed else 0)


def _is_model(argument: str) -> bool:
    """Whether the first of several arguments names a model rather than photos."""
    from facekd.runtime.model import bundled

    path = Path(argument)
    named = path.suffix in (".onnx", ".safetensors") or (path / "student" / "model.safetensors").exists()
    return named or (argument in bundled() and not path.exists())


@dataclass(frozen=True)
class _Job:
    """A photo to look at, the name of its results, whether an earlier run gave it, and why there is none to look at."""

    path: Path
    name: str = ""
    seen: bool = False
    error: str = ""


def _names(journal: Path) -> dict[str, str]:
    """Return the names of results by photo, as far as earlier runs gave them."""
    names: dict[str, str] = {}
    if journal.exists():
        for line in journal.read_bytes().splitlines():
            try:
                record = json.loads(line)
                names[record["photo"]] = record["name"]
            except (ValueError, KeyError, TypeError):  # the settings, half a line, or what `ResumeLog` will refuse
                continue
    return names


def _jobs(arguments: list[str], known: dict[str, str]) -> Iterator[_Job]:
    """Yield each photo once, in the order given; names keep a folder's structure and never clash.

    known: names by photo that earlier runs gave; they stay.
    """
    from facekd.images import photo_paths

    paths: set[Path] = set()
    taken = {name.casefold() for name in known.values()}  # A.jpg and a.png are one name where case does not count
    for argument in arguments:
        try:
            found = photo_paths(argument)
        except InputError as error:
            yield _Job(Path(argument), error=str(error))
            continue
        for path in found:
            if path in paths or path.name.endswith(_DRAWN):
                continue
            below = path.relative_to(argument) if Path(argument).is_dir() else Path(path.name)
            name = known.get(str(path)) or _free(str(below.with_suffix("")), taken)
            paths.add(path)
            taken.add(name.casefold())
            yield _Job(path, name, str(path) in known)


def _free(stem: str, taken: set[str]) -> str:
    """Return the first of stem, stem-2, stem-3, ... that no photo has and that no second face could have."""
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    return next(name for name in names if name.casefold() not in taken and not _FACE.search(name.casefold()))


def _pts(out: Path, name: str, index: int) -> Path:
    """Return the .pts file of a photo's face, the faces counted from 0 here and from 1 in the file's name."""
    return out / (f"{name}.face{index + 1}.pts" if index else f"{name}.pts")


def _results(out: Path, name: str) -> list[Path]:
    """Return the files there are of a photo's results, in any format."""
    first = filter(os.path.exists, (out / f"{name}.json", out / f"{name}{_DRAWN}", _pts(out, name, 0)))
    more = itertools.takewhile(os.path.exists, (_pts(out, name, index) for index in itertools.count(1)))
    return [*first, *more]


def _refuse_strangers(out: Path, names: list[str]) -> None:
    """Raise if files are there already that would hold the results of photos new to the folder's journal."""
    strangers = [path for name in names for path in _results(out, name)]
    if not (out / _JOURNAL).exists():
        strangers += filter(os.path.exists, (out / "landmarks.jsonl", out / "landmarks.csv"))
    if strangers:
        known = "is there already, and not known as a result of this command"
        raise InputError(f"{strangers[0]} {known}; choose another folder for --out")


def _records(
    jobs: list[_Job], landmarker: Landmarker, target: MarkUp, out: Path | None, journal: ResumeLog | None
) -> Iterator[tuple[_Job, dict[str, Any]]]:
    """Yield what is known of each photo, in order; only what the journal lacks is computed."""
    known = {job.path for job in jobs if job.error or (journal and job.path in journal)}
    found = landmarker.stream(job.path for job in jobs if job.path not in known)
    for job in jobs:
        if job.error:
            yield job, {"photo": str(job.path), "error": job.error}
        elif journal and job.path in known:
            yield job, {key: value for key, value in journal[job.path].items() if key != "name"}
        else:
            faces = next(found)
            if isinstance(faces, InputError):
                yield job, {"photo": str(job.path), "error": str(faces)}
                continue
            values = [face.convert(target).to_dict() for face in faces]
            record = {"photo": str(job.path), "markup": target.name, "faces": values}
            if out is not None and journal:
                for path in _results(out, job.name) if job.seen else ():  # of the photo before it changed
                    path.unlink()
                journal.add(job.path, {"name": job.name, **record})
            yield job, record


def _write(
    records: Iterator[tuple[_Job, dict[str, Any]]],
    count: int,
    target: MarkUp,
    out: Path | None,
    format: str,
    draw: bool,
) -> int:
    """Write every record, with a progress bar on stderr; returns how many photos failed."""
    from rich.console import Console
    from rich.progress import track as progress

    from facekd.files import atomic
    from facekd.runtime.results import csv_header, csv_rows

    failed = faces = 0
    with ExitStack() as stack:
        lines = sys.stdout
        if out is not None and format in ("jsonl", "csv"):
            temporary = stack.enter_context(atomic(out / f"landmarks.{format}"))
            lines = stack.enter_context(open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="\n"))
        if format == "csv":
            lines.write(csv_header(target, "photo"))
        shown = progress(
            records, "", count, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
        )
        for index, (job, record) in enumerate(shown):
            if format == "csv":
                lines.write(csv_rows(record, "photo"))
            elif format == "jsonl":
                lines.write(json.dumps(record) + "\n")
            elif out is None:
                lines.write(("[\n" if index == 0 else ",\n") + json.dumps(record))
            faces += len(record.get("faces", ()))
            if "error" in record:
                failed += 1
                typer.echo(f"facekd: {record['error']}", err=True)
            elif out is not None:
                _write_files(job, record, target, out, format, draw)
        if out is None and format == "json":
            lines.write("\n]\n")
    typer.echo(f"{count} photos, {faces} faces" + (f", {failed} failed" if failed else ""), err=True)
    return failed


def _write_files(job: _Job, record: dict[str, Any], target: MarkUp, out: Path, format: str, draw: bool) -> None:
    """Write the files that belong to one photo and are not there yet."""
    from facekd.files import atomic, write_text
    from facekd.pts import write_pts

    values, picture = out / f"{job.name}.json", out / f"{job.name}{_DRAWN}"
    if format == "json" and not values.exists():
        write_text(values, json.dumps(record) + "\n")
    for index, face in enumerate(record["faces"] if format == "pts" else ()):
        if not (points := _pts(out, job.name, index)).exists():
            write_pts(points, face["points"])
    if draw and not picture.exists():
        from PIL import Image

        from facekd.drawing import draw as drawn
        from facekd.images import read_image
        from facekd.runtime.landmarker import Face

        faces = [Face.from_dict(face, target) for face in record["faces"]]
        with atomic(picture) as temporary:
            Image.fromarray(drawn(read_image(job.path), faces)).save(temporary, quality=92)
