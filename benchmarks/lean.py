"""What a second look is worth: the error on faces that lean, looked at once and twice.

    python benchmarks/lean.py PACK [--model facekd-68] [--out docs/benchmarks]

Turns every face of a split (default: test; a network may know the others) by so many degrees, either way in turns, and
cuts it by the tight box of its turned landmarks. Writes lean.json and, from it, lean.md.
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
        "command": "python benchmarks/lean.py PACK",
        "model": model.card.name,
        "faces": len(faces),
        "split": options.split,
        "leaning": {split: leaning(pack.select(split)) for split in ("train", options.split)},
        "rows": [row(model, faces, angle) for angle in ANGLES],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "lean.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "lean.md").write_text(page(result))
    print(page(result))


def leaning(faces: Pack) -> float:
    """Return the percentage of faces that lean, in the photo as it is, by more than what asks for a second look."""
    return 100 * float(np.mean(np.abs(roll_angle(faces.points, faces.markup)) > MAX_ROLL))


def row(model: OnnxModel, faces: Pack, angle: float) -> dict[str, float]:
    """Return the errors in percent of faces turned by an angle."""
    size = model.size
    turn = angle * (-1.0) ** np.arange(len(faces))
    matrices = crop_matrix(upright_box(faces.points, -turn), size, model.scale, turn)
    crops = np.stack([warp(faces.image(i), matrix, size) for i, matrix in enumerate(matrices)])
    truth = apply(matrices, faces.points.astype(np.float64))
    distance = metrics.inter_ocular(truth, faces.markup)
    once, twice = (metrics.nme(points, truth, distance) for points in (model.predict(crops)[0], model(crops)[0]))
    gain = metrics.paired_difference(twice, once)
    return {
        "angle": angle,
        "once": 100 * float(once.mean()),
        "twice": 100 * float(twice.mean()),
        "difference": 100 * gain.mean,
        "low": 100 * gain.low,
        "high": 100 * gain.high,
    }


def page(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    shares = ", ".join(f"{share:.0f} % of the {split} faces" for split, share in result["leaning"].items())
    lines = [
        f"# A second look at faces that lean: {result['model']}",
        "",
        f"`{result['command']}`: {result['faces']} faces of the split {result['split']}, each turned and cut by the "
        "tight box of its turned landmarks.",
        f"A face that seems to lean by more than {MAX_ROLL:.0f} degrees is looked at again, turned upright; the more "
        "confident look counts.",
        f"As they are, {shares} lean so far.",
        "",
        "| turned by | NME, one look | with a second look | difference |",
        "|---|---|---|---|",
        *(
            f"| {row['angle']}° | {row['once']:.2f} | {row['twice']:.2f} "
            f"| {row['difference']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}] |"
            for row in result["rows"]
        ),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
