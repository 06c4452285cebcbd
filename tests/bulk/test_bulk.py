"""Bulk runs: a row for every photo, exact after any kill, the same faces as Python's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

import facekd
from facekd import results
from facekd.bulk.actor import PartWriter, WorkerSettings, encode_part
from facekd.bulk.run import BulkRun
from facekd.bulk.sources import find_parts

LITE = "facekd-68-lite"
_LONGEST = 200  # seconds: no test waits for them, but one that fails


def rows(out: Path) -> list[dict]:
    return pyarrow.dataset.dataset(out).to_table().to_pylist()


def write_all(photos: Path, out: Path, **settings: object) -> None:
    """Process the parts of a source without Ray."""
    with BulkRun(WorkerSettings(str(photos), str(out), LITE, **settings), part=3) as run:
        writer = PartWriter(run.settings)
        for number, part in run.parts.items():
            writer({"number": np.array([number]), "part": np.array([encode_part(part)])})


def check(out: Path, photos: Path, copies: int = 1) -> None:
    """Check that each photo has its rows, once, with Python's faces."""
    found = list(results.read(str(out)))
    landmarker = facekd.Landmarker(LITE, threads=1)
    assert len(found) == len({each.photo for each in found}) == 8 * copies
    for each in found:
        if each.photo.endswith("none.jpg"):
            assert "is no image" in each.error and each.faces == [] and each.width is None
            continue
        expected = landmarker.detect(each.photo)
        assert len(each.faces) == len(expected) == (0 if each.photo.endswith("grey.png") else 1)
        assert each.error == "" and each.width == (64 if each.photo.endswith("grey.png") else 320)
        for face, other in zip(each.faces, expected, strict=True):
            np.testing.assert_allclose(face.points, other.points, atol=0.011)
            np.testing.assert_allclose(face.confidence, other.confidence, atol=2e-4)
            assert face.pose.yaw == pytest.approx(other.pose.yaw, abs=0.2)
            assert face.face_confidence == pytest.approx(other.face_confidence, abs=1e-4)


def test_a_row_for_every_face_and_every_photo_without_one(photos: Path, tmp_path: Path) -> None:
    write_all(photos, tmp_path)
    check(tmp_path, photos)
    table = rows(tmp_path)
    assert Counter(row["face"] for row in table) == {0: 6, None: 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "_facekd.json",
        "_parts.jsonl",
        *(f"part-{i:06d}.parquet" for i in range(3)),
    ]


def test_points_in_another_mark_up_keep_the_pose(photos: Path, tmp_path: Path) -> None:
    write_all(photos, tmp_path, markup="five5", max_faces=1)
    faces = [face for each in results.read(str(tmp_path)) for face in each.faces]
    assert len(faces) == 6 and all(len(face.points) == 5 and face.pose is not None for face in faces)


def test_what_is_done_is_not_done_again_and_other_settings_are_refused(photos: Path, tmp_path: Path) -> None:
    settings = WorkerSettings(str(photos), str(tmp_path), LITE)
    write_all(photos, tmp_path)
    (tmp_path / "part-000001.parquet").unlink()
    (tmp_path / ".part-000001.parquet.0123").write_bytes(b"half")  # of a killed worker
    with BulkRun(settings, part=3) as run:
        pass
    assert list(run.parts) == [1] and run.known == 2 and not list(tmp_path.glob(".part*"))
    assert list(run.parts.values()) == list(find_parts(str(photos), 3))[1:2]
    with pytest.raises(facekd.InputError, match=r"holds results of .*choose another folder"):
        BulkRun(WorkerSettings(str(photos), str(tmp_path), LITE, min_score=0.5))
    with pytest.raises(facekd.InputError, match="cannot become"):
        BulkRun(WorkerSettings(str(photos), str(tmp_path / "new"), LITE, markup="wflw98"))


def test_a_network_for_given_boxes_alone_is_refused(photos: Path, tmp_path: Path, make_model) -> None:
    with pytest.raises(facekd.ModelError, match="no transform for a face detector"):
        BulkRun(WorkerSettings(str(photos), str(tmp_path / "new"), str(make_model(box_transform=None))))


def test_files_of_something_else_are_left_alone(photos: Path, tmp_path: Path) -> None:
    pq.write_table(pyarrow.table({"a": [1]}), tmp_path / "part-000000.parquet")
    with pytest.raises(facekd.InputError, match="something else"):
        BulkRun(WorkerSettings(str(photos), str(tmp_path), LITE))
    with pytest.raises(facekd.InputError, match="not written by facekd bulk"):
        list(results.read(str(tmp_path)))
    with pytest.raises(facekd.InputError, match="no results"):
        list(results.read(str(tmp_path / "empty")))


@pytest.fixture(scope="module")
def many(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos 24 times: three parts."""
    folder = tmp_path_factory.mktemp("many")
    for index in range(24):
        (folder / str(index)).symlink_to(photos, target_is_directory=True)
    return folder


def start(source: Path, out: Path, home: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "facekd.cli", "bulk", str(source), str(out), "--model", LITE, "--workers", "2"]
    return subprocess.Popen(command, env={**os.environ, "HOME": str(home)}, stderr=subprocess.PIPE, text=True)


def until_a_part_is_there(out: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + _LONGEST
    while not list(out.glob("part-*.parquet")):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)


def workers_of(pid: int) -> list[int]:
    """The processes of a driver's workers, those of other programs left out."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = path.read_text().rsplit(")", 1)
        except OSError:
            continue
        parents[int(path.parent.name)] = (int(rest.split()[1]), name)

    def below(child: int) -> bool:
        while child in parents and child != pid:
            child = parents[child][0]
        return child == pid

    return [each for each, (_, name) in parents.items() if "ray::MapWorker" in name and below(each)]


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are found in /proc")


@linux
@pytest.mark.slow
def test_exact_after_sigkill_of_a_worker_and_nothing_in_the_home(many: Path, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    out, home = tmp_path / "out", tmp_path / "home"
    home.mkdir()
    with start(many, out, home) as process:
        until_a_part_is_there(out, process)
        (worker, *_) = workers_of(process.pid)
        os.kill(worker, signal.SIGKILL)
        _, said = process.communicate(timeout=_LONGEST)
    assert process.returncode == 0 and said.splitlines()[-1] == "192 photos, 144 faces, 24 failed"
    assert "Traceback" not in said and len(said.splitlines()) <= 2, said  # Ray says which log level it has
    check(out, photos, 24)
    assert list(home.iterdir()) == []


@linux
@pytest.mark.slow
def test_exact_after_sigkill_of_the_driver(many: Path, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    out = tmp_path / "out"
    with start(many, out, tmp_path) as process:
        until_a_part_is_there(out, process)
        process.kill()
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*.parquet")}
    with start(many, out, tmp_path) as process:
        _, said = process.communicate(timeout=_LONGEST)
    assert process.returncode == 0 and "parts are done" in said
    check(out, photos, 24)
    assert all((out / name).stat().st_mtime_ns == time for name, time in kept.items())
    assert json.loads((out / "_facekd.json").read_text())["markup"] == "ibug68"


def test_results_have_one_writer(photos: Path, tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("no locks on this system")
    settings = WorkerSettings(str(photos), str(tmp_path), LITE)
    with BulkRun(settings, part=3), pytest.raises(facekd.InputError, match="another process is writing"):
        BulkRun(settings, part=3)
    with pytest.raises(facekd.InputError, match="choose another folder"):
        BulkRun(WorkerSettings(str(photos), str(tmp_path), LITE, min_score=0.5))
    with BulkRun(settings, part=3) as run:
        assert len(run.parts) == 3
