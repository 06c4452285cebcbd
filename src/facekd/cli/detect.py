"""`facekd detect`."""

from __future__ import annotations

import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from facekd.cli.messages import tell_skipped
from facekd.cli.models import demo, models
from facekd.cli.track import track
from facekd.errors import InputError, nearest

if TYPE_CHECKING:
    from facekd.runtime.batch import PhotoBatch

_INTERRUPTED = 130  # what a shell says of a command stopped by Ctrl-C


def register(app: typer.Typer) -> None:
    """Add the commands that use models.

    Args:
        app: the application.
    """
    for command in (detect, track, models, demo):
        app.command()(command)


def detect(
    photos: list[str] = typer.Argument(
        metavar="[MODEL] PHOTO|FOLDER|GLOB...", help="Photos, folders with all below them, or patterns such as '*.jpg'."
    ),
    model: str = typer.Option("", "--model", "-m", help="A bundled name, a file or a run; default facekd-68."),
    out: Path | None = typer.Option(None, "--out", "-o", help="Folder for the results; default: print them."),
    format: str = typer.Option(
        "json", help="json, pts: files per photo; jsonl, csv: one file. Only .pts count from 1."
    ),
    draw: bool = typer.Option(False, "--draw", help="Also draw the landmarks into a copy of each photo."),
    markup: str = typer.Option(
        "",
        help="Convert the points: to ibug68, wflw98, cofw29 or five5, where there is a way; default: the model's own.",
    ),
    small_faces: bool = typer.Option(False, "--small-faces", help="Search tile by tile: slower, finds 20 px faces."),
    max_faces: int | None = typer.Option(None, min=1, help="Most faces of a photo, the largest; default: all."),
    min_score: float = typer.Option(0.6, min=0.0, max=1.0, help="Lowest detector score that counts as a face."),
    min_confidence: float = typer.Option(0.5, min=0.0, max=1.0, help="Lowest face confidence that counts; 0: all."),
    roll: str = typer.Option("any", help="any: also search for faces turned on their side or head; upright: do not."),
    threads: int | None = typer.Option(None, min=1, help="CPU threads of the networks; default: all cores."),
    provider: list[str] = typer.Option(["cpu"], help="Where the network runs: cpu, cuda, coreml, ...; repeatable."),
    engine: str = typer.Option("auto", help="What runs it: onnx, litert (.tflite files), or auto."),
) -> None:
    """Find faces and their landmarks in photos.

    A bad photo is reported and the rest go on; the exit code is then 1. The same command again skips what is done, and
    writes no file again unless its photo has changed. Drawings (*.landmarks.jpg) and other files are left out.
    """
    from facekd import markup as markups
    from facekd.api import load_model
    from facekd.drawing import draw as draw_faces
    from facekd.runtime.batch import PhotoBatch
    from facekd.runtime.card import sha256
    from facekd.runtime.detector import YuNet
    from facekd.runtime.landmarker import Landmarker
    from facekd.runtime.trial import tried

    _register_plugins()
    _check(format, out, draw)
    if not model and len(photos) > 1 and _is_model(photos[0]):
        model, photos = photos[0], photos[1:]
    file = tried(model, engine, provider)
    network = load_model(file, threads, provider)
    target = markups.get(markup) if markup else network.markup
    detector = YuNet(min_score, small_faces=small_faces, threads=threads)
    landmarker = Landmarker(network, detector, roll=roll, min_confidence=min_confidence)
    settings = {"markup": target.name, "small_faces": small_faces, "min_score": min_score, "network": sha256(file)}
    settings |= {"min_confidence": min_confidence, "roll": landmarker.roll}
    batch = PhotoBatch(
        photos,
        landmarker,
        out,
        format=format,
        markup=target,
        draw=draw_faces if draw else None,
        settings=settings,
        max_faces=max_faces,
    )
    raise typer.Exit(_run(batch))


def _check(format: str, out: Path | None, draw: bool) -> None:
    """Refuse a format that is none, and files without a folder to write them to."""
    from facekd.runtime.batch import FORMATS

    if format not in FORMATS:
        raise InputError(f"--format {format}: {nearest(format, FORMATS)}")
    if out is None and (draw or format == "pts"):
        raise InputError(f"{'--draw' if draw else '--format pts'} writes files; give --out FOLDER")


def _register_plugins() -> None:
    """Let Pillow read HEIC if its plugin is installed."""
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()


def _is_model(argument: str) -> bool:
    """Whether the first of several arguments names a model rather than photos."""
    from facekd.run_folder import MODEL, is_run
    from facekd.runtime.names import ENGINES, bundled

    path = Path(argument)
    named = path.suffix in (*ENGINES.values(), ".safetensors") or is_run(path) or (path / MODEL).is_file()
    return named or (argument in bundled() and not path.exists())


def _run(batch: PhotoBatch) -> int:
    """Run a batch and print what it does not write; returns the exit code."""
    try:
        failed = _show(batch)
    except KeyboardInterrupt:
        typer.echo("facekd: stopped; the same command goes on from here", err=True)
        return _INTERRUPTED
    return 1 if failed else 0


def _show(batch: PhotoBatch) -> int:
    """Run a batch with a progress bar on stderr, and print what it does not write; returns how many photos failed."""
    from rich.console import Console
    from rich.progress import track as progress

    from facekd.runtime.results import RecordWriter

    printed = None if batch.out else RecordWriter(sys.stdout, batch.format, batch.markup, "photo")
    failed = faces = 0
    hidden = not sys.stderr.isatty()
    with closing(batch.run()) as results:
        shown = progress(results, "", len(batch), console=Console(stderr=True), transient=True, disable=hidden)
        for result in shown:
            if printed:
                printed.write(result.record)
            faces += result.faces
            if result.error:
                failed += 1
                typer.echo(f"facekd: {result.error}", err=True)
    if printed:
        printed.close()
    tell_skipped(batch.skipped)
    typer.echo(f"{len(batch)} photos, {faces} faces" + (f", {failed} failed" if failed else ""), err=True)
    return failed
