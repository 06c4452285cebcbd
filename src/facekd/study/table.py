"""The table and the plots of a study, from the records of its runs (`facekd.study.runner`) alone.

A record holds "row", "table", "seed", and either "error" or "summary", "curve" and "results", whose figures come with
"errors", the NME of each face as a fraction (None: missed).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facekd.evaluation import plots
from facekd.evaluation.tables import BOX_NAMES, NORMALISER_NAMES, number
from facekd.files import write_text

Record = Mapping[str, Any]
_CED_LIMIT = 0.10
_SAMPLES = 1000
_PLOTTED = 12  # lines that can still be told apart
_VALIDATION = "validation NME, %"  # the column of a curve


@dataclass(frozen=True)
class Line:
    """A row of a table over its seeds, in percent.

    Attributes:
        row: its name in the study.
        table: the heading of the table that it stands in; empty for the study's only one.
        seeds: how many of its runs are done.
        nme: mean over the seeds by subset.
        spread: standard deviation over the seeds by subset; None with one seed.
        failures: FR@8 on full, mean over the seeds.
        validation: NME on the validation faces, mean over the seeds; None where the pack has no validation faces.
        difference: NME full less the reference's, image by image: mean, and the 95 % bootstrap interval over images
            and seeds; None without reference.
        epochs: of one training.
        minutes: of one training, as measured beside whatever else ran, mean over the seeds.
        error: why a run of it failed; None: none did.
    """

    row: str
    table: str
    seeds: int
    nme: dict[str, float]
    spread: dict[str, float] | None
    failures: float | None
    validation: float | None
    difference: tuple[float, float, float] | None
    epochs: int | None
    minutes: float | None
    error: str | None


def write(folder: Path, records: Sequence[Record], wanted: int, *, title: str, reference: str | None = None) -> Path:
    """Write study.json, study.md and its plots.

    Args:
        folder: the study's.
        records: of the runs that are done or failed, in the order of the rows to show.
        wanted: how many runs there will be.
        title: heading of the page.
        reference: the row that the others are compared with; None for none.

    Returns:
        The page, study.md.
    """
    done = [record for record in records if "error" not in record]
    lines = summarise(records, reference)
    for name, svg in plot(lines, done).items():
        write_text(folder / name, svg)
    write_text(folder / "study.json", json.dumps([asdict(line) for line in lines], indent=1))
    state = f"{len(done)} of {wanted} runs are done."
    write_text(folder / "study.md", f"# {title}\n\n{state}\n\n{sections(lines, done, reference)}")
    return folder / "study.md"


def sections(lines: Sequence[Line], records: Sequence[Record], reference: str | None = None, plots: str = "") -> str:
    """Return the tables, each under its heading and above its plots, as Markdown.

    Args:
        lines: what `summarise` returned.
        records: of the runs that are done.
        reference: the row that the others are compared with; None for none.
        plots: where the plots are, put before their names.

    Returns:
        Markdown text.
    """
    page = []
    for index, (heading, part) in enumerate(_tables(lines).items()):
        page += [f"## {heading}", ""] if heading else []
        page += [markdown(part, records, reference), ""]
        kinds = [kind for kind, rows in _plotted(part, records).items() if rows]
        page += [f"![{kind}]({plots}{_plot_name(kind, index)})" for kind in kinds] + ([""] if kinds else [])
    return "\n".join(page)


def plot(lines: Sequence[Line], records: Sequence[Record]) -> dict[str, str]:
    """Draw the plots of each table: cumulative errors, and training curves where there are validation faces.

    Args:
        lines: what `summarise` returned.
        records: of the runs that are done; a row is drawn with its first seed.

    Returns:
        SVG texts by file name.
    """
    drawn = {}
    for index, part in enumerate(_tables(lines).values()):
        rows = _plotted(part, records)
        styles = plots.styles(list(rows["ced"]))
        if rows["ced"]:
            errors = {row: _errors([record])[0] for row, record in rows["ced"].items()}
            ced = plots.ced_plot(errors, _CED_LIMIT, styles, f"ced {index}", legend=True)
            drawn[_plot_name("ced", index)] = plots.alone(ced)
        if rows["curves"]:
            curves = {row: (one["curve"]["epoch"], one["curve"][_VALIDATION]) for row, one in rows["curves"].items()}
            curve = plots.curve_plot(curves, _VALIDATION, styles, legend=True)
            drawn[_plot_name("curves", index)] = plots.alone(curve)
    return drawn


def _plotted(part: Sequence[Line], records: Sequence[Record]) -> dict[str, dict[str, Record]]:
    """Return, for each kind of plot of a table, the rows in it with their first seed's record."""
    first = {record["row"]: record for record in reversed(records)}
    rows = {line.row: first[line.row] for line in part if line.seeds}
    shown = dict(list(rows.items())[:_PLOTTED])
    return {"ced": shown, "curves": {row: one for row, one in shown.items() if one["curve"].get(_VALIDATION)}}


def summarise(records: Sequence[Record], reference: str | None = None) -> list[Line]:
    """Return one line per row, over its seeds; figures are those with the first kind of boxes (truth).

    Args:
        records: of the runs that are done or failed, in the order of the rows to show.
        reference: the row that the others are compared with; None for none.

    Returns:
        The lines, in the order of their first records.
    """
    by_row: dict[str, list[Record]] = {}
    for record in records:
        by_row.setdefault(record["row"], []).append(record)
    base = _errors(by_row.get(reference or "", []))
    return [_line(row, of, base if row != reference else None) for row, of in by_row.items()]


def markdown(lines: Sequence[Line], records: Sequence[Record], reference: str | None = None) -> str:
    """Return lines as a Markdown table with its caption.

    Args:
        lines: what `summarise` returned, or those of one table.
        records: of the runs that are done; the caption takes dataset, boxes and normaliser from the first.
        reference: the row that the others are compared with; None for none.

    Returns:
        Markdown text.
    """
    if not records:
        return "No run is done."
    first = records[0]["results"][0]
    subsets = {name: figures["count"] for name, figures in first["subsets"].items()}
    heading = ["", "seeds", *(f"{name} ({count})" for name, count in subsets.items()), "FR@8", "validation"]
    heading += [f"full, against {reference}"] if reference else []
    rows = [[*heading, "epochs", "minutes"], ["---"] * (len(heading) + 2)]
    for line in lines:
        if not line.seeds:
            rows.append([line.row, "0", f"not run: {line.error}", *[""] * (len(heading) - 1)])
            continue
        cells = [line.row, str(line.seeds), *(_mean(line, name) for name in subsets)]
        cells += [number(line.failures), number(line.validation)]
        if reference:
            cells.append(_signed(line.difference))
        rows.append([*cells, str(line.epochs), number(line.minutes, 0)])
    caption = (
        f"NME in %, normalised by the {NORMALISER_NAMES[first['normaliser']]}; {first['dataset']}, {first['split']} "
        f"split, number of images in brackets; boxes: {BOX_NAMES[first['boxes']]}. ±: standard deviation over the "
        "seeds; without it, one seed. FR@8 on full."
    )
    if reference:
        caption += " Differences are paired by image; in brackets 95 % bootstrap intervals over images and seeds."
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + f"\n\n{caption}"


def _line(row: str, records: Sequence[Record], base: np.ndarray | None) -> Line:
    done = [record for record in records if "error" not in record]
    error = next((record["error"] for record in records if "error" in record), None)
    if not done:
        return Line(row, records[0]["table"], 0, {}, None, None, None, None, None, None, error)
    figures = [record["results"][0] for record in done]
    key = f"nme_{figures[0]['normaliser']}"
    nme = {name: np.array([one["subsets"][name][key] for one in figures], float) for name in figures[0]["subsets"]}
    difference = None
    if base is not None:
        difference = _difference(_errors(done), base)
    validation = [value for record in done if (value := _validation(record)) is not None]
    return Line(
        row=row,
        table=records[0]["table"],
        seeds=len(done),
        nme={name: float(values.mean()) for name, values in nme.items()},
        spread={name: float(values.std(ddof=1)) for name, values in nme.items()} if len(done) > 1 else None,
        failures=float(np.mean([one["subsets"]["full"]["fr_8"] for one in figures])),
        validation=float(np.mean(validation)) if validation else None,
        difference=difference,
        epochs=done[0]["summary"]["epochs"],
        minutes=float(np.mean([record["summary"]["seconds"] for record in done])) / 60,
        error=error,
    )


def _validation(record: Record) -> float | None:
    """Return a network's NME on the validation faces, from what it ended with or its last epoch; None without faces."""
    final, curve = record["summary"].get("val_nme"), record["curve"].get(_VALIDATION)
    return final if final is not None else curve[-1] if curve else None


def _errors(records: Sequence[Record]) -> Any:
    """Return the NME of each face by seed (s, n), infinite where missed; None without a run."""
    done = [record["results"][0]["errors"] for record in records if "error" not in record]
    return np.array([[np.inf if e is None else e for e in errors] for errors in done], float) if done else None


def _difference(own: np.ndarray, base: np.ndarray) -> tuple[float, float, float]:
    """Return the mean difference of errors (s, n) and (t, n) in percent, and its 95 % bootstrap interval.

    Seeds and images are resampled: trained anew and tested on other faces, where would the difference lie?
    """
    found = np.isfinite(own).all(axis=0) & np.isfinite(base).all(axis=0)
    own, base = 100 * own[:, found], 100 * base[:, found]
    rng, count = np.random.default_rng(0), found.sum()
    samples = np.empty(_SAMPLES)
    for k in range(_SAMPLES):
        first, second = (e[rng.integers(len(e), size=len(e))].mean(axis=0) for e in (own, base))
        samples[k] = (first - second)[rng.integers(count, size=count)].mean()
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(own.mean() - base.mean()), float(low), float(high)


def _tables(lines: Sequence[Line]) -> dict[str, list[Line]]:
    tables: dict[str, list[Line]] = {}
    for line in lines:
        tables.setdefault(line.table, []).append(line)
    return tables


def _plot_name(kind: str, table: int) -> str:
    return f"{kind}-{table}.svg"


def _mean(line: Line, subset: str) -> str:
    spread = f" ± {line.spread[subset]:.2f}" if line.spread else ""
    return number(line.nme[subset]) + spread


def _signed(difference: tuple[float, float, float] | None) -> str:
    if difference is None:
        return ""
    mean, low, high = (f"{value:+.2f}".replace("-", "−") for value in difference)
    return f"{mean} [{low}, {high}]"
