"""prepare and inspect as typed: numbers at the end of their ranges."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

import facekd
from facekd.cli import data
from facekd.data import pseudo_labels
from facekd.data.pack import Pack
from facekd.errors import InputError

SAMPLE = Path(facekd.__file__).parent / "weights" / "sample.jpg"


def call(*words: object) -> Result:
    app = typer.Typer()
    data.register(app)
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_sheet_of_one_face(tmp_path: Path) -> None:
    pack = tmp_path / "a.parquet"
    assert call("prepare", "synthetic", pack, "--count", "4", "--size", "64", "--jobs", "1").exit_code == 0
    result = call("inspect", pack, "--faces", "1", "--out", tmp_path / "sheets")
    assert result.exit_code == 0, result.exception
    assert {path.name for path in (tmp_path / "sheets").iterdir()} >= {"soft.jpg", "inspect.json"}


@pytest.mark.parametrize("option", ["--seed=-1", "--count=-5", "--count=0"])
def test_numbers_that_make_no_faces_are_a_usage_error(tmp_path: Path, option: str) -> None:
    result = call("prepare", "synthetic", tmp_path / "a.parquet", option)
    assert result.exit_code == 2 and option.split("=")[0] in result.output
    assert list(tmp_path.iterdir()) == []


def test_photos_with_boxes_become_pseudo_labels_that_are_merged(tmp_path: Path) -> None:
    """The whole way: boxes, the networks' landmarks, those that two networks agree on, one pack for training."""
    (tmp_path / "photos").mkdir()
    shutil.copy(SAMPLE, tmp_path / "photos" / "a.jpg")
    box = facekd.Landmarker("facekd-68-lite").detect(SAMPLE)[0].box
    (tmp_path / "boxes.csv").write_text("file,x0,y0,x1,y1\na.jpg," + ",".join(map(str, box)))
    found, labels, first = (tmp_path / f"{name}.parquet" for name in ("found", "labels", "first"))
    boxes = ["--boxes", tmp_path / "boxes.csv", "--jobs", "1"]
    assert call("prepare", "unlabelled", tmp_path / "photos", found, *boxes).exit_code == 0
    result = call("pseudo-label", found, labels, "--max-spread", "0.05", "--threads", "1")
    assert result.exit_code == 0 and "1 faces, 0.0 % of their points missing; 0 faces left out" in result.stdout
    near = np.linalg.norm(Pack.open(labels).points - Pack.open(found).points, axis=-1)
    assert 0.01 < near.mean() < 0.02 * np.ptp(Pack.open(found).boxes[0])
    assert call("prepare", "synthetic", first, "--count", "5", "--size", "64", "--jobs", "1").exit_code == 0
    result = call("merge", first, labels, tmp_path / "all.parquet", "--train-only")
    assert result.exit_code == 0 and "all.parquet: 6 faces" in result.stdout
    assert Pack.open(tmp_path / "all.parquet").quality.tolist() == ["exact"] * 5 + ["predicted"]


def test_options_of_one_dataset_are_refused_for_others(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--boxes is for unlabelled, not folder"):
        raise call("prepare", "folder", tmp_path, tmp_path / "o", "--markup", "five5", "--boxes", "b.csv").exception
    with pytest.raises(InputError, match="merge takes two or more packs and OUT, got 2 paths"):
        raise call("merge", tmp_path / "a.parquet", tmp_path / "o.parquet").exception


def test_the_command_tells_the_defaults_of_the_function() -> None:
    assert (data.MAX_SPREAD, data.MIN_POINTS) == (pseudo_labels.MAX_SPREAD, pseudo_labels.MIN_POINTS)
