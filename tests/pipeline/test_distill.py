"""The whole chain on a tiny pack: what it leaves behind, breaks, several processes, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from facekd.data.face import LabelledFace
from facekd.data.pack import Pack, PackWriter
from facekd.errors import InputError, ModelError, RecipeError, TrainingError
from facekd.files import claim_folder
from facekd.markup import FIVE
from facekd.networks import checkpoint as networks
from facekd.pipeline import start
from facekd.pipeline.distill import distill
from facekd.recipes.load import load
from facekd.shape import ShapeModel
from facekd.training import logger, loop
from processes import ended
from tiny_run import SHAPE, SPATIAL, STAGE, STAGES, recipe, write_recipe

SCRIPT = str(Path(__file__).parents[1] / "run_tiny.py")


@pytest.fixture(scope="module")
def whole(tiny_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unbroken run in a process of its own."""
    folder = tmp_path_factory.mktemp("whole")
    subprocess.run(
        [sys.executable, SCRIPT, str(write_recipe(folder / "tiny.yaml")), str(tiny_pack.path), str(folder / "run")],
        check=True,
    )
    return folder / "run"


@pytest.mark.slow
def test_what_a_run_leaves_behind(whole: Path, tiny_pack: Pack) -> None:
    assert load(whole / "recipe.yaml").name == "tiny"
    assert ShapeModel.load(whole / "tolerant" / "shape.npz").mean.shape == (5, 2)
    for stage, epochs in {"tough": 2, "tolerant": 1, "student": 3, "baseline": 2}.items():
        records = logger.read(whole / stage / "log.jsonl")
        assert [r["epoch"] for r in records] == list(range(1, epochs + 1)), stage
        assert json.loads((whole / stage / "summary.json").read_text())["epochs"] == epochs
        _, about = networks.load(whole / stage / "model.safetensors")
        assert about.recipe["stage"] == stage and about.data == [{"name": "tiny", "terms": "Made up."}]
    results = json.loads((whole / "evaluation.json").read_text())["results"]
    assert [r["model"] for r in results] == ["tough", "tolerant", "baseline", "student"]
    assert {name: s["count"] for name, s in results[0]["subsets"].items()} == {"full": 6, "challenge": 3, "common": 3}
    assert (whole / "report" / "index.html").stat().st_size > 1000
    assert (whole / "tolerant" / "shape.png").stat().st_size > 1000


@pytest.mark.slow
def test_the_student_has_teachers_and_the_baseline_has_none(whole: Path) -> None:
    student, baseline = (logger.read(whole / stage / "log.jsonl")[0] for stage in ("student", "baseline"))
    assert student["tough"] != 0 and student["tolerant"] != 0
    assert baseline["tough"] == 0 and baseline["tolerant"] == 0
    np.testing.assert_allclose(student["total"], student["main"] + student["tough"] + student["tolerant"], rtol=1e-4)


@pytest.mark.slow
def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(whole: Path, tiny_pack: Pack, tmp_path: Path) -> None:
    """It dies behind an epoch's line in the log, once before the checkpoint that belongs to it and once after."""
    command = [SCRIPT, write_recipe(tmp_path / "tiny.yaml"), tiny_pack.path, tmp_path / "run"]
    for stage, when, logged in (("tough", "before", 1), ("student", "after", 2)):
        checkpoint = tmp_path / "run" / stage / "checkpoint.pt"
        ended(*command, at="facekd.training.checkpoint:save", when=when, count=logged, text=str(checkpoint))
        assert checkpoint.exists() == (when == "after") and len(logger.read(checkpoint.parent / "log.jsonl")) == logged
        assert not (checkpoint.parent / "model.safetensors").exists()
    subprocess.run([sys.executable, *map(str, command)], check=True, stdout=subprocess.DEVNULL)
    for name in ("tough", "tolerant", "student", "baseline"):
        expected, got = (load_file(run / name / "model.safetensors") for run in (whole, tmp_path / "run"))
        for key, value in expected.items():
            torch.testing.assert_close(got[key], value, rtol=0, atol=0, msg=f"{name} {key}")
        steps = [record["step"] for record in logger.read(tmp_path / "run" / name / "log.jsonl")]
        assert steps == sorted(set(steps))


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tiny_pack: Pack, tmp_path: Path) -> None:
    """The same global batch shared by two: the first loss agrees to 1e-4, the one after a step of Adam to 5e-3.

    Adam divides by the gradients' sizes, so rounding grows where they are near zero. Statistics of batches that were
    not shared, or gradients of one process only, miss by several per cent. The two run the whole recipe, the one only
    the stage that is compared.
    """
    file = write_recipe(tmp_path / "tiny.yaml")
    changes = ["tough.batch=24", "tough.dropout=0", "tolerant.dropout=0", "tough.warmup=0", "input.size=64"]
    changes += ["tough.shape_prior=true"]  # fitted on faces that one process decodes, while the other waits
    alone = load(file, [*changes, "tolerant=null", "baseline=null", "student=null"])
    one = distill(alone, tiny_pack, tmp_path / "one", accelerator="cpu")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = [SCRIPT, str(file), str(tiny_pack.path), str(tmp_path / "two"), *changes]
    subprocess.run([*launcher, *script], check=True, stdout=subprocess.DEVNULL)
    expected, got = (
        [record["total"] for record in logger.read(run / "tough" / "log.jsonl")] for run in (one, tmp_path / "two")
    )
    assert len(got) == 2 and (tmp_path / "two" / "student" / "model.safetensors").exists()
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-4)
    np.testing.assert_allclose(got[1], expected[1], rtol=5e-3)


@pytest.mark.slow
def test_a_run_is_not_continued_with_other_settings_or_faces(whole: Path, tiny_pack: Pack, tmp_path: Path) -> None:
    changed = load(whole / "recipe.yaml", ["student.lr=0.5"])
    with pytest.raises(RecipeError, match=r"student\.lr was 0\.001, is 0\.5"):
        distill(changed, tiny_pack, whole, accelerator="cpu")
    other = Pack(**vars(tiny_pack) | {"meta": tiny_pack.meta | {"sha256": "0"}})
    with pytest.raises(InputError, match="another pack"):
        distill(load(whole / "recipe.yaml"), other, whole, accelerator="cpu")


def test_a_loss_that_is_no_number_stops_with_the_last_state_kept(
    tiny_pack: Pack, tiny_recipe: Path, tmp_path: Path
) -> None:
    wild = load(tiny_recipe, ["tough.lr=1e30", "tough.clip_grad=0", "tough.epochs=3", "tough.warmup=0"])
    with pytest.raises(
        TrainingError, match=r"tough: the loss is (nan|inf) in epoch \d; lower tough.lr \(now 1e\+30\)$"
    ):
        distill(wild, tiny_pack, tmp_path / "run", accelerator="cpu")
    assert not (tmp_path / "run" / "tough" / "model.safetensors").exists()


def test_the_last_step_of_all_can_be_the_one_that_diverges(tiny_pack: Pack, tmp_path: Path) -> None:
    """Its loss is of the weights before it."""
    wild = recipe({"a": STAGE | {"epochs": 1, "batch": 24, "lr": 1e30, "clip_grad": 0, "warmup": 0}})
    with pytest.raises(
        TrainingError, match=r"a: landmarks are no longer numbers in epoch 1; lower a.lr \(now 1e\+30\)$"
    ):
        distill(wild, tiny_pack.select("train"), tmp_path / "run", accelerator="cpu")
    assert not (tmp_path / "run" / "a" / "model.safetensors").exists()


def test_a_run_that_diverges_after_a_checkpoint_is_begun_elsewhere(
    tiny_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_SAVE_EVERY", 0)
    wild = recipe({"a": STAGE | {"batch": 24, "lr": 1e30, "clip_grad": 0, "warmup": 0}})
    with pytest.raises(TrainingError, match=r"in epoch 2; lower a.lr \(now 1e\+30\) and begin in another folder, for"):
        distill(wild, tiny_pack.select("train"), tmp_path / "run", accelerator="cpu")


@pytest.mark.slow
def test_a_folder_in_which_nothing_was_learnt_is_free(tiny_pack: Pack, more_faces: Pack, tmp_path: Path) -> None:
    """What was begun in vain is begun anew with other settings and other faces, of which nothing is left over."""
    wild = recipe({"a": STAGE | {"epochs": 1, "lr": 1e30, "clip_grad": 0, "warmup": 0}})
    with pytest.raises(TrainingError):
        distill(wild, more_faces, tmp_path, accelerator="cpu")
    assert json.loads((tmp_path / "box_transform.json").read_text())["faces"] == 10
    distill(recipe({"a": STAGE | {"epochs": 1}}), tiny_pack, tmp_path, accelerator="cpu")
    assert json.loads((tmp_path / "pack.json").read_text())["sha256"] == tiny_pack.meta["sha256"]
    assert load(tmp_path / "recipe.yaml").trained("a").lr == STAGE["lr"]
    assert json.loads((tmp_path / "box_transform.json").read_text())["faces"] == 24
    with pytest.raises(InputError, match="another pack"):
        distill(recipe({"a": STAGE | {"epochs": 1}}), more_faces, tmp_path, accelerator="cpu")


@pytest.mark.slow
def test_the_teachers_can_be_asked_online(tiny_pack: Pack, tiny_recipe: Path, tmp_path: Path) -> None:
    online = load(tiny_recipe, ["student.views=0", "student.epochs=1", "tough.epochs=1", "baseline.epochs=1"])
    folder = distill(online, tiny_pack, tmp_path / "run", accelerator="cpu")
    assert logger.read(folder / "student" / "log.jsonl")[0]["tough"] != 0
    assert not list((folder / "cache").glob("tough*"))


@pytest.fixture(scope="module")
def more_faces(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """Ten faces whose points are no labels."""
    path = tmp_path_factory.mktemp("more") / "more.parquet"
    with PackWriter(path, FIVE, dataset="more", margin=2.0, size=96, jpeg_quality=95, terms="Found.") as writer:
        for i in range(10):
            image = np.full((96, 96, 3), 20 * i, np.uint8)
            writer.add(LabelledFace(image=image, points=SHAPE + i, name=f"m{i}.jpg", quality="predicted"))
    return Pack.open(path)


@pytest.mark.slow
def test_a_student_can_have_a_heatmap_teacher_and_faces_without_labels(
    tiny_pack: Pack, more_faces: Pack, tmp_path: Path
) -> None:
    teachers = [
        {"stage": "wise", "how": "landmarks"},
        {"stage": "wise", "how": "heatmaps", "weight": 0.5},
    ]
    student = SPATIAL | {"teachers": teachers, "views": 2, "epochs": 2, "batch": 6}
    settings = recipe({"wise": SPATIAL, "student": student})
    folder = distill(settings, tiny_pack, tmp_path / "run", accelerator="cpu", unlabelled=more_faces)
    records = logger.read(folder / "student" / "log.jsonl")
    assert [r["step"] for r in records] == [5, 10]  # 24 faces and 10 more, by six
    for r in records:
        total = r["main"] + 0.1 * r["heatmap"] + r["wise_landmarks"] + 0.5 * r["wise_heatmaps"]
        assert r["wise_landmarks"] > 0 and r["total"] == pytest.approx(total, rel=1e-4)
    assert [np.load(path).shape for path in (folder / "cache").glob("wise_2_*.npy")] == [(2, 34, 5, 5)]
    net, about = networks.load(folder / "student" / "model.safetensors")
    assert [data["name"] for data in about.data] == ["tiny", "more"]
    summary = json.loads((folder / "student" / "summary.json").read_text())
    assert summary["parameters"] == sum(p.numel() for p in net.parameters()) and summary["macs"] > 1e5
    with pytest.raises(InputError, match="another pack"):
        distill(settings, tiny_pack, folder, accelerator="cpu")  # without the unlabelled faces it is another run


@pytest.mark.slow
def test_stages_have_the_names_their_user_gives_them(tiny_pack: Pack, tmp_path: Path) -> None:
    """A student of a student: any stage starts from and learns from any earlier one."""
    once = STAGE | {"epochs": 1}
    settings = recipe(
        {
            "first": once,
            "second": once | {"init": "first", "targets": "soft"},
            "third": once | {"loss": "kd", "teachers": ["first", "second"], "views": 1},
            "fourth": once | {"loss": "kd", "init": "third", "teachers": ["third"], "views": 1},
        },
        result="fourth",
    )
    folder = distill(settings, tiny_pack, tmp_path / "run", accelerator="cpu")
    third, fourth = (logger.read(folder / name / "log.jsonl")[0] for name in ("third", "fourth"))
    assert third["tough"] != 0 != third["tolerant"]
    assert fourth["tough"] != 0 and fourth["tolerant"] == 0
    results = json.loads((folder / "evaluation.json").read_text())["results"]
    assert [result["model"] for result in results] == ["first", "second", "third", "fourth"]


@pytest.mark.slow
def test_only_the_stages_that_are_named_are_measured(tiny_pack: Pack, tmp_path: Path) -> None:
    once = STAGE | {"epochs": 1}
    settings = recipe({"a": once, "b": once}, evaluation={"bootstrap": 100, "stages": ["b"]})
    folder = distill(settings, tiny_pack, tmp_path / "run", accelerator="cpu")
    results = json.loads((folder / "evaluation.json").read_text())["results"]
    assert [result["model"] for result in results] == ["b"] and (folder / "a" / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("faces", [0, 6])
def test_too_few_faces_for_validation_are_said_and_nothing_is_fitted_on_them(
    faces: int, tiny_pack: Pack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = recipe({"student": SPATIAL | {"nll_weight": 0.1, "shape_prior": True}})
    folder = distill(settings, tiny_pack.select(indices=range(24 + faces)), tmp_path / "run", accelerator="cpu")
    about = networks.load(folder / "student" / "model.safetensors")[1]
    assert (about.calibration, about.face_calibration, about.shape_prior) == ((1.0, 0.0), None, None)
    for needed, what in ((50, "a shape prior: landmarks stay"), (10, "its confidence: that stays")):
        assert f"student: {faces} validation faces, and {needed} are needed to fit {what}" in caplog.text
    assert ("val_nme" in json.loads((folder / "student" / "summary.json").read_text())) == bool(faces)
    assert bool(logger.curve(folder / "student" / "log.jsonl")["epoch"]) == bool(faces)
    assert not (folder / "evaluation.json").exists()  # there are no faces for the test


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "mobilnetv2_035"}, "mobilnetv2_035"),
        ({"init": "no/such.safetensors"}, r"there is no file no/such\.safetensors; .* --set baseline\.init=FILE"),
        ({"init": "timm"}, "timm has no weights for 'mobilenetv2_035'; --set baseline.init=none"),
        ({"init": "tough", "nll_weight": 0.1}, "baseline.init is tough, which is another network"),
        (
            {"init": "facekd-68-lite"},
            "baseline.init is facekd-68-lite.onnx, a network of backbone mobilenetv2_100, and b",
        ),
    ],
)
def test_what_no_training_can_fix_is_said_before_any(
    change: dict[str, Any], message: str, tiny_pack: Pack, tmp_path: Path
) -> None:
    settings = recipe(STAGES | {"baseline": STAGE | change})
    with pytest.raises((RecipeError, ModelError), match=message):
        distill(settings, tiny_pack, tmp_path / "run", accelerator="cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_settings_of_stages_that_were_not_begun_can_be_fixed(
    tiny_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def offline(backbone: Any, name: str, weights: str, setting: str) -> None:
        asked.append(setting)
        if asked.count("student.init") == 2:  # it was there at the start
            raise ModelError("no internet")

    stages = {"baseline": STAGE | {"epochs": 1, "init": "timm"}, "student": STAGE | {"epochs": 1, "init": "timm"}}
    monkeypatch.setattr(start, "load_backbone", offline)
    with pytest.raises(ModelError, match="no internet"):
        distill(recipe(stages), tiny_pack, tmp_path, accelerator="cpu")
    trained = (tmp_path / "baseline" / "model.safetensors").read_bytes()
    with pytest.raises(RecipeError, match=r"stages\.baseline\.lr was 0\.001, is 0\.5"):
        wrong = stages | {"baseline": stages["baseline"] | {"lr": 0.5}}
        distill(recipe(wrong), tiny_pack, tmp_path, accelerator="cpu")
    stages["student"] |= {"lr": 2e-3, "init": "none"}
    distill(recipe(stages), tiny_pack, tmp_path, accelerator="cpu")
    assert (tmp_path / "baseline" / "model.safetensors").read_bytes() == trained
    fixed = load(tmp_path / "recipe.yaml").trained("student")
    assert (fixed.lr, fixed.init) == (2e-3, "none")


def test_a_run_of_an_earlier_version_is_not_continued(tiny_pack: Pack, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: old\nstudent: {backbone: mobilenetv2_035, weights: none}\n")
    with pytest.raises(RecipeError, match="was begun with other settings"):
        distill(recipe({"student": STAGE}), tiny_pack, tmp_path, accelerator="cpu")


def test_a_key_that_is_no_word_is_another_setting(tiny_pack: Pack, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: old\n1.5: 3\nstages: {2: {.inf: 1}}\n")
    with pytest.raises(RecipeError, match="was begun with other settings"):
        distill(recipe({"student": STAGE}), tiny_pack, tmp_path, accelerator="cpu")


def test_an_accelerator_that_is_not_there_is_one_sentence(tiny_pack: Pack, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no accelerator 'tpu9' here"):
        distill(recipe(STAGES), tiny_pack, tmp_path / "run", accelerator="tpu9")


@pytest.mark.skipif(sys.platform == "win32", reason="no locks on this system")
def test_a_run_has_one_writer(tiny_pack: Pack, tmp_path: Path) -> None:
    with claim_folder(tmp_path / "run"):
        with pytest.raises(InputError, match=r"another process is writing .*run; wait until it has ended"):
            distill(recipe({"a": STAGE | {"loss": "l2"}}), tiny_pack, tmp_path / "run", accelerator="cpu")
        assert list((tmp_path / "run").iterdir()) == []
