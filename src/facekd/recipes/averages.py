"""The settings of a stage that averages the weights of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from facekd.settings import Number, Settings


class AverageSettings(Settings):
    """A stage that keeps the mean of the weights of earlier stages (model soup), which start from one network."""

    kind: Literal["weight_average"]
    of: tuple[str, ...] = Field(
        min_length=1, description="earlier stages of one architecture, started from the same earlier stage"
    )
    start_weight: Number = Field(
        0,
        ge=0,
        description="how much the network that they started from counts, each of them counting 1, be it a stage, a "
        "bundled network or a file: fine-tuned networks keep the more of what it was good at; 0: it does not count",
    )
    start: str | None = Field(
        None,
        description="the network that start_weight counts: an earlier stage, to which their init, its own and so on "
        "lead; default: their init",
    )
    shape_prior: bool = Field(False, description="as for a trained stage; fitted to the mean of those without val")

    renamed: ClassVar[Mapping[str, str]] = {"with_start": "start_weight: 1"}

    @property
    def uses(self) -> list[str]:
        """Return the names of the stages it averages, and of their start if it is given."""
        return [*self.of, *([self.start] if self.start else [])]
