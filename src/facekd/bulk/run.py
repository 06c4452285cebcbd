"""A bulk run: parts of a source, workers of Ray, and what makes a killed run go on.

    OUT/part-000000.parquet ...   a row per face, and one for a photo without any (`facekd.bulk.actor.SCHEMA`)
    OUT/_facekd.json              the settings that the results depend on
    OUT/_parts.jsonl              which photos each part has; it is written before the first part

A part is written whole or not at all, under a name that its number gives: what is there is done, a part that is
processed twice is written twice to the same place.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from facekd.api import load_model, resolve_model
from facekd.bulk.actor import PartWriter, WorkerSettings, decode_part, encode_part
from facekd.bulk.sources import find_parts, open_location
from facekd.documents import parse_json
from facekd.errors import InputError
from facekd.files import claim_folder, scratch_folder, write_text
from facekd.markup import convertible, get
from facekd.runtime.card import sha256
from facekd.runtime.landmarker import Landmarker
from facekd.workers import guard

_SETTINGS, _PARTS = "_facekd.json", "_parts.jsonl"
_OBJECTS = 128 * 2**20  # bytes of Ray's object store: only names and counts travel
_PART_NAME = re.compile(r"part-(\d{6,9})\.parquet")
PART = 64  # photos: a killed worker loses no more than the work on one part


@dataclass(frozen=True)
class Done:
    """What a part had.

    Attributes:
        photos: how many photos.
        faces: how many faces were found.
        failed: how many photos could not be used.
        parts: how many parts there are in all, those of earlier runs left out.
    """

    photos: int
    faces: int
    failed: int
    parts: int


class BulkRun:
    """The landmarks of many photos, found by workers of Ray and written as Parquet files.

    Making one finds the photos and what an earlier run did. Until it is closed (`with`), no other process writes the
    results, if they lie in a folder; in a store that a URL names, nothing holds others back.

    Args:
        settings: what workers need to know.
        workers: networks that run at the same time, each on one CPU thread; None: as many as there are cores.
        gpus: GPUs that the workers share.
        address: of a Ray cluster, such as "auto"; None: Ray starts on this machine, for the time of the run.
        column: of Parquet files, which one holds the photos; "": found by its name.
        part: most photos of a part.

    Attributes:
        parts: by number, those that are to be done.
        known: how many an earlier run did.

    Raises:
        InputError: there are no photos, the folder holds results of other settings, or another process is writing it.
        ModelError: there is no such network, or it takes given boxes alone.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        workers: int | None = None,
        gpus: float = 0.0,
        address: str | None = None,
        column: str = "",
        part: int = PART,
    ) -> None:
        self.settings, self.gpus, self.address = settings, gpus, address
        self.workers = workers or os.cpu_count() or 1
        self._system, self._folder = open_location(settings.out)
        self._claim = ExitStack()
        if isinstance(self._system, pafs.LocalFileSystem):
            self._claim.enter_context(claim_folder(self._folder))
        try:
            self._find(part, column)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> BulkRun:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other processes write the results."""
        self._claim.close()

    def _find(self, part: int, column: str) -> None:
        """Find the photos, and which parts are to be done."""
        settings = self.settings
        self._check_settings()
        lines = (self._text(_PARTS) or "").splitlines()
        listed = [decode_part(line, f"{settings.out}/{_PARTS}, line {n}") for n, line in enumerate(lines, 1)]
        new = list(find_parts(settings.source, part, column, listed))
        if new:
            listed += new
            self._write(_PARTS, "".join(f"{encode_part(each)}\n" for each in listed))
        done = self._written()
        self.parts = {number: each for number, each in enumerate(listed) if number not in done}
        self.known = len(listed) - len(self.parts)

    def run(self) -> Iterator[Done]:
        """Process the parts that are not there yet.

        Yields:
            What each part had, once its file is written.
        """
        with ExitStack() as stack:
            # Before it is known whether there is anything to do: it removes what killed runs left.
            folder = None if self.address else stack.enter_context(scratch_folder("ray"))
            if not self.parts:
                return
            if folder:
                stack.enter_context(guard())  # when this process is killed, Ray's agents wait for others for minutes
            data = stack.enter_context(_ray(self.address, folder, self.workers, self.gpus))
            rows = [{"number": number, "part": encode_part(part)} for number, part in self.parts.items()]
            workers = min(self.workers, len(rows))
            found = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                PartWriter,
                fn_constructor_args=(self.settings,),
                batch_size=1,
                batch_format="numpy",
                compute=data.ActorPoolStrategy(size=workers),
                num_cpus=1,
                num_gpus=self.gpus / workers or None,
            )
            for row in found.iter_rows():
                yield Done(int(row["photos"]), int(row["faces"]), int(row["failed"]), len(rows))

    def _check_settings(self) -> None:
        """Refuse a folder with results of other settings, and a mark-up that the network cannot give."""
        settings = self.settings
        weights = resolve_model(settings.model)
        landmarker = Landmarker(load_model(settings.model, threads=1))
        own, _ = landmarker.model.markup, landmarker.box_transform  # without the second there is nothing to be found
        target = get(settings.markup) if settings.markup else own
        if not convertible(own, target):
            raise InputError(f"points of '{own.name}' cannot become those of '{target.name}'; leave the mark-up out")
        values = {
            "source": settings.source,
            "network": sha256(weights),
            "markup": target.name,
            "min_score": settings.min_score,
            "max_faces": settings.max_faces,
        }
        before = self._text(_SETTINGS)
        where = f"{settings.out}/{_SETTINGS}"
        if before is not None and parse_json(before, where, advice="choose another folder") != values:
            raise InputError(
                f"{settings.out} holds results of {before.strip()}, not of {values}; choose another folder"
            )
        if before is None:
            if self._written():
                raise InputError(f"{settings.out} holds Parquet files of something else; choose another folder")
            self._write(_SETTINGS, json.dumps(values) + "\n")

    def _written(self) -> set[int]:
        """Return the numbers of the parts that are there; what a killed worker left half written is removed."""
        found = self._system.get_file_info(pafs.FileSelector(self._folder, allow_not_found=True))
        names = [info.base_name for info in found]
        for name in names:
            if name.startswith(".part-"):
                self._system.delete_file(f"{self._folder}/{name}")
        return {int(found[1]) for name in names if (found := _PART_NAME.fullmatch(name))}

    def _text(self, name: str) -> str | None:
        """Return what a file of the folder holds, or None if it is not there."""
        path = f"{self._folder}/{name}"
        if self._system.get_file_info(path).type == pafs.FileType.NotFound:
            return None
        with self._system.open_input_stream(path) as file:
            content: bytes = file.read()
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is no UTF-8 text, so it is damaged; choose another folder") from error

    def _write(self, name: str, text: str) -> None:
        """Write a file of the folder, whole or not at all."""
        path = f"{self._folder}/{name}"
        self._system.create_dir(self._folder, recursive=True)
        if isinstance(self._system, pafs.LocalFileSystem):
            write_text(path, text)
            return
        with self._system.open_output_stream(path) as file:
            file.write(text.encode())


@contextmanager
def _ray(address: str | None, folder: Path | None, workers: int, gpus: float) -> Iterator[Any]:
    """Join Ray, or start it in a folder, quietly and without a trace in the user's home; gives `ray.data`."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # else a token is written to ~/.ray
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import ray
    import ray.data

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": None}
    if address:
        ray.init(address=address, **{key: value for key, value in quiet.items() if value is not None})
    else:
        quiet |= {"include_dashboard": False, "num_cpus": workers, "num_gpus": gpus, "_temp_dir": str(folder)}
        ray.init(address="local", object_store_memory=_OBJECTS, **quiet)
    ray.data.DataContext.get_current().enable_progress_bars = False
    for name in ("ray", "ray.data"):  # what they say belongs into Ray's own logs
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = False
    try:
        yield ray.data
    finally:
        ray.shutdown()


def process(run: BulkRun, told: Callable[[Done], None] = lambda done: None) -> tuple[int, int, int]:
    """Process the parts of a run that are not there yet.

    Args:
        run: which.
        told: is called after each part.

    Returns:
        How many photos, faces and failures these had.
    """
    photos = faces = failed = 0
    for done in run.run():
        photos, faces, failed = photos + done.photos, faces + done.faces, failed + done.failed
        told(done)
    return photos, faces, failed
