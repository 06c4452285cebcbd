"""Hard faces in photos, without boxes: which of them `Landmarker.detect` returns, and whether with right landmarks.

    python benchmarks/hard_detection.py PACK [--model facekd-68 facekd-68-lite ...] [--every 3] [--out docs/benchmarks]

Every third validation face of a pack of 300W, as it is and under each of the corruptions of `corruptions.py`. Its photo
goes through the face detector, the network, and the search for rolled faces; what cannot be trusted is not returned.
Writes hard-detection.json and hard-detection.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from corruptions import CORRUPTIONS, OCULAR, box_side
from hard_faces import MODELS, complete

from facekd.data.pack import Pack
from facekd.evaluation import metrics
from facekd.geometry import iou, tight_box
from facekd.runtime.face_confidence import FAILURE
from facekd.runtime.landmarker import Landmarker
from runtime import processor

IS_THE_FACE = 0.3  # IoU of the boxes of found and true points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, help="300W as a pack")
    parser.add_argument("--model", nargs="+", default=list(MODELS), help="bundled names, or .onnx files")
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    faces = complete(Pack.open(options.pack).select("val"))
    rows = range(0, len(faces), options.every)
    landmarkers = {model: Landmarker(model, threads=1, engine="onnx") for model in options.model}
    start, results = time.perf_counter(), []
    for corruption in CORRUPTIONS:
        examples = [corruption(row, faces.image(row), faces.points[row].astype(np.float64)) for row in rows]
        models = {name: measured(landmarker, examples) for name, landmarker in landmarkers.items()}
        results.append({"kind": corruption.kind, "name": corruption.name, "models": models})
        print(f"{time.perf_counter() - start:5.0f} s  {corruption.name}", flush=True)
    result = {
        "command": "python benchmarks/hard_detection.py PACK",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, {processor()}",
        "faces": len(rows),
        "models": options.model,
        "seconds": round(time.perf_counter() - start),
        "rows": results,
    }
    (options.out / "hard-detection.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "hard-detection.md").write_text(page(result))
    print(page(result))


def measured(landmarker: Landmarker, examples: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Return which share of the faces is returned right and wrong, in %, and how many faces there are elsewhere."""
    right, wrong, elsewhere = 0, 0, 0
    for photo, truth in examples:
        found = landmarker.detect(photo)
        here = [face for face in found if float(iou(tight_box(face.points), tight_box(truth))) > IS_THE_FACE]
        elsewhere += len(found) - len(here)
        if here:
            points = np.array([face.points for face in here], np.float64)
            errors = metrics.nme(points, np.repeat(truth[None], len(here), axis=0), box_side(truth[None]))
            is_right = bool((errors <= FAILURE * OCULAR).all())
            right, wrong = right + is_right, wrong + (not is_right)
    share = 100 / len(examples)
    return {"right": round(share * right, 1), "wrong": round(share * wrong, 1), "elsewhere": elsewhere}


def page(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    names = result["models"]
    lines = [
        "# Hard faces, without boxes",
        "",
        f"`{result['command']}`, {result['machine']}; {result['faces']} validation faces, {result['seconds']} s.",
        "",
        "Share of the faces that `Landmarker.detect` returns with right landmarks, and with wrong ones, in %; the rest",
        "it does not return: the face detector does not find them, or the network does not trust them. Landmarks",
        "are wrong as in [the benchmark with true boxes](hard-faces.md), of which the conditions are.",
        "",
        "| | condition | " + " | ".join(f"{name}: right | wrong" for name in names) + " |",
        "|---|---" + "|---|---" * len(names) + "|",
    ]
    for row in result["rows"]:
        cells = [f"{row['models'][name]['right']:.0f} % | {row['models'][name]['wrong']:.0f} %" for name in names]
        lines.append(f"| {row['kind']} | {row['name']} | {' | '.join(cells)} |")
    others = ", ".join(f"{sum(row['models'][name]['elsewhere'] for row in result['rows'])} ({name})" for name in names)
    return "\n".join([*lines, "", f"Faces returned elsewhere in these photos, all conditions together: {others}.", ""])


if __name__ == "__main__":
    main()
