"""docs/results.md says what its records say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from facekd.evaluate import comparison

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_is_what_the_records_give(results: ModuleType) -> None:
    assert (DOCS / "results.md").read_text() == results.page()


def test_every_plot_of_the_page_is_there_and_small() -> None:
    linked = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (DOCS / "results.md").read_text())
    assert len(linked) >= 8
    for name in linked:
        assert 1000 < (DOCS / name).stat().st_size < 200_000, name


def test_the_figures_of_a_record_are_those_of_its_faces(results: ModuleType) -> None:
    for record in results.records():
        for result in record["results"]:
            errors = np.array(result["errors"], float)
            assert len(errors) == 689
            assert result["subsets"]["full"]["nme_inter_ocular"] == pytest.approx(100 * np.nanmean(errors), abs=2e-3)


def test_records_name_no_place_of_the_machine_they_were_made_on(results: ModuleType) -> None:
    assert '"/' not in json.dumps(results.records())  # no text is an absolute path


def test_rows_of_one_network_show_one_figure(results: ModuleType) -> None:
    """A network that stands in two tables was measured once."""
    lines = {line.row: line for line in comparison.summarise(results.records(), "L1")}
    assert lines["Student, KD-Loss"].nme == lines["KD-Loss, as released"].nme
    assert lines["both teachers"].seeds == 1 and lines["L1"].seeds == 3
