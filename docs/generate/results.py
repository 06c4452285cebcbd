"""Write a page on a study, and its plots, from text and records in docs/results/<study>/.

python docs/generate/results.py kd-loss                           # the page, from the records
python docs/generate/results.py kd-loss --study STUDY --data PACK
                                                         # first copy a study's records, and draw example faces

python docs/generate/results.py bundled                           # the page on the bundled networks

The records of the last are what `facekd evaluate facekd-68 300w.parquet --boxes truth --json FILE` writes, FILE being
docs/results/bundled/facekd-68-truth.json, and so on for each network and kind of boxes.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from facekd.data.pack import Pack
from facekd.evaluation.faces import ends_and_middle
from facekd.evaluation.tables import BOX_NAMES, markdown_table
from facekd.files import atomic
from facekd.runtime.card import ModelCard
from facekd.runtime.names import bundled
from facekd.study import config as plan
from facekd.study import table as comparison

DOCS = Path(__file__).parents[1]
PAGES = {
    "kd-loss": "results/kd-loss.md",
    "spatial": "explanation/ablation.md",
    "backbones": "results/backbones.md",
    "bundled": "results/models.md",
}
PLOTS = {"kd-loss": "kd-loss/", "spatial": "../results/spatial/", "backbones": "backbones/"}  # from the page
SHOWN = {"kd-loss": "KD-Loss, as released", "spatial": "+ sigma"}  # the row whose faces are drawn


def the_plan(name: str) -> plan.Study:
    """Return the study of a name."""
    return plan.load(DOCS / "studies" / f"{name}.yaml")


def folder_of(name: str) -> Path:
    """Return where a study's text, records and plots lie."""
    return DOCS / "results" / name


def take_over(name: str, study: Path, pack: Pack) -> None:
    """Copy a study's records, and draw faces of one of its networks."""
    folder_of(name).mkdir(parents=True, exist_ok=True)
    for path in sorted((study / "runs").glob("*.json")):
        shutil.copy(path, folder_of(name) / path.name)
    if name not in SHOWN:
        return
    record = next(record for record in records(name) if record["row"] == SHOWN[name])
    predicted = np.load(study / "networks" / record["id"] / "predicted.npy")
    with atomic(folder_of(name) / "faces.png") as temporary:
        draw_faces(pack.select("test"), predicted, np.array(record["results"][0]["errors"], float), temporary)


def records(name: str) -> list[dict[str, Any]]:
    """Return the records in the study's order."""
    rows = the_plan(name).names
    found = [json.loads(path.read_text()) for path in folder_of(name).glob("*.json")]
    return sorted(found, key=lambda record: (rows.index(record["row"]), record["seed"]))


def draw_faces(test: Pack, predicted: np.ndarray, errors: np.ndarray, path: Path, each: int = 6) -> None:
    """Draw the outlines of the best, median and worst faces, true and predicted, without the photos."""
    figure = Figure(figsize=(1.5 * each, 5.4), layout="constrained")
    axes = figure.subplots(3, each)
    groups = ends_and_middle(errors, each, each, each)
    for line, name in zip(axes, ("best", "median", "worst"), strict=True):
        for axis, row in zip(line, groups[name], strict=True):
            for points, colour in ((test.points[row], "#999999"), (predicted[row], "#D55E00")):
                for contour in test.markup.contours:
                    order = [*contour.points, *(contour.points[:1] if contour.closed else ())]
                    axis.plot(*points[order].T, color=colour, linewidth=1)
            axis.set_title(f"{name}: {100 * errors[row]:.1f} %", fontsize=8)
            axis.set_aspect("equal")
            axis.invert_yaxis()
            axis.axis("off")
    figure.savefig(path, format="png", dpi=90)  # dots, not vectors: the labels are not ours to pass on


def page(name: str) -> str:
    """Return the page on a study, or on the bundled networks."""
    if name == "bundled":
        return (folder_of(name) / "text.md").read_text().format(tables=bundled_networks())
    study, found = the_plan(name), records(name)
    done = [record for record in found if "error" not in record]
    lines = comparison.summarise(found, study.reference)
    by_row = {line.row: line for line in lines}
    missing = {entry.row for entry in plan.entries(study)} - {record["row"] for record in done}
    if missing:
        raise SystemExit(f"no record of {', '.join(sorted(missing))}; finish the study first")
    minutes = sum({record["id"]: record["summary"]["seconds"] for record in done}.values()) / 60
    full: dict[str, list[float]] = {}
    for line in lines:
        full.setdefault(line.table, []).append(line.nme["full"])
    text = (folder_of(name) / "text.md").read_text()
    return text.format(
        tables=comparison.sections(lines, done, study.reference, plots=PLOTS[name]),
        runs=len(done),
        networks=len({record["id"] for record in done}),
        hours=minutes / 60,
        of={name: Shown(line) for name, line in by_row.items()},
        span={table: f"{min(values):.2f} to {max(values):.2f}" for table, values in full.items()},
    )


def bundled_networks() -> str:
    """Return what the bundled networks cost, and their figures with each kind of boxes."""
    cards = {name: ModelCard.load(path) for name, path in bundled().items()}
    lines = ["| network | input | parameters | GMACs | file |", "|---|---|---|---|---|"]
    for name, card in cards.items():
        made, size = card.made_with, bundled()[name].stat().st_size / 1e6
        cost = f"{made['parameters'] / 1e6:.2f} M | {made['macs'] / 1e9:.3f} | {size:.1f} MB"
        lines.append(f"| {name} | {card.size} px | {cost} |")
    for boxes in BOX_NAMES:
        files = [DOCS / "results" / "bundled" / f"{name}-{boxes}.json" for name in cards]
        lines += ["", markdown_table([json.loads(path.read_text()) for path in files])]
    return "\n".join(lines)


class Shown:
    """A line's figures as the text quotes them: {of[L1].full}, {of[L2].against}."""

    def __init__(self, line: comparison.Line) -> None:
        spread = f" ± {line.spread['full']:.2f}" if line.spread else ""
        self.full = f"{line.nme['full']:.2f}{spread}"
        self.against = ""
        if line.difference is not None:
            mean, low, high = (f"{value:+.2f}".replace("-", "−") for value in line.difference)
            self.against = f"{mean} [{low}, {high}]"


def main() -> None:
    """Write the page, with the records of a study if one is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(PAGES))
    parser.add_argument("--study", type=Path)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    if options.study:
        take_over(options.name, options.study, Pack.open(options.data))
    found = records(options.name) if options.name != "bundled" else []
    done = [record for record in found if "error" not in record]
    for name, svg in comparison.plot(comparison.summarise(found), done).items():
        with atomic(folder_of(options.name) / name) as temporary:
            temporary.write_text(svg)
    with atomic(DOCS / PAGES[options.name]) as temporary:
        temporary.write_text(page(options.name))


if __name__ == "__main__":
    main()
