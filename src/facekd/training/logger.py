"""What a training run says while it runs: a progress bar, log.jsonl and TensorBoard files."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from facekd.files import write_text


class Journal:
    """Records of one stage, one per epoch; a resumed run goes on behind the last record it keeps.

    Args:
        folder: where log.jsonl and the tensorboard folder are.
        title: the stage's name.
        steps: how many steps the stage has, and `start` of them are done.
        quiet: say and write nothing (every process but the first).
    """

    def __init__(self, folder: Path, title: str, steps: int, start: int, quiet: bool) -> None:
        self.quiet, self.path = quiet, folder / "log.jsonl"
        self.records = [r for r in read(self.path) if r["step"] <= start]
        self._title, self._console = title, Console()
        self._began, self._since, self._images = time.perf_counter(), time.perf_counter(), 0
        self._spent = self.records[-1]["seconds"] if self.records else 0.0
        if quiet:
            return
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        write_text(self.path, "".join(json.dumps(record) + "\n" for record in self.records))
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=start)
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

    def __enter__(self) -> Journal:
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
        """Return the time spent on the stage, earlier runs of it counted in."""
        return self._spent + time.perf_counter() - self._began

    def step(self, images: int) -> None:
        """Count one step over so many images."""
        self._images += images
        if not self.quiet:
            self._progress.update(self._task, advance=1, rate=self._rate())

    def epoch(self, **values: Any) -> None:
        """Record an epoch: step, epoch, losses, rate and so on."""
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
        if not self._console.is_terminal:  # in a log file, one line per epoch says what the bar would
            shown = " ".join(f"{k} {v:.4g}" for k, v in record.items() if k not in ("step", "epoch"))
            print(f"{self._title} epoch {record['epoch']}: {shown}", flush=True)

    def _rate(self) -> float:
        return self._images / max(1e-9, time.perf_counter() - self._since)


def read(path: Path) -> list[dict[str, Any]]:
    """Return the records of a log.jsonl, without a last line that a kill cut off; empty if there is none."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def curve(path: Path) -> dict[str, list[float]]:
    """Return the validation error by epoch of a log.jsonl, as columns to draw; empty ones without validation faces."""
    records = [record for record in read(path) if "val_nme" in record]
    return {"epoch": [r["epoch"] for r in records], "validation NME, %": [r["val_nme"] for r in records]}
