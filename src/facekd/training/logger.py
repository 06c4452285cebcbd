"""Logs of a training run: a progress bar, log.jsonl and TensorBoard files."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from facekd.documents import Fields, parse_json, read_text
from facekd.errors import InputError
from facekd.files import write_text
from facekd.run_folder import LOG, TENSORBOARD


class TrainingLogger:
    """Logs one stage, a record per epoch. A resumed run drops the records behind the step it starts from.

    Args:
        folder: where log.jsonl and the tensorboard folder are written.
        title: the stage's name.
        steps: how many steps the stage has.
        start: how many of them are done.
        quiet: show and write nothing, as in every process but the first.

    Attributes:
        records: one per epoch, as in log.jsonl.
    """

    def __init__(self, folder: Path, title: str, steps: int, start: int, quiet: bool) -> None:
        self.quiet, self.path = quiet, folder / LOG
        self.records = [r for r in read(self.path) if r["step"] <= start]
        self._title, self._console = title, Console()
        self._began, self._since, self._images = time.perf_counter(), time.perf_counter(), 0
        self._spent = self.records[-1]["seconds"] if self.records else 0.0
        if quiet:
            return
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        write_text(self.path, "".join(json.dumps(record) + "\n" for record in self.records))
        self._board = SummaryWriter(str(folder / TENSORBOARD), purge_step=start)
        self._progress = Progress(
            TextColumn(f"[bold]{title:>9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.0f} img/s"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task(title, total=steps, completed=start, rate=0.0)

    def __enter__(self) -> TrainingLogger:
        if not self.quiet:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.quiet:
            self._progress.stop()
            self._board.close()

    @property
    def seconds(self) -> float:
        """Return the seconds spent on the stage, those before a break included."""
        return self._spent + time.perf_counter() - self._began

    def step(self, images: int) -> None:
        """Count a step.

        Args:
            images: how many it took.
        """
        self._images += images
        if not self.quiet:
            self._progress.update(self._task, advance=1, rate=self._rate())

    def epoch(self, **values: Any) -> None:
        """Write an epoch's record.

        Args:
            values: step, epoch, and by name the losses, the learning rate and the validation error.
        """
        record = values | {"images_per_second": round(self._rate(), 1), "seconds": round(self.seconds, 1)}
        self._since, self._images = time.perf_counter(), 0
        if self.quiet:
            return
        self.records.append(record)
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        for key, value in record.items():
            if key not in ("step", "epoch"):
                self._board.add_scalar(key, value, record["step"])
        if not self._console.is_terminal:  # without a terminal there is no bar: one line per epoch instead
            shown = " ".join(f"{k} {v:.4g}" for k, v in record.items() if k not in ("step", "epoch"))
            print(f"{self._title} epoch {record['epoch']}: {shown}", flush=True)

    def _rate(self) -> float:
        return self._images / max(1e-9, time.perf_counter() - self._since)


def read(path: Path) -> list[dict[str, Any]]:
    """Read the records of a log.jsonl.

    Args:
        path: the file.

    Returns:
        One record per epoch, without a last line that was cut off; empty if there is no file.
    """
    if not path.is_file():
        return []
    records = []
    for line in read_text(path, "log").splitlines():
        try:
            fields = Fields(parse_json(line, str(path)), str(path))
            fields.number("epoch", 0)
            step = fields.integer("step", 0, 10**12, 0)
            seconds = fields.number("seconds", 0, default=0.0)
            fields.number("val_nme", default=None)
        except InputError:  # half a line, left by a killed run
            break
        records.append(dict(fields.values) | {"step": step, "seconds": seconds})
    return records


def curve(path: Path) -> dict[str, list[float]]:
    """Read the validation error by epoch from a log.jsonl.

    Args:
        path: the file.

    Returns:
        Two columns by name, epoch and NME in percent; empty ones without validation faces.
    """
    records = [record for record in read(path) if "val_nme" in record]
    return {"epoch": [r["epoch"] for r in records], "validation NME, %": [r["val_nme"] for r in records]}
