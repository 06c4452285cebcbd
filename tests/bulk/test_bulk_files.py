"""A bulk run's own files, damaged: one sentence each, before any of it is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from facekd import results
from facekd.bulk.actor import METADATA, SCHEMA, WorkerSettings, decode_part, encode_part
from facekd.bulk.run import BulkRun
from facekd.bulk.sources import Part, find_parts, open_location, read_part
from facekd.errors import InputError
from facekd.markup import FIVE

FACE = {
    "photo": "a.jpg", "width": 9, "height": 9, "face": 0, "box": [0, 0, 9, 9], "score": 0.5, "points": [[1, 2]] * 5,
    "confidence": [0.5] * 5, "visible": None, "pose": {"yaw": 1, "pitch": 2, "roll": 3},
}  # fmt: skip


@pytest.fixture
def settings(make_model: Callable[..., Path], tmp_path: Path) -> WorkerSettings:
    """A run of one photo, begun and not processed."""
    (tmp_path / "src").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "src" / "a.png")
    found = WorkerSettings(str(tmp_path / "src"), str(tmp_path / "out"), str(make_model()))
    assert len(BulkRun(found).parts) == 1
    return found


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("_facekd.json", b"{", "_facekd.json is damaged, it is not JSON"),
        ("_facekd.json", b"\xff", "is no UTF-8 text"),
        ("_facekd.json", b"[]", "holds results of"),
        ("_parts.jsonl", b"\xff\n", "is no UTF-8 text"),
        ("_parts.jsonl", b'["files"]\n', "_parts.jsonl, line 1 is no part of a bulk run"),
        ("_parts.jsonl", b'["x", ["a"], 0, ""]\n', "kind must be files or parquet or tar"),
        ("_parts.jsonl", b'["files", [["a"]], 0, ""]\n', "files must be a list of at most"),
        ("_parts.jsonl", b'["files", [], 0, ""]\n', "files must be at least one path"),
        ("_parts.jsonl", b'["files", ["a"], -1, ""]\n', "group must be a whole number"),
    ],
)
def test_damaged_files_of_a_run_are_one_sentence(
    settings: WorkerSettings, name: str, content: bytes, message: str
) -> None:
    (Path(settings.out) / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        BulkRun(settings)


def test_other_names_of_parquet_files_are_no_parts(settings: WorkerSettings) -> None:
    (Path(settings.out) / "part-x.parquet").write_bytes(b"")
    assert len(BulkRun(settings).parts) == 1


def test_a_part_is_read_back() -> None:
    part = Part("parquet", ("a", "b"), 3, "jpg")
    assert decode_part(encode_part(part)) == part


def test_damaged_parquet_of_photos_is_a_row_that_says_so(tmp_path: Path) -> None:
    pq.write_table(pa.table({"jpg": pa.array([b"1", b""], pa.binary()), "key": ["x", "y"]}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"no table")
    system, _ = open_location(str(tmp_path))
    first, second = find_parts(str(tmp_path), 100)
    assert str(next(read_part(system, second))[1]).startswith(f"{tmp_path}/b.parquet is damaged")
    for changed in (replace(first, group=7), replace(first, column="png")):
        ((_, found),) = read_part(system, changed)
        assert "has not the rows of column" in str(found)
    good, empty = (content for _, content in read_part(system, first))
    assert good == b"1" and "row 1 of" in str(empty)


def write_rows(folder: Path, rows: list[dict], schema: pa.Schema = SCHEMA, about: bytes | None = None) -> Path:
    metadata = json.dumps({"markup": FIVE.to_dict()}).encode() if about is None else about
    table = pa.Table.from_pylist(rows, schema.with_metadata({METADATA: metadata}))
    pq.write_table(table, folder / "part-000000.parquet")
    return folder


def test_results_are_read(tmp_path: Path) -> None:
    ((found),) = results.read(str(write_rows(tmp_path, [FACE])))
    assert found.photo == "a.jpg"
    np.testing.assert_array_equal(found.faces[0].points, [[1, 2]] * 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": [[1, 2]] * 4}, "points must be 5, as many as"),
        ({"points": [[1, None]] * 5}, "points must be a list"),
        ({"points": [[1, float("inf")]] * 5}, "points must be a list"),
        ({"box": [1, 2, 3]}, "points must be .* beside a box of four numbers"),
        ({"visible": [1]}, "points must be 5, as many as"),
        ({"pose": {"yaw": None, "pitch": 1, "roll": 1}}, "pose.yaw must be a number"),
        ({"photo": None}, "photo must be a text"),
        ({"width": 0}, "width must be a whole number"),
        ({"score": None}, "score must be a number"),
        ({"face": -1}, "face must be a whole number"),
    ],
)
def test_a_row_that_no_run_writes_is_one_sentence(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(InputError, match=rf"part-000000\.parquet: {message}"):
        list(results.read(str(write_rows(tmp_path, [FACE | change]))))


def test_other_columns_and_metadata_are_one_sentence(tmp_path: Path) -> None:
    for schema in (SCHEMA.remove(4), SCHEMA.set(5, pa.field("score", pa.string())), SCHEMA.append(SCHEMA.field(0))):
        rows = [dict.fromkeys(schema.names)]
        if len(set(schema.names)) < len(schema.names):
            table = pa.table([pa.nulls(1, field.type) for field in schema], schema.with_metadata({METADATA: b"{}"}))
            pq.write_table(table, tmp_path / "part-000000.parquet")
        else:
            write_rows(tmp_path, rows, schema)
        with pytest.raises(InputError, match="was not written by facekd bulk"):
            list(results.read(str(tmp_path)))
    for about in (b"\xff", b"{", b"[]", b'{"markup": 5}'):
        with pytest.raises(InputError, match="part-000000"):
            list(results.read(str(write_rows(tmp_path, [FACE], about=about))))


def test_half_a_file_of_results_is_one_sentence(tmp_path: Path) -> None:
    path = write_rows(tmp_path, [FACE]) / "part-000000.parquet"
    content = path.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"is damaged .*delete it, and the same facekd bulk makes it again"):
            list(results.read(str(tmp_path)))
