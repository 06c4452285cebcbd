"""Tables of results for the terminal, the docs and the report, from what `Result.to_json` returned or a file holds.

They never print a bare figure: the normaliser, the boxes, the number of faces and the interval stand with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from facekd.errors import InputError

Json = Mapping[str, Any]

BOX_NAMES = {"truth": "ground truth", "detector": "detector"}
NORMALISER_NAMES = {
    "inter_ocular": "inter-ocular distance (outer eye corners)",
    "inter_pupil": "inter-pupil distance",
    "box_diagonal": "diagonal of the box that faces are cut by",
}
AP_NAME = "AP of occluded points"
SHORT_NAMES = {"inter_ocular": "inter-ocular", "inter_pupil": "inter-pupil", "box_diagonal": "box diagonal"}


def number(value: float | None, digits: int = 2) -> str:
    """Return a figure as text.

    Args:
        value: in percent; None where there is none.
        digits: behind the point.

    Returns:
        The text, a dash for None.
    """
    return "–" if value is None else f"{value:.{digits}f}"


def with_interval(figures: Json, key: str, digits: int = 2) -> str:
    """Return a figure with its interval, like "4.06 [3.95, 4.18]".

    Args:
        figures: of one subset, as `Result.to_json` has them.
        key: which of them.
        digits: behind the point.

    Returns:
        The text, a dash where there is no figure.
    """
    if figures[key] is None:
        return "–"
    low, high = figures[f"{key}_interval"]
    return f"{figures[key]:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def columns(result: Json) -> dict[str, str]:
    """Return the heading of each figure that the mark-up has, in the order tables show them.

    Args:
        result: what `Result.to_json` returned.

    Returns:
        Headings by the figure's key.
    """
    full = result["subsets"]["full"]
    headings = {f"nme_{name}": f"NME {short}" for name, short in SHORT_NAMES.items() if full[f"nme_{name}"] is not None}
    return headings | {"fr_8": "FR@8", "auc_8": "AUC@8", "fr_10": "FR@10", "auc_10": "AUC@10"}


def rows(result: Json) -> list[list[str]]:
    """Return a result as a table: a column per subset, a row per figure.

    Args:
        result: what `Result.to_json` returned.

    Returns:
        A heading with the subsets and their number of faces, then the rows; after the figures missed faces and, where
        it is known, how well occluded points are told, over all faces.
    """
    subsets = result["subsets"].values()
    table = [["%", *(f"{name} ({figures['count']})" for name, figures in result["subsets"].items())]]
    table += [[heading, *(with_interval(one, key) for one in subsets)] for key, heading in columns(result).items()]
    table.append(["faces missed", *(str(one["missed"]) for one in subsets)])
    if visibility := result.get("visibility"):
        rest = [""] * (len(subsets) - 1)
        table.append([AP_NAME, number(visibility["ap_occluded"]), *rest])
        table.append(["share of occluded points", number(visibility["share_occluded"]), *rest])
    return table


def caption(result: Json) -> str:
    """Return the sentence that a table of this result needs beside it.

    Args:
        result: what `Result.to_json` returned.

    Returns:
        Dataset, split, mark-up, normaliser, boxes and kind of interval.
    """
    parts = [
        f"{result['dataset']}, {result['split']} split, {result['markup']}; figures in %",
        f"FR, AUC: {NORMALISER_NAMES[result['normaliser']]}",
        f"boxes: {BOX_NAMES[result['boxes']]}",
        "95 % bootstrap intervals over faces",
    ]
    if result["converted_from"]:
        parts.append(f"points converted from {result['converted_from']}")
    if result.get("left_out"):
        parts.append(left_out(result))
    return "; ".join(parts) + "."


def left_out(result: Json) -> str:
    """Say how many faces are not measured.

    Args:
        result: what `Result.to_json` returned.

    Returns:
        Words for a caption.
    """
    return f"{result['left_out']} face(s) left out, as points are missing that errors are normalised by"


def markdown_table(results: Sequence[Json], subsets: Sequence[str] | None = None) -> str:
    """Return results on the same faces as one Markdown table: a row per model, NME per subset, FR and AUC on full.

    Args:
        results: what `Result.to_json` returned, or JSON files hold.
        subsets: the subsets to show; all by default.

    Returns:
        The table with its caption.

    Raises:
        InputError: the results are not on the same faces, or use different normalisers.
    """
    first = results[0]
    shown = list(subsets or first["subsets"])
    counts = {name: first["subsets"][name]["count"] for name in shown}
    for other in results[1:]:
        same_faces = {name: other["subsets"].get(name, {}).get("count") for name in shown} == counts
        if not same_faces or other["normaliser"] != first["normaliser"]:
            raise InputError(f"'{first['model']}' and '{other['model']}' saw different faces: make two tables")
    key = f"nme_{first['normaliser']}"
    heading = ["model", "boxes", *(f"{name} ({count})" for name, count in counts.items()), "FR@8", "AUC@8"]
    lines = [heading, ["---"] * len(heading)]
    for result in results:
        full = result["subsets"]["full"]
        missed = f", {full['missed']} missed" if full["missed"] else ""
        nme = [with_interval(result["subsets"][name], key) for name in shown]
        boxes = BOX_NAMES[result["boxes"]] + missed
        lines.append([result["model"], boxes, *nme, number(full["fr_8"]), number(full["auc_8"])])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        f"{table}\n\nNME in %, normalised by the {NORMALISER_NAMES[first['normaliser']]}, with 95 % bootstrap "
        f"intervals; number of images in brackets; {first['dataset']}, {first['split']} split. FR, AUC: % on full.\n"
    )
