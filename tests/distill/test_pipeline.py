"""The whole chain on a tiny pack: what it leaves behind, breaks, and several processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_run import RECIPE

from facekd.data.pack import Pack
from facekd.distill import journal, networks, recipe
from facekd.distill.pipeline import distill
from facekd.distill.recipe import STAGES
from facekd.distill.shape import ShapeModel
from facekd.errors import InputError, RecipeError, TrainingError

SCRIPT = str(Path(__file__).with_name("run_tiny.py"))


@pytest.fixture(scope="module")
def whole(tiny_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unbroken run in a process of its own."""
    folder = tmp_path_factory.mktemp("whole")
    subprocess.run(
        [sys.executable, SCRIPT, str(write_recipe(folder)), str(tiny_pack.path), str(folder / "run")], check=True
    )
    return folder / "run"


def write_recipe(folder: Path) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return path


def test_what_a_run_leaves_behind(whole: Path, tiny_pack: Pack) -> None:
    assert recipe.load(whole / "recipe.yaml").name == "tiny"
    assert ShapeModel.load(whole / "tolerant" / "shape.npz").mean.shape == (5, 2)
    for stage, epochs in {"tough": 2, "tolerant": 1, "student": 3, "baseline": 2}.items():
        records = journal.read(whole / stage / "log.jsonl")
        assert [r["epoch"] for r in records] == list(range(1, epochs + 1)), stage
        assert json.loads((whole / stage / "summary.json").read_text())["epochs"] == epochs
        _, about = networks.load(whole / stage / "model.safetensors")
        assert about.recipe["stage"] == stage and about.data == [{"name": "tiny", "terms": "Made up."}]
    results = json.loads((whole / "evaluation.json").read_text())["results"]
    assert [r["model"] for r in results] == list(STAGES)
    assert {name: s["count"] for name, s in results[0]["subsets"].items()} == {"full": 6, "challenge": 3, "common": 3}
    assert (whole / "report" / "index.html").stat().st_size > 1000
    assert (whole / "tolerant" / "shape.png").stat().st_size > 1000


def test_the_student_has_teachers_and_the_baseline_has_none(whole: Path) -> None:
    student, baseline = (journal.read(whole / stage / "log.jsonl")[0] for stage in ("student", "baseline"))
    assert student["tough"] != 0 and student["tolerant"] != 0
    assert baseline["tough"] == 0 and baseline["tolerant"] == 0
    np.testing.assert_allclose(student["total"], student["main"] + student["tough"] + student["tolerant"], rtol=1e-4)


def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(whole: Path, tiny_pack: Pack, tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, str(write_recipe(tmp_path)), str(tiny_pack.path), str(tmp_path / "run")]
    for stage, epoch in (("tough", 1), ("student", 2)):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        log, deadline = tmp_path / "run" / stage / "log.jsonl", time.monotonic() + 120
        while len(journal.read(log)) < epoch and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (tmp_path / "run" / stage / "model.safetensors").exists()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for name in STAGES:
        expected, got = (load_file(run / name / "model.safetensors") for run in (whole, tmp_path / "run"))
        for key, value in expected.items():
            torch.testing.assert_close(got[key], value, rtol=0, atol=0, msg=f"{name} {key}")
        steps = [record["step"] for record in journal.read(tmp_path / "run" / name / "log.jsonl")]
        assert steps == sorted(set(steps))


def test_two_processes_give_what_one_gives(tiny_pack: Pack, tmp_path: Path) -> None:
    """The same global batch shared by two: the first loss agrees to 1e-5, the one after a step of Adam to 5e-3.

    Adam divides by the gradients' sizes, so rounding grows where they are near zero. Statistics of batches that were
    not shared, or gradients of one process only, miss by several per cent.
    """
    changes = ["tough.batch=24", "tough.dropout=0", "tolerant.dropout=0", "tough.warmup=0", "input.size=64"]
    losses = []
    for name, launcher in (
        ("one", []),
        ("two", ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]),
    ):
        script = [SCRIPT, str(write_recipe(tmp_path)), str(tiny_pack.path), str(tmp_path / name), *changes]
        subprocess.run([sys.executable, *launcher, *script], check=True, stdout=subprocess.DEVNULL)
        losses.append([record["total"] for record in journal.read(tmp_path / name / "tough" / "log.jsonl")])
    np.testing.assert_allclose(losses[1][0], losses[0][0], rtol=1e-5)
    np.testing.assert_allclose(losses[1][1], losses[0][1], rtol=5e-3)


def test_a_run_is_not_continued_with_other_settings_or_faces(whole: Path, tiny_pack: Pack, tmp_path: Path) -> None:
    changed = recipe.load(whole / "recipe.yaml", ["student.lr=0.5"])
    with pytest.raises(RecipeError, match=r"student\.lr was 0\.001, is 0\.5"):
        distill(changed, tiny_pack, whole, accelerator="cpu")
    other = Pack(**vars(tiny_pack) | {"meta": tiny_pack.meta | {"sha256": "0"}})
    with pytest.raises(InputError, match="another pack"):
        distill(recipe.load(whole / "recipe.yaml"), other, whole, accelerator="cpu")


def test_a_loss_that_is_no_number_stops_with_the_last_state_kept(
    tiny_pack: Pack, tiny_recipe: Path, tmp_path: Path
) -> None:
    wild = recipe.load(tiny_recipe, ["tough.lr=1e30", "tough.clip=0", "tough.epochs=3", "tough.warmup=0"])
    with pytest.raises(TrainingError, match=r"tough: the loss is (nan|inf) in epoch \d; .* lower tough.lr"):
        distill(wild, tiny_pack, tmp_path / "run", accelerator="cpu")
    assert not (tmp_path / "run" / "tough" / "model.safetensors").exists()


def test_the_teachers_can_be_asked_online(tiny_pack: Pack, tiny_recipe: Path, tmp_path: Path) -> None:
    online = recipe.load(
        tiny_recipe, ["teaching.mode=online", "student.epochs=1", "tough.epochs=1", "baseline.epochs=1"]
    )
    folder = distill(online, tiny_pack, tmp_path / "run", accelerator="cpu")
    assert journal.read(folder / "student" / "log.jsonl")[0]["tough"] != 0
    assert not list((folder / "cache").glob("tough*"))
