"""What the second pass after rotation is worth: the error on rotated faces after one pass and after two.

    python benchmarks/roll.py PACK [--model facekd-68] [--out docs/benchmarks]

Rotates every face of a split (default: test; a network may have seen the others) by a number of degrees, clockwise and
counter-clockwise in turn, and cuts it out by the tight box of its rotated landmarks. Writes roll.json and roll.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from facekd.data.pack import Pack
from facekd.evaluation import metrics
from facekd.geometry import apply, crop_matrix, upright_box, warp
from facekd.runtime.model import OnnxModel
from facekd.runtime.roll import MAX_ROLL, roll_angle

ANGLES = (0, 10, 20, 30, 40, 50)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--model", default="facekd-68", help="a bundled name or an .onnx file")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()

    model, pack = OnnxModel(options.model), Pack.open(options.pack)
    faces = pack.select(options.split)
    result = {
        "command": "python benchmarks/roll.py PACK",
        "model": model.card.name,
        "faces": len(faces),
        "split": options.split,
        "rolled_percent": {split: rolled(pack.select(split)) for split in ("train", options.split)},
        "rows": [row(model, faces, angle) for angle in ANGLES],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "roll.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "roll.md").write_text(page(result))
    print(page(result))


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
    lines = [
        f"# Second pass after rotation: {result['model']}",
        "",
        f"`{result['command']}`: {result['faces']} faces of the {result['split']} split, each rotated and cut out by "
        "the tight box of its rotated landmarks.",
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


if __name__ == "__main__":
    main()
