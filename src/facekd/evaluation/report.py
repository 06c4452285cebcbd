"""A report of what models do on a test set: a folder of index.html (page.py), report.json and faces/*.jpg."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from facekd.errors import InputError
from facekd.evaluation import faces, page
from facekd.evaluation.metrics import ContourError, contour_errors, normalisers, paired_difference
from facekd.evaluation.protocol import Result
from facekd.evaluation.tables import BOX_NAMES
from facekd.files import atomic_folder, write_text
from facekd.version import __version__

_PAGE = {"index.html", "report.json"}  # with faces/ all of a report: a folder that holds more is not ours to replace


def write(
    folder: str | Path,
    results: Sequence[Result],
    *,
    title: str = "Evaluation",
    notes: Sequence[str] = (),
    wall_times: Mapping[str, float] | None = None,
    curves: page.Curves | None = None,
) -> Path:
    """Write the report of one or more models on the same faces.

    The page needs no scripts and no network. The folder appears whole or not at all, in place of an earlier report.

    Args:
        folder: where to; it must not hold anything but an earlier report.
        results: what `evaluate` returned, in the order to show.
        title: heading of the page.
        notes: sentences beneath it, such as what the data leave out.
        wall_times: seconds by stage.
        curves: by model, columns of equal length: "epoch", and what to draw over it, such as "validation NME, %". Empty
            ones, of a run without validation faces, are left out.

    Returns:
        Its index.html.

    Raises:
        InputError: no results, results on different faces, two results of the same model and boxes, or a folder that
            holds something else.
    """
    named = _named(results)
    content = page.Content(
        title=title,
        notes=notes,
        results=named,
        jsons={name: {**result.to_json(), "name": name} for name, result in named.items()},
        differences=differences(named),
        contours={name: _contours(result) for name, result in named.items() if result.boxes == results[0].boxes},
        wall_times=wall_times or {},
        curves={model: columns for model, columns in (curves or {}).items() if columns["epoch"]},
    )
    with atomic_folder(_own_folder(Path(folder))) as temporary:
        galleries = {
            name: faces.save(result, temporary, f"faces/{k}") for k, (name, result) in enumerate(named.items())
        }
        write_text(temporary / "index.html", page.render(content, galleries))
        (temporary / "report.json").write_text(json.dumps(_plain(content), indent=1, allow_nan=False), encoding="utf-8")
    return Path(folder) / "index.html"


def differences(named: Mapping[str, Result]) -> list[dict[str, Any]]:
    """Return the paired differences of results that differ in either the model or the boxes.

    Args:
        named: results on the same faces, by the name to show.

    Returns:
        For each pair: first, second, nme (of first less second, in percent), nme_interval, and count of faces.
    """
    found = []
    for (first, a), (second, b) in combinations(named.items(), 2):
        comparable = a.model == b.model or a.boxes == b.boxes
        if comparable and (np.isfinite(a.errors) & np.isfinite(b.errors)).any():
            gap = paired_difference(a.errors, b.errors)
            interval = [round(100 * gap.low, 4), round(100 * gap.high, 4)]
            nme = round(100 * gap.mean, 4)
            found.append({"first": first, "second": second, "nme": nme, "nme_interval": interval, "count": gap.count})
    return found


def _named(results: Sequence[Result]) -> dict[str, Result]:
    """Return the results by model, with the boxes behind it where there are several kinds; raise if not comparable."""
    if not results:
        raise InputError("a report needs at least one result")
    if any(not np.array_equal(result.pack.names, results[0].pack.names) for result in results):
        raise InputError("a report compares models on the same faces: evaluate them on the same pack and split")
    mixed = len({result.boxes for result in results}) > 1
    names = [f"{result.model} ({BOX_NAMES[result.boxes]})" if mixed else result.model for result in results]
    if len(set(names)) < len(names):
        raise InputError(f"a report needs a name for each model, got {', '.join(names)}: evaluate(..., model=NAME)")
    return dict(zip(names, results, strict=True))


def _contours(result: Result) -> dict[str, ContourError]:
    """Return the error of each contour over the faces that were found; nothing when none was."""
    found = np.isfinite(result.errors)
    if not found.any():
        return {}
    truth, markup, boxes = result.pack.points[found], result.pack.markup, result.pack.boxes[found]
    return contour_errors(result.predicted[found], truth, normalisers(truth, markup, boxes)[result.normaliser], markup)


def _plain(content: page.Content) -> dict[str, Any]:
    """Return what report.json holds: the figures of the page in percent, and what else was given to `write`."""

    def percents(error: ContourError) -> dict[str, float]:
        return {"distance": round(100 * error.distance, 4), "outwards": round(100 * error.outwards, 4)}

    return {
        "title": content.title,
        "notes": list(content.notes),
        "facekd": __version__,
        "results": list(content.jsons.values()),
        "differences": content.differences,
        "contours": {
            name: {contour: percents(error) for contour, error in errors.items()}
            for name, errors in content.contours.items()
        },
        "wall_times": dict(content.wall_times),
        "curves": {model: {key: list(values) for key, values in of.items()} for model, of in content.curves.items()},
    }


def _own_folder(folder: Path) -> Path:
    """Return the folder of a report, resolved, for "." has no name to put a folder beside; raise if it is no report."""
    folder = folder.resolve()
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if folder.is_file() or (there and not _PAGE <= there <= _PAGE | {"faces"}):
        raise InputError(f"{folder} holds something that is not a report: choose another folder for the report")
    return folder
