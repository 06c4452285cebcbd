"""Memory and time at the limits: the largest photos, a folder of 10,000, a long video, a hundred faces.

    python benchmarks/bounds.py [--photos 10000] [--out docs/benchmarks]

Each measurement runs in a process of its own, whose peak memory is what the system says (VmHWM; Linux only). Writes
bounds.json and, from it, bounds.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

import facekd
from facekd.images import read_image
from facekd.runtime.batch import PhotoBatch
from facekd.runtime.detector import YuNet
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.tracking import Tracker
from facekd.runtime.video import Video, VideoWriter

LITE = "facekd-68-lite"
SAMPLE = Path(facekd.__file__).parent / "weights" / "sample.jpg"
TURNED = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6
WIDTH = 12_500
FORMATS: dict[str, tuple[int, str, str, dict[str, Any]]] = {  # megapixels, the most of the format; how it is saved
    "JPEG": (150, "a.jpg", "RGB", {}),
    "JPEG, turned by EXIF": (150, "turned.jpg", "RGB", {"exif": TURNED}),
    "JPEG, CMYK": (150, "cmyk.jpg", "CMYK", {}),
    "JPEG, progressive": (128, "progressive.jpg", "RGB", {"progressive": True}),
    "JPEG, progressive, 4:4:4": (90, "full.jpg", "RGB", {"progressive": True, "subsampling": "4:4:4"}),
    "PNG": (150, "a.png", "RGB", {"compress_level": 1}),
    "PNG, grey": (150, "grey.png", "L", {"compress_level": 1}),
    "PNG, transparent": (150, "alpha.png", "RGBA", {"compress_level": 1}),
    "PNG, 16 bits": (150, "16.png", "16", {}),
    "PNG, 12 of 16 bits": (150, "12.png", "12", {}),
    "TIFF, not compressed": (150, "a.tif", "RGB", {}),
    "TIFF, compressed": (150, "lzw.tif", "RGB", {"compression": "tiff_lzw"}),
    "TIFF, 16 bits": (150, "16.tif", "16", {}),
    "WebP": (120, "a.webp", "RGB", {"quality": 60, "method": 0}),
    "WebP, lossless": (120, "lossless.webp", "RGB", {"lossless": True, "quality": 0, "method": 0}),
    "JPEG 2000": (45, "a.jp2", "RGB", {}),
    "AVIF": (56, "a.avif", "RGB", {"speed": 10}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, *arguments = options.measure
        print(json.dumps(MEASURES[name](*arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        result = {
            "command": f"python benchmarks/bounds.py --photos {options.photos}",
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
            "photos": photos(Path(folder)),
            "folder": measured("folder", make_folder(Path(folder, "many"), options.photos)),
            "resumed": measured("resumed", make_done(Path(folder, "done"), options.photos)),
            "videos": [measured("video", make_video(Path(folder), count)) for count in (300, 3000)],
            "faces": [measured("faces", count) for count in (25, 50, 100)],
        }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "bounds.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "bounds.md").write_text(page(result))


def measured(name: str, *arguments: object) -> dict[str, Any]:
    """Measure in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "--measure", name, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    print(name, *arguments, found, flush=True)
    return found


def memory(what: str = "VmHWM") -> float:
    """Return this process's peak memory, or with VmRSS what it holds now, in MB."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return round(int(found[1]) * 1024 / 1e6, 1)


def photos(folder: Path) -> list[dict[str, Any]]:
    """Return what reading the largest photos takes, by format."""
    Image.MAX_IMAGE_PIXELS = None
    rows = []
    for name, (megapixels, file, mode, settings) in FORMATS.items():
        save(folder / file, megapixels, mode, settings)
        found = measured("photo", folder / file)
        rows.append({"format": name, "megapixels": megapixels} | found)
        (folder / file).unlink()
    return rows


def save(path: Path, megapixels: int, mode: str, settings: dict[str, Any]) -> None:
    """Save a photo in one of Pillow's modes, or with colours of which so many of 16 bits are in use."""
    height = megapixels * 1_000_000 // WIDTH
    x, y = np.arange(WIDTH, dtype=np.uint32)[None] // 50, np.arange(height, dtype=np.uint32)[:, None] // 50
    array = np.empty((height, WIDTH, 3), np.uint8)
    array[..., 0], array[..., 1], array[..., 2] = x % 256, y % 256, (x + y) % 256
    if mode.isdigit():
        deep = array.astype(np.uint16) << int(mode) - 8 | 7
        if not cv2.imwrite(str(path), deep, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
            raise RuntimeError(f"{path.name} is not written")
    else:
        Image.fromarray(array).convert(mode).save(path, **settings)


def photo(path: str) -> dict[str, Any]:
    before, start = memory(), time.perf_counter()
    read_image(path)
    return {"before_mb": before, "peak_mb": memory(), "seconds": round(time.perf_counter() - start, 1)}


def make_folder(folder: Path, count: int) -> Path:
    folder.mkdir()
    Image.new("RGB", (64, 64), (90, 90, 90)).save(folder / "0.png")
    for index in range(1, count):
        os.link(folder / "0.png", folder / f"{index}.png")
    return folder


def many(folder: str) -> dict[str, Any]:
    """Return when the first result of a folder is there, and the memory after a tenth of it and at the end."""
    landmarker = Landmarker(LITE, YuNet(threads=1), threads=1, roll="upright")
    landmarker.detect(np.zeros((64, 64, 3), np.uint8))  # the first call also allocates
    start, work, found = time.perf_counter(), time.process_time(), {}
    batch = PhotoBatch([folder], landmarker, Path(folder).with_name("out"), format="jsonl")
    for index, _ in enumerate(batch.run(), start=1):
        if index == 1:
            found["first_seconds"] = round(time.perf_counter() - start, 2)
            found["first_processor_seconds"] = round(time.process_time() - work, 2)
        if index == len(batch) // 10:
            found["mb_after_a_tenth"] = memory("VmRSS")
    return found | {"photos": len(batch), "mb_at_the_end": memory("VmRSS")}


def make_done(folder: Path, count: int) -> Path:
    """Make a folder of photos of a face each, beside results that an earlier run has found."""
    folder.mkdir()
    Image.open(SAMPLE).crop((0, 0, 320, 320)).resize((160, 160)).save(folder / "0.png")
    landmarker, out = (
        Landmarker(LITE, YuNet(threads=1), threads=1, roll="upright"),
        folder.with_name(f"{folder.name}-out"),
    )
    list(PhotoBatch([folder], landmarker, out, format="jsonl").run())
    settings, line = (out / "facekd.jsonl").read_text().splitlines()
    record = json.loads(line)
    with open(out / "facekd.jsonl", "w") as log:
        log.write(f"{settings}\n")
        for index in range(count):
            if index:
                os.link(folder / "0.png", folder / f"{index}.png")
            log.write(json.dumps(record | {"photo": str(folder / f"{index}.png"), "name": str(index)}) + "\n")
    return folder


def resumed(folder: str) -> dict[str, Any]:
    """Return when the first result of a folder is there that has been looked at before."""
    landmarker = Landmarker(LITE, YuNet(threads=1), threads=1, roll="upright")
    start, work = time.perf_counter(), time.process_time()
    batch = PhotoBatch([folder], landmarker, f"{folder}-out", format="jsonl")
    with closing(batch.run()) as results:
        faces = next(results).faces
    seconds, processor = time.perf_counter() - start, time.process_time() - work
    first = {"first_seconds": round(seconds, 2), "first_processor_seconds": round(processor, 2)}
    return {"photos": len(batch), "faces": faces} | first


def make_video(folder: Path, frames: int) -> Path:
    writer = VideoWriter(folder / f"{frames}.mp4", 25, (240, 280))
    face = np.asarray(Image.open(SAMPLE).crop((0, 0, 320, 320)))
    for index in range(frames):
        left = abs(index % 80 - 40)
        writer.add(face[20:300, left : left + 240])
    writer.close()
    return folder / f"{frames}.mp4"


def follow(path: str) -> dict[str, Any]:
    tracker, frames = Tracker(Landmarker(LITE, YuNet(size=640, threads=1), threads=1)), 0
    for seconds, frame in Video(path):
        tracker.update(frame, seconds)
        frames += 1
    return {"frames": frames, "peak_mb": memory()}


class Grid:
    """Finds a grid of faces at once, so that what is measured is the tracker and the network."""

    def __init__(self, count: int) -> None:
        face = Image.open(SAMPLE).crop((0, 0, 320, 320)).resize((80, 80))
        boxes, _ = YuNet(threads=1).detect(np.asarray(face))
        places = np.array([(80 * (k % 10), 80 * (k // 10)) for k in range(count)])
        self.boxes = (boxes[:1] + np.hstack([places, places])).astype(np.float32)
        self.frame = np.tile(np.asarray(face), (10, 10, 1))

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes (count, 4) and scores."""
        return self.boxes, np.ones(len(self.boxes), np.float32)


def faces(count: str) -> dict[str, Any]:
    grid = Grid(int(count))
    tracker, times = Tracker(Landmarker(LITE, grid, threads=1)), []
    for index in range(33):
        start = time.process_time()
        found = tracker.update(grid.frame, index / 25)
        times.append(time.process_time() - start)
    return {"faces": int(count), "followed": len(found), "ms_per_frame": round(1e3 * float(np.median(times[3:])), 1)}


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "photo": photo,
    "folder": many,
    "resumed": resumed,
    "video": follow,
    "faces": faces,
}


def page(result: dict[str, Any]) -> str:
    """Return the figures as a page."""
    lines = ["# Memory and time at the limits", "", f"`{result['command']}`, {result['machine']}.", ""]
    lines += ["A photo of so many megapixels as are read of its format; of 150 the pixels are 450 MB.", ""]
    lines += ["| format | megapixels | peak memory of the process | before | seconds |", "|---|---|---|---|---|"]
    for row in result["photos"]:
        figures = f"{row['peak_mb']:.0f} MB | {row['before_mb']:.0f} MB | {row['seconds']:.1f}"
        lines.append(f"| {row['format']} | {row['megapixels']} | {figures} |")
    many, again, (short, long) = result["folder"], result["resumed"], result["videos"]
    lines += [
        "",
        f"A folder of {many['photos']:,} photos: the first result after {many['first_seconds']:.1f} s "
        f"({many['first_processor_seconds']:.1f} s of processor time); "
        f"{many['mb_after_a_tenth']:.0f} MB after a tenth of them, {many['mb_at_the_end']:.0f} MB at the end.",
        "",
        f"The same folder again, when a face of each is known: the first result after "
        f"{again['first_seconds']:.1f} s ({again['first_processor_seconds']:.1f} s of processor time).",
        "",
        f"A video of {short['frames']:,} frames: at most {short['peak_mb']:.0f} MB; of {long['frames']:,}: "
        f"{long['peak_mb']:.0f} MB.",
        "",
        "Following many faces, one thread, `facekd-68-lite`, processor time:",
        "",
        "| faces | ms per frame | ms per frame and face |",
        "|---|---|---|",
    ]
    for row in result["faces"]:
        lines.append(f"| {row['faces']} | {row['ms_per_frame']:.0f} | {row['ms_per_frame'] / row['faces']:.1f} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
