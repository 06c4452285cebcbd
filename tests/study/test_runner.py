"""Studies: a grid of recipes that shares what its rows have in common."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from facekd.data.pack import Pack
from facekd.errors import InputError
from facekd.recipes.load import load
from facekd.recipes.resolve import resolve
from facekd.study import config, runner
from facekd.study.context import StudyContext
from processes import alive, descendants, held
from tiny_run import BASE, ROWS, SPATIAL, STAGE, recipe, write_study


@pytest.fixture(scope="module")
def done(tiny_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study as the command line runs it, by two workers."""
    folder = tmp_path_factory.mktemp("study")
    code = "import facekd.cli; facekd.cli.main()"
    arguments = ["study", write_study(folder, reference="l1"), "--data", tiny_pack.path, "--out", folder / "out"]
    command = [sys.executable, "-c", code, *map(str, arguments), "--jobs", "2", "--accelerator", "cpu"]
    told = subprocess.run(command, capture_output=True, text=True)
    assert told.returncode == 1, told.stderr  # a row fails on purpose
    assert "not run: wild, seed 0: student: the loss is nan" in told.stderr and "Traceback" not in told.stderr
    return folder


def test_a_network_that_cannot_take_the_size_fails_its_row_in_one_sentence(tiny_pack: Pack, tmp_path: Path) -> None:
    study = StudyContext(tmp_path, tiny_pack, None, "cpu")
    wide = {"backbone": "vit_tiny_patch16_224", "head": "coordinate"}
    settings = recipe({"a": STAGE | wide}, input={"size": 64})
    stage = resolve(settings)["a"]
    study.stage_dir(stage).mkdir(parents=True)
    runner._train(study, settings, stage)
    assert "a: backbone 'vit_tiny_patch16_224' with head" in study.error(stage).read_text()


def records(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in (folder / "out" / "runs").glob("*.json")}


@pytest.mark.slow
def test_every_row_has_a_record_and_shares_its_teachers(done: Path) -> None:
    found = records(done)
    assert sorted(found) == ["both-0", "l1-0", "l2-0", "one-0", "one-1", "teacher-0", "wild-0"]
    networks = {path.name for path in (done / "out" / "networks").iterdir()}
    assert len(networks) == 8  # tough, tolerant, and one student per record but the teacher's
    assert found["teacher-0"]["id"] in networks and found["one-0"]["id"] != found["one-1"]["id"]
    assert "error" in found["wild-0"] and "results" not in found["wild-0"]
    for name in ("both-0", "l1-0", "one-1"):
        result = found[name]["results"][0]
        assert len(result["errors"]) == 6
        mean = 100 * sum(result["errors"]) / 6
        assert result["subsets"]["full"][f"nme_{result['normaliser']}"] == pytest.approx(mean, abs=1e-3)
        assert found[name]["curve"]["epoch"] == [1, 2, 3]


@pytest.mark.slow
def test_one_teacher_alone_is_what_the_student_saw(done: Path) -> None:
    for name, parts in (("one-0", ("tough",)), ("both-0", ("tough", "tolerant"))):
        home = done / "out" / "networks" / records(done)[name]["id"]
        log = json.loads((home / "log.jsonl").read_text().splitlines()[0])
        for part in ("tough", "tolerant"):
            assert (log[part] != 0) == (part in parts), (name, part)


@pytest.mark.slow
def test_the_page_shows_every_row_and_what_failed(done: Path) -> None:
    page = (done / "out" / "study.md").read_text()
    assert "6 of 7 runs are done" in page and "not run: student: the loss is nan" in page
    for row in ("teacher", "l1", "l2", "both", "one"):
        assert f"| {row} | " in page
    for plot in ("ced-0.svg", "curves-0.svg"):
        assert plot in page and (done / "out" / plot).read_text().startswith("<svg")


@pytest.mark.slow
def test_a_study_goes_on_and_trains_nothing_twice(done: Path, tiny_pack: Pack) -> None:
    before = {path: path.stat().st_mtime_ns for path in (done / "out" / "networks").glob("*/model.safetensors")}
    assert len(before) == 7
    rows = [*ROWS[:-1], {"name": "new", "set": {"student.loss": "wing", "student.teachers": []}}]
    found = runner.run(config.load(write_study(done, rows=rows)), tiny_pack, done / "out", accelerator="cpu")
    assert [r["row"] for r in found] == ["teacher", "l1", "l2", "both", "one", "one", "new"]
    after = {path: path.stat().st_mtime_ns for path in (done / "out" / "networks").glob("*/model.safetensors")}
    assert len(after) == 8 and after.items() >= before.items()


@pytest.mark.slow
def test_a_network_that_another_process_trains_is_waited_for(
    tiny_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = write_study(tmp_path, rows=[{"name": "teacher", "stage": "tough"}])
    options = ["--data", tiny_pack.path, "--out", tmp_path / "out", "--accelerator", "cpu", "--jobs", 1]
    with held("facekd", "study", one, *options, at="facekd.training.checkpoint:save", when="before") as other:
        waited = []

        def wait(seconds: float) -> None:
            if not waited:
                assert not list((tmp_path / "out").rglob("model.safetensors"))
                other.release()
            waited.append(seconds)
            time.sleep(seconds)

        monkeypatch.setattr(runner, "time", SimpleNamespace(sleep=wait))
        (record,) = runner.run(config.load(one), tiny_pack, tmp_path / "out", accelerator="cpu")
        assert waited and record["results"]
        assert other.finish()[0] == 0
    (log,) = (tmp_path / "out" / "networks").glob("*/log.jsonl")
    assert [json.loads(line)["epoch"] for line in log.read_text().splitlines()] == [1, 2]


def test_a_networks_folder_is_named_after_what_decides_it(tiny_pack: Pack, tiny_recipe: Path) -> None:
    def name(stage: str, **changes: Any) -> str:
        study = StudyContext(tiny_recipe.parent, tiny_pack)
        return study.stage_dir(resolve(load(tiny_recipe, changes))[stage]).name

    assert name("student") == name("student", **{"baseline.epochs": 9, "evaluation.bootstrap": 200})
    assert name("tough") == name("tough", **{"student.seed": 1, "shape.variance": 80})
    assert name("tolerant") != name("tolerant", **{"shape.variance": 80})
    assert name("student") != name("student", **{"shape.variance": 80})  # by its tolerant teacher
    assert name("student") != name("student", **{"tough.epochs": 1})
    assert name("student") != name("student", **{"student.seed": 1})
    plain = {"student.loss": "l1", "student.teachers": []}
    assert name("student", **plain) == name("student", **plain, **{"tough.epochs": 1})
    assert name("student", **plain) == name("baseline", **{"baseline.epochs": 3})
    assert name("tough", **{"tough.size": 64}) == name("tough", **{"input.size": 64}) != name("tough")
    still = {"rotation": 0}
    student = name("student")
    assert name("student", **{"student.augment": {}}) == student != name("student", **{"student.augment": still})
    assert name("tough", **{"student.augment": still}) == name("tough") != name("tough", augment=still)
    online = {"student.views": 0}
    assert name("student", **online, **{"student.teacher_view": "plain"}) != name("student", **online) != student
    other = Pack(**vars(tiny_pack) | {"meta": tiny_pack.meta | {"sha256": "0"}})
    assert name("tough") != StudyContext(tiny_recipe.parent, other).stage_dir(resolve(load(tiny_recipe))["tough"]).name


def test_faces_without_labels_tell_apart_the_networks_that_learn_from_them(tiny_pack: Pack, tmp_path: Path) -> None:
    wise = {"stage": "wise", "how": "landmarks"}
    stages = resolve(
        recipe(
            {
                "wise": SPATIAL,
                "student": SPATIAL | {"teachers": [wise]},
                "next": SPATIAL | {"init": "student"},
                "without": SPATIAL | {"teachers": [wise], "use_unlabelled": False},
            }
        )
    )
    alone, more = StudyContext(tmp_path, tiny_pack), StudyContext(tmp_path, tiny_pack, unlabelled=tiny_pack)
    same = {name: alone.stage_dir(stage) == more.stage_dir(stage) for name, stage in stages.items()}
    assert same == {"wise": True, "student": False, "next": False, "without": True}


def test_a_study_in_which_nothing_was_learnt_takes_other_faces(tiny_pack: Pack, tmp_path: Path) -> None:
    other = Pack(**vars(tiny_pack) | {"meta": tiny_pack.meta | {"sha256": "0"}})
    runner._check_same_pack(tmp_path, tiny_pack)
    (tmp_path / "box_transform.json").touch()
    (tmp_path / "networks" / "l1").mkdir(parents=True)
    runner._check_same_pack(tmp_path, other)
    assert not (tmp_path / "box_transform.json").exists()
    (tmp_path / "networks" / "l1" / "checkpoint.pt").touch()
    with pytest.raises(InputError, match="another pack"):
        runner._check_same_pack(tmp_path, tiny_pack)


@pytest.mark.slow
def test_a_study_is_not_continued_with_other_faces(done: Path, tiny_pack: Pack) -> None:
    other = Pack(**vars(tiny_pack) | {"meta": tiny_pack.meta | {"sha256": "0"}})
    with pytest.raises(InputError, match="another pack"):
        runner.run(config.load(done / "study.yaml"), other, done / "out", accelerator="cpu")


@pytest.mark.slow
def test_figures_asked_for_in_another_way_are_measured_anew(done: Path, tiny_pack: Pack) -> None:
    before = {path: path.stat().st_mtime_ns for path in (done / "out" / "networks").glob("*/model.safetensors")}
    teacher = config.load(write_study(done, rows=[{"name": "teacher", "stage": "tough"}]))
    for samples in (200, 300):
        runner.run(teacher, tiny_pack, done / "out", changes={"evaluation.bootstrap": samples}, accelerator="cpu")
    home = done / "out" / "networks" / records(done)["teacher-0"]["id"]
    figures = {path.name: path.read_text() for path in home.glob("evaluation-truth-*.json")}
    assert sorted(figures) == [f"evaluation-truth-{samples}.json" for samples in (100, 200, 300)]
    assert len(set(figures.values())) == 3  # other resamples, other intervals
    assert json.loads(figures["evaluation-truth-300.json"]) == records(done)["teacher-0"]["results"]
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.slow
def test_a_study_on_a_pack_without_validation_faces_ends_with_its_table(tiny_pack: Pack, tmp_path: Path) -> None:
    keep = [i for i, split in enumerate(tiny_pack.splits) if split != "val"]
    rows = [{"name": "teacher", "stage": "tough"}]
    study = config.load(write_study(tmp_path, rows=rows))
    (record,) = runner.run(study, tiny_pack.select(indices=keep), tmp_path / "out", accelerator="cpu")
    assert record["curve"] == {"epoch": [], "validation NME, %": []} and "val_nme" not in record["summary"]
    assert "1 of 1 runs are done" in (tmp_path / "out" / "study.md").read_text()


@pytest.mark.slow
def test_an_average_is_trained_by_its_members_and_takes_their_seeds(tiny_pack: Pack, tmp_path: Path) -> None:
    member = SPATIAL | {"init": "start"}
    stages = {
        "start": SPATIAL,
        "a": member,
        "b": member | {"seed": 3},
        "soup": {"kind": "weight_average", "of": ["a", "b"]},
    }
    values = BASE | {"stages": stages}
    (tmp_path / "soup.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({"name": "s", "recipe": "soup.yaml", "seeds": [0, 1], "rows": [{"name": "soup"}]}))
    first, second = config.entries(config.load(path))
    assert [first.recipe.trained(name).seed for name in "ab"] == [0, 3]
    assert [second.recipe.trained(name).seed for name in "ab"] == [1, 4]
    records = runner.run(config.load(path), tiny_pack, tmp_path / "out", accelerator="cpu")
    assert [record["stage"] for record in records] == ["soup", "soup"] and records[0]["id"] != records[1]["id"]
    assert len(list((tmp_path / "out" / "networks").iterdir())) == 1 + 2 * 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are found in /proc")
@pytest.mark.slow
def test_no_worker_outlives_a_killed_study(tiny_pack: Pack, tmp_path: Path) -> None:
    rows = [{"name": f"teacher {seed}", "stage": "tough", "seeds": [seed]} for seed in (0, 1)]
    file = write_study(tmp_path, rows=rows, set={"tough.epochs": 100_000})
    options = ["--data", tiny_pack.path, "--out", tmp_path / "out", "--accelerator", "cpu", "--jobs", 2]
    with held("facekd", "study", file, *options, at="facekd.study.runner:_write") as process:
        started = descendants(process.process.pid)
        assert len(started) >= 2
        process.process.kill()
        assert alive(started) == {}


def figures(**changes: Any) -> dict[str, Any]:
    full = {"count": 6, "nme_inter_pupil": 4.0, "fr_8": 0.0}
    result = {"model": "a", "dataset": "tiny", "split": "test", "normaliser": "inter_pupil", "boxes": "truth"}
    return result | {"subsets": {"full": full}, "errors": [0.04] * 5 + [None]} | changes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", "is no UTF-8 text"),
        (b"[{", "is damaged, it is not JSON"),
        ({}, "results must be a list"),
        ([], "results must be at least one result"),
        ([5], "results must be a list"),
        ([figures(normaliser="chin")], "results.subsets.full.nme_chin must be a number, or null"),
        (
            [figures(normaliser="chin", subsets={"full": {"count": 6, "nme_chin": 4, "fr_8": 1}})],
            "results.normaliser must be inter_ocular or",
        ),
        ([figures(boxes="mine")], "results.boxes must be truth or detector"),
        ([figures(subsets={})], "results.subsets.full must be keys and values"),
        (
            [figures(subsets={"full": {"count": 6, "fr_8": 1}})],
            "results.subsets.full.nme_inter_pupil must be a number,",
        ),
        (
            [figures(subsets={"full": {"count": 6, "nme_inter_pupil": 4, "fr_8": None}})],
            "results.subsets.full.fr_8 must be a number",
        ),
        ([figures(errors=[0.1] * 5)], "results.errors must be 6, one of each face"),
        ([figures(errors=[-1] * 6)], "results.errors must be a list"),
        ([figures(errors=None)], "results.errors must be a list"),
    ],
)
def test_damaged_figures_of_a_network_are_one_sentence(
    tiny_pack: Pack, tmp_path: Path, content: Any, message: str
) -> None:
    study = StudyContext(tmp_path, tiny_pack)
    settings = recipe({"a": STAGE})
    stage = resolve(settings)["a"]
    path = study.figures(stage, settings.evaluation)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps([figures()]))
    assert study.read_figures(stage, settings.evaluation) == [figures()]
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(InputError, match=rf"figures .*{path.name}.*{message}.*"):
        study.read_figures(stage, settings.evaluation)


def test_figures_on_other_faces_are_refused(tiny_pack: Pack, tmp_path: Path) -> None:
    study = StudyContext(tmp_path, tiny_pack)
    records = [{"id": name, "results": [figures()]} for name in "ab"]
    runner._check_alike([*records, {"id": "c", "error": "no"}], study)
    records[1]["results"] = [figures(subsets={"full": {"count": 5}})]
    with pytest.raises(InputError, match=r"networks.b are on other faces than those in a; delete both"):
        runner._check_alike(records, study)
