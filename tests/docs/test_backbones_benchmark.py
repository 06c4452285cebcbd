"""The benchmark of backbones: its page says what its figures say, and what fails has a row."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from facekd.data.pack import Pack
from facekd.errors import ModelError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def backbones() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module("backbones")


def test_the_page_of_backbones_says_what_its_figures_say(backbones: ModuleType) -> None:
    folder = ROOT / "docs" / "benchmarks"
    result = json.loads((folder / "backbones.json").read_text())
    assert (folder / "backbones.md").read_text() == backbones.page(result)
    assert [row["title"] for row in result["rows"]] == [each.title for each in backbones.CANDIDATES]
    assert [result["rows"][0][f"ratio_{kind}"] for kind in backbones.ENGINES] == [1, 1]
    assert all(row["imagenet"] for row in result["rows"])  # the page says that timm's hub has their weights


def row(title: str, onnx: float | None = None, tflite: float | None = None) -> dict[str, Any]:
    ratios = {"ratio_onnx": onnx, "ratio_tflite": tflite}
    return {"title": title, **{key: value for key, value in ratios.items() if value is not None}}


def test_a_backbone_is_as_cheap_as_its_slower_engine(backbones: ModuleType) -> None:
    rows = [row("base", 1, 1), row("one slow", 0.5, 1.2), row("near", 0.7, 1.05), row("low", 0.5, 0.8), row("not", 0.5)]
    less, equal, more = (line for line in backbones.conclusion(rows) if line.startswith("- "))
    assert "low (0.50 x, 0.80 x)" in less and "near" in equal and "one slow" in more
    assert "not" not in less + more and "no accuracy" in " ".join(backbones.conclusion(rows))


def test_what_cannot_be_converted_has_a_row(
    backbones: ModuleType, tiny_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exported(kind: str, net: nn.Module, metadata: object, crops: object, stem: Path) -> Path:
        if kind == "tflite" and stem.name == "mobilenetv2_050-64":
            raise RuntimeError("no such operator\nand pages more")
        stem.write_bytes(b"file")
        return stem

    monkeypatch.setattr(backbones, "exported", exported)
    monkeypatch.setattr(backbones, "running", lambda kind, file, threads, crops: lambda i: sum(range(2000)))
    made = [backbones.Candidate(name, 64) for name in ("mobilenetv2_035", "mobilenetv2_050", "mobilenetv2_051")]
    rows = backbones.measured(tuple(made), tiny_pack, tmp_path, 1)
    assert [list(each["problems"]) for each in rows] == [[], ["tflite"], ["network"]]
    assert "ratio_onnx" in rows[1] and "ratio_tflite" not in rows[1]
    result = {"command": "c", "machine": "m", "int8_instructions": True, "turns": 1, "load": 1.0, "rows": rows}
    page = backbones.page(result)
    assert "- mobilenetv2_050, 64 px: tflite: RuntimeError: no such operator\n" in page
    assert "| mobilenetv2_051, 64 px |  |  | no such network |" in page and "| cannot be run |" in page
    with pytest.raises(ModelError):  # with nothing to compare with there is no page
        backbones.measured((made[2],), tiny_pack, tmp_path, 1)


def test_activations_are_as_large_as_trained_ones_and_merging_changes_nothing(
    backbones: ModuleType, tiny_pack: Pack
) -> None:
    found = []
    for merged in (False, True):
        net, _, crops = backbones.network(backbones.Candidate("mobileone_s0", 64, merged), tiny_pack)
        with torch.no_grad():
            found.append(net.backbone(torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255)[-1])
    assert 0.1 < float(found[0].std()) < 10
    torch.testing.assert_close(found[0], found[1], rtol=1e-2, atol=1e-3)
