"""Whether confidence is calibrated: points sorted by it, and the share of them that lies within the radius.

    python benchmarks/confidence.py PATH/TO/300w [--models facekd-68 facekd-68-lite] [--out docs/benchmarks]

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
from facekd.evaluation.metrics import point_errors
from facekd.geometry import tight_box
from facekd.runtime.card import ModelCard
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.names import resolve

GROUPS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the 300W folder")
    parser.add_argument("--models", nargs="+", default=["facekd-68", "facekd-68-lite"])
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    faces = [face for face in w300.read(options.data) if isinstance(face, Annotation) and face.split == "test"]
    models = {}
    for model in options.models:
        within = ModelCard.load(resolve(model)).confidence_radius
        models[Path(model).stem] = measures(*predict(Landmarker(model, roll="upright"), faces), within)
    result = {"command": "python benchmarks/confidence.py 300W", "faces": len(faces), "models": models}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "confidence.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "confidence.md").write_text(page(result))
    plot(models, options.out / "confidence.svg")
    print(page(result))


def predict(landmarker: Landmarker, faces: list[Annotation]) -> tuple[np.ndarray, np.ndarray]:
    """Return each point's error, in units of its box's larger side, and its confidence, both (n, N)."""
    errors, confidence = [], []
    for face in faces:
        box = tight_box(face.points)
        found = landmarker.detect(face.load(), boxes=[box], box_type="landmarks")[0]
        errors.append(point_errors(found.points, face.points) / (box[2:] - box[:2]).max())
        confidence.append(found.confidence)
    return np.array(errors), np.array(confidence)


def measures(errors: np.ndarray, confidence: np.ndarray, within: float) -> dict[str, Any]:
    """Return how confidence and error go together.

    Args:
        errors: (n, N) in units of the larger side of the landmarks' box.
        confidence: (n, N) in [0, 1].
        within: what confidence is about, in the same units.

    Returns:
        Spearman's rank correlation over all points and over the faces' means; and all points, sorted by confidence, in
        groups of equal size: mean confidence, share of points that near, mean error in %.
    """
    order = np.argsort(confidence, axis=None, kind="stable")
    groups = [
        {
            "confidence": float(confidence.ravel()[group].mean()),
            "within": float((errors.ravel()[group] <= within).mean()),
            "error": 100 * float(errors.ravel()[group].mean()),
        }
        for group in np.array_split(order, GROUPS)
    ]
    return {
        "points": errors.size,
        "within": within,
        "rank_correlation_points": rank_correlation(confidence.ravel(), errors.ravel()),
        "rank_correlation_faces": rank_correlation(confidence.mean(axis=1), errors.mean(axis=1)),
        "calibration_error": float(np.mean([abs(group["confidence"] - group["within"]) for group in groups])),
        "groups": groups,
    }


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rank correlation of two arrays (n,); equal values keep their order, which is rare here."""
    ranks = [np.argsort(np.argsort(values, kind="stable"), kind="stable") for values in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1])


def page(result: dict[str, Any]) -> str:
    """Return the figures as a page."""
    lines = [
        "# Is the confidence calibrated?",
        "",
        f"`{result['command']}`: {result['faces']} test faces of 300W, cut out by their ground-truth boxes.",
        "",
        "Confidence is meant as a probability: that the point lies within the confidence radius of the ground truth.",
        "The radius is on the model card, as a share of the larger side of the landmarks' tight box; it is 5 % of the",
        "mean inter-ocular distance. Predicted: mean confidence. Observed: the share of points within the radius.",
        "Calibration error: their difference, averaged over ten groups of points sorted by confidence.",
        "Rank correlation: Spearman's, of confidence and error; at -1 the more confident point is always the more",
        "accurate one.",
        "Errors are in % of the box's larger side.",
        "",
        "| model | radius | predicted | observed | calibration error | rank correlation, points | faces |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, of in result["models"].items():
        correlations = f"{of['rank_correlation_points']:.2f} | {of['rank_correlation_faces']:.2f}"
        predicted, observed = (np.mean([group[key] for group in of["groups"]]) for key in ("confidence", "within"))
        shares = f"{of['within']:.1%} | {predicted:.1%} | {observed:.1%}".replace("%", " %")
        lines.append(f"| {name} | {shares} | {100 * of['calibration_error']:.1f} points | {correlations} |")
    lines += ["", "![Share of points within the radius, and error, by confidence](confidence.svg)"]
    for name, of in result["models"].items():
        lines += ["", f"## {name}", "", "| group of points | mean confidence | within the radius | mean error |"]
        lines.append("|---|---|---|---|")
        for index, group in enumerate(of["groups"], start=1):
            shares = f"{100 * group['confidence']:.0f} % | {100 * group['within']:.0f} %"
            lines.append(f"| {index} | {shares} | {group['error']:.2f} % |")
    return "\n".join([*lines, ""])


def plot(models: dict[str, Any], path: Path) -> None:
    """Draw reliability (predicted and observed share) and the error by confidence."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "facekd"  # the same figures give the same file
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    left.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for name, of in models.items():
        predicted = [group["confidence"] for group in of["groups"]]
        left.plot(predicted, [group["within"] for group in of["groups"]], "o-", label=name)
        right.plot(predicted, [group["error"] for group in of["groups"]], "o-", label=name)
    left.set(xlabel="confidence", ylabel="share of points within the radius", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    right.set(xlabel="confidence", ylabel="mean error, % of the face's larger side", xlim=(0, 1), ylim=(0, None))
    right.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    main()
