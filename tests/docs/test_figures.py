"""The documentation's figures: there, small, and drawn by the script as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest

from facekd.losses.kd import KDLoss

METHOD = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "method.md"


def test_every_figure_of_the_method_is_there_and_small() -> None:
    linked = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", METHOD.read_text())
    assert len(linked) >= 6
    for name in linked:
        assert 1000 < (METHOD.parent / name).stat().st_size < 150_000, name


def test_the_method_prints_the_gradients_that_the_loss_has(figures: ModuleType) -> None:
    """The table in method.md, row by row, against the loss it describes."""
    lines = METHOD.read_text().splitlines()
    head, *rows = [line.split("|")[1:-1] for line in lines if line.startswith(("| e |", "| derivative"))]
    errors = np.array(head[1:], dtype=float)
    assert len(rows) == 2
    for row in rows:
        preset = row[0].split("`")[1]
        _, slopes = figures.curve(KDLoss(preset), errors, figures.TOUGH, figures.TOLERANT)
        assert slopes == pytest.approx(np.array(row[1:], dtype=float), abs=5e-4), preset


@pytest.mark.parametrize("name", ["aloss", "kd_loss"])
def test_the_script_draws_svg(figures: ModuleType, name: str, tmp_path: Path) -> None:
    getattr(figures, name)(tmp_path / "figure.svg")
    assert ElementTree.parse(tmp_path / "figure.svg").getroot().tag.endswith("svg")


def test_cost_of_softness_falls_with_the_variance(figures: ModuleType) -> None:
    generator = np.random.default_rng(0)
    shapes = generator.normal(size=(68, 2)) + 0.1 * generator.normal(size=(300, 68, 2))
    rows = figures.cost_of_softness(shapes, figures.IBUG68)
    for aligned in (False, True):
        modes, moved = np.array([(row["modes"], row["moved"]) for row in rows if row["procrustes"] == aligned]).T
        assert (np.diff(modes) > 0).all() and (np.diff(moved) < 0).all()
