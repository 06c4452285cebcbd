"""More epochs for stages that are trained, or under way: the same run goes on with them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
import yaml

from facekd.errors import FacekdError, ModelError
from facekd.files import atomic, write_text
from facekd.networks.checkpoint import load as load_network
from facekd.recipes.load import load
from facekd.recipes.resolve import TrainStage, resolve
from facekd.recipes.schema import Recipe
from facekd.run_folder import CHECKPOINT, EVALUATION, LOG, MODEL, RECIPE, REPORT, is_begun, read_summary
from facekd.training.logger import read

_MAY_GROW = ("epochs", "patience")  # settings of a stage that its training can go on with


def go_on(folder: Path, recipe: Recipe) -> bool:
    """Make a run go on where a recipe asks for more epochs, and for nothing else, than it was made with.

    A trained stage's network becomes its checkpoint again, from which training goes on by the longer schedule; figures
    and report are made anew. Stages that others were made of keep their epochs, for those would no longer be theirs.

    Args:
        folder: of the run.
        recipe: that it is to go on with.

    Returns:
        Whether it does; False: the two recipes differ in other ways.
    """
    try:
        before = load(folder / RECIPE)
    except FacekdError:
        return False
    names = _longer(before, recipe)
    stages = resolve(recipe)
    used = {other.name for stage in stages.values() if is_begun(folder / stage.name) for other in stage.needs}
    if not names or used & set(names) or not all(isinstance(stages[name], TrainStage) for name in names):
        return False
    (folder / EVALUATION).unlink(missing_ok=True)
    shutil.rmtree(folder / REPORT, ignore_errors=True)
    for name in names:
        _reopen(folder / name)
    write_text(folder / RECIPE, recipe.to_yaml())
    return True


def _longer(before: Recipe, now: Recipe) -> list[str]:
    """Return the stages with more epochs, if that is all that differs; else none."""
    longer = [name for name, stage in now.stages.items() if _epochs(before, name) < getattr(stage, "epochs", 0)]
    return longer if _without(before, longer) == _without(now, longer) else []


def _epochs(recipe: Recipe, name: str) -> int:
    """Return the epochs of a stage that was trained, at full length; of others more than any."""
    stage = recipe.stages.get(name)
    epochs, stop = getattr(stage, "epochs", None), getattr(stage, "stop_epoch", None)
    return 1 << 30 if not epochs or stop is not None else int(epochs)


def _without(recipe: Recipe, names: list[str]) -> dict[str, Any]:
    """Return a recipe's values without those that may grow."""
    values: dict[str, Any] = yaml.safe_load(recipe.to_yaml())
    for name in names:
        values["stages"][name] = {k: v for k, v in values["stages"][name].items() if k not in _MAY_GROW}
    return values


def _reopen(folder: Path) -> None:
    """Turn a stage's network into the checkpoint that its training goes on from; one that was left over is that."""
    model = folder / MODEL
    if not model.is_file():
        return
    weights, records = load_network(model)[0].state_dict(), read(folder / LOG)
    if not records or not records[-1].get("step"):
        raise ModelError(f"{folder / LOG} does not say how long the network was trained; give another --out")
    last = records[-1]
    state = {"step": last["step"], "net": weights, "average": weights}
    summary = read_summary(folder)
    if "best_epoch" in summary and summary.get("val_nme") is not None:  # what comes has to be better than that
        state["best"] = {"epoch": last["epoch"], "val_nme": summary["val_nme"], "state": weights}
    with atomic(folder / CHECKPOINT) as temporary:
        torch.save(state, temporary)
    model.unlink()
