import json
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from facekd.cli import evaluate as command
from facekd.cli import main
from facekd.data.face import LabelledFace
from facekd.data.pack import PackWriter
from facekd.errors import InputError
from facekd.markup import FIVE


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Three grey faces of five points."""
    path = tmp_path / "five.parquet"
    points = np.array([[20.0, 24.0], [44.0, 24.0], [32.0, 34.0], [24.0, 44.0], [40.0, 44.0]])
    with PackWriter(path, FIVE, dataset="five", margin=2.0, size=64, jpeg_quality=90, terms="Made up.") as writer:
        for i in range(3):
            writer.add(LabelledFace(np.full((64, 64, 3), 90, np.uint8), points, f"{i}.jpg", "test", ("full",)))
    return path


def call(*arguments: object) -> str:
    app = typer.Typer()
    command.register(app)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_run_is_measured_written_and_shown(run_folder: Path, pack: Path, tmp_path: Path) -> None:
    shown = call(run_folder, pack, "--json", tmp_path / "figures.json", "--report", tmp_path / "page")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["model"], figures["dataset"], figures["boxes"]) == ("run", "five", "truth")
    full = figures["subsets"]["full"]
    assert (full["count"], full["nme_inter_ocular"]) == (3, None)  # five points have no outer eye corners
    assert f"{full['nme_inter_pupil']:.2f}" in shown
    assert "run on five" in shown
    assert "inter-pupil distance" in shown
    assert (tmp_path / "page" / "index.html").is_file()


def test_the_detector_protocol_runs_yunet(run_folder: Path, pack: Path, tmp_path: Path) -> None:
    call(run_folder / "student" / "model.safetensors", pack, "--boxes", "detector", "--json", tmp_path / "f.json")
    figures = json.loads((tmp_path / "f.json").read_text())
    assert (figures["model"], figures["boxes"]) == ("student", "detector")
    assert figures["subsets"]["full"]["missed"] == 3  # no faces on plain grey


def test_what_cannot_be_measured_is_refused(run_folder: Path, pack: Path) -> None:
    with pytest.raises(InputError, match="split val"):
        call(run_folder, pack, "--split", "val")
    with pytest.raises(InputError, match="did you mean 'detector'"):
        call(run_folder, pack, "--boxes", "detektor")
    with pytest.raises(InputError, match="no pack"):
        call(run_folder, pack.with_name("other.parquet"))


def test_figures_that_cannot_be_written_are_one_sentence(
    run_folder: Path,
    pack: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["facekd", "evaluate", str(run_folder), str(pack), "--json", str(run_folder)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    assert capsys.readouterr().err.strip() == f"facekd: {run_folder} cannot be used: Is a directory"
