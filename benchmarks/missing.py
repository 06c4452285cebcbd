"""What missing points cost, and how well occluded ones are told: small trainings, a few minutes on two cores.

    facekd prepare synthetic synthetic.parquet --count 1500 --size 128
    python benchmarks/missing.py 300w.parquet synthetic.parquet --imagenet FILE.safetensors

600 training faces of 300W, 64 px, once with all labels and once with 30 % of the points taken away at random, the same
for each seed; both are measured on all of the 689 test faces with all labels. And visibility, learnt on rendered faces,
on whose test faces the truth is exact. Each run that is done is in RUNS and is not done again. Writes missing.json and
missing.md.
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
from facekd.pipeline.distill import distill
from facekd.recipes.load import parse
from facekd.run_folder import result_model

FACES, SHARE, EPOCHS = 600, 0.3, 20
WEIGHTS = (0.02, 0.1)  # of visibility
STAGE = {
    "backbone": "mobilenetv2_100",
    "head": "spatial",
    "loss": "l1",
    "heatmap_weight": 0.02,
    "epochs": EPOCHS,
    "batch": 32,
    "lr": 2e-3,
    "ema": 0.99,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the pack of 300W")
    parser.add_argument("synthetic", type=Path, help="a pack of rendered faces")
    parser.add_argument("--imagenet", type=Path, required=True, help="mobilenetv2_100 of timm as .safetensors")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("missing"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    torch.set_num_threads(options.threads)
    whole = some(Pack.open(options.data), FACES)
    rows = [
        trained(without(whole, share, seed), whole, options, f"{round(100 * share)}-{seed}", {"seed": seed})
        | {"missing": share, "seed": seed}
        for seed in range(options.seeds)
        for share in (0.0, SHARE)
    ]
    rendered = Pack.open(options.synthetic)
    seeing = [
        {"weight": weight}
        | trained(rendered, rendered, options, f"visibility-{weight:g}", {"visibility_weight": weight})
        for weight in WEIGHTS
    ]
    write(options.out, rows, seeing, len(rendered.select("train")))


def some(pack: Pack, faces: int) -> Pack:
    """Return so many of the training faces, spread evenly, and all others."""
    train = np.flatnonzero(pack.splits == "train")
    chosen = train[np.linspace(0, len(train) - 1, faces).astype(int)]
    return pack.select(indices=np.sort(np.concatenate([chosen, np.flatnonzero(pack.splits != "train")])))


def without(pack: Pack, share: float, seed: int) -> Pack:
    """Return the faces without a share of the points of those that train, three of each left at least."""
    rng = np.random.default_rng(seed)
    missing = (rng.random(pack.points.shape[:2]) < share) & (pack.splits == "train")[:, None]
    missing[(~missing).sum(axis=1) < 3] = False
    points = np.where(missing[..., None], np.float32(np.nan), pack.points)
    return replace(pack, points=points, meta=pack.meta | {"sha256": f"{pack.meta['sha256']}-{share:g}-{seed}"})


def trained(pack: Pack, test: Pack, options: argparse.Namespace, name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Train one network, unless that is done; return what the test faces say of it."""
    run = options.runs / name
    record = run / "measured.json"
    if not record.is_file():
        stage = STAGE | {"init": str(options.imagenet)} | changes
        recipe = parse({"name": name, "input": {"size": 64}, "stages": {"student": stage}}, name)
        distill(recipe, pack.select(indices=np.flatnonzero(pack.splits != "test")), run, "cpu")
        result = evaluate(result_model(run), test, split="test").to_json()
        summary = json.loads((run / "student" / "summary.json").read_text())
        full = result["subsets"]["full"]
        figures = {"nme": full["nme_inter_ocular"], "nme_interval": full["nme_inter_ocular_interval"]}
        figures |= {"faces": full["count"], "visibility": result["visibility"], "seconds": summary["seconds"]}
        record.write_text(json.dumps(figures))
    found: dict[str, Any] = json.loads(record.read_text())
    return found


def write(out: Path, rows: list[dict[str, Any]], seeing: list[dict[str, Any]], rendered: int) -> None:
    """Write the figures, and a page that says them."""
    whole, lacking = ([row["nme"] for row in rows if bool(row["missing"]) == kind] for kind in (False, True))
    lost = 100 * (np.mean(lacking) / np.mean(whole) - 1)
    command = "python benchmarks/missing.py 300w.parquet synthetic.parquet --imagenet FILE.safetensors"
    record = {"command": command, "train_faces": FACES, "epochs": EPOCHS, "lost_percent": round(float(lost), 2)}
    record |= {"rows": rows, "visibility": {"train_faces": rendered, "rows": seeing}}
    out.mkdir(parents=True, exist_ok=True)
    (out / "missing.json").write_text(json.dumps(record, indent=1) + "\n")
    lines = [
        f"| {100 * row['missing']:.0f} % | {row['seed']} | {row['nme']:.2f} "
        f"[{row['nme_interval'][0]:.2f}, {row['nme_interval'][1]:.2f}] |"
        for row in sorted(rows, key=lambda row: (row["missing"], row["seed"]))
    ]
    told = [
        f"| {row['weight']:g} | {row['visibility']['ap_occluded']:.1f} | {row['nme']:.2f} "
        f"[{row['nme_interval'][0]:.2f}, {row['nme_interval'][1]:.2f}] |"
        for row in seeing
    ]
    chance = seeing[0]["visibility"]["share_occluded"]
    text = f"""# Missing and occluded points

## Missing

Training labels of {FACES} faces of 300W, of which a share of the points was taken away at random: they are masked in
the loss. A small network (64 px, {EPOCHS} epochs); NME on the {rows[0]["faces"]} test faces, whose labels are whole, in
% of the inter-ocular distance.

| points missing | seed | NME, % |
|---|---|---|
{chr(10).join(lines)}

With {100 * SHARE:.0f} % of the points missing the NME changes by {record["lost_percent"]:+.2f} %, the mean of the
seeds.

## Occluded

The same network on {rendered} rendered faces; AP of occluded points and NME on {seeing[0]["faces"]} test faces.
{chance:.1f} % of their points are occluded, which is the AP of chance.

| `visibility_weight` | AP, % | NME, % |
|---|---|---|
{chr(10).join(told)}

    {command}

The figures are in [missing.json](missing.json).
"""
    (out / "missing.md").write_text(text)


if __name__ == "__main__":
    main()
