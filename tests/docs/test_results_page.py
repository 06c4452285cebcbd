"""The pages on studies say what their records say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from facekd.runtime.card import ModelCard
from facekd.runtime.names import bundled
from facekd.study import table as comparison

DOCS = Path(__file__).resolve().parents[2] / "docs"
STUDIES = pytest.mark.parametrize("name", ["kd-loss", "spatial"])


def test_the_page_on_the_bundled_networks_is_what_their_records_give(results: ModuleType) -> None:
    assert (DOCS / results.PAGES["bundled"]).read_text() == results.page("bundled")


@pytest.mark.slow
@STUDIES
def test_the_page_is_what_the_records_give(results: ModuleType, name: str) -> None:
    assert (DOCS / results.PAGES[name]).read_text() == results.page(name)


def test_the_page_on_quick_is_what_its_record_gives(quick: ModuleType) -> None:
    record, coordinate = (
        json.loads((DOCS / "results" / name).read_text()) for name in ("quick-300w.json", "quick-300w-coordinate.json")
    )
    assert (DOCS / "results" / "quick-300w.md").read_text() == quick.page(record, coordinate)


def test_the_page_on_quick_takes_a_run_of_today(quick: ModuleType) -> None:
    """A recipe has named stages now, and a loss with its options in one place."""
    student = {"backbone": "b", "head": "spatial", "loss": {"name": "kd", "preset": "paper", "beta": 0.4}}
    line = quick._line("student", {"stages": {"student": student}}, {"epochs": 3, "seconds": 150})
    assert line == "| student | b, spatial | kd paper | 3 | 2 |"


@STUDIES
def test_every_plot_of_the_page_is_there_and_small(results: ModuleType, name: str) -> None:
    page = DOCS / results.PAGES[name]
    linked = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text())
    assert len(linked) >= 2 * len({record["table"] for record in results.records(name)})
    for path in linked:
        assert 1000 < (page.parent / path).stat().st_size < 200_000, path


@STUDIES
def test_the_figures_of_a_record_are_those_of_its_faces(results: ModuleType, name: str) -> None:
    for record in results.records(name):
        for result in record["results"]:
            errors = np.array(result["errors"], float)
            assert len(errors) == 689
            assert result["subsets"]["full"]["nme_inter_ocular"] == pytest.approx(100 * np.nanmean(errors), abs=2e-3)


@STUDIES
def test_records_name_no_place_of_the_machine_they_were_made_on(results: ModuleType, name: str) -> None:
    assert '"/' not in json.dumps(results.records(name))  # no text is an absolute path


@pytest.mark.slow
def test_rows_of_one_network_show_one_figure(results: ModuleType) -> None:
    """A network that stands in two tables was measured once."""
    lines = {line.row: line for line in comparison.summarise(results.records("kd-loss"), "L1")}
    assert lines["Student, KD-Loss"].nme == lines["KD-Loss, as released"].nme
    assert lines["both teachers"].seeds == 1 and lines["L1"].seeds == 3


def test_the_readme_says_what_the_bundled_networks_measured() -> None:
    readme = (DOCS.parent / "README.md").read_text()
    for name in bundled():
        (row,) = re.findall(rf"^\| `{name}` \|(.*)\|$", readme, re.MULTILINE)
        truth, detector = (
            json.loads((DOCS / "results" / "bundled" / f"{name}-{boxes}.json").read_text())["subsets"]
            for boxes in ("truth", "detector")
        )
        card = ModelCard.load(bundled()[name])
        figures = [truth[subset]["nme_inter_ocular"] for subset in ("full", "common", "challenge")]
        figures.append(detector["full"]["nme_inter_ocular"])
        shown = [cell.strip() for cell in row.split("|")]
        assert shown == [f"{card.size} px", f"{card.made_with['macs'] / 1e9:.3f}", *(f"{f:.2f}" for f in figures)]
