"""Reading recipes: the bundled ones, or a YAML file, with settings changed by name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from facekd.documents import read_text
from facekd.errors import RecipeError, nearest
from facekd.recipes.schema import Recipe
from facekd.settings import changed, checked, pairs, read_yaml


def bundled() -> list[str]:
    """List the recipes that come with the package.

    Returns:
        Their names, sorted.
    """
    return sorted(p.name[:-5] for p in resources.files("facekd.recipes").iterdir() if p.name.endswith(".yaml"))


def load(name: str | Path, changes: Iterable[str] | Mapping[str, Any] = ()) -> Recipe:
    """Read a recipe and change settings in it.

    Args:
        name: a bundled recipe (`quick` or `quick.yaml`) or a YAML file.
        changes: "student.epochs=20" and so on, values being read as YAML; or {"student.epochs": 20}. The name of a
            stage stands for `stages.NAME`.

    Returns:
        The recipe.

    Raises:
        RecipeError: no such recipe, not YAML, an unknown key or a bad value; with the names or values allowed.
    """
    values = _read(name)
    for key, value in (dict(changes) if isinstance(changes, Mapping) else pairs(changes)).items():
        values = changed(values, _path(key, values), value)
    return parse(values, str(name))


def parse(values: dict[str, Any], where: str) -> Recipe:
    """Return plain values as a recipe.

    Args:
        values: keys and values, as YAML has them.
        where: names them in messages.

    Returns:
        The recipe.

    Raises:
        RecipeError: an unknown key or a bad value.
    """
    return checked(Recipe, values, f"recipe {where}")


def _path(key: str, values: dict[str, Any]) -> str:
    """Return the path of a setting in a recipe's values; that of a stage's may leave out `stages`."""
    first = key.split(".")[0]
    if first in Recipe.model_fields:
        return key
    stages = values.get("stages")
    names = list(stages) if isinstance(stages, dict) else []
    if first in names:
        return f"stages.{key}"
    if not names:  # a recipe of an earlier version: `checked` says so
        return key
    if first == "teaching":
        raise RecipeError(f"--set {key}: 'teaching' is of an earlier version; it is now {Recipe.renamed[first]}")
    raise RecipeError(f"--set {key}: no stage or setting '{first}'; {nearest(first, [*names, *Recipe.model_fields])}")


def _read(name: str | Path) -> dict[str, Any]:
    path = Path(name)
    if os.path.isfile(path):
        text = read_text(path, "recipe", RecipeError)
    elif path.name == str(name) and path.name.removesuffix(".yaml") in bundled():
        text = resources.files("facekd.recipes").joinpath(path.name.removesuffix(".yaml") + ".yaml").read_text("utf-8")
    else:
        raise RecipeError(f"no recipe '{name}'; {nearest(path.name, bundled())}, or a YAML file of your own")
    return read_yaml(text, f"recipe {name}")
