"""The whole chain on a tiny pack: what it leaves behind, breaks, and several processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from facekd.data.face import LabelledFace
from facekd.data.pack import Pack, PackWriter
from facekd.errors import InputError, ModelError, RecipeError, TrainingError
from facekd.markup import FIVE, IBUG68, WFLW98
from facekd.networks import network as networks
from facekd.pipeline import run as run_module
from facekd.pipeline.distill import distill
from facekd.pipeline.run import Run
from facekd.recipes import schema as recipe
from facekd.recipes.schema import STAGES, Augment
from facekd.shape import ShapeModel
from facekd.training import distributed as parallel
from facekd.training import logger as journal
from facekd.training.faces import Faces
from tiny_run import RECIPE, SHAPE, STAGE

SCRIPT = str(Path(__file__).parents[1] / "run_tiny.py")


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
    assert [r["model"] for r in results] == [name for name in STAGES if name != "expert"]
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
    for name in ("tough", "tolerant", "student", "baseline"):
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
    changes += ["tough.refine=true"]  # fitted on faces that one process decodes, while the other waits
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


def looked(folder: Path, name: str) -> list[tuple[int, ...]]:
    """Return the shapes of what teachers said: views, faces and so on."""
    return [np.load(path).shape for path in (folder / "cache").glob(f"{name}.npy")]


@pytest.fixture(scope="module")
def more_faces(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """Ten faces whose points are no labels."""
    path = tmp_path_factory.mktemp("more") / "more.parquet"
    with PackWriter(path, FIVE, dataset="more", margin=2.0, size=96, jpeg_quality=95, terms="Found.") as writer:
        for i in range(10):
            image = np.full((96, 96, 3), 20 * i, np.uint8)
            writer.add(LabelledFace(image=image, points=SHAPE + i, name=f"m{i}.jpg", quality="predicted"))
    return Pack.open(path)


def test_a_student_can_have_an_expert_and_faces_without_labels(
    tiny_pack: Pack, more_faces: Pack, tmp_path: Path
) -> None:
    spatial = STAGE | {"head": "spatial", "heatmap": 0.1, "epochs": 1}
    settings = recipe.parse(
        {
            "name": "light", "precision": "32", "input": {"size": 32}, "evaluation": {"bootstrap": 100},
            "teaching": {"views": 2}, "expert": spatial,
            "student": spatial | {"expert": 1.0, "expert_heatmap": 0.5, "epochs": 2, "batch": 6},
        },
        "light",
    )  # fmt: skip
    folder = distill(settings, tiny_pack, tmp_path / "run", accelerator="cpu", unlabelled=more_faces)
    assert settings.stages == ("expert", "student") and not (folder / "tough").exists()
    records = journal.read(folder / "student" / "log.jsonl")
    assert [r["step"] for r in records] == [5, 10]  # 24 faces and 10 more, by six
    for r in records:
        total = r["main"] + 0.1 * r["heatmap"] + r["expert"] + 0.5 * r["expert_heatmap"]
        assert r["expert"] > 0 and r["total"] == pytest.approx(total, rel=1e-4)
    assert looked(folder, "expert_2_*") == [(2, 34, 5, 5)]
    _, about = networks.load(folder / "student" / "model.safetensors")
    assert [data["name"] for data in about.data] == ["tiny", "more"]
    summary = json.loads((folder / "student" / "summary.json").read_text())
    net, _ = networks.load(folder / "student" / "model.safetensors")
    assert summary["parameters"] == sum(p.numel() for p in net.parameters()) and summary["macs"] > 1e5
    with pytest.raises(InputError, match="another pack"):
        distill(settings, tiny_pack, folder, accelerator="cpu")  # without the unlabelled faces it is another run


def test_networks_grow_and_the_experts_word_is_moved(tiny_pack: Pack, more_faces: Pack, tmp_path: Path) -> None:
    """A small tough teacher becomes the expert, a small baseline the student; the expert sees each face once."""
    spatial = STAGE | {"head": "spatial", "heatmap": 0.1, "epochs": 1}
    settings = recipe.parse(
        {
            "name": "grown", "precision": "32", "input": {"size": 64}, "evaluation": {"bootstrap": 100},
            "teaching": {"mode": "moved"}, "tough": spatial | {"size": 32},
            "expert": spatial | {"size": 48, "weights": "tough", "lr": 1e-12},
            "baseline": spatial | {"size": 32, "sigma": 0.1},
            "student": spatial | {"weights": "baseline", "expert": 1.0, "expert_heatmap": 0.5, "sigma": 0.1, "rare": 1},
        },
        "grown",
    )  # fmt: skip
    folder = distill(settings, tiny_pack, tmp_path / "run", accelerator="cpu", unlabelled=more_faces)
    nets = {name: networks.load(folder / name / "model.safetensors")[0] for name in settings.stages}
    assert {name: net.architecture.size for name, net in nets.items()} == {
        "tough": 32, "expert": 48, "baseline": 32, "student": 64,
    }  # fmt: skip
    for (key, start), (_, end) in zip(nets["tough"].named_parameters(), nets["expert"].named_parameters(), strict=True):
        torch.testing.assert_close(end, start, rtol=0, atol=1e-6, msg=key)  # at that rate nothing moves
    assert looked(folder, "expert_plain_*") == [(1, 34, 5, 5)]
    assert journal.read(folder / "student" / "log.jsonl")[0]["expert"] > 0
    calibrations = {name: networks.load(folder / name / "model.safetensors")[1].calibration for name in settings.stages}
    untouched = (1.0, 0.0)
    assert calibrations["tough"] == untouched == calibrations["expert"]  # they have no sigma
    assert calibrations["student"] != untouched != calibrations["baseline"]


def test_the_teachers_see_the_students_own_views(tiny_pack: Pack, tmp_path: Path) -> None:
    """Where a student's views vary in nothing, a teacher's word on one view is its word on the other."""
    spatial = STAGE | {"head": "spatial", "heatmap": 0.1, "epochs": 1}
    still = dict.fromkeys(Augment.model_fields, 0) | {"mirror": False}
    for own in ({}, {"augment": still}):
        settings = recipe.parse(
            {
                "name": "still", "precision": "32", "input": {"size": 32}, "teaching": {"views": 2, "mirror": False},
                "expert": spatial, "student": spatial | own | {"expert": 1.0, "epochs": 2},
            },
            "still",
        )  # fmt: skip
        run = Run(settings, tiny_pack, tmp_path, parallel.fabric("32", "cpu"), tmp_path.joinpath)
        run.network("student")
        (tmp_path / "student" / "model.safetensors").unlink()  # the next student has the same expert and the same cache
    first, second = sorted((tmp_path / "cache").glob("expert_2*.npy"), key=lambda path: path.stat().st_mtime_ns)
    said, said_of_still = np.load(first), np.load(second)
    assert not np.allclose(said[0], said[1])
    np.testing.assert_array_equal(said_of_still[0], said_of_still[1])


def test_a_stage_that_stops_early_is_the_start_of_one_that_does_not(tiny_pack: Pack, tmp_path: Path) -> None:
    records = {}
    for name, more in (("whole", {}), ("stopped", {"stop": 2})):
        values = RECIPE | {"baseline": STAGE | {"epochs": 4} | more, "teaching": {"mode": "online"}}
        home = tmp_path / name
        run = Run(recipe.parse(values, name), tiny_pack, home, parallel.fabric("32", "cpu"), home.joinpath)
        run.network("baseline")
        records[name] = journal.read(home / "baseline" / "log.jsonl")
        assert json.loads((home / "baseline" / "summary.json").read_text())["epochs"] == len(records[name])
    assert [len(records[name]) for name in ("whole", "stopped")] == [4, 2]
    for early, full in zip(records["stopped"], records["whole"], strict=False):
        assert early["lr"] == full["lr"] and early["val_nme"] == pytest.approx(full["val_nme"], rel=1e-5)


def test_what_a_teacher_said_is_not_taken_for_what_another_would_say(tiny_pack: Pack, tmp_path: Path) -> None:
    spatial = STAGE | {"head": "spatial", "heatmap": 0.1, "epochs": 1}
    values = {"name": "x", "precision": "32", "input": {"size": 32}, "expert": spatial}
    student = spatial | {"expert": 1.0}
    varied = {"augment": {"rotation": 5}}
    for teaching, more in ({"views": 1}, {}), ({"views": 1, "mirror": False}, {}), ({"views": 1}, varied):
        settings = recipe.parse(values | {"teaching": teaching, "student": student} | more, "x")
        Run(settings, tiny_pack, tmp_path, parallel.fabric("32", "cpu"), tmp_path.joinpath).network("student")
        (tmp_path / "student" / "model.safetensors").unlink()  # the same expert teaches the next
    said = [np.load(path) for path in (tmp_path / "cache").glob("expert_1_*.npy")]
    assert len(said) == 3
    assert not any(np.array_equal(said[a], said[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_a_pack_without_faces_for_validation_or_test_trains(tiny_pack: Pack, tmp_path: Path) -> None:
    spatial = STAGE | {"head": "spatial", "heatmap": 0.1, "sigma": 0.1, "epochs": 1, "refine": True}
    settings = recipe.parse({"name": "x", "precision": "32", "input": {"size": 32}, "student": spatial}, "x")
    folder = distill(settings, tiny_pack.select("train"), tmp_path / "run", accelerator="cpu")
    assert networks.load(folder / "student" / "model.safetensors")[1].calibration == (1.0, 0.0)
    assert "val_nme" not in json.loads((folder / "student" / "summary.json").read_text())
    assert journal.curve(folder / "student" / "log.jsonl") == {"epoch": [], "validation NME, %": []}
    assert not (folder / "evaluation.json").exists()


@pytest.mark.parametrize(
    ("stage", "change", "message"),
    [
        ("baseline", {"loss": "l3"}, "loss 'l3'"),
        ("baseline", {"loss": "wing", "loss_options": {"betta": 1}}, "betta"),
        ("baseline", {"backbone": "mobilnetv2_035"}, "mobilnetv2_035"),
        ("baseline", {"weights": "no/such.safetensors"}, "there is no file no/such.safetensors"),
    ],
)
def test_what_no_training_can_mend_is_said_before_any(
    stage: str, change: dict[str, Any], message: str, tiny_pack: Pack, tmp_path: Path
) -> None:
    settings = recipe.parse(RECIPE | {stage: STAGE | change}, "x")
    with pytest.raises((RecipeError, ModelError), match=message):
        distill(settings, tiny_pack, tmp_path / "run", accelerator="cpu")
    assert not (tmp_path / "run").exists()


def test_settings_of_networks_that_were_not_begun_can_be_mended(
    tiny_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(net: Any, weights: str, setting: str) -> None:
        if setting == "student.weights":
            raise ModelError("no internet")

    values = {"name": "x", "precision": "32", "input": {"size": 32}, "evaluation": {"bootstrap": 100}}
    stages = {"baseline": STAGE | {"epochs": 1}, "student": STAGE | {"epochs": 1}}
    with monkeypatch.context() as patch, pytest.raises(ModelError, match="no internet"):
        patch.setattr(networks, "load_backbone", offline)
        distill(recipe.parse(values | stages, "x"), tiny_pack, tmp_path, accelerator="cpu")
    trained = (tmp_path / "baseline" / "model.safetensors").read_bytes()
    with pytest.raises(RecipeError, match=r"baseline\.lr was 0\.001, is 0\.5"):
        wrong = {"baseline": stages["baseline"] | {"lr": 0.5}, "student": stages["student"]}
        distill(recipe.parse(values | wrong, "x"), tiny_pack, tmp_path, accelerator="cpu")
    stages["student"]["lr"] = 2e-3
    distill(recipe.parse(values | stages, "x"), tiny_pack, tmp_path, accelerator="cpu")
    assert (tmp_path / "baseline" / "model.safetensors").read_bytes() == trained
    assert recipe.load(tmp_path / "recipe.yaml").student.lr == 2e-3


def test_an_accelerator_that_is_not_there_is_one_sentence(tiny_pack: Pack, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no accelerator 'tpu9' here"):
        distill(recipe.parse(RECIPE, "x"), tiny_pack, tmp_path / "run", accelerator="tpu9")


def test_a_network_starts_from_one_of_its_kind(tiny_pack: Pack, tmp_path: Path) -> None:
    stages = {"baseline": STAGE | {"epochs": 1}, "student": STAGE | {"weights": "baseline", "head": "spatial"}}
    settings = recipe.parse({"name": "x", "input": {"size": 32}, **stages}, "x")
    with pytest.raises(RecipeError, match=r"student\.weights is baseline, which is another network"):
        distill(settings, tiny_pack, tmp_path / "run", accelerator="cpu")


def test_unlabelled_faces_of_a_mark_up_that_says_too_little_are_refused(
    tiny_pack: Pack, more_faces: Pack, tmp_path: Path
) -> None:
    spatial = STAGE | {"head": "spatial", "epochs": 1}
    settings = recipe.parse({"name": "x", "expert": spatial, "student": spatial | {"expert": 1.0}}, "x")
    bare = Pack(**vars(more_faces) | {"markup": IBUG68})
    run = Run(settings, Pack(**vars(tiny_pack) | {"markup": WFLW98}), tmp_path, None, tmp_path.joinpath, bare)
    none = Faces(np.empty((0, 8, 8, 3), np.uint8), np.empty((0, 98, 2)), np.empty((0, 4)))
    run.__dict__["_faces"] = lambda *_: none
    with pytest.raises(InputError, match="cannot say where a face of wflw98 is"):
        run._taught(settings.student, 32)


def test_a_network_of_copies_is_the_mean_of_their_weights(tiny_pack: Pack, tmp_path: Path) -> None:
    spatial = STAGE | {"head": "spatial", "heatmap": 0.1, "epochs": 1}
    settings = recipe.parse(
        {
            "name": "copies", "precision": "32", "input": {"size": 32}, "teaching": {"views": 2}, "expert": spatial,
            "student": spatial
            | {"weights": "expert", "expert": 1.0, "refine": True}
            | {"copies": [{}, {"lr": 2e-3, "rare": 0.5}, {"seed": 0}]},
        },
        "copies",
    )  # fmt: skip
    run = Run(settings, tiny_pack, tmp_path, parallel.fabric("32", "cpu"), tmp_path.joinpath)
    run.network("student")
    home = tmp_path / "student"
    mean, *copies = (load_file(folder / "model.safetensors") for folder in (home, *sorted(home.glob("copy-*"))))
    assert len(copies) == 3
    for key, value in mean.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, torch.stack([copy[key] for copy in copies]).mean(0), msg=key)
        torch.testing.assert_close(copies[2][key], copies[0][key], msg=key)  # nothing differs, the seed neither
    assert any(not torch.equal(copies[0][key], copies[1][key]) for key in mean)
    assert len(list((tmp_path / "cache").glob("expert_1*.npy"))) == 2  # the second copy has views of its own
    assert journal.read(home / "log.jsonl") == journal.read(home / "copy-0" / "log.jsonl")
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (home, *sorted(home.glob("copy-*")))]
    assert summaries[0]["seconds"] == pytest.approx(sum(summary["seconds"] for summary in summaries[1:]), abs=0.11)
    assert summaries[0]["val_nme"] not in [summary["val_nme"] for summary in summaries[1:]]
    run.evaluate("student")


def test_a_copy_that_learns_the_validation_faces_is_not_measured_on_them(
    tiny_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spatial = STAGE | {"head": "spatial", "heatmap": 0.1, "sigma": 0.1, "epochs": 1}
    student = spatial | {"weights": "expert", "expert": 1.0, "copies": [{}, {"learn_val": True}]}
    stages = {"expert": spatial, "student": student, "teaching": {"views": 1}}
    settings = recipe.parse({"name": "copies", "precision": "32", "input": {"size": 32}} | stages, "copies")
    seen, tuned = [], []
    fit, tune = run_module.fit, Run._tuned

    def watched(fabric: Any, net: Any, stage: Any, train: Faces, val: Faces, *rest: Any, **more: Any) -> Any:
        seen.append((len(train), len(val), train.frames[np.array([len(train) - 1])]))
        return fit(fabric, net, stage, train, val, *rest, **more)

    def kept(run: Run, net: Any, about: Any, name: str) -> Any:
        tuned.append(net.state_dict())
        return tune(run, net, about, name)

    monkeypatch.setattr(run_module, "fit", watched)
    monkeypatch.setattr(Run, "_tuned", kept)
    run = Run(settings, tiny_pack, tmp_path, parallel.fabric("32", "cpu"), tmp_path.joinpath)
    run.network("student")
    train, val = run.train(32), run.val(32)
    assert len(val) > 0 and len(run._faces(tiny_pack, None, 32)) == 0
    assert [numbers[:2] for numbers in seen] == [(len(train), len(val))] * 2 + [(len(train) + len(val), 0)]
    np.testing.assert_array_equal(seen[2][2][0], val.frames[-1])
    home = tmp_path / "student"
    held_out, other = (load_file(home / f"copy-{number}" / "model.safetensors") for number in (0, 1))
    assert len(tuned) == 3  # expert, the first copy, and the mean: by the copy that never saw those faces
    for key, value in tuned[2].items():
        torch.testing.assert_close(value, held_out[key], msg=key)
    assert any(not torch.equal(held_out[key], other[key]) for key in held_out)
    summaries = [json.loads((home / name / "summary.json").read_text()) for name in (".", "copy-0")]
    assert summaries[0]["val_nme"] == pytest.approx(summaries[1]["val_nme"], abs=0.05)
    looks = {np.load(path).shape[1] for path in (tmp_path / "cache").glob("expert_1*.npy")}
    assert looks == {len(train), len(train) + len(val)}  # the expert was asked about the added faces too
