"""The functions that `facekd` gives, on networks and packs small enough for seconds; the command tests have more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import facekd
from facekd.data.pack import Pack
from facekd.errors import InputError, ModelError, RecipeError
from facekd.runtime.model import OnnxModel
from tiny_faces import POINTS, TRIANGLE, Oracle, write_pack

PIXELS = (0.32, 0.64, 0.96, 1.28)  # 1, 2, 3 and 4 % of the inter-ocular distance of 32 px


def test_bundled_models_are_listed_with_their_cards() -> None:
    found = {model.name: model for model in facekd.list_models()}
    assert set(found) == {"facekd-68", "facekd-68-lite"}
    assert found["facekd-68"].card.markup.name == "ibug68" and found["facekd-68"].path.suffix == ".onnx"
    assert isinstance(facekd.load_model("facekd-68-lite", threads=1, engine="onnx"), OnnxModel)


def test_evaluate_takes_a_predictor_and_a_pack(tmp_path: Path) -> None:
    pack = write_pack(tmp_path / "a.parquet", TRIANGLE, POINTS)
    result = facekd.evaluate(Oracle(pack, PIXELS), pack, bootstrap=100)
    assert result.model == "model" and result.subsets["full"]["nme_inter_ocular"] == pytest.approx(2.5, abs=0.01)
    named = facekd.evaluate(Oracle(pack, PIXELS), tmp_path / "a.parquet", split=None, name="oracle", bootstrap=100)
    assert named.model == "oracle" and named.subsets == result.subsets
    with pytest.raises(InputError, match="split val"):
        facekd.evaluate(Oracle(pack), pack, split="val")


@pytest.mark.parametrize("setting", ["batch", "bootstrap"])
def test_evaluate_refuses_what_measures_nothing(tiny_pack: Pack, setting: str) -> None:
    with pytest.raises(InputError, match=f"^{setting} must be 1 or more, got 0$"):
        facekd.evaluate(Oracle(tiny_pack), tiny_pack, **{setting: 0})


def test_evaluate_takes_names_files_and_runs(run_folder: Path, tiny_pack: Pack, tmp_path: Path) -> None:
    seen: list[int] = []
    by_run = facekd.evaluate(run_folder, tiny_pack, bootstrap=100, batch=4, progress=seen.append)
    by_file = facekd.evaluate(run_folder / "student" / "model.safetensors", tiny_pack.path, bootstrap=100)
    assert seen == [4, 2] and (by_run.model, by_file.model) == ("run", "student")
    np.testing.assert_allclose(by_run.errors, by_file.errors, rtol=1e-4)
    bundled = facekd.evaluate("facekd-68-lite", tiny_pack, bootstrap=100)
    assert bundled.model == "facekd-68-lite" and bundled.converted_from == "ibug68"


class Blind:
    """A detector that finds no face."""

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)


def test_evaluate_takes_a_detector_of_ones_own(run_folder: Path, tiny_pack: Pack) -> None:
    result = facekd.evaluate(run_folder, tiny_pack, boxes="detector", detector=Blind(), bootstrap=100)
    assert result.subsets["full"]["missed"] == 6


@pytest.mark.slow
def test_export_says_what_it_wrote(run_folder: Path, tiny_pack: Pack, tmp_path: Path) -> None:
    written = facekd.export(run_folder, tmp_path / "a.onnx", name="mine", int8_data=tiny_pack)
    assert written.path == tmp_path / "a.onnx" and written.card.name == "mine" and written.parity.points < 0.02
    assert written.int8 == tmp_path / "a-int8.onnx" and written.int8.is_file()
    assert facekd.Landmarker(written.path, Blind()).detect(np.zeros((9, 9, 3), np.uint8)) == []
    with pytest.raises(ModelError, match=r"no model '.*nowhere'"):
        facekd.export(tmp_path / "nowhere", tmp_path / "b.onnx")
    with pytest.raises(InputError, match="no pack at"):
        facekd.export(run_folder, tmp_path / "b.onnx", int8_data=tmp_path / "no.parquet")
    other = write_pack(tmp_path / "three.parquet", TRIANGLE, POINTS)
    with pytest.raises(
        InputError, match=r"three.parquet has 3 points of 'triangle', and the network finds 5 of 'five5'"
    ):
        facekd.export(run_folder, tmp_path / "b.onnx", int8_data=Pack(**vars(other) | {"splits": np.full(4, "train")}))
    assert not list(tmp_path.glob("b*"))


def test_train_refuses_what_it_can_refuse_at_once(tiny_recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'quick'"):
        facekd.train("quik", data=tmp_path / "no.parquet", out=tmp_path / "run")
    for changes in ({"student.epoch": 2}, ["student.epoch=2"]):
        with pytest.raises(RecipeError, match="did you mean 'epochs'"):
            facekd.train(tiny_recipe, data=tmp_path / "no.parquet", out=tmp_path / "run", set=changes)
    with pytest.raises(InputError, match="no pack at"):
        facekd.train(tiny_recipe, data=tmp_path / "no.parquet", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_train_hands_everything_to_the_pipeline(
    tiny_recipe: Path, tiny_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facekd.pipeline import distill as pipeline

    given: list[object] = []
    monkeypatch.setattr(pipeline, "distill", lambda *arguments: given.extend(arguments) or arguments[2])
    run = facekd.train(
        tiny_recipe,
        data=tiny_pack.path,
        out=tmp_path / "run",
        set={"student.epochs": 7},
        unlabelled=tiny_pack,
        accelerator="cpu",
    )
    recipe, pack, out, accelerator, unlabelled = given
    assert run == out == tmp_path / "run" and accelerator == "cpu" and unlabelled is tiny_pack
    assert pack.path == tiny_pack.path and "epochs: 7" in recipe.to_yaml()
