"""What it is worth that a process which trains keeps the memory that it frees (`facekd.training.memory`).

    python benchmarks/training_memory.py [--rounds 3] [--out docs/benchmarks]

A small student learns from made-up frames, in processes of their own: with and without, in turns, so that a noisy
machine disturbs both alike. The fastest round of each counts. Writes training-memory.json and training-memory.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from facekd.networks.architecture import Architecture
from facekd.networks.depthwise import accelerate
from facekd.networks.network import LandmarkNet
from facekd.training.memory import reuse_memory
from runtime import processor
from training import BATCH, STEPS, steps

SIZES = (112,)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        kind, size = options.one
        print(json.dumps(measured(kind == "kept", int(size))))
        return
    rows = []
    for size in SIZES:
        turns = [[apart(kind, size) for kind in ("given back", "kept")] for _ in range(options.rounds)]
        plain, kept = (max(turn, key=lambda figures: figures["images_per_second"]) for turn in zip(*turns, strict=True))
        rows.append({"size": size, "given_back": plain, "kept": kept})
    result = {
        "command": "python benchmarks/training_memory.py",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, {processor()}",
        "torch": torch.__version__,
        "rows": rows,
    }
    (options.out / "training-memory.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "training-memory.md").write_text(page(result))
    print(page(result))


def apart(kind: str, size: int) -> dict[str, float]:
    """Measure in a process of its own."""
    words = [sys.executable, __file__, "--one", kind, str(size)]
    figures: dict[str, float] = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    return figures


def measured(kept: bool, size: int) -> dict[str, float]:
    """Train for some steps; return images/s, the system's share of the processor time, and page faults of an image."""
    if kept:
        reuse_memory()
    net = accelerate(LandmarkNet(Architecture("mobilenetv2_100", "spatial", 68, size)).train())
    steps(net, size, STEPS)  # until the heap has grown
    before = resource.getrusage(resource.RUSAGE_SELF)
    seconds, _ = steps(net, size, STEPS)
    after = resource.getrusage(resource.RUSAGE_SELF)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return {
        "images_per_second": round(BATCH / seconds, 1),
        "system_percent": round(100 * system / (user + system), 1),
        "faults": after.ru_minflt - before.ru_minflt,
        "megabytes": round(after.ru_maxrss / 1024),
    }


def page(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "# Memory of training",
        "",
        f"`{result['command']}`, {result['machine']}, torch {result['torch']}.",
        "",
        "A step of training frees what the one before it did. By default the C library gives large tensors back to the",
        "system each time, which clears every page of them anew. `facekd distill` and `facekd study` keep that memory",
        "(`facekd.training.memory`): MobileNetV2 under a spatial head, 32 made-up faces per step, each in processes",
        "of its own and in turns.",
        "",
        "| input | memory | img/s | ratio | time in the system | page faults | memory at most |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        for kind in ("given_back", "kept"):
            one = row[kind]
            ratio = one["images_per_second"] / row["given_back"]["images_per_second"]
            lines.append(
                f"| {row['size']} px | {kind.replace('_', ' ')} | {one['images_per_second']:.1f} | {ratio:.2f} x | "
                f"{one['system_percent']:.0f} % | {one['faults']:,} | {one['megabytes']:,} MB |"
            )
    return "\n".join([*lines, "", "How much it is depends on the machine: on virtual ones page faults are dear.", ""])


if __name__ == "__main__":
    main()
