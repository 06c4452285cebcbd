"""What a training step costs beside the networks, and what the fast depthwise gradients are worth.

    python benchmarks/training.py [--json FILE]

Per network and input size: images/s of the whole step; the share of the step spent outside the network's forward and
backward pass and the optimiser (reading frames, augmentation, loss, clipping, moving average); and images/s with and
without `facekd.networks.depthwise`, in turns, so that a noisy machine disturbs both alike. Frames are made up; networks
have no weights.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from facekd.geometry import tight_box
from facekd.losses.kd import KDLoss
from facekd.losses.objective import Objective, TeacherTerm
from facekd.markup import IBUG68
from facekd.networks.architecture import Architecture
from facekd.networks.depthwise import accelerate
from facekd.networks.network import LandmarkNet
from facekd.recipes.groups import Augment, Input
from facekd.training import distributed as parallel
from facekd.training.augment import Augmenter
from facekd.training.ema import ExponentialMovingAverage
from facekd.training.faces import Faces
from facekd.training.loop import batches

BATCH, WARM_UP, STEPS = 32, 3, 6
CASES = [
    ("student", "mobilenetv2_100", "coordinate", 128),
    ("student", "mobilenetv2_100", "coordinate", 224),
    ("spatial student", "mobilenetv2_100", "spatial", 128),
    ("teacher", "tf_efficientnet_lite3", "coordinate", 128),
    ("teacher", "efficientnet_b3", "coordinate", 224),
]


class Clock:
    """Adds up the time that calls take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, function: Callable[..., object], *arguments: object) -> object:
        """Call and return what the function returns."""
        began = time.perf_counter()
        result = function(*arguments)
        self.seconds += time.perf_counter() - began
        return result


def make_faces(size: int) -> Faces:
    """Frames of the size that a run at this input size stores (margin 2, scale 1.2)."""
    px = 8 * round(size * 2 / 1.2 / 8)
    rng = np.random.default_rng(0)
    points = rng.uniform(0.25 * px, 0.75 * px, (8 * BATCH, 68, 2)).astype(np.float32)
    return Faces(rng.integers(0, 256, (8 * BATCH, px, px, 3), np.uint8), points, tight_box(points))


def steps(net: LandmarkNet, size: int, count: int) -> tuple[float, float]:
    """Return seconds per step, and of these the seconds inside the network and the optimiser."""
    fabric = parallel.fabric("auto")
    roles = TeacherTerm("tough", "tough"), TeacherTerm("tolerant", "tolerant")
    faces, objective = make_faces(size), Objective(KDLoss("released"), teachers=roles)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    model, optimiser = fabric.setup(net.to(memory_format=torch.channels_last), optimiser)
    augmenter = Augmenter(Augment(), Input(size=size), IBUG68, device=fabric.device)
    average, source = ExponentialMovingAverage(net, 0.999), batches(faces, BATCH, 0, 0, 0, fabric)
    clock, began = Clock(), 0.0
    for step in range(WARM_UP + count):
        if step == WARM_UP:
            clock.seconds, began = 0.0, time.perf_counter()
        batch = next(source)
        images, target, _ = augmenter(batch.frames, batch.points, batch.boxes, batch.faces, batch.view)
        prediction = clock(model, images)
        terms = objective(prediction, target, {roles[0].key: target + 0.01, roles[1].key: target - 0.01})
        optimiser.zero_grad()
        clock(fabric.backward, terms["total"])
        fabric.clip_gradients(model, optimiser, max_norm=1.0, error_if_nonfinite=False)
        clock(optimiser.step)
        average.update(net, step)
        if fabric.device.type == "cuda":
            torch.cuda.synchronize()
    return (time.perf_counter() - began) / count, clock.seconds / count


def measure(backbone: str, head: str, size: int) -> dict[str, float]:
    """Measure one network, plain and accelerated in turns, and keep each one's fastest round."""
    rounds: dict[str, list[tuple[float, float]]] = {"plain": [], "fast": []}
    for _ in range(2):
        for kind in rounds:
            net = LandmarkNet(Architecture(backbone, head, 68, size)).train()
            rounds[kind].append(steps(accelerate(net) if kind == "fast" else net, size, STEPS))
    fast, plain = min(rounds["fast"]), min(rounds["plain"])
    return {
        "images_per_second": BATCH / fast[0],
        "outside_percent": 100 * (1 - fast[1] / fast[0]),
        "images_per_second_plain_gradients": BATCH / plain[0],
        "speed_up": plain[0] / fast[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    rows = []
    print(f"{'network':44} {'px':>4} {'img/s':>7} {'outside':>8} {'plain gradients':>16} {'ratio':>6}")
    for role, backbone, head, size in CASES:
        row = {"role": role, "backbone": backbone, "head": head, "size": size} | measure(backbone, head, size)
        rows.append(row)
        print(
            f"{f'{role}: {backbone}, {head}':44} {size:4} {row['images_per_second']:7.1f} "
            f"{row['outside_percent']:7.1f}% {row['images_per_second_plain_gradients']:10.1f} img/s "
            f"{row['speed_up']:6.2f}",
            flush=True,
        )
    if arguments.json:
        about = {
            "cores": os.cpu_count(),
            "batch": BATCH,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        }
        arguments.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
