"""`facekd bulk` beside plain processes over the same photos: photos/s, memory, and rows after SIGKILL.

    python benchmarks/bulk.py PHOTOS [--count 2000] [--workers 2] [--out docs/benchmarks]

PHOTOS: a folder of photos, which are copied until there are so many. The plain processes share the photos and call
`Landmarker.detect`, each on one thread. Ray's start and end are not counted as its work, and told beside it. Writes
bulk.json and, from it, bulk.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.dataset

from facekd.images import photo_paths

LOOP = """
import sys, time
from facekd.runtime.landmarker import Landmarker
photos = sys.argv[3:]
landmarker = Landmarker(sys.argv[1], threads=1)
print("ready", flush=True)
sys.stdin.readline()
for photo in photos[int(sys.argv[2].split("/")[0])::int(sys.argv[2].split("/")[1])]:
    [face.to_dict() for face in landmarker.detect(photo)]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", default="facekd-68-lite")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    originals = photo_paths(options.photos)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        small, large = work / "n", work / "4n"
        for source, count in ((small, options.count // 4), (large, options.count)):
            source.mkdir()
            for index in range(count):
                shutil.copy(originals[index % len(originals)], source / f"{index:06d}{originals[0].suffix}")
        plain = loops(large, options.workers, options.model)
        bulk(small, work / "warm-up", options)  # Ray's first start reads its files from the disk
        runs = [bulk(source, work / f"out-{source.name}", options) for source in (small, large)]
        result: dict[str, Any] = {
            "command": f"python benchmarks/bulk.py PHOTOS --count {options.count} --workers {options.workers}",
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
            "model": options.model,
            "plain_photos_per_second": options.count / plain,
            "runs": runs,
            # Between the two counts nothing but photos differs, so Ray's start and end fall out.
            "photos_per_second": (runs[1]["photos"] - runs[0]["photos"]) / (runs[1]["seconds"] - runs[0]["seconds"]),
            "kills": {who: killed(small, work / f"killed-{who}", options, who) for who in ("worker", "driver")},
        }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "bulk.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "bulk.md").write_text(table(result))
    print(table(result))


def loops(source: Path, count: int, model: str) -> float:
    """Return the seconds of so many plain processes, from when all are ready."""
    photos = [str(path) for path in sorted(source.iterdir())]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", LOOP, model, f"{index}/{count}", *photos],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]
    for process in processes:
        assert process.stdout and process.stdout.readline() == "ready\n"
    start = time.perf_counter()
    for process in processes:  # all at once
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
    assert all(process.returncode == 0 for process in processes)
    return time.perf_counter() - start


def start(source: Path, out: Path, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "facekd.cli", "bulk", source, out, "--model", options.model]
    command += ["--workers", str(options.workers)]
    return subprocess.Popen([str(word) for word in command], stderr=subprocess.DEVNULL)


def bulk(source: Path, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return how long a run took, and the largest memory of one of its workers."""
    begun, peak, ends = time.perf_counter(), 0.0, threading.Event()
    process = start(source, out, options)

    def watch() -> None:
        nonlocal peak
        while not ends.wait(0.5):
            peak = max([peak, *map(memory, workers_of(process.pid))])

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert process.wait() == 0
    seconds = time.perf_counter() - begun
    ends.set()
    watcher.join()
    return {"seconds": seconds, "worker_peak_mb": peak} | rows(source, out)


def killed(source: Path, out: Path, options: argparse.Namespace, who: str) -> dict[str, Any]:
    """Return what a run gives whose worker, or whose driver, is killed once the first part is there."""
    process = start(source, out, options)
    while not list(out.glob("part-*.parquet")):
        assert process.poll() is None
        time.sleep(0.02)
    if who == "worker":
        os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    else:
        process.kill()
        process.wait()
        process = start(source, out, options)
    return {"exit_code": process.wait()} | rows(source, out)


def rows(source: Path, out: Path) -> dict[str, Any]:
    """Return how many photos the results have, and how many are missing or there twice."""
    table = pyarrow.dataset.dataset(out).to_table(["photo", "face"]).to_pylist()
    first = Counter(row["photo"] for row in table if not row["face"])
    wanted = {path.as_posix() for path in source.iterdir()}
    twice = sum(count > 1 for count in first.values())
    return {"photos": len(first), "missing": len(wanted - set(first)), "twice": twice}


def workers_of(pid: int) -> list[int]:
    """Return the processes of a driver's workers."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = path.read_text().rsplit(")", 1)
        except OSError:
            continue
        parents[int(path.parent.name)] = (int(rest.split()[1]), name)

    def below(child: int) -> bool:
        while child in parents and child != pid:
            child = parents[child][0]
        return child == pid

    return [each for each, (_, name) in parents.items() if "ray::MapWorker" in name and below(each)]


def memory(pid: int) -> float:
    """Return the resident memory of a process in MB; 0 if it is gone."""
    try:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1e3 if found else 0.0


def table(result: dict[str, Any]) -> str:
    """Return the figures as a page."""
    small, large = result["runs"]
    ratio = result["photos_per_second"] / result["plain_photos_per_second"]
    lines = [
        "# Bulk runs",
        "",
        f"`{result['command']}`, {result['machine']}, model `{result['model']}`.",
        "",
        f"`facekd bulk` processes {ratio:.2f} x the photos of as many plain processes, each on one thread, in the same",
        "time; the start and end of Ray are left out: they do not grow with the photos.",
        "",
        "| photos | seconds, with Ray's start and end | largest memory of a worker | missing | twice |",
        "|---|---|---|---|---|",
    ]
    for run in (small, large):
        exact = f"{run['missing']} | {run['twice']}"
        lines.append(f"| {run['photos']} | {run['seconds']:.0f} | {run['worker_peak_mb']:.0f} MB | {exact} |")
    lines.append("")
    for who, kill in result["kills"].items():
        lines.append(
            f"SIGKILL of {'a worker' if who == 'worker' else 'the driver, and the same command again'}: "
            f"{kill['photos']} photos, {kill['missing']} missing, {kill['twice']} twice.  "
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
