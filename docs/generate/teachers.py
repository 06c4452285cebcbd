"""Draw what the teachers of a finished run get wrong: `python docs/generate/teachers.py RUN PACK`.

Writes figures/teachers.png and .json, of a run with the stages tough, tolerant, baseline and student. Faces are the
validation list's, which no network was trained on, and as many training faces, cut by their true boxes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from figures import distance, in_crop, save, write_json
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from facekd.data.pack import Pack
from facekd.evaluation import protocol
from facekd.evaluation.shapes import BLUE, GREEN, GREY, ORANGE, RED, draw_shape
from facekd.geometry import apply, crop_matrix
from facekd.markup import MarkUp
from facekd.networks.predictor import TorchModel
from facekd.run_folder import MODEL, SHAPE_MODEL
from facekd.shape import ShapeModel

STAGES = ("tough", "tolerant", "baseline", "student")
REGIONS = {"low influence": GREY, "negative": BLUE, "positive": ORANGE}


def predictions(run: Path, faces: Pack) -> dict[str, np.ndarray]:
    """Return each network's landmarks (n, N, 2) in the normalised crop frame."""
    models = {stage: TorchModel.load(path) for stage in STAGES if (path := run / stage / MODEL).is_file()}
    found = {stage: protocol.evaluate(model, faces, bootstrap=2).predicted for stage, model in models.items()}
    frame = crop_matrix(faces.boxes, 1, models["student"].scale)
    return {stage: apply(frame, points) for stage, points in found.items()}


def regions(student: np.ndarray, teacher: np.ndarray, hard: np.ndarray, beta: float) -> dict[str, float]:
    """Return the percent of coordinates in each region of ALoss, and where the reflection moves the teacher at all."""
    e, t = np.abs(student - hard), np.abs(teacher - hard)
    shares = {
        "low influence": e < beta * t,
        "negative": (e >= beta * t) & (e <= t),
        "positive": e > t,
        "other side": (student - hard) * (teacher - hard) < 0,
    }
    return {name: round(100 * float(share.mean()), 1) for name, share in shares.items()}


def describe(
    found: dict[str, np.ndarray], hard: np.ndarray, soft: np.ndarray, beta: float, markup: MarkUp
) -> dict[str, Any]:
    """Return the numbers of one set of faces, distances in percent of the inter-ocular distance."""
    errors = {stage: points - hard for stage, points in found.items()}
    return {
        "faces": len(hard),
        "soft_to_hard": round(float(distance(soft, hard, markup).mean()), 3),
        "to_hard": {stage: round(float(distance(points, hard, markup).mean()), 3) for stage, points in found.items()},
        "to_soft": {stage: round(float(distance(points, soft, markup).mean()), 3) for stage, points in found.items()},
        "regions": {t: regions(found["student"], found[t], hard, beta) for t in ("tough", "tolerant")},
        "correlation_of_errors": {
            f"{a} {b}": round(float(np.corrcoef(errors[a].ravel(), errors[b].ravel())[0, 1]), 3)
            for a, b in (("tough", "tolerant"), ("tough", "student"), ("tolerant", "student"), ("tough", "baseline"))
        },
    }


def draw(path: Path, found: dict[str, np.ndarray], hard: np.ndarray, numbers: dict[str, Any], markup: MarkUp) -> None:
    """Draw the mean error of every point on the mean face, and the regions of ALoss that the student is in."""
    figure = Figure(figsize=(7.2, 2.8), layout="constrained")
    *faces, bars = figure.subplots(1, 4, width_ratios=[1, 1, 1, 1.3])
    mean = hard.mean(0)
    for axes, (stage, colour) in zip(faces, {"tough": RED, "tolerant": GREEN, "student": BLUE}.items(), strict=True):
        draw_shape(axes, mean, markup, "#bbbbbb", linewidth=0.8)
        radius = np.linalg.norm(found[stage] - hard, axis=-1).mean(0)
        for (x, y), r in zip(mean, radius, strict=True):
            axes.add_patch(Circle((x, y), r, color=colour, alpha=0.5, linewidth=0))
        axes.set_title(f"{stage}: {numbers['val']['to_hard'][stage]:.2f} %", fontsize=9)
    rows = [(split, teacher) for teacher in ("tough", "tolerant") for split in ("train", "val")]
    for y, (split, teacher) in enumerate(rows):
        left = 0.0
        for name, colour in REGIONS.items():
            share = numbers[split]["regions"][teacher][name]
            bars.barh(y, share, left=left, color=colour, alpha=0.6, label=name if y == 0 else None)
            bars.text(left + share / 2, y, f"{share:.0f}", ha="center", va="center", fontsize=8)
            left += share
    bars.set_yticks(range(len(rows)), [f"{teacher}, {split}" for split, teacher in rows])
    bars.set(xlim=(0, 100), xlabel="% of the student's coordinates", ylim=(len(rows) - 0.5, -0.5))
    figure.legend(*bars.get_legend_handles_labels(), loc="outside lower right", ncols=3, frameon=False, fontsize=8)
    save(figure, path)


def main() -> None:
    """Measure and draw one run."""
    parser = argparse.ArgumentParser(description="Draw what the teachers of a finished run get wrong.")
    parser.add_argument("run", type=Path)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "figures")
    arguments = parser.parse_args()
    pack, shape = Pack.open(arguments.pack), ShapeModel.load(arguments.run / "tolerant" / SHAPE_MODEL)
    recipe = json.loads((arguments.run / "evaluation.json").read_text())["recipe"]
    beta = recipe["stages"]["student"]["loss"]["beta"]
    val, train = pack.select("val"), pack.select("train")
    splits = {"train": train.select(indices=np.linspace(0, len(train) - 1, len(val)).astype(int)), "val": val}
    numbers: dict[str, Any] = {"recipe": recipe["name"], "dataset": pack.meta["dataset"], "beta": beta}
    for split, faces in splits.items():
        hard, found = in_crop(faces.points, recipe["input"]["scale"]), predictions(arguments.run, faces)
        numbers[split] = describe(found, hard, shape.soft(hard), beta, pack.markup)
    write_json(arguments.out / "teachers.json", numbers)
    draw(arguments.out / "teachers.png", found, hard, numbers, pack.markup)


if __name__ == "__main__":
    main()
