"""Run the notebooks of docs/notebooks and save them with their outputs: `python docs/generate/notebooks.py`.

The pages of the site show these outputs. Pictures are kept as JPEG only.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import papermill

from facekd.files import write_text

FOLDER = Path(__file__).parents[1] / "notebooks"


def run(notebook: Path, folder: Path) -> dict[str, Any]:
    """Run a notebook from top to bottom.

    Args:
        notebook: the file; it stays as it is.
        folder: where it runs, and writes.

    Returns:
        The notebook with its outputs.
    """
    out = folder / notebook.name
    papermill.execute_notebook(notebook, out, cwd=folder, kernel_name="python3", progress_bar=False)
    return json.loads(out.read_text(encoding="utf-8"))


def tidy(notebook: dict[str, Any]) -> dict[str, Any]:
    """Return a notebook without execution counts, messages on stderr, and pictures that are there twice."""
    notebook["metadata"] = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for number, cell in enumerate(notebook["cells"]):
        cell["metadata"], cell["id"] = {}, f"cell-{number}"
        if cell["cell_type"] == "code":
            cell["execution_count"] = None
            cell["outputs"] = _tidy_outputs(cell["outputs"])
    return notebook


def _tidy_outputs(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a cell's outputs, what it printed as one of them."""
    kept: list[dict[str, Any]] = []
    for output in outputs:
        if output.get("name") == "stderr":
            continue
        if "execution_count" in output:
            output["execution_count"] = None
        if "image/jpeg" in output.get("data", {}):
            output["data"] = {"image/jpeg": output["data"]["image/jpeg"]}
        if kept and kept[-1]["output_type"] == output["output_type"] == "stream":
            kept[-1]["text"] += output["text"]
        else:
            kept.append(output)
    return kept


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as temporary:
            write_text(path, json.dumps(tidy(run(path, Path(temporary))), indent=1) + "\n")
