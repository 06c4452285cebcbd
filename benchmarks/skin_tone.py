"""Dark and light skin: is one found less often, or its landmarks worse, in plain photos and in bad ones?

    python benchmarks/skin_tone.py PACK [--model facekd-68 facekd-68-lite ...] [--out docs/benchmarks]

Synthetic faces, each drawn in five tones with all else the same, and the validation faces of a pack of 300W in three
groups by the colour of their cheeks; as they are, and under those of the corruptions of `corruptions.py` that take
contrast. The photo goes through the face detector, the network, and the search for rolled faces, as in
`hard_detection.py`; and once more without image enhancement. `--sheet FILE` writes a picture of the synthetic faces.
Writes skin-tone.json and skin-tone.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
from corruptions import CORRUPTIONS
from hard_detection import IS_THE_FACE, measured
from hard_faces import MODELS, complete

from facekd.data.pack import Pack
from facekd.evaluation.metrics import inter_ocular
from facekd.geometry import iou, tight_box
from facekd.markup import IBUG68
from facekd.runtime.landmarker import Landmarker
from facekd.synthetic import render
from runtime import processor

CONDITIONS = ("plain", "Gaussian blur 0.04", "Gaussian blur 0.08", "noise 50", "JPEG 8", "dark", "low contrast")
TONES = (0.0, 0.25, 0.5, 0.75, 1.0)
SEED, SIZE = 2016, 320  # of the synthetic faces; no recipe trains on this seed
GROUPS = ("darkest third", "middle third", "lightest third")
CHEEKS = ((2, 31, 41), (14, 35, 46))  # iBUG points about the middle of each cheek
GREY = 2.0  # b* of L*a*b*: photos without colour, whose skin has no tone

Example = tuple[np.ndarray, np.ndarray]  # photo (H, W, 3) uint8 RGB and its face's points (68, 2)
Member = tuple[int, np.ndarray, np.ndarray]  # the same after the face's number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, help="300W as a pack")
    parser.add_argument("--model", nargs="+", default=list(MODELS), help="bundled names, or .onnx files")
    parser.add_argument("--faces", type=int, default=60, help="synthetic faces of each tone")
    parser.add_argument("--sheet", type=Path, help="a picture to write of the first synthetic faces")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.sheet:
        tones = [[render(SEED, index, SIZE, tone=tone).image for tone in TONES] for index in range(6)]
        cv2.imwrite(str(options.sheet), np.concatenate([np.concatenate(row, axis=1) for row in tones])[..., ::-1])
    real, angles = groups(complete(Pack.open(options.pack).select("val")))
    landmarkers = {model: Landmarker(model, threads=1, engine="onnx") for model in options.model}
    start, rows = time.perf_counter(), []
    for corruption in (each for each in CORRUPTIONS if each.name in CONDITIONS):
        drawn = {tone: synthetic(tone, options.faces) for tone in TONES}
        for kind, faces in (("synthetic", drawn), ("300W", real)):
            for group, members in faces.items():
                examples = [corruption(*member) for member in members]
                rows.append({"faces": kind, "group": group, "name": corruption.name} | figures(landmarkers, examples))
        print(f"{time.perf_counter() - start:5.0f} s  {corruption.name}", flush=True)
    result = {
        "command": "python benchmarks/skin_tone.py PACK",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, {processor()}",
        "synthetic_faces": options.faces,
        "tone_angles": angles,
        "real_faces": {group: len(members) for group, members in real.items()},
        "models": options.model,
        "seconds": round(time.perf_counter() - start),
        "rows": rows,
    }
    (options.out / "skin-tone.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "skin-tone.md").write_text(page(result))
    print(page(result))


def synthetic(tone: float, count: int) -> list[Member]:
    """Return synthetic faces of a tone, each with its number."""
    faces = [render(SEED, index, SIZE, tone=tone) for index in range(count)]
    return [(index, face.image, face.points.astype(np.float64)) for index, face in enumerate(faces)]


def groups(faces: Pack) -> tuple[dict[str, list[Member]], dict[str, list[float]]]:
    """Return faces in thirds by their tone, each with its number, and the range of each third's typology angle."""
    members = [(index, faces.image(index), faces.points[index].astype(np.float64)) for index in range(len(faces))]
    tones = np.array([typology_angle(photo, points) for _, photo, points in members])
    order = [int(row) for row in np.argsort(tones, kind="stable") if not np.isnan(tones[row])]
    thirds = dict(zip(GROUPS, np.array_split(order, len(GROUPS)), strict=True))
    ranges = {name: [round(float(tones[rows[end]]), 1) for end in (0, -1)] for name, rows in thirds.items()}
    return {name: [members[row] for row in sorted(rows)] for name, rows in thirds.items()}, ranges


def typology_angle(photo: np.ndarray, points: np.ndarray) -> float:
    """Return the individual typology angle (Chardon et al., 1991) of the lighter cheek.

    Args:
        photo: (H, W, 3) uint8 RGB.
        points: (68, 2) pixels.

    Returns:
        Degrees, higher for lighter skin; NaN for a photo without colour.
    """
    half = max(1, round(0.08 * float(inter_ocular(points[None], IBUG68)[0])))
    angles = []
    for cheek in CHEEKS:
        column, row = points[list(cheek)].mean(axis=0).round().astype(int)
        patch = photo[max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1]
        if patch.size:
            lab = cv2.cvtColor(np.ascontiguousarray(patch, np.float32) / 255, cv2.COLOR_RGB2Lab).reshape(-1, 3)
            lightness, _, yellow = np.median(lab, axis=0)
            if yellow > GREY:
                angles.append(np.degrees(np.arctan2(lightness - 50, yellow)))
    return float(max(angles)) if angles else float("nan")


def figures(landmarkers: dict[str, Landmarker], examples: list[Example]) -> dict[str, Any]:
    """Return which share of the faces the detector finds upright, and each network returns right and wrong, in %."""
    detector = next(iter(landmarkers.values()))
    found = [
        bool((iou(tight_box(points), detector.detect_boxes(photo)[0]) > IS_THE_FACE).any())
        for photo, points in examples
    ]
    models = {name: measured(landmarker, examples) for name, landmarker in landmarkers.items()}
    as_it_is = {"side_effect": lambda images: images}
    with (
        mock.patch("facekd.runtime.detector.enhance_photo", **as_it_is),
        mock.patch("facekd.runtime.model.enhance_crops", **as_it_is),
    ):
        without = {name: measured(landmarker, examples) for name, landmarker in landmarkers.items()}
    return {"detected": round(100 * float(np.mean(found)), 1), "models": models, "without": without}


def page(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    counts = result["real_faces"]
    limits = ", ".join(f"{low:.0f} to {high:.0f}° ({name})" for name, (low, high) in result["tone_angles"].items())
    text = f"""# Dark and light skin

`{result["command"]}`, {result["machine"]}; {result["seconds"]} s.

Share of the faces that `Landmarker.detect` returns with right landmarks, in %; in brackets the share without
[image enhancement](../explanation/design/enhance.md). Wrong ones are {worst(result)} % at most; the rest it does not
return. Found: the face detector finds the face in the photo before it is rotated. Conditions and what is right are
those of [hard faces without boxes](hard-detection.md).

## The same face in five tones

{result["synthetic_faces"]} synthetic faces of each tone, from 0 (dark) to 1 (light), all else the same: pose, light,
hair, background. They are drawn, so that they tell whether tone matters, and not by how much in photos.

{table(result, "synthetic", [f"tone {tone:g}" for tone in TONES], list(TONES))}
## Photos

The {sum(counts.values())} validation faces of 300W with colour, in thirds by the individual typology angle of the
lighter cheek: {limits}.
It is of the photo, not of the person: who stands in the shade is darker. From one third to another, up to 8 percentage
points near 95 %, and up to 18 near 50 %, may be chance (two standard deviations of a difference).

{table(result, "300W", list(GROUPS), list(GROUPS))}
The figures are in [skin-tone.json](skin-tone.json).
"""
    return text


def worst(result: dict[str, Any]) -> str:
    """Return the largest share of wrong landmarks that a network returns of a group."""
    return f"{max(row['models'][model]['wrong'] for row in result['rows'] for model in result['models']):.0f}"


def table(result: dict[str, Any], faces: str, heads: list[str], group_names: list[Any]) -> str:
    """Return what is found and returned of each group, condition by condition, as Markdown."""
    lines = [f"| condition | | {' | '.join(heads)} |", f"|---|---|{'---|' * len(heads)}"]
    for name in dict.fromkeys(row["name"] for row in result["rows"]):
        by_group = {row["group"]: row for row in result["rows"] if (row["faces"], row["name"]) == (faces, name)}
        rows = [by_group[group] for group in group_names]
        cells = [f"{row['detected']:.0f}" for row in rows]
        lines.append(f"| {name} | found | {' | '.join(cells)} |")
        for model in result["models"]:
            cells = [f"{row['models'][model]['right']:.0f} ({row['without'][model]['right']:.0f})" for row in rows]
            lines.append(f"| | {model} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
