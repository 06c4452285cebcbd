"""Faces per second and peak memory of `facekd prepare`, for n photos and for 4n: memory must not grow with them.

    python benchmarks/prepare.py                         # on made-up photos of 1280x960
    python benchmarks/prepare.py --source PATH/TO/300w   # on a real 300W: a quarter of it, and all

Each measurement runs in a fresh process. Memory is what the processes held at their peaks: the parent's, plus the
largest worker's times the number of workers.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from facekd.data import folder, w300
from facekd.data.prepare import cores, prepare
from facekd.markup import IBUG68
from facekd.pts import write_pts

_DIFFERENT = 16  # made-up photos; the others are copies, which cost `prepare` the same
_UNIT = 1024**2 if sys.platform == "darwin" else 1024  # of ru_maxrss, to MiB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="a 300W folder; default: made-up photos")
    parser.add_argument("--photos", type=int, default=400, help="n, of the made-up photos")
    parser.add_argument("--jobs", type=int, default=cores(), help="processes")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        source, reader, few = arguments.source, w300, 0
        if source is None:
            source, reader, few = make_photos(Path(scratch) / "photos", 4 * arguments.photos), folder, arguments.photos
        few = few or sum(1 for _ in reader.read(source)) // 4
        runs = [measure(reader.DATASET.name, source, count, arguments.jobs, scratch) for count in (few, 4 * few)]
    print(f"{'faces':>8} {'seconds':>8} {'faces/s':>8} {'parent MiB':>11} {'worker MiB':>11} {'all MiB':>8}")
    for run in runs:
        print(
            f"{run['faces']:8d} {run['seconds']:8.1f} {run['faces_per_second']:8.0f} "
            f"{run['parent_mib']:11.0f} {run['worker_mib']:11.0f} {run['peak_mib']:8.0f}"
        )
    growth = runs[1]["peak_mib"] / runs[0]["peak_mib"] - 1
    print(f"{arguments.jobs} processes; four times the photos: {100 * growth:+.0f} % memory")
    if arguments.json:
        report = {"photos": "300w" if arguments.source else "made up, 1280x960", "jobs": arguments.jobs, "runs": runs}
        arguments.json.write_text(json.dumps(report, indent=1))


def make_photos(path: Path, count: int) -> Path:
    """Write `count` labelled photos: coarse colour noise with fine noise on it, so that the JPEGs have a usual size."""
    path.mkdir()
    for i in range(count):
        photo = path / f"{i:06d}.jpg"
        if i < _DIFFERENT:
            rng = np.random.default_rng(i)
            coarse = cv2.resize(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8), (1280, 960))
            fine = rng.normal(0, 4, coarse.shape)
            cv2.imwrite(str(photo), np.clip(coarse + fine, 0, 255).astype(np.uint8))
            write_pts(photo.with_suffix(".pts"), rng.uniform((400, 200), (900, 700), (68, 2)))
        else:
            for suffix in (".jpg", ".pts"):
                shutil.copy(path / f"{i % _DIFFERENT:06d}{suffix}", photo.with_suffix(suffix))
    return path


def measure(dataset: str, source: Path, count: int, jobs: int, scratch: str) -> dict[str, float]:
    """Prepare the first `count` faces in a fresh process; return time and peak memory."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(_measure, dataset, source, count, jobs, Path(scratch) / f"{count}.parquet").result()


def _measure(dataset: str, source: Path, count: int, jobs: int, out: Path) -> dict[str, float]:
    reader = {"300w": w300, "folder": folder}[dataset]
    start = time.perf_counter()
    items = islice(folder.read(source, IBUG68) if reader is folder else reader.read(source), count)
    summary = prepare(items, out, IBUG68, dataset=dataset, terms="", jobs=jobs)
    seconds = time.perf_counter() - start
    parent = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _UNIT
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / _UNIT if jobs > 1 else 0.0
    return {
        "faces": summary.faces,
        "seconds": round(seconds, 2),
        "faces_per_second": round(summary.faces / seconds, 1),
        "parent_mib": round(parent, 1),
        "worker_mib": round(worker, 1),
        "peak_mib": round(parent + jobs * worker, 1) if jobs > 1 else round(parent, 1),
    }


if __name__ == "__main__":
    main()
