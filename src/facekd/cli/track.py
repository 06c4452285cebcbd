"""`facekd track`."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import typer

from facekd.errors import InputError, nearest

if TYPE_CHECKING:
    import numpy as np

    from facekd.runtime.tracking import TrackedFace, Tracker
    from facekd.runtime.video import Video

FORMATS = ("jsonl", "csv")


def track(
    source: str = typer.Argument(metavar="VIDEO|CAMERA", help="A file, a stream's address, or a camera's number."),
    model: str = typer.Option("", "--model", "-m", help="A bundled name, a file or a run; default facekd-68."),
    out: Path = typer.Option(Path("facekd-track"), "--out", "-o", help="Folder for the results."),
    format: str = typer.Option("jsonl", help="jsonl: a line per frame; csv: a row per face and frame."),
    video: bool = typer.Option(True, help="Also write the video with the faces drawn in."),
    every: int = typer.Option(10, min=1, help="Frames from one detection to the next."),
    smooth: bool = typer.Option(True, help="One-Euro filter on the points."),
    frames: int | None = typer.Option(None, min=1, help="Stop after so many frames."),
    min_score: float = typer.Option(0.6, min=0.0, max=1.0, help="Lowest detector score that counts as a face."),
    threads: int | None = typer.Option(None, min=1, help="CPU threads of the networks; default: all cores."),
    provider: list[str] = typer.Option(["cpu"], help="Where the network runs: cpu, cuda, coreml, ...; repeatable."),
    engine: str = typer.Option("auto", help="What runs it: onnx, litert (.tflite files), or auto."),
) -> None:
    """Follow the faces of a video or camera. Ctrl-C ends it like the end of the video: the files are whole."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what a decoder finds wrong is said once, by us
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    from facekd.api import load_model
    from facekd.runtime.detector import YuNet
    from facekd.runtime.landmarker import Landmarker
    from facekd.runtime.smoothing import Smoothing
    from facekd.runtime.tracking import Tracker
    from facekd.runtime.video import Video

    if format not in FORMATS:
        raise InputError(f"--format {format}: {nearest(format, FORMATS)}")
    name = f"camera{source}" if source.isdigit() else Path(source).stem or "stream"
    table, film = out / f"{name}.{format}", out / f"{name}.landmarks.mp4" if video else None
    for path in filter(None, (table, film)):
        if path.exists():
            raise InputError(f"{path} is there already; move it away or choose another folder with --out")
    network = load_model(model, threads, provider, engine)
    landmarker = Landmarker(network, YuNet(min_score, size=640, threads=threads))
    tracker = Tracker(landmarker, every, smoothing=Smoothing() if smooth else None)
    opened, start = Video(source), time.perf_counter()
    count, ids = _write(opened, tracker, frames, table, film)
    fps = count / (time.perf_counter() - start)
    typer.echo(f"{count} frames, {len(ids)} faces, {fps:.1f} frames/s; results are in {out}")


def _write(video: Video, tracker: Tracker, limit: int | None, table: Path, film: Path | None) -> tuple[int, set[int]]:
    """Follow the faces and write what is found; returns the number of frames and the faces' numbers."""
    from facekd.drawing import draw
    from facekd.files import atomic
    from facekd.runtime.results import RecordWriter
    from facekd.runtime.video import VideoWriter

    count, ids, pictures = 0, set(), None
    with ExitStack() as stack:
        file = stack.enter_context(open(stack.enter_context(atomic(table)), "w", encoding="utf-8", newline="\n"))
        lines = RecordWriter(file, table.suffix[1:], tracker.landmarker.model.markup, "frame", "time", "id")
        if film:
            temporary = stack.enter_context(atomic(film))
            pictures = stack.enter_context(closing(VideoWriter(temporary, video.fps, video.size)))
        for seconds, frame, faces in _followed(video, tracker, limit):
            values = [{"id": each.id, **each.face.to_dict()} for each in faces]
            ids |= {each.id for each in faces}
            lines.write({"frame": count, "time": round(seconds, 4), "faces": values})
            if pictures:
                pictures.add(draw(frame, [each.face for each in faces], labels=[str(each.id) for each in faces]))
            count += 1
    return count, ids


def _followed(
    video: Video, tracker: Tracker, limit: int | None
) -> Iterator[tuple[float, np.ndarray, list[TrackedFace]]]:
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
            faces = tracker.update(frame, seconds)
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
