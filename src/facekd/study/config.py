"""What a study compares: a grid of recipes, read from a YAML file; `facekd.study.runner` trains and measures it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from facekd.errors import RecipeError, nearest
from facekd.recipes import schema as recipes
from facekd.recipes.schema import Recipe, Settings


class Row(Settings):
    """One row of a table, or, with `over`, one for each combination of values."""

    name: str = Field(description="shown in the table; {student.loss} stands for that setting's value in `over`")
    table: str = Field("", description="heading of the table it belongs to")
    network: Literal["tough", "tolerant", "expert", "baseline", "student"] = Field(
        "student", description="what is measured"
    )
    set: dict[str, Any] = Field(default_factory=dict, description="changes of the recipe: {student.loss: l2}")
    over: dict[str, list[Any]] = Field(default_factory=dict, description="a grid: {shape.variance: [80, 90]}")
    seeds: tuple[int, ...] | None = Field(None, description="of the measured network; None: the study's")


class Study(Settings):
    """What a study compares."""

    name: str
    title: str = ""
    recipe: str = Field(description="a bundled recipe, or a YAML file beside the study's")
    set: dict[str, Any] = Field(default_factory=dict, description="changes of the recipe in every row")
    seeds: tuple[int, ...] = (0,)
    reference: str | None = Field(None, description="the row that the others are compared with, image by image")
    rows: tuple[Row, ...] = Field(min_length=1)

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
    """One cell of the grid: a recipe and the network of it that is measured."""

    row: str
    table: str
    seed: int
    recipe: Recipe
    network: str


def load(path: str | Path) -> Study:
    """Read a study's YAML file. Raises RecipeError: no file, not YAML, an unknown key or a bad value."""
    path = Path(path)
    if not path.is_file():
        raise RecipeError(f"no study {path}; give a YAML file with name, recipe and rows")
    values = recipes.read_yaml(path.read_text(encoding="utf-8"), f"study {path}")
    study = recipes.checked(Study, values, f"study {path}")
    beside = path.parent / study.recipe
    return study.model_copy(update={"recipe": str(beside)}) if beside.is_file() else study


def entries(study: Study, changes: dict[str, Any] | None = None) -> list[Entry]:
    """Return what a study measures, all rows with their first seed first: an early look at the table shows every row.

    changes: of the recipe in every row, such as {"student.weights": FILE}; a row's own come after.
    Raises RecipeError for a recipe that cannot be.
    """
    found = []
    for row in study.rows:
        for name, values in cells(row):
            for place, seed in enumerate(row.seeds if row.seeds is not None else study.seeds):
                own = {f"{row.network}.seed": seed} if seed else {}
                try:
                    recipe = recipes.load(study.recipe, {**study.set, **(changes or {}), **row.set, **values, **own})
                except RecipeError as error:
                    raise RecipeError(f"row '{name}': {error}") from None
                found.append((place, Entry(name, row.table, seed, recipe, row.network)))
    return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]


def cells(row: Row) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and values of each combination of a row's grid."""
    for values in itertools.product(*row.over.values()):
        cell = dict(zip(row.over, values, strict=True))
        name = row.name
        for key, value in cell.items():
            name = name.replace(f"{{{key}}}", str(value))
        yield name, cell


def slug(text: str) -> str:
    """Return a text as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "row"
