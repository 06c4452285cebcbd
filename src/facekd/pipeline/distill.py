"""The paper's chain: two teachers, student, baseline, evaluation, report.

Each stage ends with a file that says it is done, so the same command goes on where it stopped:

    RUN/recipe.yaml  pack.json      what the run is made of
    RUN/detector.json               the face detector's boxes against ours
    RUN/<network>/                  tough, tolerant, baseline, expert, student: what `facekd.pipeline.run` leaves there
    RUN/evaluation.json  report/    figures of its networks on the test set
    RUN/cache/                      decoded frames, the teachers' views; may be deleted at any time
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from facekd.data.pack import Pack
from facekd.errors import InputError, ModelError, RecipeError
from facekd.evaluation import report
from facekd.files import write_text
from facekd.losses.objective import Objective
from facekd.networks import network as networks
from facekd.pipeline.run import Run
from facekd.recipes import schema as recipes
from facekd.recipes.schema import STAGES, Recipe, Stage
from facekd.training import distributed as parallel
from facekd.training import logger as journal
from facekd.version import __version__


def distill(
    recipe: Recipe, pack: Pack, folder: str | Path, accelerator: str = "auto", unlabelled: Pack | None = None
) -> Path:
    """Train every network of a recipe on a pack, or what is left to train, and evaluate them; return the folder.

    Without faces in the pack's test split there is nothing to evaluate on, and neither figures nor a report.

    unlabelled: more faces for a student with an expert, as `facekd prepare unlabelled` packs them.

    Raises:
        RecipeError: a loss does not know an option; or the folder holds a run of another recipe.
        InputError: the pack has no training faces, or is not the one that the run began with.
        ModelError: a backbone or its weights cannot be had.
        TrainingError: a loss is no longer a number.
    """
    folder = Path(folder)
    for name in recipe.stages:  # what can be said now is not said when others are trained
        stage = recipe.stage(name)
        Objective(stage)
        networks.check_backbone(stage.backbone)
        if stage.weights not in ("none", "timm", *STAGES) and not Path(stage.weights).is_file():
            raise ModelError(f"there is no file {stage.weights}; mend its path: --set {name}.weights=FILE")
    fabric = parallel.fabric(recipe.precision, accelerator)
    if fabric.global_rank == 0:
        _claim(folder, recipe, pack, unlabelled)
    fabric.barrier()
    run = Run(recipe, pack, folder, fabric, home=folder.joinpath, unlabelled=unlabelled)
    for name in recipe.stages:
        run.network(name)
    if run.first and (pack.splits == "test").any():
        _evaluate(run)
    fabric.barrier()
    return folder


def _claim(folder: Path, recipe: Recipe, pack: Pack, unlabelled: Pack | None) -> None:
    """Write down what the run is made of, or check that it is what the folder was made of.

    Settings of networks that were not begun may change: what was wrong with them can be mended.
    """
    made_of = {"sha256": pack.meta["sha256"]}
    if unlabelled:
        made_of["unlabelled"] = unlabelled.meta["sha256"]
    mine = {"recipe.yaml": recipe.to_yaml(), "pack.json": json.dumps(made_of)}
    for name, text in mine.items():
        path = folder / name
        if not path.is_file():
            write_text(path, text)
            continue
        if path.read_text(encoding="utf-8") == text:
            continue
        if name == "pack.json":
            raise InputError(f"{folder} was begun with another pack than {pack.path}; give that one or another --out")
        if _still_holds(path, recipe):
            write_text(path, text)
            continue
        before, now = _flat(yaml.safe_load(path.read_text(encoding="utf-8"))), _flat(yaml.safe_load(text))
        changed = [
            f"{key} was {before.get(key)}, is {now.get(key)}" for key in now | before if before.get(key) != now.get(key)
        ]
        raise RecipeError(
            f"{folder} was begun with other settings ({'; '.join(changed[:3])}); give those or another --out"
        )


def _still_holds(path: Path, recipe: Recipe) -> bool:
    """Return whether all that a run's folder holds so far is what another recipe would have made, too."""
    if (path.parent / "evaluation.json").is_file():
        return False
    before = recipes.load(path)
    begun = [name for name in STAGES if (path.parent / name).exists()]
    return all(
        name in before.stages and name in recipe.stages and before.identity(name) == recipe.identity(name)
        for name in begun
    )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _evaluate(run: Run) -> None:
    """Measure all networks on the test set, and write evaluation.json and the report."""
    path = run.folder / "evaluation.json"
    if path.is_file() and (run.folder / "report" / "index.html").is_file():
        return
    by_network = [run.evaluate(name) for name in run.recipe.stages]
    results = [result for of_kind in zip(*by_network, strict=True) for result in of_kind]  # all of one kind of boxes
    stages = {
        name: json.loads((run.home(name) / "summary.json").read_text(encoding="utf-8")) for name in run.recipe.stages
    }
    record = {
        "recipe": run.recipe.published(),
        "facekd": __version__,
        "stages": stages,
        "results": [result.to_json() for result in results],
    }
    write_text(path, json.dumps(record, indent=1))
    report.write(
        run.folder / "report",
        results,
        title=f"facekd distill: {run.recipe.name}",
        notes=[_about_the_run(run, run.test)],
        wall_times={name: stage["seconds"] for name, stage in stages.items()},
        curves={name: journal.curve(run.home(name) / "log.jsonl") for name in run.recipe.stages},
    )


def _about_the_run(run: Run, test: Pack) -> str:
    r = run.recipe
    networks = [f"{name} {_about_the_network(r.stage(name), r.size(name))}" for name in r.stages]
    faces = {split: int((run.pack.splits == split).sum()) for split in ("train", "val")}
    more = f" and {(run.unlabelled.splits == 'train').sum()} without labels" if run.unlabelled else ""
    return (
        f"{faces['train']} training faces{more}, {faces['val']} for validation, {len(test)} for the test; "
        f"{'; '.join(networks)}; seed {r.seed}."
    )


def _about_the_network(stage: Stage, size: int) -> str:
    options = " ".join([stage.loss, *(f"{key} {value}" for key, value in stage.loss_options.items())])
    copies = f", the mean of {len(stage.copies)}" if stage.copies else ""
    return f"({stage.backbone}, {stage.head}, {options}, {size} px, {stage.length} epochs{copies})"
