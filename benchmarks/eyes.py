"""Whether eyes that are closed are found closed: eye openness of networks and of labels on 300W's validation faces.

    python benchmarks/eyes.py 300w.parquet [--models facekd-68 facekd-68-lite RUN] [--out docs/benchmarks]

RUN is `facekd distill benchmarks/eyes.yaml`, its folder renamed facekd-68-lite-eyes.

Writes eyes.json and, from it, eyes.md. Validation faces only: what is chosen by it must not have seen the test faces.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from facekd.api import load_model
from facekd.data.pack import Pack
from facekd.evaluation.metrics import nme, primary_normaliser
from facekd.geometry import crop_faces
from facekd.markup import MarkUp
from facekd.runtime.measures import eye_openness
from facekd.training.eyes import eyes_of

CLOSED = 30  # the most closed faces by their labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the pack of 300W")
    parser.add_argument("--models", nargs="+", default=["facekd-68", "facekd-68-lite"])
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    faces = Pack.open(options.data).select("val")
    eyes = eyes_of(faces.markup)
    lids = [point for eye in eyes for point in (*eye.corners, *eye.upper, *eye.lower)]
    models = {Path(name).name: measures(predict(name, faces), faces, lids) for name in options.models}
    result = {
        "command": "python benchmarks/eyes.py 300w.parquet --models facekd-68 facekd-68-lite RUN",
        "faces": len(faces),
        "closed": CLOSED,
        "openness_of_labels": round(float(np.sort(mean_openness(faces.points, faces.markup))[:CLOSED].mean()), 4),
        "models": models,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "eyes.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "eyes.md").write_text(page(result))
    print(page(result))


def mean_openness(points: np.ndarray, markup: MarkUp) -> np.ndarray:
    """Return the mean eye aspect ratio of both eyes of faces (n, N, 2)."""
    return np.array([np.mean(eye_openness(face, markup)) for face in points])


def predict(name: str, faces: Pack) -> np.ndarray:
    """Return a network's points (n, N, 2), in pixels of the stored crops, of faces cut by their true boxes."""
    model, points = load_model(name), []
    for row in range(len(faces)):
        crop = crop_faces(faces.image(row), faces.boxes[[row]], model.size, model.scale)
        points.append(crop.to_photo(model.predict(crop.images)[0])[0])
    return np.array(points)


def measures(points: np.ndarray, faces: Pack, lids: list[int]) -> dict[str, float]:
    """Compare predicted points with the labels: of all faces, and of those with the most closed eyes."""
    labels, found = (mean_openness(values, faces.markup) for values in (faces.points, points))
    closed, by = np.argsort(labels)[:CLOSED], primary_normaliser(faces.points, faces.markup)
    eyes = 100 * nme(points[:, lids], faces.points[:, lids], by)
    values = {
        "nme": 100 * nme(points, faces.points, by).mean(),
        "eyes_nme": eyes.mean(),
        "closed_eyes_nme": eyes[closed].mean(),
        "closed_openness": found[closed].mean(),
        "closed_error": np.abs(found - labels)[closed].mean(),
        "error": np.abs(found - labels).mean(),
    }
    return {key: round(float(value), 4) for key, value in values.items()}


def page(result: dict[str, Any]) -> str:
    """Return the figures as a page."""
    rows = [
        f"| {name} | {v['nme']:.2f} | {v['eyes_nme']:.2f} | {v['closed_eyes_nme']:.2f} | {v['closed_openness']:.3f} | "
        f"{v['closed_error']:.3f} | {v['error']:.3f} |"
        for name, v in result["models"].items()
    ]
    return "\n".join(
        [
            "# Closed eyes",
            "",
            f"The {result['faces']} validation faces of 300W. The {result['closed']} whose eyes are the most closed by "
            f"their labels have a mean eye openness of {result['openness_of_labels']:.3f}.",
            "",
            "| network | NME, % | NME of the eyes' points, % | the same, closed | openness, closed | its error, closed "
            "| its error, all |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
            "facekd-68-lite-eyes is the recipe `benchmarks/eyes.yaml`. It is not bundled: of closed eyes the points "
            "are no nearer to the labels, and of all faces they are further.",
            "",
            f"    {result['command']}",
            "",
        ]
    )


if __name__ == "__main__":
    main()
