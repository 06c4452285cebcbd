"""What the search from coarse to fine costs and saves: labelled faces found, error and time, beside the full search.

    python benchmarks/detection.py PATH/TO/300w [--limit 1300] [--out docs/benchmarks]

Both detectors look at the same photos, one thread each: by default those of the training faces, for the rules of the
search were made on them. Writes detection.json and detection.md.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facekd.data import w300
from facekd.data.dataset import Annotation
from facekd.evaluation import metrics
from facekd.geometry import crop_faces, iou, square, tight_box
from facekd.markup import IBUG68
from facekd.runtime.detector import Detector, YuNet
from facekd.runtime.model import OnnxModel

IS_THE_FACE = 0.3  # IoU of a detector's box, transformed, and the square about the labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the 300W folder")
    parser.add_argument("--split", default="train")
    parser.add_argument("--model", default="facekd-68-lite", help="a bundled name or an .onnx file")
    parser.add_argument("--limit", type=int, default=1300, help="at most so many faces, evenly spread")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()

    cv2.setNumThreads(1)
    faces = [face for face in w300.read(options.data) if isinstance(face, Annotation) and face.split == options.split]
    count = min(options.limit, len(faces))
    faces = [faces[index * len(faces) // count] for index in range(count)]
    detectors = {"full": YuNet(threads=1, thorough=True), "coarse to fine": YuNet(threads=1)}
    result = {
        "command": f"python benchmarks/detection.py 300W --limit {options.limit}",
        "split": options.split,
        "model": options.model,
        **compared(faces, detectors, OnnxModel(options.model, threads=1)),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "detection.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "detection.md").write_text(page(result))
    print(page(result))


def compared(faces: list[Annotation], detectors: dict[str, Detector], model: OnnxModel) -> dict[str, Any]:
    """Return each detector's row, and how the last one's errors and finds differ from the first one's."""
    seen: dict[str, list[tuple[float, int, float]]] = {name: [] for name in detectors}
    for face in faces:
        photo = face.load()
        for name, detector in detectors.items():
            start = time.perf_counter()
            boxes, _ = detector.detect(photo)
            taken = time.perf_counter() - start
            seen[name].append((error(photo, boxes, face, model), len(boxes), taken))
    errors = {name: np.array([values[0] for values in rows]) for name, rows in seen.items()}
    first, *_, last = (errors[name] for name in detectors)
    difference = metrics.paired_difference(last, first)
    return {
        "faces": len(faces),
        "rows": [
            {
                "name": name,
                "found": int(np.isfinite(errors[name]).sum()),
                "boxes": sum(values[1] for values in rows),
                "nme": 100 * float(errors[name][np.isfinite(errors[name])].mean()),
                "ms_median": 1000 * float(np.median([values[2] for values in rows])),
                "ms_mean": 1000 * float(np.mean([values[2] for values in rows])),
            }
            for name, rows in seen.items()
        ],
        "lost": int((np.isfinite(first) & ~np.isfinite(last)).sum()),
        "won": int((~np.isfinite(first) & np.isfinite(last)).sum()),
        "difference": [100 * float(value) for value in (difference.mean, difference.low, difference.high)],
    }


def error(photo: np.ndarray, boxes: np.ndarray, face: Annotation, model: OnnxModel) -> float:
    """Return the NME of the labelled face with the detector's box, a fraction; infinite if no box is of that face."""
    tight = model.box_transform.apply(boxes)
    overlap = iou(tight, square(tight_box(face.points)))
    if not len(overlap) or overlap.max() <= IS_THE_FACE:
        return np.inf
    crops = crop_faces(photo, tight[[int(overlap.argmax())]], model.size, model.scale)
    points, truth = crops.to_photo(model(crops.images)[0]), face.points[None].astype(np.float64)
    return float(metrics.nme(points, truth, metrics.inter_ocular(truth, IBUG68))[0])


def page(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    mean, low, high = result["difference"]
    lines = [
        "# Search from coarse to fine",
        "",
        f"`{result['command']}`: photos of {result['faces']} faces of the {result['split']} split, one thread.",
        "[What is searched when](../explanation/design/detection.md). The full search is `YuNet(thorough=True)`.",
        "",
        f"| search | labelled faces found | all boxes | NME of `{result['model']}` in % | ms, median | ms, mean |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row['name']} | {row['found']} | {row['boxes']} | {row['nme']:.3f} "
            f"| {row['ms_median']:.1f} | {row['ms_mean']:.1f} |"
            for row in result["rows"]
        ),
        "",
        f"Labelled faces lost: {result['lost']}, won: {result['won']}. Difference in NME: {mean:+.3f}, 95 % interval "
        f"[{low:+.3f}, {high:+.3f}].",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
