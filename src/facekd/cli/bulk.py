"""`facekd bulk`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from facekd.bulk.run import BulkRun, Done

_INTERRUPTED = 130  # what a shell says of a command stopped by Ctrl-C


def register(app: typer.Typer) -> None:
    """Add the command for very many photos.

    Args:
        app: the application.
    """
    app.command()(bulk)


def bulk(
    source: str = typer.Argument(
        metavar="SRC", help="A folder, a pattern, .parquet or .tar files (WebDataset), or a URL of these."
    ),
    out: str = typer.Argument(metavar="OUT", help="Folder or URL for the results, as Parquet files."),
    model: str = typer.Option("", "--model", "-m", help="A bundled name, an .onnx file or a run; default facekd-68."),
    markup: str = typer.Option(
        "", help="Convert the points: to ibug68, wflw98, cofw29 or five5; default: the model's."
    ),
    max_faces: int | None = typer.Option(None, min=1, help="Most faces of a photo, the largest; default: all."),
    min_score: float = typer.Option(0.6, min=0.0, max=1.0, help="Lowest detector score that counts as a face."),
    column: str = typer.Option("", help="Of Parquet files, which column holds the photos; default: by its name."),
    workers: int | None = typer.Option(None, min=1, help="Networks that run at once, one thread each; default: cores."),
    gpus: float = typer.Option(0.0, min=0.0, help="GPUs that the workers share; give --provider cuda as well."),
    provider: list[str] = typer.Option(["cpu"], help="Where the networks run: cpu, cuda, coreml, ...; repeatable."),
    address: str = typer.Option("", help="Of a Ray cluster, or 'auto'; default: Ray starts on this machine."),
) -> None:
    """Find the landmarks of very many photos, on one machine or on a Ray cluster.

    A row for every face, and for every photo without one or that cannot be read. The same command again goes on where
    it stopped, however it was stopped.
    """
    from facekd.bulk.actor import WorkerSettings
    from facekd.bulk.run import BulkRun
    from facekd.runtime.trial import tried

    settings = WorkerSettings(source, out, str(tried(model)), markup or None, min_score, max_faces, tuple(provider))
    with BulkRun(settings, workers, gpus, address or None, column) as run:
        _process(run)


def _process(run: BulkRun) -> None:
    """Process what is left, and tell how it went."""
    if run.known:
        typer.echo(f"{run.known} parts are done, {len(run.parts)} are left", err=True)
    try:
        photos, faces, failed = _shown(run)
    except KeyboardInterrupt:
        typer.echo("facekd: stopped; the same command goes on from here", err=True)
        raise typer.Exit(_INTERRUPTED) from None
    if run.parts:
        typer.echo(f"{photos} photos, {faces} faces" + (f", {failed} failed" if failed else ""), err=True)


def _shown(run: BulkRun) -> tuple[int, int, int]:
    """Process with a progress bar on stderr: parts, photos/s, time left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from facekd.bulk.run import process

    start, count = time.perf_counter(), 0
    columns = (BarColumn(), TextColumn("{task.percentage:.0f} %, {task.fields[speed]}"), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=len(run.parts), speed="starting")

        def told(done: Done) -> None:
            nonlocal count
            count += done.photos
            speed = f"{count / (time.perf_counter() - start):.1f} photos/s"
            progress.update(task, advance=1, speed=speed)

        return process(run, told)
