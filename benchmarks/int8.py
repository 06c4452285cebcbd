"""What int8 costs in error and gives in time, beside the float32 network it was made from.

    python benchmarks/int8.py PACK [--model facekd-68] [--out docs/benchmarks]

Quantises the model, calibrated on the pack's training faces, and runs both over its test faces. Times are medians, the
two models taken in turns, so that a noisy machine disturbs both alike. Writes int8.json and, from it, int8.md.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from facekd.data.pack import Pack
from facekd.evaluation import protocol
from facekd.evaluation.metrics import paired_difference
from facekd.exporters.int8 import calibration_frames, quantise
from facekd.runtime.model import OnnxModel
from runtime import processor

ROUNDS = 300
TURNS = 5
CASES = [(threads, batch) for threads in (1, 2) for batch in (1, 16)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--model", default="facekd-68", help="a bundled name or an .onnx file")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()

    pack = Pack.open(options.pack)
    with tempfile.TemporaryDirectory() as folder:
        full, small = OnnxModel(options.model).path, Path(folder) / "int8.onnx"
        quantise(full, small, calibration_frames(pack.select("train"), OnnxModel(full)))
        paths = {"float32": full, "int8": small}
        result = {
            "command": "python benchmarks/int8.py PACK",
            "model": OnnxModel(full).card.name,
            "megabytes": {kind: path.stat().st_size / 1e6 for kind, path in paths.items()},
            "machine": f"{os.cpu_count()} cores, {processor()}",
            **errors(paths, pack.select("test")),
            "times": times(paths, calibration_frames(pack.select("test"), OnnxModel(full), 64)),
        }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "int8.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "int8.md").write_text(page(result))
    print(page(result))


def errors(paths: dict[str, Path], test: Pack) -> dict[str, Any]:
    """Return the NME of each kind by subset, and their difference image by image, in percent."""
    results = {kind: protocol.evaluate(OnnxModel(path), test) for kind, path in paths.items()}
    first = results["float32"]
    gap = paired_difference(results["int8"].errors, first.errors)
    key = f"nme_{first.normaliser}"
    return {
        "faces": len(test),
        "nme": {kind: {name: of[key] for name, of in result.subsets.items()} for kind, result in results.items()},
        "lost": [100 * gap.mean, 100 * gap.low, 100 * gap.high],
    }


def times(paths: dict[str, Path], frames: np.ndarray) -> list[dict[str, float]]:
    """Return milliseconds per face of both kinds, by threads and faces per call.

    Both take turns, for a machine's speed changes, but one at a time is there: threads that wait for the next call keep
    a core busy, which is the other's.
    """
    rows = []
    for threads, batch in CASES:
        spent: dict[str, list[float]] = {kind: [] for kind in paths}
        for kind, path in TURNS * list(paths.items()):
            model = OnnxModel(path, threads=threads)
            model(frames[:batch])  # the first call also allocates
            for call in range(max(4, ROUNDS // batch // TURNS)):
                chosen = frames[(call * batch + np.arange(batch)) % len(frames)]
                began = time.perf_counter()
                model(chosen)
                spent[kind].append(1e3 * (time.perf_counter() - began) / batch)
            del model
        rows.append({"threads": threads, "batch": batch} | {k: float(np.median(v)) for k, v in spent.items()})
    return rows


def page(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    kinds = ("float32", "int8")
    subsets = list(result["nme"]["float32"])
    mean, low, high = result["lost"]

    def nme(kind: str) -> str:
        return " | ".join(f"{result['nme'][kind][name]:.2f}" for name in subsets)

    lines = [
        f"# int8 beside float32: {result['model']}",
        "",
        f"`{result['command']}`, {result['machine']}; {result['faces']} test faces, boxes: ground truth.",
        "",
        f"| | MB | {' | '.join(f'NME {name}' for name in subsets)} |",
        "|---|---|" + "---|" * len(subsets),
        *(f"| {kind} | {result['megabytes'][kind]:.1f} | {nme(kind)} |" for kind in kinds),
        "",
        f"int8 adds {mean:.3f} to the NME on {subsets[0]} (95 % bootstrap interval over the images: {low:.3f} to "
        f"{high:.3f}).",
        "",
        "Time of the network per face, crop in memory (where other work shares the machine, ratios of one run and",
        "the next differ by up to 0.2):",
        "",
        "| threads | faces per call | float32 | int8 | int8 / float32 |",
        "|---|---|---|---|---|",
        *(
            f"| {row['threads']} | {row['batch']} | {row['float32']:.2f} ms | {row['int8']:.2f} ms "
            f"| {row['int8'] / row['float32']:.2f} |"
            for row in result["times"]
        ),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
