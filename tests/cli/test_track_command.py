"""facekd track, on a video made of the sample picture."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import facekd
from facekd.cli import main
from facekd.files import claim
from facekd.markup import FIVE
from facekd.runtime.tracking import TrackedFace, Tracker
from facekd.runtime.video import Video, VideoWriter
from processes import held

SAMPLE = Path(facekd.__file__).parent / "weights" / "sample.jpg"
OFFSETS = np.array([[-14, -14], [14, -14], [0, 0], [-14, 14], [14, 14]], np.float64)


@pytest.fixture
def model(make_model: Callable[..., Path]) -> Path:
    return make_model(markup=FIVE, offsets=OFFSETS, scale=1.1)


def pan(path: Path, frames: int) -> Path:
    """Write a video in which one face of the sample picture moves slowly."""
    face = np.asarray(Image.open(SAMPLE).crop((0, 0, 320, 320)))
    writer = VideoWriter(path, 25, (240, 280))
    for index in range(frames):
        writer.add(face[20:300, index % 60 : index % 60 + 240])
    writer.close()
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["facekd", "track", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_jsonl_and_overlay(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = pan(tmp_path / "a face.mp4", 12)
    assert run(monkeypatch, source, "-m", model, "--out", tmp_path / "out") == 0
    lines = [json.loads(line) for line in (tmp_path / "out" / "a face.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(12)) and lines[5]["time"] == 0.2
    assert all([face["id"] for face in line["faces"]] == [0] for line in lines)
    drawn = tmp_path / "out" / "a face.landmarks.mp4"
    before, after = (next(iter(Video(path)))[1] for path in (source, drawn))
    assert Video(drawn).count == 12 and np.abs(before.astype(int) - after).max() > 100


def test_csv_without_a_picture(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = pan(tmp_path / "a.mp4", 6)
    options = ("--format", "csv", "--no-video", "--no-smooth", "--frames", "4")
    assert run(monkeypatch, source, "-m", model, "--out", tmp_path / "out", *options) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "a.csv").read_text().splitlines()))
    assert [(row["frame"], row["id"]) for row in rows] == [(str(index), "0") for index in range(4)]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.csv"]


def frames_of(folder: Path, count: int) -> Path:
    """Write the frames of such a video; the face moves one pixel to the left from each to the next."""
    folder.mkdir()
    face = Image.open(SAMPLE).crop((0, 0, 320, 320))
    for index in range(count):
        face.crop((index, 20, index + 240, 300)).save(folder / f"frame{index}.png")
    return folder


def test_a_folder_of_frames(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = frames_of(tmp_path / "my frames.v2", 12)
    (folder / "notes.txt").write_text("")
    assert run(monkeypatch, folder, "-m", model, "--out", tmp_path / "out", "--fps", "5", "--no-smooth") == 0
    assert f"skipped 1 files that are no photos: {folder / 'notes.txt'}" in capsys.readouterr().err
    lines = [json.loads(line) for line in (tmp_path / "out" / "my frames.v2.jsonl").read_text().splitlines()]
    assert [(line["frame"], line["time"]) for line in lines] == [(index, index / 5) for index in range(12)]
    assert all([face["id"] for face in line["faces"]] == [0] for line in lines)
    drawn = Video(tmp_path / "out" / "my frames.v2.landmarks.mp4")
    assert (drawn.count, drawn.fps, drawn.size) == (12, 5, (240, 280))


def test_a_bad_frame_is_told_and_the_rest_go_on(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = frames_of(tmp_path / "frames", 5)
    (folder / "frame2.png").write_bytes(b"damaged")
    Image.new("RGB", (240, 280)).save(folder / "frame4.png")  # no face
    options = ("-m", model, "--format", "csv", "--out", tmp_path / "out")
    assert run(monkeypatch, folder, *options) == 1
    out, err = capsys.readouterr()
    assert "frame2.png is no image" in err and "5 frames, 1 faces" in out and "1 frames failed" in out
    rows = list(csv.DictReader((tmp_path / "out" / "frames.csv").read_text().splitlines()))
    assert [(row["frame"], row["id"], row["error"] != "") for row in rows] == [
        *[("0", "0", False), ("1", "0", False), ("2", "", True), ("3", "0", False), ("4", "", False)]
    ]
    times = [seconds for seconds, _ in Video(tmp_path / "out" / "frames.landmarks.mp4")]
    np.testing.assert_allclose(times, np.array([0, 1, 3, 4]) / 30, atol=1e-3)  # frame 1 is shown for twice as long


def test_fps_is_for_folders(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, pan(tmp_path / "a.mp4", 4), "-m", model, "--out", tmp_path, "--fps", "5") == 1
    assert "--fps is for a folder of frames" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".jsonl"] == []


def test_nothing_is_overwritten(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = pan(tmp_path / "a.mp4", 4)
    video = source.read_bytes()
    assert run(monkeypatch, source, "-m", model, "--out", tmp_path) == 0
    assert source.read_bytes() == video and (tmp_path / "a.landmarks.mp4").exists()
    (tmp_path / "b").mkdir()
    other, lines = pan(tmp_path / "b" / "a.mp4", 6), (tmp_path / "a.jsonl").read_bytes()
    capsys.readouterr()
    assert run(monkeypatch, other, "-m", model, "--out", tmp_path) == 1
    err = capsys.readouterr().err
    assert "a.jsonl is there already" in err and err.count("\n") == 1
    assert (tmp_path / "a.jsonl").read_bytes() == lines


@pytest.mark.parametrize(("source", "sentence"), [("no.mp4", "no video no.mp4"), ("97", "camera 97 gives no picture")])
def test_wrong_sources_are_one_sentence(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], source: str, sentence: str
) -> None:
    assert run(monkeypatch, source, "-m", model) == 1
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="no other process can press Ctrl-C there")
@pytest.mark.slow
def test_ctrl_c_leaves_whole_files(model: Path, tmp_path: Path) -> None:
    source, out = pan(tmp_path / "long.mp4", 40), tmp_path / "out"
    point = "facekd.runtime.tracking:Tracker.update"
    with held("facekd", "track", source, "-m", model, "--out", out, at=point, count=12) as process:
        process.interrupt()
        code, printed, err = process.finish()
    assert code == 0 and "Traceback" not in err and "results are in" in printed
    lines = [json.loads(line) for line in (out / "long.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(12)) and Video(out / "long.landmarks.mp4").count == 12
    assert sorted(path.name for path in out.iterdir()) == ["long.jsonl", "long.landmarks.mp4"]


@pytest.mark.skipif(os.name == "nt", reason="no locks there")
def test_of_two_processes_one_follows(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = pan(tmp_path / "a.mp4", 2), tmp_path / "out"
    for name in ("a.jsonl", "a.landmarks.mp4"):  # a film may be drawn beside another table
        with claim(out / name):
            assert run(monkeypatch, source, "-m", model, "--out", out) == 1
            assert f"another process is writing {out / name};" in capsys.readouterr().err
        assert list(out.iterdir()) == []

    def follow(self: Tracker, frame: np.ndarray, time: float) -> list[TrackedFace]:
        pytest.fail("it follows what is there already")

    def other_ends(*arguments: object) -> Video:
        out.mkdir(exist_ok=True)
        (out / "a.jsonl").write_text("the other's")
        return Video(source)

    monkeypatch.setattr(Tracker, "update", follow)
    monkeypatch.setattr("facekd.runtime.video.Video", other_ends)
    assert run(monkeypatch, source, "-m", model, "--out", out) == 1
    assert "a.jsonl is there already" in capsys.readouterr().err
    assert (out / "a.jsonl").read_text() == "the other's" and len(list(out.iterdir())) == 1
    with claim(out / "a.jsonl"):
        (left,) = [path for path in out.iterdir() if path.name[0] == "."]
    left.touch()  # as of a process that is killed when all is written
    assert run(monkeypatch, source, "-m", model, "--out", out) == 1
    assert "a.jsonl is there already" in capsys.readouterr().err and len(list(out.iterdir())) == 1
