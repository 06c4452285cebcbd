"""Faces of any roll: photos rotated over the full circle, and what the second pass after rotation is worth.

    python benchmarks/roll.py PACK [--model facekd-68] [--limit 300] [--out docs/benchmarks]

First, photos of a split (default: test; a network may have seen the others) are rotated as a whole and given to
`Landmarker`, which may look for rolled faces or not. Second, every face is rotated by up to 50 degrees, clockwise and
counter-clockwise in turn, and cut out by the tight box of its rotated landmarks, so that only the network counts.
Writes roll.json and roll.md.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facekd.data.pack import Pack
from facekd.evaluation import metrics
from facekd.geometry import apply, crop_matrix, iou, tight_box, upright_box, warp
from facekd.runtime.detector import YuNet
from facekd.runtime.face_confidence import FAILURE
from facekd.runtime.landmarker import ROLLS, Landmarker
from facekd.runtime.model import OnnxModel
from facekd.runtime.roll import MAX_ROLL, roll_angle

ANGLES = (0, 10, 20, 30, 40, 50)
CIRCLE = range(0, 360, 30)
IS_THE_FACE = 0.3  # IoU of the landmarks' box and the labels', from which a face that is returned is the labelled one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--model", default="facekd-68", help="a bundled name or an .onnx file")
    parser.add_argument("--limit", type=int, default=300, help="at most so many photos are rotated, evenly spread")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()

    cv2.setNumThreads(1)
    model, pack = OnnxModel(options.model, threads=1), Pack.open(options.pack)
    faces = pack.select(options.split)
    photos = faces.select(indices=np.linspace(0, len(faces) - 1, min(len(faces), options.limit)).astype(int))
    detector = YuNet(threads=1)
    landmarkers = {roll: Landmarker(model, detector, threads=1, roll=roll) for roll in ROLLS}
    result = {
        "command": "python benchmarks/roll.py PACK",
        "model": model.card.name,
        "faces": len(faces),
        "split": options.split,
        "photos": len(photos),
        "circle": [circle_row(landmarkers, photos, angle) for angle in CIRCLE],
        "rolled_percent": {split: rolled(pack.select(split)) for split in ("train", options.split)},
        "rows": [row(model, faces, angle) for angle in ANGLES],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "roll.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "roll.md").write_text(page(result))
    print(page(result))


def circle_row(landmarkers: dict[str, Landmarker], photos: Pack, angle: float) -> dict[str, Any]:
    """Return, per kind of search, what is found in photos rotated clockwise by an angle in degrees."""
    errors: dict[str, list[float]] = {roll: [] for roll in landmarkers}
    counts, seconds = dict.fromkeys(landmarkers, 0), dict.fromkeys(landmarkers, 0.0)
    for index in range(len(photos)):
        photo, truth = rotated(photos.image(index), photos.points[index].astype(np.float64), angle)
        for roll, landmarker in landmarkers.items():
            start = time.perf_counter()
            faces = landmarker.detect(photo)
            seconds[roll] += time.perf_counter() - start
            counts[roll] += len(faces)
            overlap = [float(iou(tight_box(face.points), tight_box(truth))) for face in faces]
            error = np.inf
            if faces and max(overlap) > IS_THE_FACE:
                best = faces[int(np.argmax(overlap))].points[None].astype(np.float64)
                error = float(metrics.nme(best, truth[None], metrics.inter_ocular(truth[None], photos.markup))[0])
            errors[roll].append(error)
    row: dict[str, Any] = {"angle": angle, "time_ratio": seconds["any"] / seconds["upright"]}
    for roll, values in errors.items():
        found = np.array(values)[np.isfinite(values)]
        row[roll] = {
            "found_percent": 100 * len(found) / len(values),
            "failed_percent": 100 * float((found > FAILURE).mean()) if len(found) else 0.0,
            "nme": 100 * float(found.mean()) if len(found) else None,
            "faces": counts[roll],
        }
    return row


def rotated(photo: np.ndarray, points: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a photo rotated clockwise, all of it, black around it; and its points."""
    height, width = photo.shape[:2]
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    rotation = np.array([[cos, -sin], [sin, cos]])
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ rotation.T - 0.5
    size = np.ceil(np.ptp(corners, axis=0) - 1e-6).astype(int)
    matrix = np.column_stack([rotation, size / 2 - 0.5 - rotation @ ((np.array([width, height]) - 1) / 2)])
    image = cv2.warpAffine(photo, matrix, tuple(int(side) for side in size), flags=cv2.INTER_LINEAR)
    return image, apply(matrix, points)


def rolled(faces: Pack) -> float:
    """Return the percentage of faces whose roll, in the photo as it is, is large enough for a second pass."""
    return 100 * float(np.mean(np.abs(roll_angle(faces.points, faces.markup)) > MAX_ROLL))


def row(model: OnnxModel, faces: Pack, angle: float) -> dict[str, float]:
    """Return the errors in percent of faces rotated by an angle, after one pass and after two."""
    size = model.size
    rotation = angle * (-1.0) ** np.arange(len(faces))
    matrices = crop_matrix(upright_box(faces.points, -rotation), size, model.scale, rotation)
    crops = np.stack([warp(faces.image(i), matrix, size) for i, matrix in enumerate(matrices)])
    truth = apply(matrices, faces.points.astype(np.float64))
    distance = metrics.inter_ocular(truth, faces.markup)
    one_pass, two_passes = (
        metrics.nme(points, truth, distance) for points in (model.predict(crops)[0], model(crops)[0])
    )
    gain = metrics.paired_difference(two_passes, one_pass)
    return {
        "angle": angle,
        "one_pass": 100 * float(one_pass.mean()),
        "two_passes": 100 * float(two_passes.mean()),
        "difference": 100 * gain.mean,
        "low": 100 * gain.low,
        "high": 100 * gain.high,
    }


def page(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    shares = ", ".join(f"{share:.0f} % of the {split} faces" for split, share in result["rolled_percent"].items())
    upright = next(row for row in result["circle"] if row["angle"] == 0)
    lines = [
        f"# Faces of any roll: {result['model']}",
        "",
        f"`{result['command']}`, one thread.",
        "",
        "## Photos over the full circle",
        "",
        f"{result['photos']} photos of the {result['split']} split, each rotated as a whole, through "
        '`Landmarker(roll="any")`, the default, and `Landmarker(roll="upright")`. Found: the labelled face is among '
        "those returned, which are the ones whose landmarks can be trusted. NME and failures (above 10 %) are of the "
        "faces found.",
        f'In upright photos `roll="any"` takes {upright["time_ratio"]:.2f} times as long.',
        "",
        "| rotated by | any: found | failures | NME in % | upright: found | failures | NME in % |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {row['angle']}° | " + " | ".join(circle_cells(row[roll]) for roll in ("any", "upright")) + " |"
            for row in result["circle"]
        ),
        "",
        "## The second pass alone",
        "",
        f"{result['faces']} faces, each rotated and cut out by the tight box of its rotated landmarks.",
        f"A face whose roll (rotation in the image plane) seems to exceed {MAX_ROLL:.0f} degrees is rotated upright "
        "and passed through the network a second time; the more confident of the two results is kept.",
        f"In the photos as they are, {shares} have such a roll.",
        "",
        "NME in % of the inter-ocular distance, and the difference with its 95 % bootstrap interval:",
        "",
        "| rotated by | one pass | two passes | difference |",
        "|---|---|---|---|",
        *(
            f"| {row['angle']}° | {row['one_pass']:.2f} | {row['two_passes']:.2f} "
            f"| {row['difference']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}] |"
            for row in result["rows"]
        ),
        "",
    ]
    return "\n".join(lines)


def circle_cells(values: dict[str, Any]) -> str:
    """Return the cells of one kind of search."""
    error = "" if values["nme"] is None else f"{values['nme']:.2f}"
    return f"{values['found_percent']:.1f} % | {values['failed_percent']:.1f} % | {error}"


if __name__ == "__main__":
    main()
