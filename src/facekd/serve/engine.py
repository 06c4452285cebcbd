"""One photo in, the JSON of its faces out: the networks that a server holds, and the threads that run them."""

from __future__ import annotations

import base64
import copy
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cv2

from facekd.api import list_models, load_model, resolve_model
from facekd.drawing import draw
from facekd.errors import InputError, nearest
from facekd.images import read_image
from facekd.markup import MARKUPS, MarkUp, convertible
from facekd.runtime.detector import YuNet
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.names import DEFAULT
from facekd.serve.problems import RequestError
from facekd.serve.settings import ServeSettings

_QUALITY = 92  # of drawings, as `facekd detect --draw` writes them
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Wanted:
    """What a request asks for.

    Attributes:
        model: name of the network; None: the default one.
        markup: what the points are converted to; None: the network's own.
        min_score: lowest detector score that counts as a face, in [0, 1].
        max_faces: most faces, the largest; None: all.
        draw: add the photo with the faces drawn in.
    """

    model: str | None = None
    markup: str | None = None
    min_score: float = 0.6
    max_faces: int | None = None
    draw: bool = False


class Engine:
    """The networks of a server. Calls from several threads are safe; each runs on one thread.

    Args:
        settings: which networks, and the largest photo.

    Raises:
        ModelError: a network cannot be loaded, or takes given boxes alone.
        InputError: two networks have the same name.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self.max_pixels = settings.max_pixels
        detector = YuNet(threads=1)
        self.landmarkers: dict[str, Landmarker] = {}
        for given in settings.models or _bundled():
            name = _name(given)
            if name in self.landmarkers:
                raise InputError(f"two models are called '{name}'; rename one of the files")
            model = load_model(given, threads=1, providers=settings.providers)
            self.landmarkers[name] = Landmarker(model, detector)
            _ = self.landmarkers[name].box_transform  # a network for given boxes alone is refused now, not in answers

    @property
    def default(self) -> str:
        """Name of the network that runs where a request names none."""
        return next(iter(self.landmarkers))

    def markups(self, model: str) -> dict[str, MarkUp]:
        """List the mark-ups that a network's points can be given in.

        Args:
            model: name of the network.

        Returns:
            Name -> mark-up, the network's own first.
        """
        own = self.landmarkers[model].model.markup
        return {own.name: own} | {name: other for name, other in MARKUPS.items() if convertible(own, other)}

    def check(self, wanted: Wanted) -> tuple[str, MarkUp]:
        """Find what a request names, before its photo is received.

        Args:
            wanted: the request.

        Returns:
            The network's name and the mark-up of the answer.

        Raises:
            InputError: there is no such network, or its points have no such mark-up.
        """
        model = self.default if wanted.model is None else wanted.model
        if model not in self.landmarkers:
            raise InputError(f"no model '{model}' here; {nearest(model, self.landmarkers)}")
        markups = self.markups(model)
        markup = next(iter(markups)) if wanted.markup is None else wanted.markup
        if markup not in markups:
            raise InputError(f"model '{model}' gives no mark-up '{markup}'; {nearest(markup, markups)}")
        return model, markups[markup]

    def faces(self, content: bytes, wanted: Wanted) -> dict[str, Any]:
        """Find the faces of a photo.

        Args:
            content: of the file.
            wanted: the request.

        Returns:
            Plain values for JSON: width, height, model, markup, milliseconds, faces (`Face.to_dict` each), and if it
            was asked for drawing, a JPEG file in base64.

        Raises:
            InputError: the photo cannot be used, or the request names what is not there.
        """
        start = time.perf_counter()
        model, markup = self.check(wanted)
        landmarker = self.landmarkers[model]
        image = read_image(content, max_pixels=self.max_pixels)
        if wanted.min_score != landmarker.detector.threshold:  # type: ignore[attr-defined]
            detector = copy.copy(landmarker.detector)  # shares the network
            detector.threshold = wanted.min_score  # type: ignore[attr-defined]
            landmarker = Landmarker(landmarker.model, detector)
        faces = [face.convert(markup) for face in landmarker.detect(image, max_faces=wanted.max_faces)]
        drawing = {}
        if wanted.draw:
            picture = cv2.cvtColor(draw(image, faces), cv2.COLOR_RGB2BGR)
            _, file = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
            drawing = {"drawing": base64.b64encode(file.tobytes()).decode()}
        return {
            "width": image.shape[1],
            "height": image.shape[0],
            "model": model,
            "markup": markup.name,
            "milliseconds": round((time.perf_counter() - start) * 1e3, 1),
            "faces": [face.to_dict() for face in faces],
            **drawing,
        }


def _bundled() -> list[str]:
    """Return the names of the bundled networks, the package's default one first."""
    return sorted((model.name for model in list_models()), key=lambda name: name != DEFAULT)


def _name(model: str) -> str:
    """Return what clients call a network: a bundled name, or that of the file or folder."""
    path = resolve_model(model)
    given = Path(model)
    return (given if given.is_dir() else path).stem


class Pool:
    """Threads that run jobs, and a bounded queue before them.

    Args:
        threads: jobs that run at the same time.
        queue: jobs that may wait.
    """

    def __init__(self, threads: int, queue: int) -> None:
        self.threads, self.queue = threads, queue
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="facekd")
        self._lock = threading.Lock()
        self._jobs = 0

    @property
    def waiting(self) -> int:
        """How many jobs wait for a thread."""
        return max(0, self._jobs - self.threads)

    @property
    def running(self) -> int:
        """How many jobs run."""
        return min(self._jobs, self.threads)

    @property
    def full(self) -> bool:
        """Whether one more job would be refused."""
        return self._jobs >= self.threads + self.queue

    def submit(self, jobs: Sequence[Callable[[], _Result]]) -> list[Future[_Result]]:
        """Queue jobs, all or none of them.

        Args:
            jobs: to be called.

        Returns:
            The results to come, in the same order; one that is cancelled before it runs gives its place back.

        Raises:
            RequestError: they do not all fit (503).
        """
        with self._lock:
            if self._jobs + len(jobs) > self.threads + self.queue:
                raise busy()
            self._jobs += len(jobs)
        futures = [self._executor.submit(job) for job in jobs]
        for future in futures:
            future.add_done_callback(self._done)
        return futures

    def close(self) -> None:
        """Wait for the jobs that run, and end the threads."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _done(self, _future: Future[Any]) -> None:
        with self._lock:
            self._jobs -= 1


def busy() -> RequestError:
    """Write the answer to a request that finds the queue full.

    Returns:
        The error (503).
    """
    return RequestError(503, "the server is busy: its queue is full; try again in a moment")


def timed(job: Callable[[], _Result], observe: Callable[[float, float], None]) -> Callable[[], _Result]:
    """Tell how long a job waited and ran.

    Args:
        job: to be called.
        observe: takes the seconds it waited, from now on, and the seconds it ran.

    Returns:
        A job with the same result.
    """
    return partial(_timed, job, observe, time.perf_counter())


def _timed(job: Callable[[], _Result], observe: Callable[[float, float], None], queued: float) -> _Result:
    start = time.perf_counter()
    try:
        return job()
    finally:
        observe(start - queued, time.perf_counter() - start)
