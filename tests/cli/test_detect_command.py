"""facekd detect, models and demo, on the sample picture with its six faces."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import facekd
from facekd.cli import main
from facekd.markup import IBUG68, MARKUPS
from facekd.pts import read_pts
from facekd.runtime import batch
from processes import held

SAMPLE = Path(facekd.__file__).parent / "weights" / "sample.jpg"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the command line: (exit code, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["facekd", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return int(left.value.code or 0), printed.out, printed.err

    return call


@pytest.fixture
def model(make_model: Callable[..., Path]) -> Path:
    return make_model(markup=IBUG68, offsets=np.random.default_rng(0).uniform(-9, 9, (68, 2)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two photos with faces, one without, and a bad one."""
    place = tmp_path / "my photos"
    (place / "déjà").mkdir(parents=True)
    sample = Image.open(SAMPLE)
    sample.crop((0, 0, 320, 320)).save(place / "b one.jpg")
    sample.crop((0, 0, 640, 320)).save(place / "déjà" / "two.png")
    Image.new("RGB", (60, 60)).save(place / "none.jpg")
    (place / "a bad.jpg").write_bytes(SAMPLE.read_bytes()[:3000])
    return place


def faces(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {Path(record["photo"]).name: len(record["faces"]) if "faces" in record else "bad" for record in records}


EXPECTED = {"a bad.jpg": "bad", "b one.jpg": 1, "two.png": 2, "none.jpg": 0}


def test_several_folders_are_photos_and_a_stage_s_folder_is_a_network(
    run: Run, folder: Path, run_folder: Path, tmp_path: Path
) -> None:
    Image.open(SAMPLE).crop((0, 0, 320, 320)).save(tmp_path / "c.jpg")
    code, out, _ = run("detect", folder / "déjà", tmp_path / "c.jpg", folder / "déjà", "--threads", 1)
    assert code == 0 and faces(json.loads(out)) == {"two.png": 2, "c.jpg": 1}
    for network in (run_folder, run_folder / "student"):
        code, out, err = run("detect", network, tmp_path / "c.jpg", "--min-confidence", 0, "--threads", 1)
        (photo,) = json.loads(out)
        assert code == 0 and [len(face["points"]) for face in photo["faces"]] == [5], err


def test_json_on_stdout_in_input_order(run: Run, model: Path, folder: Path) -> None:
    code, out, err = run("detect", folder, "--model", model)
    records = json.loads(out)
    assert code == 1 and faces(records) == EXPECTED and list(faces(records)) == list(EXPECTED)
    assert "a bad.jpg is damaged" in err and "4 photos, 3 faces, 1 failed" in err and "Traceback" not in err
    face = records[1]["faces"][0]
    assert len(face["points"]) == 68 and set(face["pose"]) == {"yaw", "pitch", "roll"}
    sizes = {Path(record["photo"]).name: (record.get("width"), record.get("height")) for record in records}
    assert sizes == {
        "a bad.jpg": (None, None),
        "b one.jpg": (320, 320),
        "two.png": (640, 320),
        "none.jpg": (60, 60),
    }


def test_good_photos_exit_with_0_even_without_faces(run: Run, model: Path, folder: Path) -> None:
    assert run("detect", model, folder / "none.jpg", folder / "b one.jpg")[0] == 0


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_one_file_of_lines(run: Run, model: Path, folder: Path, tmp_path: Path, kind: str) -> None:
    code, out, _ = run("detect", folder, "-m", model, "--out", tmp_path / "out", "--format", kind)
    lines = (tmp_path / "out" / f"landmarks.{kind}").read_text(encoding="utf-8")
    assert code == 1 and out == ""
    if kind == "jsonl":
        assert faces([json.loads(line) for line in lines.splitlines()]) == EXPECTED
    else:
        rows = list(csv.DictReader(lines.splitlines()))
        names = [Path(row["photo"]).name for row in rows]
        assert names == ["a bad.jpg", "b one.jpg", "two.png", "two.png", "none.jpg"]
        assert float(rows[1]["x67"]) > 0 and rows[1]["error"] == ""
        assert set(list(rows[4].values())[1:]) == {""}  # a photo without faces has every column, empty
        assert set(list(rows[0].values())[1:-1]) == {""} and "a bad.jpg is damaged" in rows[0]["error"]


def test_files_per_photo_keep_the_folders(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("detect", folder, "-m", model, "--out", out, "--draw")[0] == 1
    photos = ("b one", "none", "déjà/two")
    expected = {f"{photo}{kind}" for photo in photos for kind in (".json", ".landmarks.jpg")}
    assert {str(path.relative_to(out)) for path in out.rglob("*.*")} == {"facekd.jsonl", *expected}
    assert len(json.loads((out / "déjà" / "two.json").read_text())["faces"]) == 2
    assert Image.open(out / "b one.landmarks.jpg").size == (320, 320)


def test_pts_count_from_1(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    run("detect", folder / "déjà", "-m", model, "--out", tmp_path / "pts", "--format", "pts")
    run("detect", folder / "déjà", "-m", model, "--out", tmp_path / "json")
    record = json.loads((tmp_path / "json" / "two.json").read_text())
    for index, name in enumerate(["two.pts", "two.face2.pts"]):
        np.testing.assert_allclose(read_pts(tmp_path / "pts" / name), record["faces"][index]["points"], atol=1e-3)


def test_photos_of_one_name_do_not_clash(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "none.jpg", folder / "déjà" / "two.jpg")
    shutil.copy(folder / "none.jpg", tmp_path / "two.jpg")
    out = tmp_path / "out"
    assert run("detect", folder / "déjà", tmp_path / "two.jpg", "-m", model, "--out", out)[0] == 0
    assert sorted(path.name for path in out.glob("*.json")) == ["two-2.json", "two-3.json", "two.json"]


def test_photos_of_one_name_but_for_case_do_not_clash(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for name in ("A.jpg", "a.png"):
        shutil.copy(folder / "none.jpg", photos / name)
    assert run("detect", photos, "-m", model, "--out", out)[0] == 0
    assert sorted(path.name for path in out.glob("*.json")) == ["A.json", "a-2.json"]


def test_a_second_face_has_a_name_of_its_own(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    shutil.copy(folder / "déjà" / "two.png", photos / "a.png")
    for name in ("a_1.jpg", "a.face2.jpg"):
        shutil.copy(folder / "b one.jpg", photos / name)
    assert run("detect", photos, "-m", model, "--out", out, "--format", "pts")[0] == 0
    files = {path.name for path in out.glob("*.pts")}
    assert files == {"a.pts", "a.face2.pts", "a_1.pts", "a.face2-2.pts"}


def test_folders_of_one_name_share_a_folder_of_results(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for place in ("p", "q"):
        (tmp_path / place).mkdir()
    shutil.copy(folder / "none.jpg", tmp_path / "p" / "x.jpg")
    shutil.copy(folder / "b one.jpg", tmp_path / "q" / "x.jpg")
    for _ in range(2):  # the second time, names are those of the first, though x is free when q is asked about alone
        for place in ("p", "q"):
            assert run("detect", tmp_path / place, "-m", model, "--out", out, "--draw")[0] == 0
    assert sorted(path.name for path in out.glob("*.j*g")) == ["x-2.landmarks.jpg", "x.landmarks.jpg"]
    for name, place, count in (("x", "p", 0), ("x-2", "q", 1)):
        record = json.loads((out / f"{name}.json").read_text())
        assert (Path(record["photo"]).parent.name, len(record["faces"])) == (place, count)
    assert Image.open(out / "x-2.landmarks.jpg").size == (320, 320)


def test_a_changed_photo_has_new_results_only(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    photo, out = tmp_path / "x.png", tmp_path / "out"
    options = ("detect", photo, "-m", model, "--out", out, "--format")
    shutil.copy(folder / "déjà" / "two.png", photo)
    for kind in ("json", "pts"):
        run(*options, kind, "--draw")
    assert (out / "x.face2.pts").exists() and Image.open(out / "x.landmarks.jpg").size == (640, 320)
    shutil.copy(folder / "b one.jpg", photo)
    run(*options, "pts", "--draw")
    assert sorted(path.name for path in out.iterdir()) == ["facekd.jsonl", "x.landmarks.jpg", "x.pts"]
    assert Image.open(out / "x.landmarks.jpg").size == (320, 320)
    run(*options, "json")
    assert len(json.loads((out / "x.json").read_text())["faces"]) == 1


@pytest.mark.parametrize(
    ("kind", "name"), [("pts", "f.pts"), ("json", "f.json"), ("json", "f.landmarks.jpg"), ("jsonl", "landmarks.jsonl")]
)
def test_files_of_the_users_are_not_overwritten(
    run: Run, model: Path, folder: Path, tmp_path: Path, kind: str, name: str
) -> None:
    place = tmp_path / "mine"
    place.mkdir()
    shutil.copy(folder / "b one.jpg", place / "f.jpg")
    (place / name).write_text("by hand")
    code, _, err = run("detect", place / "f.jpg", "-m", model, "--out", place, "--format", kind, "--draw")
    assert code == 1 and f"{place / name} is there already" in err and err.count("\n") == 1
    assert (place / name).read_text() == "by hand" and {path.name for path in place.iterdir()} == {"f.jpg", name}


def test_a_photo_that_is_new_does_not_overwrite_either(
    run: Run, model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "mine"
    place.mkdir()
    options = ("detect", place, "-m", model, "--out", place, "--format", "pts")
    shutil.copy(folder / "b one.jpg", place / "f.jpg")
    assert run(*options)[0] == 0
    (place / "f.pts").write_text("corrected by hand")
    shutil.copy(folder / "b one.jpg", place / "g.jpg")
    assert run(*options)[0] == 0 and (place / "g.pts").exists()
    assert (place / "f.pts").read_text() == "corrected by hand"
    shutil.copy(folder / "b one.jpg", place / "h.jpg")
    (place / "h.pts").write_text("by hand")
    assert run(*options)[0] == 1 and (place / "h.pts").read_text() == "by hand"
    monkeypatch.setattr(batch, "_refuse_unknown_files", lambda *_: None)  # as if the file came while we were at work
    assert run(*options)[0] == 0 and (place / "h.pts").read_text() == "by hand"


def test_a_second_run_skips_what_is_done(
    run: Run, model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facekd import images

    read: list[str] = []
    true_read = images.read_image
    monkeypatch.setattr(images, "read_image", lambda photo, **_: read.append(Path(photo).name) or true_read(photo))
    options = ("-m", model, "--out", tmp_path / "out")
    run("detect", folder / "b one.jpg", *options)
    read.clear()
    run("detect", folder, *options, "--format", "jsonl")
    assert sorted(read) == ["a bad.jpg", "none.jpg", "two.png"]
    read.clear()
    run("detect", folder, *options, "--format", "csv")
    assert read == ["a bad.jpg"]  # what failed is tried again
    lines = (tmp_path / "out" / "landmarks.jsonl").read_text(encoding="utf-8").splitlines()
    assert faces([json.loads(line) for line in lines]) == EXPECTED


def test_results_of_other_settings_are_not_mixed(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    options = ("detect", folder / "b one.jpg", "-m", model, "--out", tmp_path / "out")
    assert run(*options)[0] == 0
    code, _, err = run(*options, "--min-score", "0.5")
    assert code == 1 and "choose another folder" in err


def test_the_largest_face_alone(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    two = json.loads(run("detect", model, folder / "déjà")[1])[0]["faces"]
    (one,) = json.loads(run("detect", model, folder / "déjà", "--max-faces", 1)[1])[0]["faces"]
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (face["box"] for face in two)]
    assert len(two) == 2 and one["box"] == two[int(np.argmax(areas))]["box"]
    assert run("detect", model, folder / "déjà", "--out", tmp_path / "out", "--max-faces", 1)[0] == 0
    assert "choose another folder" in run("detect", model, folder / "déjà", "--out", tmp_path / "out")[2]


def test_points_of_another_mark_up(run: Run, model: Path, folder: Path) -> None:
    (same,), (five,) = (
        json.loads(run("detect", folder / "b one.jpg", "-m", model, *options)[1])[0]["faces"]
        for options in ((), ("--markup", "five5"))
    )
    assert len(five["points"]) == 5 and five["pose"] == same["pose"] is not None


@pytest.mark.parametrize("command", ["detect", "prepare"])
def test_help_lists_the_mark_ups(run: Run, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run(command, "--help")
    assert code == 0 and [name for name in MARKUPS if name not in out] == []


def test_files_that_are_no_photos_are_counted_and_named(run: Run, model: Path, folder: Path) -> None:
    """Hidden files, and the results of an earlier run among the photos, are none of them."""
    (folder / "a bad.jpg").unlink()
    for name in ("notes.txt", "déjà/film.mp4", ".hidden"):
        (folder / name).touch()
    options = ("detect", folder, "-m", model, "--out", folder, "--draw", "--format")
    for kind in ("json", "pts", "csv", "jsonl"):
        code, _, err = run(*options, kind)
        assert code == 0 and "3 photos, 3 faces" in err
        assert f"skipped 2 files that are no photos: {folder / 'déjà/film.mp4'}, {folder / 'notes.txt'}\n" in err
    for number in range(9):
        (folder / f"n{number}.txt").touch()
    assert f"skipped 11 files that are no photos: {folder / 'déjà/film.mp4'}, " in run(*options, "json")[2]
    assert f"{folder / 'n3.txt'} and 6 more\n" in run(*options, "json")[2]
    assert "skipped" not in run("detect", folder / "none.jpg", "-m", model)[2]


def test_home_folder_in_quotes(
    run: Run, model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell leaves "~" as it is within quotes, which a pattern is to have."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    _, out, _ = run("detect", "~/my photos/b*.jpg", "-m", f"~/{model.name}")
    assert faces(json.loads(out)) == {"b one.jpg": 1}
    assert run("detect", "~/my photos/none.jpg", "-m", model, "--out", "~/found")[0] == 0
    assert (tmp_path / "found" / "none.json").exists()


def test_a_mark_up_that_cannot_be_is_told_before_anything_is_written(
    run: Run, model: Path, folder: Path, tmp_path: Path
) -> None:
    options = ("detect", folder / "none.jpg", "-m", model, "--out", tmp_path / "out")
    code, _, err = run(*options, "--markup", "wflw98")
    assert code == 1 and "cannot become" in err and err.count("\n") == 1
    assert run(*options)[0] == 0


def test_drawings_alone_are_no_photos(run: Run, model: Path, folder: Path) -> None:
    shutil.copy(folder / "b one.jpg", folder / "x.landmarks.jpg")
    code, out, err = run("detect", folder / "x.landmarks.jpg", "-m", model)
    assert code == 1 and out == "" and "holds only drawings" in err and err.count("\n") == 1
    assert len(json.loads(run("detect", f"{folder}/*.jpg", "-m", model)[1])) == 3


def test_a_folder_that_cannot_be_made_is_one_sentence(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "res.json").write_text("mine")
    code, _, err = run("detect", SAMPLE, "-m", model, "--out", tmp_path / "res.json")
    assert code == 1 and f"{tmp_path / 'res.json'} cannot be used: File exists" in err and err.count("\n") == 1


def test_bad_arguments_go_on_with_the_rest(run: Run, model: Path, folder: Path) -> None:
    empty = folder / "empty"
    empty.mkdir()
    code, out, err = run("detect", "-m", model, folder / "no.jpg", empty, f"{folder}/*.bmp", f"{folder}/b*.jpg")
    assert code == 1 and [len(record.get("faces", "")) for record in json.loads(out)] == [0, 0, 0, 1]
    for sentence in ("No such file", "holds no photo", "no file matches"):
        assert sentence in err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--format", "jsn"], "did you mean 'json'"),
        (["--draw"], "give --out"),
        (["--format", "pts"], "give --out"),
        (["--model", "facekd-99"], "no model 'facekd-99'"),
        (["--model", "no.onnx"], "no model 'no.onnx'"),
        (["--provider", "abacus"], "no provider 'abacus'"),
        (["--markup", "ibug86"], "no mark-up 'ibug86'"),
    ],
)
def test_wrong_options_are_one_sentence(run: Run, model: Path, options: list[str], sentence: str) -> None:
    code, _, err = run("detect", SAMPLE, *([] if "--model" in options else ["--model", model]), *options)
    assert code == 1 and sentence in err and err.count("\n") == 1


def test_no_photo_is_a_usage_error(run: Run) -> None:
    assert run("detect")[0] == 2


def test_damaged_model_is_one_sentence(run: Run, model: Path) -> None:
    model.write_bytes(model.read_bytes()[:-9])
    code, _, err = run("detect", SAMPLE, "-m", model)
    assert code == 1 and "not the file its card describes" in err


@pytest.mark.skipif(os.name == "nt", reason="no other process can press Ctrl-C there")
@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done(model: Path, tmp_path: Path) -> None:
    for index in range(6):
        shutil.copy(SAMPLE, tmp_path / f"{index}.jpg")
    command = ["detect", tmp_path, "-m", model, "--out", tmp_path / "out", "--format", "jsonl"]
    with held("facekd", *command, at="facekd.runtime.results:ResumeLog.add", count=3) as process:
        process.interrupt()
        code, _, err = process.finish()
    assert code == 130 and "goes on from here" in err and "Traceback" not in err
    settings, *done = map(json.loads, (tmp_path / "out" / "facekd.jsonl").read_text().splitlines())
    assert "settings" in settings and [record["name"] for record in done] == ["0", "1", "2"]
    assert os.listdir(tmp_path / "out") == ["facekd.jsonl"]


def test_models_are_listed_and_verified(
    run: Run, make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from facekd.runtime import names

    path = make_model("tiny-68", markup=IBUG68)
    monkeypatch.setattr(names, "_BUNDLED", path.parent)
    code, out, _ = run("models")
    assert code == 0 and "tiny-68: 68 points (ibug68)" in out and out.count("verified") == 2
    path.write_bytes(b"damaged")
    code, out, _ = run("models")
    assert code == 1 and "not the file its card describes" in out


def test_demo(run: Run, model: Path, tmp_path: Path) -> None:
    code, out, _ = run("demo", "-m", model, "--out", tmp_path / "demo")
    assert code == 0 and "6 faces" in out
    assert len(json.loads((tmp_path / "demo" / "sample.json").read_text())) == 6
    assert Image.open(tmp_path / "demo" / "sample.landmarks.jpg").size == Image.open(SAMPLE).size


def test_import_is_light() -> None:
    code = (
        "import sys, facekd; facekd.Landmarker; import facekd.cli; facekd.cli.build();"
        "print([m for m in ('torch', 'pyarrow', 'pydantic', 'matplotlib', 'timm', 'lightning_fabric', 'scipy')"
        " if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.skipif(os.name == "nt", reason="no locks there")
@pytest.mark.slow
def test_of_two_processes_one_works_and_the_other_leaves(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    command = ["detect", folder, "-m", model, "--out", tmp_path / "out"]
    with held("facekd", *command, at="facekd.runtime.results:ResumeLog.add", count=2) as process:
        code, printed, err = run(*command)
        assert (code, printed) == (1, "") and err.count("\n") == 1
        assert f"another process is writing {tmp_path / 'out'}; wait until it has ended" in err
        process.release()
        assert process.finish()[0] == 1  # of a bad photo
    assert run(*command)[2].endswith("4 photos, 3 faces, 1 failed\n")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "b one.json",
        "déjà",
        "facekd.jsonl",
        "none.json",
    ]
