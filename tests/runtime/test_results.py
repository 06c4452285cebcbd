"""The resume log and the CSV format."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from facekd.documents import Fields
from facekd.errors import InputError
from facekd.markup import FIVE
from facekd.runtime.face import Face
from facekd.runtime.results import ResumeLog, check_record, csv_header, csv_rows

SETTINGS = {"model": "a", "min_score": 0.6}


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.jpg" for name in "abc"]
    for path in paths:
        path.write_bytes(b"photo")
    return paths


def test_what_is_done_is_known_next_time(tmp_path: Path, photos: list[Path]) -> None:
    first = ResumeLog(tmp_path / "out" / "facekd.jsonl", SETTINGS)
    for path in photos[:2]:
        first.add(path, {"photo": str(path), "faces": [path.name]})
    first.close()
    second = ResumeLog(tmp_path / "out" / "facekd.jsonl", SETTINGS)
    assert [path in second for path in photos] == [True, True, False]
    assert second[photos[1]] == {"photo": str(photos[1]), "faces": ["b.jpg"]}


def test_a_changed_photo_is_not_done(tmp_path: Path, photos: list[Path]) -> None:
    log = ResumeLog(tmp_path / "facekd.jsonl", SETTINGS)
    log.add(photos[0], {"photo": str(photos[0]), "faces": []})
    log.close()
    photos[0].write_bytes(b"another photo")
    assert photos[0] not in ResumeLog(tmp_path / "facekd.jsonl", SETTINGS)


@pytest.mark.parametrize("lost", [1, 30, 60])
def test_a_line_cut_by_a_kill_is_done_again(tmp_path: Path, photos: list[Path], lost: int) -> None:
    path = tmp_path / "facekd.jsonl"
    log = ResumeLog(path, SETTINGS)
    for photo in photos[:2]:
        log.add(photo, {"photo": str(photo), "faces": []})
    log.close()
    path.write_bytes(path.read_bytes()[:-lost])
    log = ResumeLog(path, SETTINGS)
    assert [photo in log for photo in photos[:2]] == [True, False]
    log.add(photos[1], {"photo": str(photos[1]), "faces": []})
    log.close()
    assert photos[1] in ResumeLog(path, SETTINGS)


def test_a_kill_within_the_first_line(tmp_path: Path, photos: list[Path]) -> None:
    (tmp_path / "facekd.jsonl").write_bytes(b'{"settings": {"mo')
    log = ResumeLog(tmp_path / "facekd.jsonl", SETTINGS)
    log.add(photos[0], {"photo": str(photos[0])})
    log.close()
    assert photos[0] in ResumeLog(tmp_path / "facekd.jsonl", SETTINGS)


@pytest.mark.parametrize(
    "damage",
    [b"{", b"\xff\xfe", b"[]", b'{"photo": 5}', b'{"photo": "x", "stamp": [1]}', b"[" * 9999],
)
def test_a_damaged_line_is_named_and_its_photo_done_again(
    tmp_path: Path, photos: list[Path], caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    path = tmp_path / "facekd.jsonl"
    log = ResumeLog(path, SETTINGS)
    for photo in photos:
        log.add(photo, {"photo": str(photo), "faces": [photo.name]})
    log.close()
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:2], damage, lines[3], b""]))
    log = ResumeLog(path, SETTINGS)
    assert [photo in log for photo in photos] == [True, False, True] and log.damaged == 1
    assert log[photos[2]]["faces"] == ["c.jpg"]
    assert [record.message.startswith(f"{path}, line 3") for record in caplog.records] == [True]
    log.add(photos[1], {"photo": str(photos[1]), "faces": ["again"]})
    log.close()
    log = ResumeLog(path, SETTINGS)
    assert log.damaged == 0 and log[photos[1]]["faces"] == ["again"]


FACE: dict = {"box": [0, 0, 9, 9], "score": 0.5, "points": [[1, 2]] * 5, "confidence": None, "pose": None}
RECORD: dict = {"photo": "a", "name": "a", "markup": "five5", "width": 9, "height": 9, "faces": [FACE]}


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../a"},
        {"name": "\0"},
        {"name": "/etc/a"},
        {"name": "C:\\a"},
        {"name": ""},
        {"faces": 5},
        {"faces": [5]},
        {"faces": [FACE | {"points": [[1, 2]] * 4}]},
        {"faces": [FACE | {"points": [[1, float("nan")]] * 5}]},
        {"faces": [FACE | {"box": [1, 2, 3]}]},
        {"faces": [FACE | {"score": "high"}]},
        {"faces": [FACE | {"confidence": [1]}]},
        {"faces": [FACE | {"pose": {"yaw": 1}}]},
        {"width": -1},
        {"markup": None},
    ],
)
def test_a_record_is_checked_before_it_is_used(change: dict) -> None:
    check_record(Fields(RECORD, "log"), 5)
    with pytest.raises(InputError, match="log: "):
        check_record(Fields(RECORD | change, "log"), 5)


@pytest.mark.parametrize("content", [b'{"settings": {"model": "b"}}\n', b"a file of the user's\n"])
def test_other_settings_and_foreign_files_are_kept(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "facekd.jsonl").write_bytes(content)
    with pytest.raises(InputError, match="choose another folder"):
        ResumeLog(tmp_path / "facekd.jsonl", SETTINGS)
    assert (tmp_path / "facekd.jsonl").read_bytes() == content


def test_csv() -> None:
    face = Face(np.array([1, 2, 3, 4]), 0.75, np.arange(10.0).reshape(5, 2), np.linspace(0, 1, 5), FIVE)
    bare = Face(face.box, 0.5, face.points, None, FIVE)
    record = {"photo": 'a, "b".jpg', "faces": [face.to_dict(), {"photo": "x", **bare.to_dict()}]}
    first, second = csv.DictReader(io.StringIO(csv_header(FIVE, "photo") + csv_rows(record, FIVE, "photo")))
    assert (first["photo"], first["score"], first["box_y1"], first["yaw"]) == ('a, "b".jpg', "0.75", "4.0", "")
    assert (first["x0"], first["y0"], first["y4"], first["confidence1"]) == ("0.0", "1.0", "9.0", "0.25")
    assert (second["photo"], second["confidence4"]) == ("x", "")
    assert (first["error"], second["error"]) == ("", "")


def test_csv_has_a_row_for_what_has_no_face() -> None:
    """So that none is taken for left out, and a photo that could not be read not for one without faces."""
    records = [{"frame": 3, "time": 0.12, "faces": []}, {"frame": 4, "time": 0.16, "error": 'photo "b, c" is damaged'}]
    text = csv_header(FIVE, "frame", "time", "id") + "".join(
        csv_rows(each, FIVE, "frame", "time", "id") for each in records
    )
    header, empty, bad = csv.reader(io.StringIO(text))
    assert header[:4] == ["frame", "time", "id", "score"] and header[-1] == "error"
    assert empty == ["3", "0.12", *[""] * (len(header) - 2)]
    assert bad == ["4", "0.16", *[""] * (len(header) - 3), 'photo "b, c" is damaged']
