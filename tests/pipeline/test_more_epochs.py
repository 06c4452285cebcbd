"""More epochs for a run that is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from facekd.data.pack import Pack
from facekd.errors import InputError, RecipeError
from facekd.pipeline.distill import distill
from facekd.training import logger
from tiny_run import STAGE, recipe


def run(pack: Pack, folder: Path, **student: Any) -> Path:
    stages = {"teacher": STAGE | {"epochs": 1}, "student": STAGE | {"init": "teacher", "epochs": 1} | student}
    return distill(recipe(stages), pack, folder, accelerator="cpu")


@pytest.mark.slow
def test_a_finished_run_goes_on_with_more_epochs(tiny_pack: Pack, tmp_path: Path) -> None:
    folder = run(tiny_pack, tmp_path / "run")
    before, teacher = load_file(folder / "student/model.safetensors"), (folder / "teacher/model.safetensors").stat()
    figures = json.loads((folder / "evaluation.json").read_text())["results"][1]["subsets"]
    run(tiny_pack, folder, epochs=3)
    assert [record["epoch"] for record in logger.read(folder / "student/log.jsonl")] == [1, 2, 3]
    assert json.loads((folder / "student/summary.json").read_text())["epochs"] == 3
    assert "epochs: 3" in (folder / "recipe.yaml").read_text()
    assert json.loads((folder / "evaluation.json").read_text())["results"][1]["subsets"] != figures
    assert (folder / "teacher/model.safetensors").stat().st_mtime_ns == teacher.st_mtime_ns
    after = load_file(folder / "student/model.safetensors")
    # From where it was: two epochs of six steps move a weight by far less than a new start would.
    kernels = [key for key, value in before.items() if value.ndim == 4]
    moved = torch.stack([(after[key] - before[key]).norm() / before[key].norm() for key in kernels])
    assert 0 < moved.median() < 0.2


@pytest.mark.slow
def test_what_else_changes_is_refused(tiny_pack: Pack, tmp_path: Path) -> None:
    folder = run(tiny_pack, tmp_path / "run", epochs=2)
    made = (folder / "student/model.safetensors").read_bytes()
    for changes in ({"epochs": 1}, {"epochs": 3, "lr": 1e-4}):
        with pytest.raises(RecipeError, match="was begun with other settings"):
            run(tiny_pack, folder, **changes)
    stages = {"teacher": STAGE | {"epochs": 2}, "student": STAGE | {"init": "teacher", "epochs": 2}}
    with pytest.raises(RecipeError, match=r"stages.teacher.epochs was 1, is 2"):  # the student was made of it
        distill(recipe(stages), tiny_pack, folder, accelerator="cpu")
    other = tiny_pack.select(indices=range(24))
    with pytest.raises(InputError, match="was begun with another pack"):
        run(Pack(**vars(other) | {"meta": other.meta | {"sha256": "other"}}), folder, epochs=3)
    assert (folder / "student/model.safetensors").read_bytes() == made
