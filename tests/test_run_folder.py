"""The network that a run is about, found by its folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from facekd.errors import ModelError
from facekd.recipes.load import load
from facekd.run_folder import is_run, read_results, read_summary, result_model, result_stage


def write_run(folder: Path, result: str, *finished: str) -> Path:
    """Write a run's recipe and what stands for its networks; return the run."""
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(load("quick", {"result": result}).to_yaml())
    for name in finished:
        (folder / name).mkdir()
        (folder / name / "model.safetensors").write_bytes(b"weights")
    return folder


def test_a_finished_run_has_the_network_that_its_recipe_names(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "student", "tough", "tolerant", "baseline", "student")
    assert result_stage(run) == "student" and result_model(run) == run / "student" / "model.safetensors"
    other = write_run(tmp_path / "other", "tough", "tough", "student")
    assert result_stage(other) == "tough" and result_model(other) == other / "tough" / "model.safetensors"
    assert is_run(run) and is_run(other)


def test_an_unfinished_run_says_what_is_there(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "student", "tough", "baseline")
    (run / "student").mkdir()  # begun
    with pytest.raises(ModelError) as caught:
        result_model(run)
    assert str(caught.value) == (
        f"the run {run} has no student/model.safetensors yet; finished stages there: baseline/model.safetensors, "
        "tough/model.safetensors"
    )
    new = write_run(tmp_path / "new", "student")
    with pytest.raises(ModelError, match=r"has no student/model.safetensors yet; facekd distill writes one$"):
        result_model(new)
    assert is_run(new) and result_stage(new) == "student"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "name: x\n",
        "[1]",
        "a: [",
        yaml.safe_dump({"name": "x", "student": {"backbone": "b"}}),  # of an earlier version
        b"\xff\xfe\x00",
    ],
)
def test_a_folder_that_is_no_run_is_told_so(text: str | bytes | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "recipe.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    for find in (result_stage, result_model):
        with pytest.raises(ModelError) as caught:
            find(tmp_path)
        assert str(caught.value) == (
            f"{tmp_path} is no run of this version of facekd: it has no recipe.yaml with a result"
        )
    assert is_run(tmp_path) == (text is not None)


def test_a_file_or_nothing_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    assert not is_run(tmp_path / "model.onnx") and not is_run(tmp_path / "nothing")
    with pytest.raises(ModelError, match="is no run of this version of facekd"):
        result_model(tmp_path / "nothing")


SUMMARY_TEXTS = ["{", "[]", "{}", '{"seconds": "long", "epochs": 1}', '{"seconds": 1, "epochs": 1e400}', "\\"]


@pytest.mark.parametrize("text", SUMMARY_TEXTS)
def test_a_damaged_summary_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(ModelError, match="delete the stage's folder"):
        read_summary(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"results": 5}', '{"results": [5]}', '{"results": [{"model": "a"}]}'])
def test_damaged_figures_are_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(ModelError, match="delete it, and the same command measures again"):
        read_results(tmp_path)


def test_figures_name_the_nme_of_each_subset_or_null(tmp_path: Path) -> None:
    result = {"model": "a", "dataset": "d", "split": "test", "normaliser": "inter_ocular", "boxes": "truth"}
    for figures in ({"nme_inter_ocular": 3.5}, {"nme_inter_ocular": None}):
        listed = [result | {"subsets": {"full": {"count": 1} | figures}}]
        (tmp_path / "evaluation.json").write_text(json.dumps({"results": listed}))
        assert read_results(tmp_path) == listed
    (tmp_path / "evaluation.json").write_text(json.dumps({"results": [result | {"subsets": {"full": {"count": 1}}}]}))
    sentence = r"results.subsets.full.nme_inter_ocular must be a number, or null, got missing; delete it"
    with pytest.raises(ModelError, match=sentence):
        read_results(tmp_path)


def test_names_that_no_system_has_are_files_that_are_not_there(tmp_path: Path) -> None:
    from facekd.errors import FacekdError
    from facekd.recipes.load import load
    from facekd.recipes.resolve import resolve
    from facekd.runtime.names import resolve_model

    for name in ("x" * 5000, "x" * 5000 + ".onnx", "x" * 5000 + ".safetensors", "a\0b", "a\0b.onnx"):
        with pytest.raises(FacekdError):
            resolve_model(name)
        with pytest.raises(FacekdError):
            load(name)
        with pytest.raises(FacekdError):
            resolve(load("quick", {"student.init": name}))
