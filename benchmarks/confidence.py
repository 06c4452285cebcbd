"""Whether confidence means something: points sorted by it, and what share of them is as right as it says.

    python benchmarks/confidence.py PATH/TO/300w [--model facekd-68] [--out docs/benchmarks]

On the test faces of 300W, cut by their true boxes. Writes confidence.json and, from it, confidence.md and
confidence.svg.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from facekd.data import w300
from facekd.data.dataset import Annotation
from facekd.evaluate.metrics import inter_ocular, point_errors
from facekd.geometry import tight_box
from facekd.markup import IBUG68
from facekd.runtime.landmarker import Landmarker

RADIUS = 0.05  # of the inter-ocular distance: what the bundled model's confidence is about
GROUPS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the 300W folder")
    parser.add_argument("--model", default="facekd-68")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    landmarker = Landmarker(options.model)
    errors, confidence = [], []
    for face in w300.read(options.data):
        if isinstance(face, Annotation) and face.split == "test":
            found = landmarker.detect(face.load(), boxes=[tight_box(face.points)], tight=True)[0]
            normaliser = inter_ocular(face.points[None], IBUG68)
            errors.append(point_errors(found.points, face.points) / normaliser)
            confidence.append(found.confidence)
    command = "python benchmarks/confidence.py 300W"
    result = {"command": command, "model": options.model} | measures(np.array(errors), np.array(confidence))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "confidence.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "confidence.md").write_text(table(result))
    plot(result, options.out / "confidence.svg")
    print(table(result))


def measures(errors: np.ndarray, confidence: np.ndarray) -> dict[str, Any]:
    """Return how confidence and error go together.

    Args:
        errors: (n, N) in units of the inter-ocular distance.
        confidence: (n, N) in [0, 1].
    Returns:
        Spearman's rank correlation over all points and over the faces' means; and all points, sorted by confidence, in
        groups of equal size: mean confidence, share of points within RADIUS, mean error in %.
    """
    order = np.argsort(confidence, axis=None, kind="stable")
    groups = [
        {
            "confidence": float(confidence.ravel()[group].mean()),
            "within": float((errors.ravel()[group] <= RADIUS).mean()),
            "error": 100 * float(errors.ravel()[group].mean()),
        }
        for group in np.array_split(order, GROUPS)
    ]
    return {
        "faces": len(errors),
        "points": errors.size,
        "rank_correlation_points": rank_correlation(confidence.ravel(), errors.ravel()),
        "rank_correlation_faces": rank_correlation(confidence.mean(axis=1), errors.mean(axis=1)),
        "calibration_error": float(np.mean([abs(group["confidence"] - group["within"]) for group in groups])),
        "groups": groups,
    }


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rank correlation of two arrays (n,); equal values keep their order, which is rare here."""
    ranks = [np.argsort(np.argsort(values, kind="stable"), kind="stable") for values in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1])


def table(result: dict[str, Any]) -> str:
    """Return the figures as a page."""
    lines = [
        "# What the confidence says",
        "",
        f"`{result['command']}`: {result['faces']} test faces of 300W cut by their true boxes,",
        f"{result['points']} points, model {result['model']}.",
        "",
        f"Rank correlation of confidence and error: {result['rank_correlation_points']:.2f} over points,",
        f"{result['rank_correlation_faces']:.2f} over the faces' means (-1: the surer, the smaller the error, always).",
        "Confidence is meant as the probability that a point lies within 5 % of the inter-ocular distance of the",
        f"truth; in groups it misses the share that does by {100 * result['calibration_error']:.1f} % on average.",
        "",
        "![Share of points within the radius, by confidence](confidence.svg)",
        "",
        "| tenth of the points | mean confidence | within 5 % | mean error |",
        "|---|---|---|---|",
    ]
    for index, group in enumerate(result["groups"], start=1):
        lines.append(
            f"| {index} | {100 * group['confidence']:.0f} % | {100 * group['within']:.0f} % | {group['error']:.2f} % |"
        )
    return "\n".join([*lines, ""])


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw reliability (stated and true share) and the error by confidence."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "facekd"  # the same figures give the same file
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    stated = [group["confidence"] for group in result["groups"]]
    left.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    left.plot(stated, [group["within"] for group in result["groups"]], "o-")
    left.set(xlabel="confidence", ylabel="share within 5 % of inter-ocular", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    right.plot(stated, [group["error"] for group in result["groups"]], "o-")
    right.set(xlabel="confidence", ylabel="mean error, % of inter-ocular", xlim=(0, 1), ylim=(0, None))
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    main()
