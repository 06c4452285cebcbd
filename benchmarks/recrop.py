"""What a second crop is worth where a face detector's box was off, and what it costs.

    python benchmarks/recrop.py PACK [--models facekd-68 facekd-68-lite] [--split val] [--out docs/benchmarks]

Faces of a pack of 300W, found by YuNet in their stored crops, go through `facekd.evaluation` with several limits of
`facekd.runtime.recrop.FITS`; the time is of `Landmarker.detect` with and without a second crop, in turn on each photo.
Writes recrop.json and recrop.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facekd.data.pack import Pack
from facekd.evaluation import metrics
from facekd.evaluation.protocol import evaluate
from facekd.runtime import recrop
from facekd.runtime.detector import YuNet
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.model import OnnxModel
from facekd.runtime.output import NetworkOutput
from runtime import processor

MODELS = ("facekd-68", "facekd-68-lite")
LIMITS = (0.7, 0.75, 0.8, 0.84, 0.9, 1.0)
REPEATS = 3


class Counting(OnnxModel):
    """Counts the crops that it is given."""

    count = 0

    def __call__(self, images: np.ndarray) -> NetworkOutput:  # noqa: D102
        self.count += len(images)
        return super().__call__(images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--split", default="val")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    faces = Pack.open(options.pack).select(options.split)
    result = {
        "command": "python benchmarks/recrop.py PACK",
        "machine": f"{platform.machine()}, {platform.system()}, {processor()}",
        "faces": len(faces),
        "split": options.split,
        "used": recrop.FITS,
        "models": [figures(name, faces) for name in options.models],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "recrop.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "recrop.md").write_text(page(result))
    print(page(result))


def figures(name: str, faces: Pack) -> dict[str, Any]:
    """Return a model's errors in percent with true boxes, and with detected ones for each limit."""
    model, detector, used = Counting(name, threads=1), YuNet(threads=1), recrop.FITS

    def errors(limit: float) -> tuple[np.ndarray, float]:
        recrop.FITS, model.count = limit, 0
        found = evaluate(model, faces, "detector", detector, bootstrap=1)
        recrop.FITS = used
        seen = int(np.isfinite(found.errors).sum())
        return found.errors, 100 * (model.count - seen) / seen

    once, _ = errors(0.0)
    rows = []
    for limit in LIMITS:
        again, share = errors(limit)
        found = np.isfinite(once)
        gain = metrics.paired_difference(again[found], once[found])
        rows.append(
            {
                "limit": limit,
                "share_percent": share,
                "nme": 100 * float(again[found].mean()),
                "difference": [100 * value for value in (gain.mean, gain.low, gain.high)],
            }
        )
    return {
        "name": name,
        "truth": 100 * float(evaluate(model, faces, bootstrap=1).errors.mean()),
        "once": 100 * float(once[np.isfinite(once)].mean()),
        "missed": int(np.isinf(once).sum()),
        "rows": rows,
        "time_ratio": time_ratio(Landmarker(OnnxModel(name, threads=1), detector), faces),
    }


def time_ratio(landmarker: Landmarker, faces: Pack) -> float:
    """Return how many times as long photos take with a second crop as without, detection included."""
    used, ratios = recrop.FITS, []
    for index in range(len(faces)):
        photo, seconds = faces.image(index), {0.0: np.inf, used: np.inf}
        for _ in range(REPEATS):
            for recrop.FITS in seconds:
                start = time.perf_counter()
                landmarker.detect(photo)
                seconds[recrop.FITS] = min(seconds[recrop.FITS], time.perf_counter() - start)
        ratios.append((seconds[used], seconds[0.0]))
    recrop.FITS = used
    again, once = np.array(ratios).sum(axis=0)
    return float(again / once)


def page(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "# A second crop where the box was off",
        "",
        f"`{result['command']}`, {result['machine']}, one thread; {result['faces']} faces of 300W's "
        f"{result['split']} split.",
        "",
        "A face whose detected box has a smaller IoU with the box of the landmarks that the network found is cut again "
        f"by these, [and goes through the network once more](../explanation/design/recrop.md). The limit in use is "
        f"{result['used']}; it was chosen by these faces.",
    ]
    for model in result["models"]:
        lines += [
            "",
            f"## {model['name']}",
            "",
            f"In all, a photo takes {model['time_ratio']:.2f} times as long with it, detection included.",
            "",
            "| boxes | cut again | NME in % | difference |",
            "|---|---|---|---|",
            f"| ground truth | | {model['truth']:.2f} | |",
            f"| detector, one crop | | {model['once']:.2f} | |",
            *(
                f"| IoU below {row['limit']} | {row['share_percent']:.0f} % | {row['nme']:.2f} | "
                f"{row['difference'][0]:+.3f} [{row['difference'][1]:+.3f}, {row['difference'][2]:+.3f}] |"
                for row in model["rows"]
            ),
        ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
