"""Named, resumed results as a library feature; tests/cli/test_detect_command.py has the same through the command."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekd.drawing import draw
from facekd.errors import InputError
from facekd.markup import COFW29, FIVE, IBUG68
from facekd.pts import read_pts
from facekd.runtime import results
from facekd.runtime.batch import PhotoBatch, Summary, detect_files
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.results import RecordWriter


class Finder:
    """Finds one face in bright photos, and counts how many photos it was given."""

    def __init__(self) -> None:
        self.calls = 0

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.calls += 1
        found = int(image.max() > 100)
        return np.array([[10, 10, 50, 50]] * found, np.float32).reshape(-1, 4), np.ones(found, np.float32)


@pytest.fixture
def landmarker(make_model: Callable[..., Path]) -> Landmarker:
    offsets = np.random.default_rng(0).uniform(-9, 9, (68, 2))
    return Landmarker(make_model(markup=IBUG68, offsets=offsets), Finder(), threads=1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with a face, an empty photo below it, and one that is damaged."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    Image.new("RGB", (60, 60), (200, 200, 200)).save(folder / "a.png")
    Image.new("RGB", (60, 60)).save(folder / "below" / "b.png")
    (folder / "c.png").write_bytes(b"no photo")
    return folder


def test_a_folder_becomes_named_results_once(landmarker: Landmarker, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for calls in (2, 2):  # the second run finds all done, but for what failed, which no detector sees
        assert detect_files([photos], landmarker, out, draw=draw) == Summary(photos=3, faces=1, failed=1)
        assert landmarker.detector.calls == calls
    names = {path.relative_to(out).as_posix() for path in out.rglob("*.*")}
    assert names == {"facekd.jsonl", "a.json", "a.landmarks.jpg", "below/b.json", "below/b.landmarks.jpg"}
    assert len(json.loads((out / "a.json").read_text())["faces"][0]["points"]) == 68


def test_each_photo_is_told_in_order_and_nothing_is_written_without_a_folder(
    landmarker: Landmarker, photos: Path, tmp_path: Path
) -> None:
    batch = PhotoBatch([photos, photos / "a.png"], landmarker, markup=FIVE)
    results = list(batch.run())
    assert len(batch) == 3 and [result.photo.name for result in results] == ["a.png", "b.png", "c.png"]
    assert [result.faces for result in results] == [1, 0, 0]
    assert [bool(result.error) for result in results] == [False, False, True]
    assert len(results[0].record["faces"][0]["points"]) == 5 and results[0].record["markup"] == "five5"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "tiny.json", "tiny.onnx"]


def test_one_path_is_a_list_of_one(landmarker: Landmarker, photos: Path) -> None:
    for one in (photos / "a.png", str(photos / "a.png")):
        (result,) = PhotoBatch(one, landmarker).run()
        assert result.photo == photos / "a.png" and not result.error


@pytest.mark.parametrize(
    ("given", "settings", "why"),
    [([], {}, "no photos were given"), (["a.png"], {"max_faces": 0}, "max_faces must be 1 or more, got 0")],
)
def test_what_finds_no_face_is_refused_before_it_runs(
    landmarker: Landmarker, tmp_path: Path, given: list[str], settings: dict[str, int], why: str
) -> None:
    with pytest.raises(InputError, match=f"^{why}"):
        PhotoBatch(given, landmarker, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_a_stopped_run_keeps_what_is_done(landmarker: Landmarker, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with closing(PhotoBatch([photos], landmarker, out, format="jsonl").run()) as results:
        assert next(results).faces == 1
    assert [path.name for path in out.iterdir()] == ["facekd.jsonl"]  # no half landmarks.jsonl
    landmarker.detector.calls = 0
    detect_files([photos], landmarker, out, format="jsonl")
    assert landmarker.detector.calls == 1
    assert len((out / "landmarks.jsonl").read_text().splitlines()) == 3


def test_pts_and_csv(landmarker: Landmarker, photos: Path, tmp_path: Path) -> None:
    detect_files([photos / "a.png"], landmarker, tmp_path / "pts", format="pts")
    detect_files([photos / "a.png"], landmarker, tmp_path / "csv", format="csv")
    (row,) = csv.DictReader(io.StringIO((tmp_path / "csv" / "landmarks.csv").read_text()))
    points = read_pts(tmp_path / "pts" / "a.pts")
    assert row["photo"].endswith("a.png") and float(row["x67"]) == pytest.approx(points[67, 0], abs=0.01)


def test_results_of_other_settings_are_not_mixed(
    landmarker: Landmarker, make_model: Callable[..., Path], photos: Path, tmp_path: Path
) -> None:
    """The network and mark-up are told apart even when the caller names no settings."""
    detect_files([photos / "a.png"], landmarker, tmp_path / "out")
    with pytest.raises(InputError, match="choose another folder"):
        detect_files([photos / "a.png"], landmarker, tmp_path / "out", markup=FIVE)
    other = Landmarker(make_model("other", markup=IBUG68), Finder(), threads=1)
    with pytest.raises(InputError, match="choose another folder"):
        detect_files([photos / "a.png"], other, tmp_path / "out")


def test_what_cannot_be_is_told_before_anything_is_written(
    landmarker: Landmarker, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="no format 'jsn' of results; did you mean 'json'"):
        PhotoBatch([photos], landmarker, out, format="jsn")
    with pytest.raises(InputError, match="drawings are files"):
        PhotoBatch([photos], landmarker, draw=draw)
    with pytest.raises(InputError, match="cannot become 'cofw29'"):
        PhotoBatch([photos], landmarker, out, markup=COFW29)
    with pytest.raises(InputError, match="no file matches"):
        next(detect_error(PhotoBatch([f"{photos}/*.bmp"], landmarker, out)))
    assert not out.exists()
    out.mkdir()
    (out / "a.json").write_text("by hand")
    with pytest.raises(InputError, match=r"a\.json is there already"):
        PhotoBatch([photos], landmarker, out)
    assert (out / "a.json").read_text() == "by hand"


@pytest.mark.parametrize("legible", [True, False])
def test_a_damaged_line_of_the_log_replaces_no_file_of_the_user(
    landmarker: Landmarker, photos: Path, tmp_path: Path, legible: bool
) -> None:
    """What a line still names is known; beside other files a photo's results get a name of their own."""
    out = tmp_path / "out"
    detect_files([photos / "a.png", photos / "below"], landmarker, out)
    settings, first, second = (out / "facekd.jsonl").read_bytes().splitlines(keepends=True)
    damaged = first.replace(b'"faces": [', b'"faces": [[') if legible else b"#" * (len(first) - 1) + b"\n"
    (out / "facekd.jsonl").write_bytes(settings + damaged + second)
    (out / "a.json").write_text("perhaps by hand")
    Image.new("RGB", (60, 60), (150, 150, 150)).save(photos / "d.png")
    (out / "d.json").write_text("by hand")
    summary = detect_files([photos / "a.png", photos / "d.png", photos / "below"], landmarker, out)
    assert (summary.photos, summary.failed) == (3, 0) and (out / "d.json").read_text() == "by hand"
    assert ((out / "a.json").read_text() == "perhaps by hand") is not legible
    written = {True: "a.json", False: "a-2.json"}[legible]
    assert json.loads((out / written).read_text())["photo"].endswith("a.png")
    assert json.loads((out / "d-2.json").read_text())["photo"].endswith("d.png")
    calls = landmarker.detector.calls
    detect_files([photos / "a.png", photos / "d.png", photos / "below"], landmarker, out)
    assert landmarker.detector.calls == calls  # all is known again


def detect_error(batch: PhotoBatch):  # type: ignore[no-untyped-def]
    """Raise the first error of a batch that writes nothing."""
    batch.out = None
    for result in batch.run():
        if result.error:
            raise InputError(result.error)
        yield result


def test_a_json_array_is_whole_whatever_its_length() -> None:
    for records in ([], [{"a": 1}], [{"a": 1}, {"b": [2]}]):
        text = io.StringIO()
        writer = RecordWriter(text, "json", FIVE)
        for record in records:
            writer.write(record)
        writer.close()
        assert json.loads(text.getvalue()) == records
    with pytest.raises(InputError, match="did you mean 'jsonl'"):
        RecordWriter(io.StringIO(), "jsonnl", FIVE)


def test_results_that_came_while_photos_were_found_keep_their_names(
    landmarker: Landmarker, photos: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (60, 60), (200, 200, 200)).save(other / "a.png")
    late = PhotoBatch([photos / "a.png"], landmarker, tmp_path / "out")
    detect_files([other], landmarker, tmp_path / "out")
    for _ in range(2):
        (result,) = late.run()
    assert (result.faces, sorted(path.name for path in (tmp_path / "out").iterdir())) == (
        1,
        ["a-2.json", "a.json", "facekd.jsonl"],
    )
    assert json.loads((tmp_path / "out" / "a.json").read_text())["photo"] == str(other / "a.png")


@pytest.mark.skipif(os.name == "nt", reason="no locks there")
def test_two_runs_do_not_write_into_one_folder(landmarker: Landmarker, photos: Path, tmp_path: Path) -> None:
    with closing(PhotoBatch([photos], landmarker, tmp_path / "out").run()) as first:
        next(first)
        with pytest.raises(InputError, match="another process is writing"):
            next(PhotoBatch([photos], landmarker, tmp_path / "out").run())
    assert detect_files([photos], landmarker, tmp_path / "out").photos == 3


def test_a_large_folder_gives_its_first_result_at_once_and_memory_stays_flat(
    landmarker: Landmarker, tmp_path: Path
) -> None:
    Image.new("RGB", (60, 60), (200, 200, 200)).save(tmp_path / "0.png")  # 10,800 bytes of pixels
    for index in range(1, 300):
        os.link(tmp_path / "0.png", tmp_path / f"{index}.png")
    tracemalloc.start()
    try:
        with closing(PhotoBatch([tmp_path / "*.png"], landmarker, tmp_path / "out", format="jsonl").run()) as results:
            next(results)
            assert landmarker.detector.calls < 40  # a batch and what is read ahead
            kept = {}
            for index, result in enumerate(results, start=2):
                assert result.faces == 1
                del result
                kept[index], _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert index == 300 and kept[299] - kept[100] < 100_000


def test_a_resumed_folder_reads_each_line_of_its_log_once(
    landmarker: Landmarker, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is most of what comes before the first result of a large folder."""
    detect_files([photos], landmarker, tmp_path / "out")
    log, lines, parse = tmp_path / "out" / "facekd.jsonl", [], results.parse_json
    monkeypatch.setattr(results, "parse_json", lambda line, where: lines.append(line) or parse(line, where))
    assert detect_files([photos], landmarker, tmp_path / "out").photos == 3
    assert lines == log.read_bytes().splitlines(keepends=True)


def test_a_log_whose_last_line_has_lost_its_end_keeps_the_names(
    landmarker: Landmarker, photos: Path, tmp_path: Path
) -> None:
    """As an editor leaves it; the photo is looked at again, and its results are its own."""
    detect_files([photos], landmarker, tmp_path / "out")
    log = tmp_path / "out" / "facekd.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole[:-1])
    assert detect_files([photos], landmarker, tmp_path / "out").photos == 3
    assert log.read_bytes() == whole


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no such names")
@pytest.mark.parametrize("format", ["json", "jsonl", "csv", "pts"])
def test_names_of_any_bytes_and_what_is_no_file(format: str, landmarker: Landmarker, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "x.jpg").mkdir(parents=True)  # a folder of such a name holds photos like any other
    names = ["a\nb.png", os.fsdecode(b"b\xff.png"), "<script>.png", "x.jpg/in.png"]
    for name in names:
        Image.new("RGB", (60, 60), (200, 200, 200)).save(folder / name)
    os.mkfifo(folder / "fifo.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "back").symlink_to(".")
    for _ in range(2):
        summary = detect_files([folder], landmarker, tmp_path / "out", format=format, draw=draw)
        assert summary == Summary(photos=6, faces=4, failed=2)
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.jpg")}
    assert written - {"x.jpg"} == {name.replace(".png", ".landmarks.jpg") for name in names}
    if format == "jsonl":
        lines = (tmp_path / "out" / "landmarks.jsonl").read_text().splitlines()
        assert {json.loads(line)["photo"] for line in lines} >= {str(folder / name) for name in names}
    if format == "csv":
        text = (tmp_path / "out" / "landmarks.csv").read_text(errors="surrogateescape")
        assert {row["photo"] for row in csv.DictReader(io.StringIO(text))} >= {str(folder / name) for name in names}
