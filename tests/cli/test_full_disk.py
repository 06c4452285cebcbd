"""A disk that is full in the middle of writing: one sentence, and nothing that looks whole and is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import facekd
from facekd.cli import main
from facekd.data.pack import Pack
from facekd.images import read_image
from facekd.runtime.video import VideoWriter

resource = pytest.importorskip("resource", reason="no limits on this system")
SAMPLE = Path(facekd.__file__).parent / "weights" / "sample.jpg"
LITE = ("-m", "facekd-68-lite", "--threads", 1)


@contextmanager
def full_after(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes; as of a full disk, the rest is refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def run(size: int, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["facekd", *map(str, arguments)])
    with full_after(size), pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1


def film(path: Path) -> Path:
    writer, face = VideoWriter(path, 25, (240, 280)), np.asarray(Image.open(SAMPLE).crop((0, 0, 320, 320)))
    for index in range(20):
        writer.add(face[20:300, index : index + 240])
    writer.close()
    return path


def test_detect_keeps_what_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["detect", SAMPLE, *LITE, "--out", tmp_path / "out", "--draw"]
    run(40_000, monkeypatch, *command)
    said = capsys.readouterr().err
    assert said.endswith("File too large; free some space, or give another place for the output\n")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["facekd.jsonl", "sample.json"]
    monkeypatch.setattr(sys, "argv", ["facekd", *map(str, command)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    assert read_image(tmp_path / "out" / "sample.landmarks.jpg").shape == read_image(SAMPLE).shape


@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        (40_000, "the video could not be written whole; free some space"),
        (30_000, "failed: File too large; free some space"),
    ],
)
def test_track_leaves_neither_table_nor_video(
    size: int, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(size, monkeypatch, "track", film(tmp_path / "a.mp4"), *LITE, "--out", tmp_path / "out")
    assert sentence in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_prepare_leaves_no_pack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "a.parquet"
    run(60_000, monkeypatch, "prepare", "synthetic", out, "--count", 12, "--jobs", 1)
    assert "free some space" in capsys.readouterr().err and list(out.parent.iterdir()) == []
    monkeypatch.setattr(sys, "argv", ["facekd", "prepare", "synthetic", str(out), "--count", "2", "--jobs", "1"])
    with pytest.raises(SystemExit):
        main()
    assert len(Pack.open(out)) == 2


def test_export_leaves_no_network(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(500_000, monkeypatch, "export", run_folder, tmp_path / "out" / "a.onnx", "--without-detector")
    assert capsys.readouterr().err.count("\n") == 1
    assert list((tmp_path / "out").iterdir()) == []
