"""`facekd track`."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import typer

from facekd.cli.messages import tell_skipped
from facekd.errors import InputError, nearest

if TYPE_CHECKING:
    import numpy as np

    from facekd.runtime.tracking import TrackedFace, Tracker
    from facekd.runtime.video import FrameFolder, Video

FORMATS = ("jsonl", "csv")


def track(
    source: str = typer.Argument(
        metavar="VIDEO|FOLDER|CAMERA", help="A file, a folder of frames, a stream's address, or a camera's number."
    ),
    model: str = typer.Option("", "--model", "-m", help="A bundled name, a file or a run; default facekd-68."),
    out: Path = typer.Option(Path("facekd-track"), "--out", "-o", help="Folder for the results."),
    format: str = typer.Option("jsonl", help="jsonl: a line per frame; csv: a row per face and frame."),
    fps: float | None = typer.Option(None, min=0.001, max=1000.0, help="Frames per second of a folder; default: 30."),
    video: bool = typer.Option(True, help="Also write the video with the faces drawn in."),
    every: int = typer.Option(10, min=1, help="Frames from one detection to the next."),
    smooth: bool = typer.Option(True, help="One-Euro filter on the points."),
    frames: int | None = typer.Option(None, min=1, help="Stop after so many frames."),
    min_score: float = typer.Option(0.6, min=0.0, max=1.0, help="Lowest detector score that counts as a face."),
    threads: int | None = typer.Option(None, min=1, help="CPU threads of the networks; default: all cores."),
    provider: list[str] = typer.Option(["cpu"], help="Where the network runs: cpu, cuda, coreml, ...; repeatable."),
    engine: str = typer.Option("auto", help="What runs it: onnx, litert (.tflite files), or auto."),
) -> None:
    """Follow the faces of a video or camera. Ctrl-C ends it like the end of the video: the files are whole.

    The frames of a folder come in natural order; a bad one is reported and the rest go on, and the exit code is then 1.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what a decoder finds wrong is said once, by us
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    from facekd.api import load_model
    from facekd.files import claim, expand
    from facekd.runtime.detector import YuNet
    from facekd.runtime.landmarker import Landmarker
    from facekd.runtime.smoothing import Smoothing
    from facekd.runtime.tracking import Tracker
    from facekd.runtime.trial import tried
    from facekd.runtime.video import FrameFolder, Video

    if format not in FORMATS:
        raise InputError(f"--format {format}: {nearest(format, FORMATS)}")
    folder = expand(source).is_dir()
    if fps is not None and not folder:
        raise InputError("--fps is for a folder of frames; a video says itself when its frames are shown")
    stem = expand(source).resolve().name if folder else Path(source).stem
    name = f"camera{source}" if source.isdigit() and not folder else stem or "stream"
    table, film = out / f"{name}.{format}", out / f"{name}.landmarks.mp4" if video else None
    for path in filter(None, (table, film)):
        if path.exists():
            with claim(path):  # removes the claim of a process that was killed behind its last file
                _refuse_existing(path)
    network = load_model(tried(model, engine, provider), threads, provider, engine)
    landmarker = Landmarker(network, YuNet(min_score, size=640, threads=threads))
    tracker = Tracker(landmarker, every, smoothing=Smoothing() if smooth else None)
    opened, start = FrameFolder(source, fps or 30.0) if folder else Video(source), time.perf_counter()
    count, ids, failed = _write(opened, tracker, frames, table, film)
    speed = count / (time.perf_counter() - start)
    if isinstance(opened, FrameFolder):
        tell_skipped(opened.skipped)
    more = f", {failed} frames failed" if failed else ""
    typer.echo(f"{count} frames, {len(ids)} faces, {speed:.1f} frames/s{more}; results are in {out}")
    raise typer.Exit(1 if failed else 0)


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise InputError(f"{path} is there already; move it away or choose another folder with --out")


def _write(
    video: Video | FrameFolder, tracker: Tracker, limit: int | None, table: Path, film: Path | None
) -> tuple[int, set[int], int]:
    """Follow the faces and write what is found; returns the number of frames, the faces' numbers, and failures."""
    from facekd.drawing import draw
    from facekd.files import atomic, claim
    from facekd.runtime.results import RecordWriter
    from facekd.runtime.video import VideoWriter

    count, failed, ids, pictures = 0, 0, set(), None
    with ExitStack() as stack:
        for path in filter(None, (table, film)):
            stack.enter_context(claim(path))
            _refuse_existing(path)  # another process may have ended since the command began
        file = stack.enter_context(open(stack.enter_context(atomic(table)), "w", encoding="utf-8", newline="\n"))
        lines = RecordWriter(file, table.suffix[1:], tracker.landmarker.model.markup, "frame", "time", "id")
        if film:
            temporary = stack.enter_context(atomic(film))
            pictures = VideoWriter(temporary, video.fps, video.size)
            stack.callback(pictures.release)
        for seconds, frame, faces in _followed(video, tracker, limit):
            record = {"frame": count, "time": round(seconds, 4)}
            count += 1
            if isinstance(frame, InputError):
                failed += 1
                lines.write({**record, "error": str(frame)})
                typer.echo(f"facekd: {frame}", err=True)
                continue  # the drawn video shows the frame before for longer
            ids |= {each.id for each in faces}
            lines.write({**record, "faces": [{"id": each.id, **each.face.to_dict()} for each in faces]})
            if pictures:
                drawn = draw(frame, [each.face for each in faces], labels=[str(each.id) for each in faces])
                pictures.add(drawn, seconds)
        file.close()  # before one of the two takes its name: if the disk is full, there is neither
        if pictures:
            pictures.close()
    return count, ids, failed


def _followed(
    video: Video | FrameFolder, tracker: Tracker, limit: int | None
) -> Iterator[tuple[float, np.ndarray | InputError, list[TrackedFace]]]:
    """Yield time, frame and faces until the video ends or the user ends it, with the frame rate on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    count = min(filter(None, (video.count, limit)), default=None)
    shown = TextColumn("{task.fields[fps]:.1f} frames/s, {task.fields[faces]} faces")
    bar = Progress(BarColumn(), MofNCompleteColumn(), shown, console=Console(stderr=True), transient=True)
    with bar, _asked_to_stop() as stop:
        task = bar.add_task("", total=count, fps=0.0, faces=0)
        before, fps = time.perf_counter(), 0.0
        for index, (seconds, frame) in enumerate(video, start=1):
            faces = [] if isinstance(frame, InputError) else tracker.update(frame, seconds)
            yield seconds, frame, faces
            now = time.perf_counter()
            fps += (1 / (now - before) - fps) * (0.1 if fps else 1)  # a running mean of the last ten or so
            before = now
            bar.update(task, advance=1, fps=fps, faces=len(faces))
            if index == limit or stop.is_set():
                break


@contextmanager
def _asked_to_stop() -> Iterator[Event]:
    """Turn the first Ctrl-C or SIGTERM into an event, so that no frame is left half written; a second one kills."""
    asked = Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore(*_: object) -> None:
        asked.set()
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, restore)
    try:
        yield asked
    finally:
        restore()
