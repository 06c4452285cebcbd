"""Finding the network that a user names, and using it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

import facekd
from facekd.api import load_model as load
from facekd.api import resolve_model as resolve
from facekd.cli import main
from facekd.errors import ModelError
from facekd.runtime.names import DEFAULT, bundled
from tiny_student import write_student

SAMPLE = Path(facekd.__file__).parent / "weights" / "sample.jpg"


def test_a_path_goes_before_a_bundled_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve(DEFAULT) == bundled()[DEFAULT]
    (tmp_path / DEFAULT).mkdir()
    assert resolve(DEFAULT) == bundled()[DEFAULT]  # a folder of something else
    (tmp_path / DEFAULT / "recipe.yaml").write_text("{name: mine, result: student}")
    with pytest.raises(ModelError, match=r"has no student/model\.safetensors yet"):
        resolve(DEFAULT)
    write_student(tmp_path / DEFAULT)
    assert resolve(DEFAULT) == Path(DEFAULT, "student", "model.safetensors")
    assert resolve("") == bundled()[DEFAULT]  # no one named the folder


def test_a_model_that_is_not_there_is_named_with_what_is(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model 'nothing'; give a run's folder.*bundled model"):
        resolve("nothing")
    with pytest.raises(ModelError, match=r"missing\.onnx"):
        resolve(str(tmp_path / "missing.onnx"))
    with pytest.raises(ModelError, match="is no run and no stage of one; give the --out of facekd distill"):
        resolve(str(tmp_path))
    (tmp_path / "recipe.yaml").write_text("{name: mine, result: pupil}")
    with pytest.raises(ModelError, match=r"has no pupil/model\.safetensors yet; facekd distill writes one"):
        resolve(str(tmp_path))
    for stage in ("tough", "pupil"):
        (tmp_path / stage).mkdir()
    (tmp_path / "tough" / "model.safetensors").touch()
    with pytest.raises(ModelError, match=r"finished stages there: tough/model\.safetensors"):
        resolve(str(tmp_path))
    assert resolve(str(tmp_path / "tough")) == tmp_path / "tough" / "model.safetensors"  # one stage of it
    (tmp_path / "pupil" / "model.safetensors").touch()
    assert resolve(str(tmp_path)) == tmp_path / "pupil" / "model.safetensors"


def test_a_checkpoint_runs_where_it_is_told_to(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    file = resolve(str(run_folder))
    assert load(file, threads=3, providers=["cpu"]).markup.count == 5 and told == [3]
    for providers in (["cuda"], ["cpu", "nonsense"]):
        with pytest.raises(ModelError, match=f"cannot run on '{providers[-1]}' \\(torch has cpu\\)"):
            load(file, providers=providers)


@pytest.mark.slow
def test_results_of_a_student_before_it_was_trained_again_are_not_mixed_in(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def detect() -> int:
        options = ["-m", str(run_folder), "--out", str(tmp_path / "out"), "--threads", str(torch.get_num_threads())]
        monkeypatch.setattr(sys, "argv", ["facekd", "detect", str(SAMPLE), *options])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0)

    assert detect() == 0 and detect() == 0
    assert len(json.loads((tmp_path / "out" / "sample.json").read_text())["faces"]) == 6
    write_student(run_folder, seed=1)
    assert detect() == 1 and "choose another folder" in capsys.readouterr().err
