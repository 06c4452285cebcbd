"""`facekd serve` under load: 8, 64 and 512 clients beside a plain loop over the same photos, and SIGTERM in the middle.

    python benchmarks/serve.py PHOTOS [--seconds 60] [--out docs/benchmarks]

PHOTOS: a folder of photos. Server and clients share the machine, over loopback. Load and loop take turns, so that what
else the machine does hits both alike. Writes serve.json and, from it, serve.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from facekd.images import read_image
from facekd.runtime.landmarker import Landmarker

CLIENTS = (8, 64)
OVERLOAD = 512
BATCHES = (1, 2, 4, 8)
TURNS = 6  # of a load and the loop
DRAIN_CLIENTS, DRAIN_AFTER = 32, 3.0  # seconds
HEAD = b"POST /v1/faces HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


@dataclass
class Load:
    """What clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)  # of each answer with faces
    lost: int = 0  # requests that were sent and not answered
    refused: int = 0  # connections that were not accepted, or closed before a request was sent
    wrong: int = 0  # answers with other faces than Python's
    wall: float = 0.0  # seconds from the first request to the last answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--seconds", type=float, default=60, help="of each load")
    parser.add_argument("--model", default="facekd-68")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    photos = [path.read_bytes() for path in sorted(options.photos.iterdir())]
    alone = Landmarker(options.model, threads=1)
    expected = [[face.to_dict() for face in alone.detect(photo)] for photo in photos]
    result: dict[str, Any] = {
        "command": f"python benchmarks/serve.py PHOTOS --seconds {options.seconds:g}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "model": options.model,
        "photos": len(photos),
        "megapixels": float(np.mean([np.prod(read_image(photo).shape[:2]) for photo in photos]) / 1e6),
        "loads": [],
    }
    process, port = start_server(options.model)
    try:
        for clients in CLIENTS:
            result["loads"].append(measured(port, photos, expected, clients, options.seconds, options.model))
            print(result["loads"][-1], file=sys.stderr)
        result["overload"] = overloaded(process.pid, port, photos, expected, options.seconds)
        print(result["overload"], file=sys.stderr)
        result["sigterm"] = stopped(process, port, photos, expected)
        print(result["sigterm"], file=sys.stderr)
    finally:
        process.kill()
    result["batching"] = batching(alone, photos, options.seconds / 4)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "serve.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "serve.md").write_text(table(result))
    print(table(result))


def start_server(model: str) -> tuple[subprocess.Popen[str], int]:
    """Start `facekd serve` on a free port; returns its process and the port."""
    command = [sys.executable, "-m", "facekd.cli", "serve", "--port", "0", "--model", model, "--no-log"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    for line in process.stderr:
        if found := re.search(r"http://[^:]+:(\d+) is ready", line):
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return process, int(found[1])
    raise SystemExit("the server did not start")


def loop(landmarker: Landmarker, photos: list[bytes], seconds: float) -> float:
    """Return the photos/s of a plain loop."""
    landmarker.detect(photos[0])  # the first call also allocates
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        [face.to_dict() for face in landmarker.detect(photos[count % len(photos)])]
        count += 1
    return count / (time.perf_counter() - start)


def measured(
    port: int, photos: list[bytes], expected: list[Any], clients: int, seconds: float, model: str
) -> dict[str, Any]:
    """Return what so many clients saw, beside the loop; they take turns."""
    plain = [Landmarker(model, threads=threads) for threads in (1, None)]
    speeds, whole = [], Load()
    for _ in range(TURNS):
        speeds.append([loop(each, photos, seconds / TURNS / 4) for each in plain])
        load = asyncio.run(under_load(port, photos, expected, clients, seconds / TURNS))
        for name, value in vars(load).items():
            setattr(whole, name, getattr(whole, name) + value)
    best = float(np.mean(speeds, axis=0).max())
    return {"clients": clients, "loop_photos_per_second": best} | figures(whole)


def figures(load: Load) -> dict[str, Any]:
    """Return the figures of a load."""
    p50, p99 = np.percentile(load.seconds, [50, 99]) * 1e3 if load.seconds else (float("nan"), float("nan"))
    return {
        "photos_per_second": load.statuses[200] / load.wall,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "statuses": {str(status): count for status, count in sorted(load.statuses.items())},
        "lost": load.lost,
        "refused": load.refused,
        "wrong": load.wrong,
    }


async def under_load(
    port: int,
    photos: list[bytes],
    expected: list[Any],
    clients: int,
    seconds: float,
    ends: asyncio.Event | None = None,
) -> Load:
    """Send photos from many clients, each over a connection of its own, one after another.

    ends: set by a client that is refused; the others end, too. None: a client that gets 503 waits a moment.
    """
    load, begun = Load(), time.perf_counter()
    until = begun + seconds

    async def client(number: int) -> None:
        reader = writer = None
        turn = number
        while time.perf_counter() < until:
            sent = False
            try:
                if writer is None or writer.is_closing() or reader.at_eof():
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                photo = photos[turn % len(photos)]
                start = time.perf_counter()
                writer.write(HEAD % len(photo) + photo)
                sent = True
                status, body, closes = await answer(reader)
            except (ConnectionError, asyncio.IncompleteReadError):
                load.lost += sent
                load.refused += not sent
                if ends is not None:
                    return
                await asyncio.sleep(0.1)
                writer = None
                continue
            load.statuses[status] += 1
            if status == 200:
                load.seconds.append(time.perf_counter() - start)
                load.wrong += json.loads(body)["faces"] != expected[turn % len(photos)]
                turn += 1
            elif ends is not None:
                return
            else:
                await asyncio.sleep(0.1)
            if closes:
                writer.close()
        if writer is not None:
            writer.close()

    await asyncio.gather(*map(client, range(clients)))
    load.wall = time.perf_counter() - begun
    return load


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Read an answer; returns its status, its body, and whether the connection ends with it."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = re.search(rb"content-length: (\d+)", head)
    assert length, head
    return int(head.split()[1]), await reader.readexactly(int(length[1])), b"connection: close" in head


def memory(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1e3


def overloaded(pid: int, port: int, photos: list[bytes], expected: list[Any], seconds: float) -> dict[str, Any]:
    """Return what many more clients than fit saw, and the server's memory meanwhile."""
    samples, ends = [], threading.Event()

    def sample() -> None:
        while not ends.wait(seconds / 60):
            samples.append(memory(pid))

    watcher = threading.Thread(target=sample)
    watcher.start()
    load = asyncio.run(under_load(port, photos, expected, OVERLOAD, seconds))
    ends.set()
    watcher.join()
    half = len(samples) // 2
    peaks = {"first_half_mb": max(samples[:half]), "second_half_mb": max(samples[half:])}
    return {"clients": OVERLOAD} | figures(load) | peaks


def stopped(process: subprocess.Popen[str], port: int, photos: list[bytes], expected: list[Any]) -> dict[str, Any]:
    """Return what clients saw while SIGTERM ended the server."""
    timer = threading.Timer(DRAIN_AFTER, process.send_signal, [signal.SIGTERM])
    timer.start()
    load = asyncio.run(under_load(port, photos, expected, DRAIN_CLIENTS, 60, asyncio.Event()))
    return {"clients": DRAIN_CLIENTS, "exit_code": process.wait(60)} | figures(load)


def batching(landmarker: Landmarker, photos: list[bytes], seconds: float) -> list[dict[str, Any]]:
    """Return the photos/s of two workers that each take up to so many waiting photos at a time, without HTTP.

    The sizes take turns, so that what else the machine does hits all alike.
    """
    images = [read_image(photo) for photo in photos]
    alone = [landmarker.detect(image) for image in images]
    counts, spent, apart = dict.fromkeys(BATCHES, 0), dict.fromkeys(BATCHES, 0.0), dict.fromkeys(BATCHES, 0.0)
    with ThreadPoolExecutor(2) as pool:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            for size in BATCHES:
                chunks = [images[i : i + size] for i in range(0, len(images), size)]
                find = (lambda chunk: [landmarker.detect(chunk[0])]) if size == 1 else landmarker.detect_batch
                start = time.perf_counter()
                found = [faces for chunk in pool.map(find, chunks) for faces in chunk]
                spent[size] += time.perf_counter() - start
                counts[size] += len(images)
                pairs = [(a, b) for x, y in zip(found, alone, strict=True) for a, b in zip(x, y, strict=True)]
                apart[size] = max(apart[size], *(float(np.abs(a.points - b.points).max()) for a, b in pairs))
    return [
        {"batch": size, "photos_per_second": counts[size] / spent[size], "largest_difference_px": apart[size]}
        for size in BATCHES
    ]


def table(result: dict[str, Any]) -> str:
    """Return the figures as a page."""
    over, end, batches = result["overload"], result["sigterm"], result["batching"]
    lines = [
        "# The server under load",
        "",
        f"`{result['command']}`, {result['machine']}, model `{result['model']}`; {result['photos']} photos of",
        f"{result['megapixels']:.2f} megapixels, one face each.",
        "",
        "Server and clients share the machine, over loopback. Each client sends a photo when the last one is answered.",
        "The plain loop calls `Landmarker.detect` on the same files, on one thread or all cores, whichever is faster,",
        "in turns with the load: about 1 is what a server on all cores can have beside a loop on all cores.",
        "",
        "| clients | photos/s | to the loop | median | 99 % within | answers | lost | wrong |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for load in result["loads"]:
        ratio = load["photos_per_second"] / load["loop_photos_per_second"]
        lines.append(_row(load, f"{ratio:.2f} x"))
    lines += [
        _row(over, ""),
        "",
        f"With {over['clients']} clients the queue is full: photos beyond it are refused with 503 at once, and those",
        f"clients try again after 0.1 s. The server's memory: at most {over['first_half_mb']:.0f} MB in the first half",
        f"of the load, {over['second_half_mb']:.0f} MB in the second.",
        "",
        f"SIGTERM with {end['clients']} clients at work: {_answers(end)}; requests sent, not answered: {end['lost']};",
        f"exit code {end['exit_code']}.",
        "",
        "## Batches across requests",
        "",
        "Two workers, each on one thread, that take up to so many waiting photos at a time and run the network once",
        "for them; without HTTP, photos decoded. The server takes one: a larger batch gains nothing on a CPU, and lets",
        "the first photo wait for the last.",
        "",
        "| photos at a time | photos/s | largest difference of a point from a single call |",
        "|---|---|---|",
    ]
    first = batches[0]["photos_per_second"]
    lines += [
        f"| {row['batch']} | {row['photos_per_second'] / first:.2f} x | {row['largest_difference_px']:.4f} px |"
        for row in batches
    ]
    return "\n".join([*lines, ""])


def _answers(load: dict[str, Any]) -> str:
    return ", ".join(f"{count} of {status}" for status, count in load["statuses"].items())


def _row(load: dict[str, Any], ratio: str) -> str:
    return (
        f"| {load['clients']} | {load['photos_per_second']:.1f} | {ratio} | {load['p50_ms']:.0f} ms "
        f"| {load['p99_ms']:.0f} ms | {_answers(load)} | {load['lost']} | {load['wrong']} |"
    )


if __name__ == "__main__":
    main()
