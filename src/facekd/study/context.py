"""Where a study is made and of what: every network in a folder named after all that decides what it becomes.

STUDY/networks/<id>/           a network, as a run's stage leaves it; evaluation-*.json, predicted.npy
STUDY/networks/<id>/error.txt  why it failed, in place of a network
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facekd.data.pack import Pack
from facekd.documents import Fields, is_finite, is_group, read_json, read_text
from facekd.errors import InputError
from facekd.evaluation.tables import BOX_NAMES, NORMALISER_NAMES
from facekd.pipeline.context import Context
from facekd.recipes.resolve import Stage, TrainStage, closure
from facekd.recipes.schema import Evaluation, Recipe
from facekd.run_folder import check_result
from facekd.training import distributed

NETWORKS = "networks"
_ERROR = "error.txt"


@dataclass(frozen=True)
class StudyContext:
    """Where a study is made, and of what.

    Attributes:
        folder: the study's.
        pack: the faces.
        unlabelled: more faces for stages that learn from such.
        accelerator: "auto", "cpu" or "cuda".
    """

    folder: Path
    pack: Pack
    unlabelled: Pack | None = None
    accelerator: str = "auto"

    def stage_dir(self, stage: Stage) -> Path:
        """Return a network's folder: readable, with a digest of all that decides what the network becomes.

        Args:
            stage: of a resolved recipe.

        Returns:
            The folder; two stages of one identity share it.
        """
        made_of = {"pack": self.pack.meta["sha256"], **stage.identity()}
        if self.unlabelled and any(other.learns_unlabelled for other in closure(stage)):
            made_of["unlabelled"] = self.unlabelled.meta["sha256"]
        digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:10]
        kind = f"{stage.loss.name}-{stage.network.backbone}" if isinstance(stage, TrainStage) else "average"
        return self.folder / NETWORKS / f"{kind}-{digest}"

    def context(self, recipe: Recipe) -> Context:
        """Return what the stages of a recipe share here.

        Args:
            recipe: of an entry.

        Returns:
            The context, its processes launched.
        """
        fabric = distributed.fabric(recipe.precision, self.accelerator)
        return Context(self.pack, self.folder, fabric, self.stage_dir, self.unlabelled, recipe.published())

    def figures(self, stage: Stage, settings: Evaluation) -> Path:
        """Return the file of a network's figures; its name says how they were measured, which the id does not.

        Args:
            stage: of a resolved recipe.
            settings: boxes and resamples.

        Returns:
            The path of the JSON file.
        """
        return self.stage_dir(stage) / f"evaluation-{'-'.join(settings.boxes)}-{settings.bootstrap}.json"

    def read_figures(self, stage: Stage, settings: Evaluation) -> list[dict[str, Any]]:
        """Read a network's figures.

        Args:
            stage: of a resolved recipe, measured.
            settings: boxes and resamples.

        Returns:
            A result for each kind of boxes, with the error of each test face.

        Raises:
            InputError: the file is damaged.
        """
        path, advice = self.figures(stage, settings), "delete it, and the same command measures again"
        listed = read_json(path, "figures", InputError, advice)
        fields = Fields({"results": listed}, f"figures {path}", advice=advice)
        results: list[dict[str, Any]] = list(fields.list("results", is_group, "groups of figures", 100))
        for values in results:
            result = fields.inner(values, "results")
            check_result(result)
            for key, known in (("normaliser", NORMALISER_NAMES), ("boxes", BOX_NAMES)):
                if result.text(key) not in known:
                    result.refuse(key, " or ".join(known))
            full = result.group("subsets").group("full")
            full.number("fr_8", 0, 100)
            count = full.integer("count", 1, len(self.pack))
            if len(result.list("errors", _is_error, "errors of faces, or null", count)) != count:
                result.refuse("errors", f"{count}, one of each face")
        if not results:
            fields.refuse("results", "at least one result")
        return results

    def read_error(self, stage: Stage) -> str | None:
        """Read why a network failed.

        Args:
            stage: of a resolved recipe.

        Returns:
            One sentence; None if it did not fail.

        Raises:
            InputError: the file is damaged.
        """
        path = self.error(stage)
        return read_text(path, "error of a network").strip() if path.is_file() else None

    def finished(self, stage: Stage, settings: Evaluation) -> bool:
        """Return whether a network is measured, or has failed.

        Args:
            stage: of a resolved recipe.
            settings: boxes and resamples.

        Returns:
            Whether nothing is left to do for it.
        """
        return self.figures(stage, settings).is_file() or self.error(stage).is_file()

    def error(self, stage: Stage) -> Path:
        """Return the file that says why a network failed.

        Args:
            stage: of a resolved recipe.

        Returns:
            The path; there only if it did.
        """
        return self.stage_dir(stage) / _ERROR

    def forget_errors(self) -> None:
        """Let networks that failed be tried again."""
        for path in (self.folder / NETWORKS).glob(f"*/{_ERROR}"):
            path.unlink()


def _is_error(value: Any) -> bool:
    return value is None or (is_finite(value) and value >= 0)
