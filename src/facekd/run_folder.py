"""What the files of a run, a study and a stage are called, and finding the network a run is about.

RUN/recipe.yaml  pack.json            what the run is made of
RUN/<stage>/model.safetensors         a network; there once it is trained
RUN/<stage>/summary.json  log.jsonl   what training it took; tensorboard/ beside them
RUN/<stage>/checkpoint.pt             where a broken run goes on; gone when it is done
RUN/<stage>/shape.npz  shape.png      the shape model behind its soft-landmarks
RUN/box_transform.json                the face detector's boxes against the landmarks' boxes
RUN/evaluation.json  report/          figures of its networks on the test set
RUN/cache/                            decoded frames, teachers' predictions; may be deleted at any time
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from facekd.documents import Fields, is_group, parse_yaml, read_json, read_text
from facekd.errors import ModelError

RECIPE = "recipe.yaml"
PACK = "pack.json"
MODEL = "model.safetensors"
SUMMARY = "summary.json"
LOG = "log.jsonl"
TENSORBOARD = "tensorboard"
CHECKPOINT = "checkpoint.pt"
SHAPE_MODEL = "shape.npz"
SHAPE_PICTURE = "shape.png"
BOX_TRANSFORM = "box_transform.json"
EVALUATION = "evaluation.json"
REPORT = "report"
CACHE = "cache"


def is_run(folder: Path) -> bool:
    """Return whether a folder is that of a run, finished or not.

    Args:
        folder: any path.

    Returns:
        Whether it holds a recipe.
    """
    return os.path.isfile(folder / RECIPE)


def is_begun(stage: Path) -> bool:
    """Return whether a stage has learnt something that its folder keeps.

    Args:
        stage: its folder, which need not be there.

    Returns:
        Whether it holds a network or a checkpoint.
    """
    return any((stage / name).is_file() for name in (MODEL, CHECKPOINT))


def result_stage(run: Path) -> str:
    """Return the name of the stage a run is about, as its recipe says.

    Args:
        run: the run's folder.

    Returns:
        The stage's name.

    Raises:
        ModelError: the folder has no recipe of this version.
    """
    try:
        text = read_text(run / RECIPE, "recipe", ModelError)
        return str(Fields(parse_yaml(text, f"recipe {run / RECIPE}", ModelError), str(run), ModelError).text("result"))
    except ModelError:
        raise ModelError(f"{run} is no run of this version of facekd: it has no {RECIPE} with a result") from None


def result_model(run: Path) -> Path:
    """Return the file of the network a run is about.

    Args:
        run: the run's folder.

    Returns:
        The file of its result.

    Raises:
        ModelError: the folder is no run, or that network is not trained yet; names those that are.
    """
    path = run / result_stage(run) / MODEL
    if not os.path.isfile(path):
        others = [str(found.relative_to(run)) for found in sorted(run.glob(f"*/{MODEL}"))]
        there = f"finished stages there: {', '.join(others)}" if others else "facekd distill writes one"
        raise ModelError(f"the run {run} has no {path.relative_to(run)} yet; {there}")
    return path


def read_summary(folder: Path) -> dict[str, Any]:
    """Read what training a stage took.

    Args:
        folder: of the stage.

    Returns:
        What summary.json holds: epochs, seconds and others.

    Raises:
        ModelError: it is damaged.
    """
    path, advice = folder / SUMMARY, "delete the stage's folder, and it is trained again"
    fields = Fields(read_json(path, "summary", ModelError, advice), f"summary {path}", ModelError, advice=advice)
    fields.number("seconds", 0)
    fields.integer("epochs", 0, 10**9)
    fields.number("val_nme", default=None)
    return dict(fields.values)


def read_results(run: Path) -> list[dict[str, Any]]:
    """Read what a run measured of its networks.

    Args:
        run: the run's folder.

    Returns:
        The results in evaluation.json, each with names, and figures by subset.

    Raises:
        ModelError: it is damaged.
    """
    path, advice = run / EVALUATION, "delete it, and the same command measures again"
    fields = Fields(read_json(path, "figures", ModelError, advice), f"figures {path}", ModelError, advice=advice)
    found: list[dict[str, Any]] = list(fields.list("results", is_group, "groups of figures", 100_000))
    for values in found:
        check_result(fields.inner(values, "results"))
    return found


def check_result(result: Fields) -> None:
    """Check the figures of a network on a set of faces, as `facekd.evaluation` writes them.

    Args:
        result: its fields.

    Raises:
        FacekdError: as the fields do; something is missing or of another kind.
    """
    for key in ("model", "dataset", "split", "normaliser", "boxes"):
        result.text(key)
    subsets = result.group("subsets")
    for name in subsets.values:
        figures = subsets.group(name)
        figures.integer("count", 0, 10**9)
        nme = f"nme_{result.text('normaliser')}"
        if nme not in figures.values:
            figures.refuse(nme, "a number, or null")
        figures.number(nme, 0, default=None)


def network_file(path: Path) -> Path:
    """Return the file that a path to a network means.

    Args:
        path: a run's folder, which means its result, a stage's folder, or a file.

    Returns:
        The file, whether it is there or not.

    Raises:
        ModelError: a run whose result is not trained yet.
    """
    if is_run(path):  # even an unfinished one is what its name means
        return result_model(path)
    return path / MODEL if os.path.isdir(path) else path
