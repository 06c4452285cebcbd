"""What a student's backbone costs: parameters, multiply-accumulates, and CPU time of one face beside MobileNetV2's.

    python benchmarks/backbones.py PACK [--out docs/benchmarks] [--work FOLDER] [--turns 9]

Needs the extra `export`. Each network is facekd-68-lite with another backbone or input size: spatial head, 68 points,
shape prior, confidence. Weights are random, for time does not depend on them; so no error is measured, and the
exporters' checks of it are left out. The pack's training faces are what the time is measured on, and what 8 bits are
calibrated on. Networks take turns, one being loaded at a time, as in engines.py; files in the work folder are used
again. Writes backbones.json and, from it, backbones.md.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
from engines import Run, times
from timm.utils.model import reparameterize_model
from torch import nn

from facekd.data.pack import Pack
from facekd.exporters.int8 import calibration_frames
from facekd.exporters.litert import _converted, _quantised
from facekd.exporters.litert_module import LiteRTModule
from facekd.exporters.onnx import ExportModule, _write_onnx
from facekd.networks.checkpoint import ModelMetadata
from facekd.networks.exported import load_network
from facekd.networks.network import LandmarkNet, cost
from facekd.networks.predictor import TorchModel
from facekd.runtime import litert, ort
from runtime import processor

MODEL = "facekd-68-lite"
TURNS = 9
CROPS = 64
ENGINES = {"onnx": "ONNX Runtime, float32", "tflite": "LiteRT, int8"}
ABOUT_EQUAL = 1.1  # times the first network's CPU time


class Candidate(NamedTuple):
    """A backbone by timm's name, the side of its input, and whether its parallel branches are merged into one."""

    backbone: str
    size: int = 112
    merged: bool = False

    @property
    def title(self) -> str:
        """As the page names it."""
        return f"{self.backbone}{', branches merged' if self.merged else ''}, {self.size} px"

    @property
    def file(self) -> str:
        """The stem of its files' names."""
        return f"{self.backbone}-{self.size}{'-merged' if self.merged else ''}"


CANDIDATES = (  # the first is what the others are compared with
    Candidate("mobilenetv2_100"),
    Candidate("mobilenetv2_100", size=96),
    Candidate("mobilenetv2_050"),
    Candidate("mobilenetv3_large_100"),
    Candidate("mobilenetv4_conv_small"),
    Candidate("mobilenetv4_conv_small_050"),
    Candidate("tf_efficientnet_lite0"),
    Candidate("mobileone_s0", merged=True),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--work", type=Path, help="exported files, kept; default: a temporary folder")
    parser.add_argument("--turns", type=int, default=TURNS)
    options = parser.parse_args()

    train = Pack.open(options.pack).select("train")
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        rows = measured(CANDIDATES, train, work, options.turns)
    result = {
        "command": "python benchmarks/backbones.py PACK",
        "machine": f"{os.cpu_count()} cores, {processor()}",
        "int8_instructions": litert.fast_int8(),
        "turns": options.turns,
        "load": os.getloadavg()[1],  # this program's own process is in it
        "rows": rows,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "backbones.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "backbones.md").write_text(page(result))
    print(page(result))


def measured(candidates: tuple[Candidate, ...], train: Pack, work: Path, turns: int) -> list[dict[str, Any]]:
    """Return a row for each network; what cannot be built, converted or run says so in its row, but for the first."""
    rows = []
    makers: dict[str, dict[str, Callable[[int], Run]]] = {kind: {} for kind in ENGINES}
    for candidate in candidates:
        row: dict[str, Any] = {"title": candidate.title, "problems": {}}
        rows.append(row)
        try:
            net, metadata, crops = network(candidate, train)
            row["parameters"], row["macs"] = cost(net)
            row["imagenet"] = timm.is_model_pretrained(candidate.backbone)
        except Exception as error:  # timm and torch raise all kinds
            row["problems"]["network"] = told(error, row is rows[0])
            continue
        for kind in ENGINES:
            try:
                file = exported(kind, net, metadata, crops, work / candidate.file)
                row[f"megabytes_{kind}"] = file.stat().st_size / 1e6
                running(kind, file, 1, crops)(0)
                makers[kind][candidate.title] = lambda threads, of=(kind, file), on=crops: running(*of, threads, on)
            except Exception as error:  # so do the converters
                row["problems"][kind] = told(error, row is rows[0])
        print(row, flush=True)
    for kind in ENGINES:
        found = times(makers[kind], 1, CROPS, turns)
        for row in rows:
            if row["title"] in found:
                row[f"ms_{kind}"], row[f"ratio_{kind}"] = found[row["title"]]
    return rows


def told(error: Exception, needed: bool) -> str:
    """Return the start of what an error says; that of a network which the others are compared with is raised."""
    if needed:
        raise error
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:160]


_loaded = cache(load_network)


def network(candidate: Candidate, train: Pack) -> tuple[LandmarkNet, ModelMetadata, np.ndarray]:
    """Return a network like the bundled one, what belongs to it, and crops of faces for it."""
    torch.manual_seed(0)
    bundled, metadata = _loaded(MODEL)
    net = LandmarkNet(replace(bundled.architecture, backbone=candidate.backbone, size=candidate.size))
    crops = calibration_frames(train, TorchModel(net, metadata), CROPS)
    normalise(net, crops)
    if candidate.merged:
        net.backbone = reparameterize_model(net.backbone)
    return net.eval(), metadata, crops


def normalise(net: LandmarkNet, crops: np.ndarray) -> None:
    """Give batch normalisations the statistics of real crops, so that activations are as large as trained ones.

    Without that, those of random layers may be as large as 1e13: MobileOne's were.
    """
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        net.train()(torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255)
    net.eval()


def exported(kind: str, net: LandmarkNet, metadata: ModelMetadata, crops: np.ndarray, stem: Path) -> Path:
    """Return a network's file, written where it is missing: what the package's exports write, but for the card.

    Their functions underneath are called, for the exports load a network's file, which holds no merged branches, and
    measure what is lost by NME, which random weights do not have.
    """
    file = stem.with_name(f"{stem.name}.{kind}")
    if not file.exists():
        if kind == "onnx":
            _write_onnx(ExportModule(net, metadata), net.architecture.size, file)
        else:
            full = stem.with_name(f"{stem.name}-float32.tflite")
            full.write_bytes(_converted(LiteRTModule(net, metadata), 1))
            file.write_bytes(_quantised(full, crops, 1))
    return file


def running(kind: str, file: Path, threads: int, crops: np.ndarray) -> Run:
    """Return what computes a crop in an engine."""
    session = ort.Session(file, threads) if kind == "onnx" else litert.Session(file, threads)
    return lambda i: session.run(["points", "confidence"], {"image": crops[i : i + 1]})


def page(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    base, has = result["rows"][0], "has" if result["int8_instructions"] else "does not have"
    lines = [
        "# Backbones: what they cost",
        "",
        *conclusion(result["rows"]),
        "",
        f"`{result['command']}`, {result['machine']}. This processor {has} instructions for 8-bit dot products",
        "(AVX-512 VNNI, or Arm's), on which the speed of int8 depends.",
        "",
        f"Each network is {MODEL} with another backbone: spatial head, 68 points, random weights. Time: CPU time of",
        "one crop with one thread, in units of the first row's in the same engine and turn; the median of",
        f"{result['turns']} turns. 1 x = {base['ms_onnx']:.2f} ms in ONNX Runtime, {base['ms_tflite']:.2f} ms in",
        f"LiteRT. The system's load average meanwhile: {result['load']:.0f}. Where it is above the number of cores,",
        "other work disturbs the figures.",
        "",
        "| backbone, input | parameters, M | MACs, M | ONNX Runtime, float32 | LiteRT, int8 | int8, MB |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        if "parameters" not in row:
            lines.append(f"| {row['title']} |  |  | no such network |  |  |")
            continue
        size = f"{row['megabytes_tflite']:.1f}" if "megabytes_tflite" in row else ""
        shown = [f"{row[f'ratio_{kind}']:.2f} x" if f"ratio_{kind}" in row else "cannot be run" for kind in ENGINES]
        cells = [row["title"], f"{row['parameters'] / 1e6:.2f}", f"{row['macs'] / 1e6:.0f}", *shown, size]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "Branches merged: MobileOne is trained with parallel branches, which timm can merge into one convolution each",
        "(`timm.utils.model.reparameterize_model`). `facekd export` does not: it writes the branches.",
        "",
    ]
    for row in result["rows"]:
        lines += [f"- {row['title']}: {where}: {text}" for where, text in row["problems"].items()]
    return "\n".join(lines).rstrip("\n") + "\n"


def conclusion(rows: list[dict[str, Any]]) -> list[str]:
    """Return what the figures say of which backbones are worth training, and what they do not say."""
    base, *others = sorted(
        (row for row in rows if all(f"ratio_{kind}" in row for kind in ENGINES)),
        key=lambda row: (row is not rows[0], row["ratio_onnx"]),
    )
    groups: dict[str, list[str]] = {"less": [], "equal": [], "more": []}
    for row in others:
        ratios = [row[f"ratio_{kind}"] for kind in ENGINES]
        # Neither engine's time may be much above; much below counts where both are.
        group = "more" if max(ratios) > ABOUT_EQUAL else "less" if max(ratios) < 1 / ABOUT_EQUAL else "equal"
        groups[group].append(f"{row['title']} ({ratios[0]:.2f} x, {ratios[1]:.2f} x)")
    less, equal, more = ("; ".join(each) or "none" for each in groups.values())
    return [
        f"CPU time beside {base['title']}, in ONNX Runtime float32 and in LiteRT int8:",
        "",
        f"- less in both: {less}",
        f"- about equal, neither above {ABOUT_EQUAL:g} x: {equal}",
        f"- more in one or both: {more}",
        "",
        "Worth training at equal CPU time are those about equal, and those with less, at a larger input (which",
        "is not timed here); the last group would have to be better for its time. Which finds landmarks best,",
        "these figures do not say: no accuracy is measured here, neither in float32 nor in 8 bits. ImageNet weights to",
        "start from (`init: timm`) come from timm's hub, which takes internet once.",
    ]


if __name__ == "__main__":
    main()
