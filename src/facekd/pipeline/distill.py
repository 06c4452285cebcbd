"""A recipe from beginning to end: every stage trained, measured and reported.

Each stage ends with a file that says it is done, so the same command goes on where it stopped; `facekd.run_folder` says
what lies where.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import yaml

from facekd.data.pack import Pack
from facekd.documents import read_text
from facekd.errors import FacekdError, InputError, RecipeError
from facekd.evaluation import report
from facekd.files import claim_folder, write_text
from facekd.pipeline.context import Context
from facekd.pipeline.faces import check_margin
from facekd.pipeline.more_epochs import go_on
from facekd.pipeline.stages import evaluate_stage, train_stage
from facekd.pipeline.start import check_network
from facekd.recipes.load import load
from facekd.recipes.resolve import AverageStage, Stage, TrainStage, resolve
from facekd.recipes.schema import Recipe
from facekd.run_folder import BOX_TRANSFORM, EVALUATION, LOG, MODEL, PACK, RECIPE, REPORT, is_begun, read_summary
from facekd.settings import read_yaml
from facekd.training import distributed, logger
from facekd.version import __version__


def distill(
    recipe: Recipe, pack: Pack, folder: str | Path, accelerator: str = "auto", unlabelled: Pack | None = None
) -> Path:
    """Train every stage of a recipe on a pack, or what is left to train, and evaluate them.

    Without faces in the pack's test split there is nothing to evaluate on, and neither figures nor a report.

    Args:
        recipe: as `facekd.recipes.load.load` reads it.
        pack: the faces.
        folder: of the run.
        accelerator: "auto", "cpu" or "cuda".
        unlabelled: more faces for stages that learn from such, as `facekd prepare unlabelled` packs them.

    Returns:
        The folder.

    Raises:
        RecipeError: the folder holds a run of another recipe, or a stage cannot start from the one it names.
        InputError: the pack has no training faces, holds less of them than networks are to see, or is not the one that
            the run began with; or another process is writing the run.
        ModelError: a backbone or its weights cannot be had, it does not take the size, or the result could not be
            exported; then no folder is made.
        TrainingError: a loss is no longer a number.
    """
    folder, stages = Path(folder), resolve(recipe)
    fabric = distributed.fabric(recipe.precision, accelerator)
    result = stages[recipe.result]
    exported = result.members[0] if isinstance(result, AverageStage) else result
    for stage in stages.values():
        check_margin(pack, stage.frame)
        if isinstance(stage, TrainStage) and not (folder / stage.name / MODEL).is_file():
            check_network(stage, pack.markup.count, stage is exported)
    with claim_folder(folder) if fabric.global_rank == 0 else nullcontext():
        if fabric.global_rank == 0:
            _check_same_run(folder, recipe, pack, unlabelled)
        fabric.barrier()
        pack, unlabelled = pack.readable(), unlabelled.readable() if unlabelled else None
        context = Context(
            pack, folder, fabric, lambda stage: folder / stage.name, unlabelled=unlabelled, recipe=recipe.published()
        )
        for stage in stages.values():
            train_stage(context, stage)
        if context.is_global_zero and (pack.splits == "test").any():
            _evaluate(context, recipe, stages)
        fabric.barrier()
    return folder


def _check_same_run(folder: Path, recipe: Recipe, pack: Pack, unlabelled: Pack | None) -> None:
    """Write down what the run is made of, or check that it is what the folder was made of.

    A folder is the run's from when a stage has learnt something. Settings of stages that were not begun may change:
    what was wrong with them can be fixed. So may the epochs of those that were, to more.
    """
    made_of = {"sha256": pack.meta["sha256"]}
    if unlabelled:
        made_of["unlabelled"] = unlabelled.meta["sha256"]
    mine = {PACK: json.dumps(made_of), RECIPE: recipe.to_yaml()}
    stamp = folder / PACK
    free = stamp.is_file() and not any(is_begun(path) for path in folder.iterdir())
    if free and read_text(stamp, "file", InputError) != mine[PACK]:
        (folder / BOX_TRANSFORM).unlink(missing_ok=True)  # it is of the other faces; the cache knows its own
    for name, text in mine.items():
        path = folder / name
        if free or not path.is_file():
            write_text(path, text)
            continue
        if read_text(path, "file", InputError) == text:
            continue
        if name == PACK:
            raise InputError(f"{folder} was begun with another pack than {pack.path}; give that one or another --out")
        if _still_holds(path, recipe):
            write_text(path, text)
            continue
        if go_on(folder, recipe):
            continue
        written = read_yaml(read_text(path, "recipe", RecipeError), f"recipe {path}")
        before, now = _flat(written), _flat(yaml.safe_load(text))
        changed = [
            f"{key} was {before.get(key)}, is {now.get(key)}" for key in now | before if before.get(key) != now.get(key)
        ]
        raise RecipeError(
            f"{folder} was begun with other settings ({'; '.join(changed[:3])}); give those or another --out"
        )


def _still_holds(path: Path, recipe: Recipe) -> bool:
    """Return whether all that a run's folder holds so far is what another recipe would have made, too."""
    if (path.parent / EVALUATION).is_file():
        return False
    try:
        before, now = resolve(load(path)), resolve(recipe)
    except FacekdError:  # a file of weights is gone, or the recipe is of another version
        return False
    begun = [name for name in before | now if is_begun(path.parent / name)]
    return all(name in before and name in now and before[name].identity() == now[name].identity() for name in begun)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _evaluate(context: Context, recipe: Recipe, stages: dict[str, Stage]) -> None:
    """Measure the networks on the test set, and write evaluation.json and the report."""
    path = context.folder / EVALUATION
    if path.is_file() and (context.folder / REPORT / "index.html").is_file():
        return
    measured = [stages[name] for name in recipe.evaluation.stages or stages]
    by_stage = [evaluate_stage(context, stage, recipe.evaluation) for stage in measured]
    results = [result for of_kind in zip(*by_stage, strict=True) for result in of_kind]  # all of one kind of boxes
    folders = {name: context.stage_dir(stage) for name, stage in stages.items()}
    summaries = {name: read_summary(home) for name, home in folders.items()}
    record = {
        "recipe": recipe.published(),
        "facekd": __version__,
        "stages": summaries,
        "results": [result.to_json() for result in results],
    }
    write_text(path, json.dumps(record, indent=1))
    report.write(
        context.folder / REPORT,
        results,
        title=f"facekd distill: {recipe.name}",
        notes=[_about_the_run(context, recipe, stages)],
        wall_times={name: summary["seconds"] for name, summary in summaries.items()},
        curves={name: logger.curve(home / LOG) for name, home in folders.items() if (home / LOG).is_file()},
    )


def _about_the_run(context: Context, recipe: Recipe, stages: dict[str, Stage]) -> str:
    faces = {split: int((context.pack.splits == split).sum()) for split in ("train", "val", "test")}
    more = f" and {(context.unlabelled.splits == 'train').sum()} without labels" if context.unlabelled else ""
    return (
        f"{faces['train']} training faces{more}, {faces['val']} for validation, {faces['test']} for the test; "
        f"{'; '.join(stage.describe() for stage in stages.values())}; seed {recipe.seed}."
    )
