"""The report's page: results as texts, tables and plots for report.html.j2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facekd.evaluation import plots, tables
from facekd.evaluation.metrics import ContourError
from facekd.evaluation.protocol import Result
from facekd.version import __version__

CED_LIMIT = 0.10
Curves = Mapping[str, Mapping[str, Sequence[float]]]


@dataclass(frozen=True)
class Content:
    """What a report says.

    Attributes:
        title: heading of the page.
        notes: sentences beneath it.
        results: by the name to show.
        jsons: their figures, by the same names.
        differences: what `report.differences` returned.
        contours: errors of each contour, by the result's name.
        wall_times: seconds by stage.
        curves: training curves by model: columns of equal length, "epoch" and what to draw over it.
    """

    title: str
    notes: Sequence[str]
    results: Mapping[str, Result]
    jsons: Mapping[str, tables.Json]
    differences: Sequence[dict[str, Any]]
    contours: Mapping[str, Mapping[str, ContourError]]
    wall_times: Mapping[str, float]
    curves: Curves


def render(content: Content, galleries: Mapping[str, Mapping[str, list[dict[str, str]]]]) -> str:
    """Write a report's page as HTML.

    Args:
        content: what the page says.
        galleries: what `faces.save` returned, by the result's name.

    Returns:
        The text of index.html.
    """
    import jinja2

    first = next(iter(content.jsons.values()))
    styles = _styles(content)
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    template = jinja2.Environment(loader=loader, autoescape=True).get_template("report.html.j2")
    return template.render(
        title=content.title,
        notes=content.notes,
        caption=_caption(list(content.jsons.values())),
        normaliser=tables.NORMALISER_NAMES[first["normaliser"]],
        styles=styles,
        results=list(content.results),
        summary=_summary(content.jsons),
        differences=[_difference(line) for line in content.differences],
        ced=_ced_plots(content.results, styles),
        contours=plots.contour_plot(content.contours, styles) if all(content.contours.values()) else "",
        contour_names=list(content.contours),
        contour_boxes=tables.BOX_NAMES[first["boxes"]],
        parts=_parts(content.jsons),
        galleries=galleries,
        curves=_curve_plots(content.curves, styles),
        curve_models=list(content.curves),
        wall_times={stage: duration(seconds) for stage, seconds in content.wall_times.items()},
        version=__version__,
    )


def duration(seconds: float) -> str:
    """Return a duration as people say it: "4.2 s", "3 min 20 s", "1 h 05 min".

    Args:
        seconds: 0 or more.

    Returns:
        The text.
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"


def _styles(content: Content) -> dict[str, plots.Style]:
    """Return how each name is drawn: a colour per model, dashed for the second kind of boxes."""
    models = dict.fromkeys([*(result.model for result in content.results.values()), *content.curves])
    colours = {model: plots.COLOURS[index % len(plots.COLOURS)] for index, model in enumerate(models)}
    solid = next(iter(content.results.values())).boxes
    named = {name: plots.Style(colours[r.model], dashed=r.boxes != solid) for name, r in content.results.items()}
    return {model: plots.Style(colour) for model, colour in colours.items()} | named


def _caption(results: Sequence[tables.Json]) -> str:
    first, full = results[0], results[0]["subsets"]["full"]
    boxes = " or ".join(dict.fromkeys(tables.BOX_NAMES[result["boxes"]] for result in results))
    converted = dict.fromkeys(result["converted_from"] for result in results if result["converted_from"])
    return (
        f"{full['count']} faces of {first['dataset']}, {first['split']} split, mark-up {first['markup']}. "
        f"Faces are cut by {boxes} boxes. Errors are in % of the {tables.NORMALISER_NAMES[first['normaliser']]}."
    ) + "".join(
        [f" Points of {markup} were converted." for markup in converted]
        + ([f" {tables.left_out(first)}."] if first.get("left_out") else [])
    )


def _cells(figures: Sequence[tables.Json], key: str) -> list[dict[str, Any]]:
    """Return a column: each model's figure with its interval, the best of several marked."""
    known = [one[key] for one in figures if one[key] is not None]
    best = (max if key.startswith("auc") else min)(known) if len(known) > 1 else None
    cells = []
    for one in figures:
        interval = " – ".join(tables.number(end) for end in one[f"{key}_interval"] or ())
        cells.append(
            {"text": tables.number(one[key]), "interval": interval, "best": best is not None and one[key] == best}
        )
    return cells


def _counts(figures: Sequence[tables.Json], key: str) -> list[dict[str, Any]]:
    return [{"text": str(one[key])} for one in figures]


def _table(
    title: str, headings: Sequence[str], names: Sequence[str], columns: Sequence[list[dict[str, Any]]]
) -> dict[str, Any]:
    lines = [{"name": name, "cells": cells} for name, cells in zip(names, zip(*columns, strict=True), strict=True)]
    return {"title": title, "heading": ["model", *headings], "lines": lines}


def _summary(jsons: Mapping[str, tables.Json]) -> dict[str, Any]:
    first = next(iter(jsons.values()))
    headings = [f"{subset} ({figures['count']})" for subset, figures in first["subsets"].items()]
    keys = [(subset, f"nme_{first['normaliser']}") for subset in first["subsets"]] + [
        ("full", "fr_8"),
        ("full", "auc_8"),
    ]
    columns = [_cells([result["subsets"][subset] for result in jsons.values()], key) for subset, key in keys]
    return _table("", [*headings, "FR@8", "AUC@8"], list(jsons), columns)


def _parts(jsons: Mapping[str, tables.Json]) -> list[dict[str, Any]]:
    """Return a table of every figure for each subset, and for visible and occluded points where they are known."""
    first = next(iter(jsons.values()))
    headings = tables.columns(first)
    parts = []
    for subset, figures in first["subsets"].items():
        of = [result["subsets"][subset] for result in jsons.values()]
        columns = [_counts(of, "missed"), *(_cells(of, key) for key in headings)]
        parts.append(
            _table(f"{subset}, {figures['count']} faces", ["missed", *headings.values()], list(jsons), columns)
        )
    for kind in first["occlusion"] or ():
        of = [result["occlusion"][kind] for result in jsons.values()]
        columns = [_counts(of, "count"), _counts(of, "points"), _cells(of, f"nme_{first['normaliser']}")]
        parts.append(_table(f"{kind} points", ["faces", "points", "NME"], list(jsons), columns))
    if first.get("visibility"):
        told = [result.get("visibility") or {} for result in jsons.values()]
        keys = {"points": "points", "share_occluded": "share occluded", "ap_occluded": "AP"}
        columns = [[{"text": _plain_number(one.get(key))} for one in told] for key in keys]
        parts.append(_table(tables.AP_NAME, list(keys.values()), list(jsons), columns))
    return parts


def _plain_number(value: float | None) -> str:
    return str(value) if isinstance(value, int) else tables.number(value)


def _difference(line: Mapping[str, Any]) -> dict[str, Any]:
    def signed(value: float) -> str:
        return f"{value:+.2f}".replace("-", "−")

    low, high = line["nme_interval"]
    better = "first" if high < 0 else "second" if low > 0 else "cannot tell"
    return {**line, "nme": signed(line["nme"]), "interval": f"{signed(low)} … {signed(high)}", "better": better}


def _ced_plots(results: Mapping[str, Result], styles: Mapping[str, plots.Style]) -> list[dict[str, str]]:
    first = next(iter(results.values()))
    drawn = []
    for subset, figures in first.subsets.items():
        rows = np.array([subset == "full" or subset in names for names in first.pack.subsets])
        errors = {name: result.errors[rows] for name, result in results.items()}
        svg = plots.ced_plot(errors, CED_LIMIT, styles, f"ced {subset}")
        drawn.append({"title": f"{subset}, {figures['count']} faces", "svg": svg})
    return drawn


def _curve_plots(curves: Curves, styles: Mapping[str, plots.Style]) -> list[dict[str, str]]:
    drawn = []
    for key in dict.fromkeys(key for columns in curves.values() for key in columns if key != "epoch"):
        having = {model: (columns["epoch"], columns[key]) for model, columns in curves.items() if key in columns}
        drawn.append({"title": key, "svg": plots.curve_plot(having, key, styles)})
    return drawn
