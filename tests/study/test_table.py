"""The table of a study against hand-computed values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from facekd.study import table as comparison


def record(row: str, seed: int, errors: list[float], table: str = "") -> dict[str, Any]:
    mean = 100 * sum(errors) / len(errors)
    full = {"count": len(errors), "nme_inter_ocular": mean, "fr_8": 100 * sum(e > 0.08 for e in errors) / len(errors)}
    result = {
        "normaliser": "inter_ocular", "boxes": "truth", "dataset": "tiny", "split": "test", "errors": errors,
        "subsets": {"full": full},
    }  # fmt: skip
    curve = {"epoch": [1, 2], "validation NME, %": [9.0, mean + 1]}
    summary = {"epochs": 2, "seconds": 60.0 * (seed + 1)}
    return {"row": row, "table": table, "seed": seed, "results": [result], "curve": curve, "summary": summary}


RECORDS = [
    record("base", 0, [0.04, 0.06]),
    record("base", 1, [0.06, 0.08]),
    record("better", 0, [0.03, 0.05]),
    {"row": "broken", "table": "", "seed": 0, "error": "the loss is nan"},
]


def test_a_line_is_the_mean_and_the_spread_over_the_seeds() -> None:
    base, better, broken = comparison.summarise(RECORDS, "base")
    assert (base.seeds, base.nme["full"], base.failures, base.validation) == (2, pytest.approx(6.0), 0.0, 7.0)
    assert base.spread == {"full": pytest.approx(2**0.5)}  # of 5 and 7
    assert base.difference is None and base.minutes == pytest.approx(1.5)
    # Image by image (3 - 5, 5 - 7); from either seed of base alone (3 - 4, 5 - 6) to (3 - 6, 5 - 8).
    assert better.spread is None and better.difference == pytest.approx((-2.0, -3.0, -1.0))
    assert (broken.seeds, broken.error) == (0, "the loss is nan")


def test_the_table_says_over_how_many_seeds_and_what_was_not_run() -> None:
    table = comparison.markdown(comparison.summarise(RECORDS, "base"), RECORDS[:3], "base")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    assert rows[0][:3] == ["", "seeds", "full (2)"] and rows[0][5] == "full, against base"
    assert rows[2][:3] == ["base", "2", "6.00 ± 1.41"]
    assert rows[3][:3] == ["better", "1", "4.00"] and rows[3][5] == "−2.00 [−3.00, −1.00]"
    assert rows[4][:3] == ["broken", "0", "not run: the loss is nan"]
    assert {len(row) for row in rows} == {8}
    assert "tiny, test split" in table and "boxes: ground truth" in table


def test_a_missed_face_is_no_part_of_the_difference() -> None:
    missed = record("other", 0, [0.05, 0.05])
    missed["results"][0]["errors"] = [0.05, None]
    line = comparison.summarise([RECORDS[0], missed], "base")[1]
    assert line.difference is not None and line.difference[0] == pytest.approx(1.0)


def test_each_table_has_its_plots(tmp_path: Path) -> None:
    records = [record("a", 0, [0.04, 0.06], "One"), record("b", 0, [0.05, 0.05], "Two")]
    page = comparison.write(tmp_path, records, 2, title="Both").read_text()
    assert page.index("## One") < page.index("| a |") < page.index("ced-0.svg") < page.index("## Two")
    for index, row in enumerate("ab"):
        for kind in ("ced", "curves"):
            assert f">{row}</text>" in (tmp_path / f"{kind}-{index}.svg").read_text()


def test_without_validation_faces_there_is_a_dash_and_no_curve(tmp_path: Path) -> None:
    blind = record("blind", 0, [0.04, 0.06], "Blind")
    blind["curve"] = {"epoch": [], "validation NME, %": []}
    page = comparison.write(tmp_path, [blind, record("seeing", 0, [0.05, 0.05], "Seeing")], 2, title="Both").read_text()
    assert "| blind | 1 | 5.00 | 0.00 | – | 2 | 1 |" in page
    assert "| seeing | 1 | 5.00 | 0.00 | 6.00 | 2 | 1 |" in page
    assert {path.name for path in tmp_path.glob("*.svg")} == {"ced-0.svg", "ced-1.svg", "curves-1.svg"}
    assert "curves-0.svg" not in page and "curves-1.svg" in page
    assert json.loads((tmp_path / "study.json").read_text())[0]["validation"] is None


def test_rows_with_and_without_validation_faces_share_a_plot(tmp_path: Path) -> None:
    blind = record("blind", 0, [0.04, 0.06])
    blind["curve"] = {"epoch": [], "validation NME, %": []}
    comparison.write(tmp_path, [blind, record("seeing", 0, [0.05, 0.05])], 2, title="Both")
    assert ">blind</text>" not in (tmp_path / "curves-0.svg").read_text()
    assert ">seeing</text>" in (tmp_path / "curves-0.svg").read_text()


def test_validation_is_what_the_network_ended_with() -> None:
    """Averaged weights, and a shape prior, are measured after the last epoch of the curve."""
    averaged = record("soup", 0, [0.04, 0.06])
    averaged["summary"]["val_nme"] = 4.5
    assert comparison.summarise([averaged])[0].validation == 4.5


def test_a_page_can_be_written_before_anything_is_done(tmp_path: Path) -> None:
    page = comparison.write(tmp_path, [RECORDS[3]], 3, title="Early", reference="base")
    assert "0 of 3 runs are done" in page.read_text()
