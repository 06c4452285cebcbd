"""How good pseudo-labels are, where labels are known: the error of what networks agree on, by how well they agree.

    python benchmarks/pseudo_labels.py PACK [--model facekd-68 facekd-68-lite] [--out docs/benchmarks]

The validation faces of a pack of 300W, as they are and under corruptions of `corruptions.py`, labelled by
`facekd.data.pseudo_labels.consensus` as `facekd pseudo-label` does. Writes pseudo-labels.json and, from it,
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
from facekd.data.pseudo_labels import MAX_SPREAD, consensus
from facekd.geometry import centre_and_side, tight_box
from facekd.runtime.landmarker import Landmarker
from runtime import processor

MODELS = ("facekd-68", "facekd-68-lite")
NAMES = ("plain", "mask over nose, mouth and chin", "hand", "block over a third", "Gaussian blur 0.04", "24 px")
EVERY = 2  # of the validation faces
EDGES = (0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, np.inf)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, help="300W as a pack")
    parser.add_argument("--model", nargs="+", default=list(MODELS), help="bundled names, or .onnx files")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()

    cv2.setNumThreads(1)
    faces = complete(Pack.open(options.pack).select("val"))
    landmarkers = {name: Landmarker(name, threads=1, engine="onnx") for name in options.model}
    rows, every = measure(faces.select(indices=np.arange(0, len(faces), EVERY)), landmarkers)
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
    faces: Pack, landmarkers: dict[str, Landmarker]
) -> tuple[list[dict[str, Any]], tuple[np.ndarray, np.ndarray]]:
    """Return the figures of each condition; and error and spread (n, N) of all faces, in sides of the face's square."""
    models = [landmarker.model for landmarker in landmarkers.values()]
    chosen = [corruption for corruption in CORRUPTIONS if corruption.name in NAMES]
    rows, errors, spreads = [], [], []
    for corruption in chosen:
        alone: dict[str, list[np.ndarray]] = {name: [] for name in landmarkers}
        together, spread = [], []
        for index in range(len(faces)):
            photo, points = corruption(index, faces.image(index), faces.points[index])
            box = tight_box(points)
            side = float(centre_and_side(box)[1])
            for name, landmarker in landmarkers.items():
                (face,) = landmarker.detect(photo, box[None], "landmarks")
                alone[name].append(np.linalg.norm(face.points - points, axis=-1) / side)
            found = consensus(photo, face.points, models)
            together.append(np.linalg.norm(found.points - points, axis=-1) / side)
            spread.append(found.spread)
        rows.append(condition(corruption.name, alone, np.array(together), np.array(spread)))
        print(json.dumps(rows[-1]), flush=True)
        errors.append(together)
        spreads.append(spread)
    return rows, (np.concatenate(errors), np.concatenate(spreads))


def condition(
    name: str, alone: dict[str, list[np.ndarray]], together: np.ndarray, spread: np.ndarray
) -> dict[str, Any]:
    """Return mean errors in % of the side: of each network, of all together, and of the points that are kept."""
    kept = spread <= MAX_SPREAD
    return {
        "name": name,
        "faces": len(together),
        "alone": {model: round(100 * float(np.mean(errors)), 3) for model, errors in alone.items()},
        "together": round(100 * float(together.mean()), 3),
        "kept": round(100 * float(together[kept].mean()), 3),
        "share_kept": round(100 * float(kept.mean()), 1),
    }


def by_spread(errors: np.ndarray, spreads: np.ndarray) -> list[dict[str, float]]:
    """Return the share and the errors of points by their spread, in %."""
    rows = []
    for low, high in pairwise(EDGES):
        within = (spreads >= low) & (spreads < high)
        if within.any():
            mean, most = 100 * errors[within].mean(), 100 * np.quantile(errors[within], 0.9)
            shares = {"share": round(100 * float(within.mean()), 1), "error": round(float(mean), 2)}
            rows.append({"from": 100 * low, "to": min(100 * high, 100.0)} | shares | {"p90": round(float(most), 2)})
    return rows


def page(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    models = result["models"]
    text = f"""# Pseudo-labels

`{result["command"]}`, {result["machine"]}; {result["faces"]} of 300W's validation faces.

What `facekd pseudo-label` makes of faces whose labels are known: mean distance from the label in % of the side of the
square around the points. Kept: points whose views scatter by at most {100 * result["max_spread"]:g} % of that side.

| | {" | ".join(f"{model} alone" for model in models)} | views of both | kept points alone | share kept |
|---|{"---|" * len(models)}---|---|---|
"""
    for row in result["rows"]:
        alone = " | ".join(f"{row['alone'][model]:.2f}" for model in models)
        text += f"| {row['name']} | {alone} | {row['together']:.2f} | {row['kept']:.2f} | {row['share_kept']:.1f} % |\n"
    text += """
The error of a point grows with how far its views scatter:

| spread, % of the side | share of the points, % | mean error | 90 % are below |
|---|---|---|---|
"""
    for row in result["by_spread"]:
        text += f"| {row['from']:g} to {row['to']:g} | {row['share']:.1f} | {row['error']:.2f} | {row['p90']:.2f} |\n"
    return f"{text}\nThe figures are in [pseudo-labels.json](pseudo-labels.json).\n"


if __name__ == "__main__":
    main()
