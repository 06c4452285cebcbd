"""How good pseudo-labels are, where labels are known: the error of what networks agree on, by how well they agree.

    python benchmarks/pseudo_labels.py PACK [--model facekd-68 facekd-68-lite] [--out docs/benchmarks]

The validation faces of a pack of 300W, as they are and under corruptions of `corruptions.py`, labelled by
`facekd.data.pseudo_labels.consensus` as `facekd pseudo-label` does. Beside it what a shape model of the training faces
makes of the label: its soft-landmarks, and its points where views disagree. Writes pseudo-labels.json and, from it,
pseudo-labels.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from corruptions import CORRUPTIONS
from hard_faces import complete

from facekd.data.pack import Pack
from facekd.data.pseudo_labels import MAX_SPREAD, MIN_POINTS, Consensus, consensus
from facekd.geometry import centre_and_side, tight_box
from facekd.runtime.landmarker import Landmarker
from facekd.shape import ShapeModel
from runtime import processor

MODELS = ("facekd-68", "facekd-68-lite")
NAMES = ("plain", "mask over nose, mouth and chin", "hand", "block over a third", "Gaussian blur 0.04", "24 px")
KINDS = ("together", "soft", "filled")  # of label: the views' median, and what a shape model makes of it
EVERY = 2  # of the validation faces
EDGES = (0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, np.inf)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, help="300W as a pack")
    parser.add_argument("--model", nargs="+", default=list(MODELS), help="bundled names, or .onnx files")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()

    cv2.setNumThreads(1)
    pack = Pack.open(options.pack)
    faces = complete(pack.select("val"))
    shapes = ShapeModel.fit(pack.select("train").points.astype(np.float64), procrustes=True)
    landmarkers = {name: Landmarker(name, threads=1, engine="onnx") for name in options.model}
    rows, every = measure(faces.select(indices=np.arange(0, len(faces), EVERY)), landmarkers, shapes)
    result = {
        "command": "python benchmarks/pseudo_labels.py PACK",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, {processor()}",
        "pack_sha256": faces.meta["sha256"],
        "models": options.model,
        "faces": rows[0]["faces"],
        "max_spread": MAX_SPREAD,
        "rows": rows,
        "by_spread": by_spread(*every),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "pseudo-labels.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "pseudo-labels.md").write_text(page(result))
    print(page(result))


def measure(
    faces: Pack, landmarkers: dict[str, Landmarker], shapes: ShapeModel
) -> tuple[list[dict[str, Any]], tuple[dict[str, np.ndarray], np.ndarray]]:
    """Return the figures of each condition; and errors, by kind of label, and spread (n, N) of all, in sides."""
    models = [landmarker.model for landmarker in landmarkers.values()]
    chosen = [corruption for corruption in CORRUPTIONS if corruption.name in NAMES]
    rows, spreads = [], []
    errors: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    for corruption in chosen:
        alone: dict[str, list[np.ndarray]] = {name: [] for name in landmarkers}
        labels: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
        spread = []
        for index in range(len(faces)):
            photo, points = corruption(index, faces.image(index), faces.points[index])
            box = tight_box(points)
            side = float(centre_and_side(box)[1])
            for name, landmarker in landmarkers.items():
                (face,) = landmarker.detect(photo, box[None], "landmarks")
                alone[name].append(np.linalg.norm(face.points - points, axis=-1) / side)
            found = consensus(photo, face.points, models)
            for kind, label in zip(KINDS, (found.points, *by_shape(found, shapes)), strict=True):
                labels[kind].append(np.linalg.norm(label - points, axis=-1) / side)
            spread.append(found.spread)
        as_arrays = {kind: np.array(labels[kind]) for kind in KINDS}
        rows.append(condition(corruption.name, alone, as_arrays, np.array(spread)))
        print(json.dumps(rows[-1]), flush=True)
        for kind in KINDS:
            errors[kind].extend(labels[kind])
        spreads.extend(spread)
    return rows, ({kind: np.array(errors[kind]) for kind in KINDS}, np.array(spreads))


def by_shape(found: Consensus, shapes: ShapeModel) -> tuple[np.ndarray, np.ndarray]:
    """Return the soft-landmarks (N, 2) of a pseudo-label; and it, with the model's points where views disagree."""
    kept = found.spread <= MAX_SPREAD
    if kept.mean() < MIN_POINTS:  # `facekd pseudo-label` leaves such a face out
        return shapes.soft(found.points), found.points
    return shapes.soft(found.points), shapes.filled(np.where(kept[:, None], found.points, np.nan))


def condition(
    name: str, alone: dict[str, list[np.ndarray]], labels: dict[str, np.ndarray], spread: np.ndarray
) -> dict[str, Any]:
    """Return mean errors in % of the side: of each network, of all together, and of the points that are kept."""
    kept = spread <= MAX_SPREAD
    return {
        "name": name,
        "faces": len(spread),
        "alone": {model: round(100 * float(np.mean(errors)), 3) for model, errors in alone.items()},
        **{kind: round(100 * float(errors.mean()), 3) for kind, errors in labels.items()},
        "kept": round(100 * float(labels["together"][kept].mean()), 3),
        "share_kept": round(100 * float(kept.mean()), 1),
    }


def by_spread(errors: dict[str, np.ndarray], spreads: np.ndarray) -> list[dict[str, float]]:
    """Return the share and the errors of points by their spread, in %."""
    rows = []
    for low, high in pairwise(EDGES):
        within = (spreads >= low) & (spreads < high)
        if within.any():
            row = {"from": 100 * low, "to": min(100 * high, 100.0), "share": round(100 * float(within.mean()), 1)}
            row |= {kind: round(100 * float(errors[kind][within].mean()), 2) for kind in KINDS}
            rows.append(row | {"p90": round(100 * float(np.quantile(errors["together"][within], 0.9)), 2)})
    return rows


def page(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    models = result["models"]
    text = f"""# Pseudo-labels

`{result["command"]}`, {result["machine"]}; {result["faces"]} of 300W's validation faces.

What `facekd pseudo-label` makes of faces whose labels are known: mean distance from the label in % of the side of the
square around the points. Kept: points whose views scatter by at most {100 * result["max_spread"]:g} % of that side.
Soft: the soft-landmarks of the label, by a shape model of the training faces that keeps 90 % of their variance. Filled:
the points that are not kept are where that model expects them, given the others.

| | {" | ".join(f"{model} alone" for model in models)} | views of both | soft | filled | kept alone | share kept |
|---|{"---|" * len(models)}---|---|---|---|---|
"""
    for row in result["rows"]:
        alone = " | ".join(f"{row['alone'][model]:.2f}" for model in models)
        labels = " | ".join(f"{row[kind]:.2f}" for kind in (*KINDS, "kept"))
        text += f"| {row['name']} | {alone} | {labels} | {row['share_kept']:.1f} % |\n"
    text += """
The error of a point grows with how far its views scatter:

| spread, % of the side | share of the points, % | mean error | 90 % are below | soft, mean | filled, mean |
|---|---|---|---|---|---|
"""
    for row in result["by_spread"]:
        text += f"| {row['from']:g} to {row['to']:g} | {row['share']:.1f} | {row['together']:.2f} | {row['p90']:.2f} | "
        text += f"{row['soft']:.2f} | {row['filled']:.2f} |\n"
    return f"{text}\nThe figures are in [pseudo-labels.json](pseudo-labels.json).\n"


if __name__ == "__main__":
    main()
