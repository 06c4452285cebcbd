"""A study: one table of networks from a grid of recipes. What two rows have in common is trained once.

    STUDY/networks/<id>/           a network (`facekd.study.context`)
    STUDY/runs/<row>-<seed>.json   one record per row and seed: recipe, network, figures, curve
    STUDY/study.md  *.svg          tables and plots (`facekd.study.table`) of what is done, from the records alone
    STUDY/cache/                   decoded frames, teachers' predictions; may be deleted when no study is running

Rows share teachers, a study goes on where it stopped, and rows can be added or changed later. Each network is trained
under a lock: any number of processes may work on one folder, which is all that `jobs` does.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from facekd import workers
from facekd.cores import usable_cores
from facekd.data.pack import Pack
from facekd.documents import read_text
from facekd.errors import FacekdError, InputError, TrainingError
from facekd.files import claim, write_text
from facekd.pipeline.stages import evaluate_stage, train_stage
from facekd.pipeline.start import check_network
from facekd.recipes.resolve import Stage, TrainStage, closure
from facekd.recipes.schema import Recipe
from facekd.run_folder import BOX_TRANSFORM, LOG, PACK, is_begun, read_summary
from facekd.study import table
from facekd.study.config import Entry, Study, entries, slug
from facekd.study.context import NETWORKS, StudyContext
from facekd.training import logger
from facekd.training.memory import reuse_memory
from facekd.training.threads import set_threads
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
        study: as `facekd.study.config.load` returns it.
        pack: the faces, with a test split.
        folder: where to; one pack per folder.
        changes: of the recipe in every row.
        unlabelled: more faces for stages that learn from such, as in `facekd.pipeline.distill.distill`.
        jobs: how many networks are trained side by side, each on its share of the processor's cores. Small networks
            use two cores better as two trainings than as one.
        accelerator: "auto", "cpu" or "cuda".

    Returns:
        The records, in the study's order; those of rows that failed have "error" in place of the figures.

    Raises:
        RecipeError: a row's recipe cannot be.
        InputError: the folder was begun with another pack, or the pack has nothing to train or to test on.
        TrainingError: a process that trained died, for want of memory perhaps.
    """
    folder, pack, unlabelled = Path(folder), pack.readable(), unlabelled.readable() if unlabelled else None
    wanted = entries(study, changes)
    for split in ("train", "test"):
        if not (pack.splits == split).any():
            raise InputError(f"{pack.path} has no faces in its {split} split, which a study needs")
    _check_same_pack(folder, pack)
    context = StudyContext(folder, pack, unlabelled, accelerator)
    context.forget_errors()
    show = partial(_write, study, wanted, context)
    if jobs == 1:
        _work(wanted, context, show)
    else:
        _work_together(wanted, context, jobs, show)
    return show()


def _check_same_pack(folder: Path, pack: Pack) -> None:
    """Write down which pack a study is made of, or check that it is the one that its networks learnt from."""
    stamp, text = folder / PACK, json.dumps({"sha256": pack.meta["sha256"]})
    with claim(stamp, wait=True):  # of two processes that begin at once, one is the first
        if stamp.is_file() and read_text(stamp, "file") != text:
            if any(is_begun(path) for path in (folder / NETWORKS).glob("*")):
                raise InputError(
                    f"{folder} was begun with another pack than {pack.path}; give that one or another --out"
                )
            (folder / BOX_TRANSFORM).unlink(missing_ok=True)  # it is of the other faces
        write_text(stamp, text)


def _work(wanted: list[Entry], context: StudyContext, show: Callable[[], object]) -> None:
    """Train and measure what is left and what no other process is at, until nothing is left; show each success."""
    while True:
        waiting = False
        for recipe, stage in _networks(wanted, context):
            if context.finished(stage, recipe.evaluation):
                continue
            if not all(context.finished(other, recipe.evaluation) for other in stage.needs):
                waiting = True
                continue
            context.stage_dir(stage).mkdir(parents=True, exist_ok=True)
            failed = [context.stage_dir(other).name for other in stage.needs if context.error(other).is_file()]
            if failed:
                _fail(context.error(stage), f"what it needs has failed: {', '.join(failed)}")
                continue
            try:
                with FileLock(context.stage_dir(stage) / "lock", timeout=0):
                    if not context.finished(stage, recipe.evaluation):
                        _train(context, recipe, stage)
                        show()
                        break  # from the top: what was waiting for this comes first
            except Timeout:
                waiting = True
        else:
            if not waiting:
                return
            time.sleep(_WAIT)


def _networks(wanted: list[Entry], context: StudyContext) -> list[tuple[Recipe, Stage]]:
    """Return each network once for each way it is measured, after those it needs, with its recipe."""
    found: dict[Path, tuple[Recipe, Stage]] = {}
    for entry in wanted:
        for stage in closure(entry.stage):
            found.setdefault(context.figures(stage, entry.recipe.evaluation), (entry.recipe, stage))
    return list(found.values())


def _fail(path: Path, why: str) -> None:
    write_text(path, f"{why}\n")


def _train(study: StudyContext, recipe: Recipe, stage: Stage) -> None:
    """Train and measure one network; a failure is written down and does not stop the others."""
    context = study.context(recipe)
    try:
        if isinstance(stage, TrainStage):
            check_network(stage, study.pack.markup.count)
        train_stage(context, stage)
        results = evaluate_stage(context, stage, recipe.evaluation)
    except FacekdError as error:
        return _fail(study.error(stage), str(error))
    np.save(study.stage_dir(stage) / "predicted.npy", results[0].predicted.astype(np.float32))
    figures = [
        result.to_json() | {"errors": [round(float(e), 6) if np.isfinite(e) else None for e in result.errors]}
        for result in results
    ]
    write_text(study.figures(stage, recipe.evaluation), json.dumps(figures))


def _work_together(wanted: list[Entry], context: StudyContext, jobs: int, show: Callable[[], object]) -> None:
    """Let several processes work on the folder, and show how far they are."""
    networks = [(stage, recipe.evaluation) for recipe, stage in _networks(wanted, context)]
    logs = [context.folder / f"worker-{k}.log" for k in range(1, jobs + 1)]
    packs = (context.pack.path, context.unlabelled.path if context.unlabelled else None)
    started = [workers.start(_worker, wanted, context.folder, packs, context.accelerator, jobs, log) for log in logs]
    columns = (TextColumn("networks"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as bar:
        shown, task = -1, bar.add_task("", total=len(networks))
        while any(worker.is_alive() for worker in started):
            done = sum(itertools.starmap(context.finished, networks))
            if done != shown:
                bar.update(task, completed=done)
                show()
                shown = done
            time.sleep(_WAIT)
        bar.update(task, completed=sum(itertools.starmap(context.finished, networks)))
    for worker in started:
        worker.join()
    if not all(itertools.starmap(context.finished, networks)):
        last = [line for log in logs for line in _last_line(log)]
        raise TrainingError(
            f"a worker of the study stopped ({'; '.join(last)}); {context.folder}/worker-*.log say more"
        )


def _worker(
    wanted: list[Entry], folder: Path, packs: tuple[Path, Path | None], accelerator: str, jobs: int, log: Path
) -> None:
    """Work with this process's share of the cores, and write what it says to a file."""
    reuse_memory()
    set_threads(max(1, usable_cores() // jobs))
    with (
        log.open("a", buffering=1, encoding="utf-8") as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        pack, unlabelled = (Pack.open(path).readable() if path else None for path in packs)
        assert pack
        _work(wanted, StudyContext(folder, pack, unlabelled, accelerator), lambda: None)


def _last_line(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()[-1:] if path.is_file() else []


def _write(study: Study, wanted: list[Entry], context: StudyContext) -> list[dict[str, Any]]:
    """Write the records of what is done, the table and the plots; return the records, in the study's order."""
    done = [entry for entry in wanted if context.finished(entry.stage, entry.recipe.evaluation)]
    records = [_record(entry, context) for entry in done]
    _check_alike(records, context)
    rows = study.names
    records.sort(key=lambda record: (rows.index(record["row"]), record["seed"]))
    for record in records:
        name = f"{slug(record['row'])}-{record['seed']}.json"
        write_text(context.folder / "runs" / name, json.dumps(record, indent=1))
    table.write(context.folder, records, len(wanted), title=study.title or study.name, reference=study.reference)
    return records


def _check_alike(records: list[dict[str, Any]], context: StudyContext) -> None:
    """Refuse figures on other faces than those of the first network: a table has one kind of columns."""
    measured = [record for record in records if "error" not in record]
    kinds = [
        (record["results"][0]["normaliser"], {k: v["count"] for k, v in record["results"][0]["subsets"].items()})
        for record in measured
    ]
    for record, kind in zip(measured, kinds, strict=True):
        if kind != kinds[0]:
            raise InputError(
                f"the figures in {context.folder / NETWORKS / record['id']} are on other faces than those in "
                f"{measured[0]['id']}; delete both, and the same command measures again"
            )


def _record(entry: Entry, context: StudyContext) -> dict[str, Any]:
    """Return what a row's JSON file holds."""
    folder, error = context.stage_dir(entry.stage), context.read_error(entry.stage)
    record = {
        "row": entry.row,
        "table": entry.table,
        "seed": entry.seed,
        "stage": entry.stage.name,
        "id": folder.name,
        "facekd": __version__,
        "recipe": entry.recipe.published(),
    }
    if error is not None:
        return record | {"error": error}
    return record | {
        "machine": f"{os.cpu_count()} cores",
        "summary": read_summary(folder),
        "curve": logger.curve(folder / LOG),
        "results": context.read_figures(entry.stage, entry.recipe.evaluation),
    }
