"""Prepare: annotated photos in, one pack out. Streaming, on all cores; a bad photo is named and left out."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import cv2

from facekd.cores import usable_cores
from facekd.data.crop import MARGIN, SAMPLE, Cropped, Cropper, fitting_margin, fitting_size, needed_margin
from facekd.data.dataset import NO_LABEL, Item, Problem
from facekd.data.pack import PackWriter
from facekd.errors import InputError
from facekd.files import write_text
from facekd.markup import MarkUp

Result = TypeVar("Result")
_WHOLE = ("ibug68", "wflw98", "cofw29")  # mark-ups whose points are spread over the whole face
_AHEAD = 8  # faces under way per process: enough to keep it busy, few enough that memory stays flat


@dataclass
class Summary:
    """What `prepare` did.

    Attributes:
        faces: how many are in the pack.
        faces_outside: how many of them have a point outside their photo, and are kept.
        points: how many points they have in all, missing ones among them.
        missing: how many of those are missing.
        occluded: how many of those are there and occluded; None if no face says.
        splits: how many faces each split has.
        problems: what was left out, and why.
        margin: side of the crops / larger side of the boxes that they are cut by.
    """

    faces: int = 0
    faces_outside: int = 0
    points: int = 0
    missing: int = 0
    occluded: int | None = None
    splits: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    margin: float = 0.0

    def count(self, cropped: Cropped) -> None:
        """Count what is said of a face's points.

        Args:
            cropped: the face.
        """
        self.faces += 1
        self.splits[cropped.face.split] += 1
        self.faces_outside += cropped.outside > 0
        self.points += len(cropped.face.points)
        self.missing += cropped.missing
        if cropped.occluded is not None:
            self.occluded = (self.occluded or 0) + cropped.occluded


def prepare(
    annotations: Iterable[Item],
    out: str | Path,
    markup: MarkUp,
    *,
    dataset: str,
    terms: str,
    margin: float | None = None,
    size: int | None = None,
    jpeg_quality: int = 92,
    jobs: int | None = None,
    strict: bool = False,
    advance: Callable[[], object] = lambda: None,
) -> Summary:
    """Crop every annotated face and write them, in order, into the pack `out`.

    Memory does not grow with the number of faces. The pack appears when it is complete. What was left out is listed in
    `<out>.problems.txt`, if anything was.

    Args:
        annotations: what a dataset's reader yields.
        out: the Parquet file to write.
        markup: what the points are.
        dataset: name kept in the pack.
        terms: the data's terms, kept in the pack and in the cards of models trained on it.
        margin: side of a crop / larger side of its box, at least 1; None: 2, or as much as holds the face.
        size: largest side of a crop in pixels; None: 448, and more with a larger margin.
        jpeg_quality: 1 to 100.
        jobs: processes; None for one per core.
        strict: raise at the first problem; a photo without a label is none.
        advance: called once per item, for a progress bar.

    Returns:
        How many faces there are, and what was left out.

    Raises:
        InputError: a setting out of range, no face left, or, if `strict`, the first problem.
    """
    jobs = usable_cores() if jobs is None else jobs
    _check(out, margin, size, jpeg_quality, jobs)
    if margin is None:
        annotations, margin = _with_margin(annotations, markup, jobs)
    size, summary = size or fitting_size(margin), Summary(margin=margin)
    cropper = Cropper(markup, margin, size, jpeg_quality)
    writer = PackWriter(out, markup, dataset=dataset, margin=margin, size=size, jpeg_quality=jpeg_quality, terms=terms)
    with writer:
        for result in _in_order(cropper, annotations, jobs):
            advance()
            if isinstance(result, Problem):
                if strict and result.kind != NO_LABEL:
                    raise InputError(f"{result}; without --strict it is left out and the rest goes on")
                summary.problems.append(result)
            else:
                writer.add(result.face)
                summary.count(result)
        if not summary.faces:
            first = f", first {summary.problems[0]}" if summary.problems else ""
            raise InputError(f"{dataset} has no usable face: {len(summary.problems)} problems{first}")
    _list_problems(Path(f"{out}.problems.txt"), summary.problems)
    return summary


def _check(out: str | Path, margin: float | None, size: int | None, quality: int, jobs: int) -> None:
    """Raise InputError where a setting is out of range, or `out` is a folder."""
    for name, value, low, high in (
        ("margin", margin, 1, 10),
        ("size", size, 16, 4096),
        ("quality", quality, 1, 100),
        ("jobs", jobs, 1, 1024),
    ):
        if value is not None and not low <= value <= high:
            raise InputError(f"{name} must be from {low} to {high}, got {value}")
    if Path(out).is_dir():
        raise InputError(f"{out} is a folder; give the .parquet file to write")


def _with_margin(items: Iterable[Item], markup: MarkUp, jobs: int) -> tuple[Iterable[Item], float]:
    """Return the items, and the margin of crops that hold the faces of the first ones."""
    if markup.crop == "face" or markup.name in _WHOLE:
        return items, MARGIN
    items = iter(items)
    sample = list(islice(items, SAMPLE))
    return chain(sample, items), fitting_margin(list(_in_order(needed_margin, sample, jobs)))


def _list_problems(path: Path, problems: list[Problem]) -> None:
    """Write what was left out, one a line; without problems remove an earlier list."""
    if problems:
        write_text(path, "".join(f"{problem}\n" for problem in problems))
    else:
        path.unlink(missing_ok=True)


def _start_worker() -> None:
    """Set up a worker process: one thread, Ctrl-C is the parent's, and when the parent is killed it ends too."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def end_with_parent() -> None:
    """Let this process end when the one that started it does, however that ends."""
    threading.Thread(target=_await_parent, daemon=True).start()


def _await_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _in_order(work: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Iterator[Result]:
    """Yield what `work` returns of each item, in their order, from `jobs` processes."""
    if jobs == 1:
        yield from map(work, items)
        return
    # Spawned, not forked: a fork copies the locks of Arrow's threads in whatever state they are.
    context = multiprocessing.get_context("spawn")
    waiting: deque[Future[Result]] = deque()
    with ProcessPoolExecutor(jobs, context, initializer=_start_worker) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= _AHEAD * jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise InputError("a worker process died, probably for want of memory; try fewer --jobs") from error
        finally:
            pool.shutdown(cancel_futures=True)
