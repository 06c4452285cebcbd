"""What a study compares: a grid of recipes, read from a YAML file; `facekd.study.runner` trains and measures it."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, model_validator

from facekd.documents import read_text
from facekd.errors import FacekdError, RecipeError, nearest
from facekd.recipes.averages import AverageSettings
from facekd.recipes.load import load as load_recipe
from facekd.recipes.resolve import Stage, resolve
from facekd.recipes.schema import Recipe
from facekd.settings import Settings, checked, read_yaml


class Row(Settings):
    """One row of a table, or, with `over`, one for each combination of values."""

    name: str = Field(description="shown in the table; {student.loss} stands for that setting's value in `over`")
    table: str = Field("", description="heading of the table it belongs to")
    stage: str = Field("", description="what is measured; default: the recipe's result")
    set: dict[str, Any] = Field(default_factory=dict, description="changes of the recipe: {student.loss: l2}")
    over: dict[str, list[Any]] = Field(default_factory=dict, description="a grid: {shape.variance: [80, 90]}")
    seeds: tuple[int, ...] | None = Field(None, description="of the measured network; default: the study's")

    renamed: ClassVar[dict[str, str]] = {"network": "stage"}


class Study(Settings):
    """What a study compares."""

    name: str = Field(description="of the study")
    title: str = Field("", description="heading of its page; default: its name")
    recipe: str = Field(description="a bundled recipe, or a YAML file beside the study's")
    set: dict[str, Any] = Field(default_factory=dict, description="changes of the recipe in every row")
    seeds: tuple[int, ...] = Field((0,), description="each row is trained with each of them")
    reference: str | None = Field(None, description="the row that the others are compared with, image by image")
    rows: tuple[Row, ...] = Field(min_length=1, description="the rows of the tables")

    @property
    def names(self) -> list[str]:
        """Return the rows' names, those of grids filled in, in the order of the table."""
        return [name for row in self.rows for name, _ in cells(row)]

    @model_validator(mode="after")
    def _check(self) -> Study:
        names = self.names
        files = [slug(name) for name in names]
        twice = [name for name in names if files.count(slug(name)) > 1]
        if twice:
            raise ValueError(f"two rows are called '{twice[0]}'; with `over`, put {{key}} into the name")
        if self.reference is not None and self.reference not in names:
            raise ValueError(f"reference: no row '{self.reference}'; {nearest(self.reference, names)}")
        return self


@dataclass(frozen=True)
class Entry:
    """One cell of the grid: a recipe and the stage of it that is measured.

    Attributes:
        row: its name, as shown.
        table: heading of the table it belongs to.
        seed: of the measured network.
        recipe: with the row's settings.
        stage: of that recipe, resolved.
    """

    row: str
    table: str
    seed: int
    recipe: Recipe
    stage: Stage


def load(path: str | Path) -> Study:
    """Read a study.

    Args:
        path: the YAML file.

    Returns:
        The study.

    Raises:
        RecipeError: no file, not YAML, an unknown key or a bad value.
    """
    path = Path(path)
    if not path.is_file():
        raise RecipeError(f"no study {path}; give a YAML file with name, recipe and rows")
    values = read_yaml(read_text(path, "study", RecipeError), f"study {path}")
    study = checked(Study, values, f"study {path}")
    beside = path.parent / study.recipe
    return study.model_copy(update={"recipe": str(beside)}) if os.path.isfile(beside) else study


def entries(study: Study, changes: dict[str, Any] | None = None) -> list[Entry]:
    """Return what a study measures, all rows with their first seed first: an early look at the table shows every row.

    Args:
        study: as `load` returns it.
        changes: of the recipe in every row, such as {"student.init": FILE}; a row's own come after.

    Returns:
        An entry for each row and seed.

    Raises:
        RecipeError: a row's recipe cannot be, with the row's name.
    """
    found = []
    for row in study.rows:
        for name, values in cells(row):
            own = {**study.set, **(changes or {}), **row.set, **values}
            for place, seed in enumerate(row.seeds if row.seeds is not None else study.seeds):
                try:
                    recipe = load_recipe(study.recipe, own)
                    measured = row.stage or recipe.result
                    if measured not in recipe.stages:
                        raise RecipeError(f"no stage '{measured}'; {nearest(measured, recipe.stages)}")
                    if seed:
                        recipe = load_recipe(study.recipe, own | _seeds(recipe, measured, seed))
                    stage = resolve(recipe)[measured]
                except FacekdError as error:
                    raise RecipeError(f"row '{name}': {error}") from None
                found.append((place, Entry(name, row.table, seed, recipe, stage)))
    return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]


def cells(row: Row) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each combination of a row's grid.

    Args:
        row: of a study.

    Yields:
        The name with the values filled in, and the values by their keys.
    """
    for values in itertools.product(*row.over.values()):
        cell = dict(zip(row.over, values, strict=True))
        name = row.name
        for key, value in cell.items():
            name = name.replace(f"{{{key}}}", str(value))
        yield name, cell


def slug(text: str) -> str:
    """Return a text as part of a file's name.

    Args:
        text: any.

    Returns:
        Its letters and digits in lower case, joined by hyphens.
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "row"


def _seeds(recipe: Recipe, measured: str, seed: int) -> dict[str, Any]:
    """Return the changes that give the measured network another seed: of an average, all of its members."""
    stage = recipe.stages[measured]
    if isinstance(stage, AverageSettings):
        return {f"stages.{name}.seed": recipe.trained(name).seed + seed for name in stage.of}
    return {f"stages.{measured}.seed": seed}
