"""The notebooks of the documentation run from top to bottom, on their own, and were saved with what they show."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
EACH = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def outputs(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [output for cell in notebook["cells"] for output in cell.get("outputs", ())]


def pictures(notebook: dict[str, Any]) -> int:
    return sum("image/jpeg" in output.get("data", {}) for output in outputs(notebook))


@pytest.mark.slow
@EACH
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of its own, on one thread, with no data but what the package brings."""
    papermill = pytest.importorskip("papermill", reason="the extra dev has it")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("FACEKD_DATA", str(tmp_path / "none"))
    done = tmp_path / "done.ipynb"
    papermill.execute_notebook(path, done, cwd=tmp_path, kernel_name="python3", progress_bar=False)
    saved, ran = (json.loads(file.read_text(encoding="utf-8")) for file in (path, done))
    assert pictures(ran) == pictures(saved) >= 2


@EACH
def test_a_notebook_is_saved_with_its_outputs(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert len(outputs(notebook)) >= 5
    assert path.stat().st_size < 400_000
    texts = "".join("".join(output.get("text", "")) for output in outputs(notebook))
    assert str(ROOT) not in texts and "/tmp" not in texts and "Traceback" not in texts
