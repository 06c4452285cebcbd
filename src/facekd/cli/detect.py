"""`facekd detect`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from facekd.cli.models import demo, load, models
from facekd.cli.track import track
from facekd.errors import InputError, nearest

if TYPE_CHECKING:
    from facekd.markup import MarkUp
    from facekd.runtime.landmarker import Landmarker
    from facekd.runtime.results import Journal

FORMATS = ("json", "jsonl", "csv", "pts")
_DRAWN = ".landmarks.jpg"
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

    A bad photo is reported and the rest go on; the exit code is then 1. The same command again skips what is done.
    """
    from facekd import markup as markups
    from facekd.runtime.detector import YuNet
    from facekd.runtime.landmarker import Landmarker
    from facekd.runtime.results import Journal

    if format not in FORMATS:
        raise InputError(f"--format {format}: {nearest(format, FORMATS)}")
    if out is None and (draw or format == "pts"):
        raise InputError(f"{'--draw' if draw else '--format pts'} writes files; give --out FOLDER")
    if not model and len(photos) > 1 and _is_model(photos[0]):
        model, photos = photos[0], photos[1:]
    network = load(model, threads, provider)
    target = markups.get(markup) if markup else network.markup
    landmarker = Landmarker(network, YuNet(min_score, small_faces=small_faces))
    jobs = list(_jobs(photos))
    with ExitStack() as stack:
        journal = None
        if out is not None:
            settings = {"model": model, "markup": target.name, "small_faces": small_faces, "min_score": min_score}
            settings["sha256"] = getattr(getattr(network, "card", None), "sha256", None)
            journal = Journal(out / "facekd.jsonl", settings)
            stack.callback(journal.close)
        try:
            failed = _write(_records(jobs, landmarker, target, journal), len(jobs), target, out, format, draw)
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
    """A photo to look at, the name of its results, and why there is none to look at."""

    path: Path
    name: str = ""
    error: str = ""


def _jobs(arguments: list[str]) -> Iterator[_Job]:
    """Yield each photo once, in the order given; names keep a folder's structure and never clash."""
    from facekd.runtime.images import photo_paths

    paths: set[Path] = set()
    names: set[str] = set()
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
            name = stem = str(below.with_suffix(""))
            for count in range(2, len(names) + 3):
                if name not in names:
                    break
                name = f"{stem}-{count}"
            paths.add(path)
            names.add(name)
            yield _Job(path, name)


def _records(
    jobs: list[_Job], landmarker: Landmarker, target: MarkUp, journal: Journal | None
) -> Iterator[tuple[_Job, dict[str, Any]]]:
    """Yield what is known of each photo, in order; only what the journal lacks is computed."""
    known = {job.path for job in jobs if job.error or (journal and job.path in journal)}
    found = landmarker.stream(job.path for job in jobs if job.path not in known)
    for job in jobs:
        if job.error:
            yield job, {"photo": str(job.path), "error": job.error}
        elif journal and job.path in known:
            yield job, journal[job.path]
        else:
            faces = next(found)
            if isinstance(faces, InputError):
                yield job, {"photo": str(job.path), "error": str(faces)}
                continue
            values = [face.convert(target).to_dict() for face in faces]
            record = {"photo": str(job.path), "markup": target.name, "faces": values}
            if journal:
                journal.add(job.path, record)
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
            lines = stack.enter_context(open(temporary, "w", encoding="utf-8", newline="\n"))
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
    """Write the files that belong to one photo."""
    from facekd.data.pts import write_pts
    from facekd.files import atomic

    if format == "json":
        with atomic(out / f"{job.name}.json") as temporary:
            temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")
    for index, face in enumerate(record["faces"] if format == "pts" else ()):
        write_pts(out / (f"{job.name}_{index}.pts" if index else f"{job.name}.pts"), face["points"])
    picture = out / f"{job.name}{_DRAWN}"
    if draw and not picture.exists():
        from PIL import Image

        from facekd.runtime.drawing import draw as drawn
        from facekd.runtime.images import read_image
        from facekd.runtime.landmarker import Face

        faces = [Face.from_dict(face, target) for face in record["faces"]]
        with atomic(picture) as temporary:
            Image.fromarray(drawn(read_image(job.path), faces)).save(temporary, quality=92)
