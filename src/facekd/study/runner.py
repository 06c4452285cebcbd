"""A study: one table of networks from a grid of recipes. What two rows have in common is trained once.

    STUDY/networks/<id>/       a network as `facekd.pipeline.run` leaves it; evaluation-*.json, predicted.npy
    STUDY/runs/<row>-<seed>.json   one record per row and seed: recipe, network, figures, curve
    STUDY/study.md  *.svg      tables and plots (`facekd.study.table`) of what is done, from the records alone
    STUDY/cache/               decoded frames, the teachers' views; may be deleted when no study is running

A network's id is a digest of all settings that decide what it becomes, so rows share teachers, a study goes on where it
stopped, and rows can be added or changed later. Each network is trained under a lock: any number of processes may work
on one folder, which is all that `jobs` does.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from facekd.data.pack import Pack
from facekd.data.prepare import end_with_parent
from facekd.errors import FacekdError, InputError, TrainingError
from facekd.files import write_text
from facekd.pipeline.run import Run
from facekd.recipes.schema import Recipe
from facekd.study import table as comparison
from facekd.study.config import Entry, Study, entries, slug
from facekd.training import distributed as parallel
from facekd.training import logger as journal
from facekd.version import __version__

_WAIT = 0.5  # seconds between two looks at what other processes do


def run(
    study: Study,
    pack: Pack,
    folder: str | Path,
    *,
    changes: dict[str, Any] | None = None,
    unlabelled: Pack | None = None,
    jobs: int = 1,
    accelerator: str = "auto",
) -> list[dict[str, Any]]:
    """Train and measure everything a study asks for, or what is left of it, and write its table and plots.

    Args:
        study: as `plan.load` returns it.
        pack: the faces, with a test split.
        folder: where to; one pack per folder.
        changes: of the recipe in every row.
        unlabelled: more faces for networks with an expert, as in `distill`.
        jobs: how many networks are trained side by side, each on its share of the processor's cores. Small networks
            use two cores better as two trainings than as one.
        accelerator: auto, cpu or cuda.
    Returns:
        the records, in the study's order; those of rows that failed have "error" in place of the figures.
    Raises:
        RecipeError: a row's recipe cannot be.
        InputError: the folder was begun with another pack, or the pack has nothing to train or to test on.
        TrainingError: a process that trained died, for want of memory perhaps.
    """
    folder = Path(folder)
    wanted = entries(study, changes)
    for split in ("train", "test"):
        if not (pack.splits == split).any():
            raise InputError(f"{pack.path} has no faces in its {split} split, which a study needs")
    _claim(folder, pack)
    for broken in (folder / "networks").glob("*/error.txt"):
        broken.unlink()
    site = Site(folder, pack, unlabelled, accelerator)
    show = partial(_write, study, wanted, site)
    if jobs == 1:
        _work(wanted, site, show)
    else:
        _work_together(wanted, site, jobs, show)
    return show()


@dataclass(frozen=True)
class Site:
    """Where a study is made, and of what."""

    folder: Path
    pack: Pack
    unlabelled: Pack | None = None
    accelerator: str = "auto"

    def identity(self, recipe: Recipe, network: str) -> str:
        """Return the id of a network: readable, and a digest of all that decides what it becomes."""
        made_of = {"pack": self.pack.meta["sha256"], **recipe.identity(network)}
        if self.unlabelled and recipe.stage(network).needs_no_labels:
            made_of["unlabelled"] = self.unlabelled.meta["sha256"]
        digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:10]
        stage = recipe.stage(network)
        return f"{stage.loss}-{stage.backbone}-{digest}"

    def home(self, recipe: Recipe, network: str) -> Path:
        """Return a network's folder."""
        return self.folder / "networks" / self.identity(recipe, network)

    def run(self, recipe: Recipe) -> Run:
        """Return what trains the networks of a recipe here."""
        fabric = parallel.fabric(recipe.precision, self.accelerator)
        return Run(recipe, self.pack, self.folder, fabric, partial(self.home, recipe), self.unlabelled)


def _claim(folder: Path, pack: Pack) -> None:
    stamp, text = folder / "pack.json", json.dumps({"sha256": pack.meta["sha256"]})
    if stamp.is_file() and stamp.read_text(encoding="utf-8") != text:
        raise InputError(f"{folder} was begun with another pack than {pack.path}; give that one or another --out")
    write_text(stamp, text)


def _work(wanted: list[Entry], site: Site, show: Callable[[], object]) -> None:
    """Train and measure what is left and what no other process is at, until nothing is left; show each success."""
    while True:
        waiting = False
        for recipe, network in _networks(wanted, site):
            home = site.home(recipe, network)
            before = [site.home(recipe, other) for other in recipe.needs(network)]
            if _finished(home, recipe):
                continue
            if not all(_finished(other, recipe) for other in before):
                waiting = True
                continue
            home.mkdir(parents=True, exist_ok=True)
            if any(map(_failed, before)):
                _fail(home, f"what it needs has failed: {', '.join(other.name for other in before if _failed(other))}")
                continue
            try:
                with FileLock(home / "lock", timeout=0):
                    if not _finished(home, recipe):
                        _train(site.run(recipe), network, home)
                        show()
                        break  # from the top: what was waiting for this comes first
            except Timeout:
                waiting = True
        else:
            if not waiting:
                return
            time.sleep(_WAIT)


def _networks(wanted: list[Entry], site: Site) -> list[tuple[Recipe, str]]:
    """Return each network once for each way it is measured, after those it needs: its recipe and its name."""
    found: dict[Path, tuple[Recipe, str]] = {}

    def visit(recipe: Recipe, network: str) -> None:
        own = _figures(site.home(recipe, network), recipe)
        if own in found:
            return
        for other in recipe.needs(network):
            visit(recipe, other)
        found[own] = recipe, network

    for entry in wanted:
        visit(entry.recipe, entry.network)
    return list(found.values())


def _figures(home: Path, recipe: Recipe) -> Path:
    """Return the file of a network's figures; it says how they were measured, which the network's id does not."""
    how = recipe.evaluation
    return home / f"evaluation-{'-'.join(how.boxes)}-{how.bootstrap}.json"


def _finished(home: Path, recipe: Recipe) -> bool:
    return _figures(home, recipe).is_file() or _failed(home)


def _failed(home: Path) -> bool:
    return (home / "error.txt").is_file()


def _fail(home: Path, why: str) -> None:
    write_text(home / "error.txt", f"{why}\n")


def _train(run: Run, network: str, home: Path) -> None:
    """Train and measure one network; a failure is written down and does not stop the others."""
    try:
        run.network(network)
        results = run.evaluate(network)
    except FacekdError as error:
        return _fail(home, str(error))
    np.save(home / "predicted.npy", results[0].predicted.astype(np.float32))
    figures = [
        result.to_json() | {"errors": [round(float(e), 6) if np.isfinite(e) else None for e in result.errors]}
        for result in results
    ]
    write_text(_figures(home, run.recipe), json.dumps(figures))


def _work_together(wanted: list[Entry], site: Site, jobs: int, show: Callable[[], object]) -> None:
    """Let several processes work on the folder, and show how far they are."""
    networks = [(site.home(recipe, name), recipe) for recipe, name in _networks(wanted, site)]
    logs = [site.folder / f"worker-{k}.log" for k in range(1, jobs + 1)]
    context = multiprocessing.get_context("spawn")
    packs = (site.pack.path, site.unlabelled.path if site.unlabelled else None)
    workers = [
        context.Process(target=_worker, args=(wanted, site.folder, packs, site.accelerator, jobs, log), daemon=True)
        for log in logs
    ]
    for worker in workers:
        worker.start()
    columns = (TextColumn("networks"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as bar:
        shown, task = -1, bar.add_task("", total=len(networks))
        while any(worker.is_alive() for worker in workers):
            done = sum(itertools.starmap(_finished, networks))
            if done != shown:
                bar.update(task, completed=done)
                show()
                shown = done
            time.sleep(_WAIT)
        bar.update(task, completed=sum(itertools.starmap(_finished, networks)))
    for worker in workers:
        worker.join()
    if not all(itertools.starmap(_finished, networks)):
        last = [line for log in logs for line in _last_line(log)]
        raise TrainingError(f"a worker of the study stopped ({'; '.join(last)}); {site.folder}/worker-*.log say more")


def _worker(
    wanted: list[Entry], folder: Path, packs: tuple[Path, Path | None], accelerator: str, jobs: int, log: Path
) -> None:
    """Work with this process's share of the cores, and write what it says to a file."""
    import cv2
    import torch

    end_with_parent()
    threads = max(1, (os.cpu_count() or jobs) // jobs)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    with (
        log.open("a", buffering=1, encoding="utf-8") as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        pack, unlabelled = Pack.open(packs[0]), Pack.open(packs[1]) if packs[1] else None
        _work(wanted, Site(folder, pack, unlabelled, accelerator), lambda: None)


def _last_line(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()[-1:] if path.is_file() else []


def _write(study: Study, wanted: list[Entry], site: Site) -> list[dict[str, Any]]:
    """Write the records of what is done, the table and the plots; return the records, in the study's order."""
    records = [
        _record(entry, site) for entry in wanted if _finished(site.home(entry.recipe, entry.network), entry.recipe)
    ]
    rows = study.names
    records.sort(key=lambda record: (rows.index(record["row"]), record["seed"]))
    for record in records:
        write_text(site.folder / "runs" / f"{slug(record['row'])}-{record['seed']}.json", json.dumps(record, indent=1))
    comparison.write(site.folder, records, len(wanted), title=study.title or study.name, reference=study.reference)
    return records


def _record(entry: Entry, site: Site) -> dict[str, Any]:
    """Return what a row's JSON file holds."""
    home = site.home(entry.recipe, entry.network)
    record = {
        "row": entry.row,
        "table": entry.table,
        "seed": entry.seed,
        "network": entry.network,
        "id": home.name,
        "facekd": __version__,
        "recipe": entry.recipe.published(),
    }
    if _failed(home):
        return record | {"error": (home / "error.txt").read_text(encoding="utf-8").strip()}
    return record | {
        "machine": f"{os.cpu_count()} cores",
        "summary": json.loads((home / "summary.json").read_text(encoding="utf-8")),
        "curve": journal.curve(home / "log.jsonl"),
        "results": json.loads(_figures(home, entry.recipe).read_text(encoding="utf-8")),
    }
