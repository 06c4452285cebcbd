"""How many photos own points take: 300W's training faces with ten points of our own, from three starts.

    python benchmarks/own_points.py 300w.parquet --imagenet FILE.safetensors [--photos 20 50 200 1000]

Eye centres and the mouth's centre are none of the 68 points, so that the start has to find what corresponds. All three
starts have the recipe finetune; lr is the best of three on the validation faces. facekd-68-lite learnt from 300W's
training faces, too. Each run that is done is in RUNS and is not done again. Writes own-points.json and, from it, the
page own-points.md.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facekd.api import evaluate
from facekd.data.pack import Pack
from facekd.geometry import tight_box
from facekd.markup import MarkUp
from facekd.pipeline.distill import distill
from facekd.recipes.load import load
from facekd.run_folder import result_model

# Each point as the mean of points of iBUG's: brows, eye centres, nose, mouth, chin.
POINTS = ((19,), range(36, 42), (24,), range(42, 48), (30,), (33,), (48,), (54,), range(60, 68), (8,))
OWN = MarkUp("own ten", 10, (2, 3, 0, 1, 4, 5, 7, 6, 8, 9), inter_ocular=((1,), (3,)))
RATES = (5e-4, 2e-3, 4e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the pack of 300W")
    parser.add_argument("--imagenet", type=Path, required=True, help="mobilenetv2_100 of timm as .safetensors")
    parser.add_argument("--photos", type=int, nargs="+", default=[20, 50, 200, 1000])
    parser.add_argument("--runs", type=Path, default=Path("own-points"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    torch.set_num_threads(options.threads)
    whole = relabelled(Pack.open(options.data))
    starts = {"facekd-68-lite": "facekd-68-lite", "ImageNet": str(options.imagenet), "from scratch": "none"}
    rows: list[dict[str, Any]] = []
    for photos in options.photos:
        pack = some(whole, photos)
        for start, init in starts.items():
            tried = [trained(pack, options.runs, photos, start, init, lr) for lr in RATES]
            row = min(tried, key=lambda one: one["val_nme"])
            rows.append(row | measured(pack, Path(row.pop("run"))))
            print(json.dumps(rows[-1]), flush=True)
            write(options.out, rows)


def relabelled(pack: Pack) -> Pack:
    """Return the faces with the ten points in place of the 68."""
    points = np.stack([pack.points[:, list(of)].mean(axis=1) for of in POINTS], axis=1).astype(np.float32)
    return replace(pack, markup=OWN, points=points, boxes=tight_box(points), visible=None)


def some(pack: Pack, photos: int) -> Pack:
    """Return so many of the training faces, by chance but always the same, and all others."""
    train = np.flatnonzero(pack.splits == "train")
    chosen = np.random.default_rng(0).permutation(train)[:photos]  # 20 are among the 50, and so on
    rows = np.sort(np.concatenate([chosen, np.flatnonzero(pack.splits != "train")]))
    return replace(pack.select(indices=rows), meta=pack.meta | {"sha256": f"{pack.meta['sha256']}-own-{photos}"})


def trained(pack: Pack, runs: Path, photos: int, start: str, init: str, lr: float) -> dict[str, Any]:
    """Train one network, unless that is done; return what validation says of it."""
    run = runs / f"{photos}-{start.replace(' ', '-')}-{lr:g}"
    record = run / "own.json"
    if not record.is_file():
        # A few hundred steps at least: with few photos an epoch is short.
        epochs = int(np.clip(6400 / photos, 8, 40))
        recipe = load(
            "finetune",
            {"student.init": init, "student.lr": lr, "student.epochs": epochs, "evaluation.stages": ["student"]},
        )
        distill(recipe, pack.select(indices=np.flatnonzero(pack.splits != "test")), run, "cpu")
        summary = json.loads((run / "student" / "summary.json").read_text())
        values = {"photos": photos, "start": start, "lr": lr, "epochs": epochs, "run": str(run)}
        record.write_text(json.dumps(values | {"val_nme": summary["val_nme"], "seconds": summary["seconds"]}))
    found: dict[str, Any] = json.loads(record.read_text())
    return found


def measured(pack: Pack, run: Path) -> dict[str, Any]:
    """Return validation and test NME in percent of the eye centres' distance, with 95 % intervals."""
    record = run / "measured.json"
    if not record.is_file():
        figures = {}
        for split in ("val", "test"):
            result = evaluate(result_model(run), pack, split=split).to_json()
            figures[split] = next(iter(result["subsets"].values()))
        record.write_text(json.dumps(figures))
    values: dict[str, Any] = json.loads(record.read_text())
    return values


def write(out: Path, rows: list[dict[str, Any]]) -> None:
    """Write the figures and their page, after every row: all of them take hours."""
    command = "python benchmarks/own_points.py 300w.parquet --imagenet FILE.safetensors"
    out.mkdir(parents=True, exist_ok=True)
    (out / "own-points.json").write_text(json.dumps({"command": command, "rows": rows}, indent=1) + "\n")
    (out / "own-points.md").write_text(page(command, rows))


def page(command: str, rows: list[dict[str, Any]]) -> str:
    """Return the page of the learning curve."""
    lines = [
        "# Own points: how many photos, and which start",
        "",
        "300W's training faces, relabelled to ten points of our own: brows, eye centres, nose tip and its base, mouth",
        "corners, the mouth's centre, chin. Three of them are none of the 68 points that the bundled network knows. Of",
        "the training faces so many are kept, always the same; validation and test faces are all there. Each start is",
        "trained by the recipe `finetune` with three learning rates, and the one with the lowest NME on the validation",
        "faces counts. One seed.",
        "",
        "| photos | start | learning rate | validation NME, % | test NME, % | 95 % interval |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row["test"]["nme_inter_ocular_interval"]
        lines.append(
            f"| {row['photos']} | {row['start']} | {row['lr']:g} | {row['val']['nme_inter_ocular']:.2f} "
            f"| {row['test']['nme_inter_ocular']:.2f} | {low:.2f} to {high:.2f} |"
        )
    lines += [
        "",
        "NME: % of the distance of the eye centres, which is shorter than that of the outer corners, which 300W's",
        "figures are divided by. 689 test faces, looked at once per row. The bundled network has learnt from 300W's",
        "training faces, too, so faces of another kind may gain less from it.",
        "",
        f"    {command}",
        "",
        "The figures are in [own-points.json](own-points.json).",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
