"""What all stages of a run share: the faces, the machine, the folders. It knows nothing of how a stage is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from lightning_fabric import Fabric

from facekd.data.pack import Pack
from facekd.recipes.groups import Input
from facekd.recipes.resolve import Stage
from facekd.run_folder import CACHE, MODEL


@dataclass(frozen=True)
class Context:
    """What all stages of a run share.

    Attributes:
        pack: the faces.
        folder: holds the cache and the box transform.
        fabric: launched; device, precision and processes are its.
        stage_dir: maps a stage to its folder.
        unlabelled: more faces, whose points only say where they are, for stages that learn from such.
        recipe: plain values of the recipe, for model cards.
    """

    pack: Pack
    folder: Path
    fabric: Fabric
    stage_dir: Callable[[Stage], Path]
    unlabelled: Pack | None = None
    recipe: dict[str, Any] = field(default_factory=dict)

    @property
    def is_global_zero(self) -> bool:
        """Return whether this is the process that writes."""
        return self.fabric.global_rank == 0

    @property
    def cache(self) -> Path:
        """Return the folder of what may be deleted at any time."""
        return self.folder / CACHE

    @property
    def mirror(self) -> torch.Tensor | None:
        """Return what each point (N,) is in a mirrored face; None where the mark-up does not say."""
        markup = self.pack.markup
        return torch.tensor(markup.mirror) if markup.mirrors else None

    def model(self, stage: Stage) -> Path:
        """Return where a network lies once it is trained.

        Args:
            stage: of this run.

        Returns:
            The path of its .safetensors file.
        """
        return self.stage_dir(stage) / MODEL

    def frame(self, stage: Stage, size: int | None = None) -> Input:
        """Return a stage's frame at another size: what a teacher sees of the same crop.

        Args:
            stage: of this run.
            size: side in pixels; None: the stage's own.

        Returns:
            The frame.
        """
        return stage.frame if size is None else stage.frame.model_copy(update={"size": size})

    def once(self, path: Path, make: Callable[[], object]) -> None:
        """Let one process make a file while others wait: of this run, and of other runs.

        Args:
            path: the file; its lock lies beside it.
            make: makes it, unless it is there.
        """
        if self.is_global_zero:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):
                make()
        self.fabric.barrier()
