"""A pack is checked as a whole where it is opened; an image only costs its face."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facekd.data import pack_file
from facekd.data.pack import Pack
from facekd.data.prepare import prepare
from facekd.errors import InputError
from facekd.evaluation import protocol
from tiny_faces import POINTS, TRIANGLE, Oracle, write_pack

Rewrite = Callable[..., Path]


@pytest.fixture
def rewrite(tmp_path: Path) -> Rewrite:
    """Return a function that writes a pack of four faces anew: with other rows, columns or metadata."""
    write_pack(tmp_path / "whole.parquet", TRIANGLE, POINTS)

    def write(
        rows: dict[str, dict[int, Any]] | None = None,
        columns: Callable[[pa.Table], pa.Table] = lambda table: table,
        meta: Callable[[dict[str, Any]], object] = lambda about: about,
    ) -> Path:
        table = pq.read_table(tmp_path / "whole.parquet")
        about = json.loads(table.schema.metadata.pop(b"facekd")) if table.schema.metadata else None
        about = about or json.loads(pq.ParquetFile(tmp_path / "whole.parquet").metadata.metadata[b"facekd"])
        changed = meta(about)
        records = table.to_pylist()
        for name, values in (rows or {}).items():
            for row, value in values.items():
                records[row][name] = value
        table = columns(pa.Table.from_pylist(records, table.schema))
        text = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
        pq.write_table(table.replace_schema_metadata({"facekd": text}), tmp_path / "new.parquet", compression="none")
        return tmp_path / "new.parquet"

    return write


def cast(name: str, kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        return table.set_column(table.column_names.index(name), name, pa.nulls(len(table), kind))

    return change


def without(*path: str) -> Callable[[dict[str, Any]], Any]:
    return with_(None, *path)


def with_(value: object, *path: str) -> Callable[[dict[str, Any]], Any]:
    def change(about: dict[str, Any]) -> dict[str, Any]:
        place = about
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        return about

    return change


def test_what_nobody_changed_is_read(rewrite: Rewrite) -> None:
    assert len(Pack.open(rewrite())) == 4


def test_a_pack_tells_the_checksum_of_its_columns(rewrite: Rewrite) -> None:
    meta = Pack.open(rewrite()).meta
    assert meta["schema"] == pack_file.checksum(pack_file.schema(3)) != pack_file.checksum(pack_file.schema(4))
    with pytest.raises(InputError, match="its columns are not those it was written with"):
        Pack.open(rewrite(meta=with_("0" * 64, "schema")))


def test_packs_of_before_have_no_checksum_and_no_orientation(rewrite: Rewrite) -> None:
    path = rewrite(columns=lambda table: table.drop_columns(["orientation"]), meta=without("schema"))
    assert Pack.open(path).orientations.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": lambda table: table.drop_columns(["box"])}, "lacks the column 'box'"),
        ({"columns": cast("size", pa.string())}, "column 'size' must be int32, it is string"),
        ({"columns": cast("points", pa.list_(pa.float32()))}, "column 'points' must be fixed_size_list"),
        ({"columns": lambda table: table.append_column("name", table["name"])}, "'name' must be string, it is there t"),
        ({"rows": {"points": {2: None}}}, "column 'points' must be there; in row 2"),
        ({"rows": {"points": {1: [np.nan] * 6}}}, "one of them at least; in row 1"),
        ({"rows": {"points": {1: [np.nan, 1, 2, 3, 4, 5]}}}, "x and y, or neither; in row 1"),
        ({"rows": {"points": {3: [np.inf, 1, 2, 3, 4, 5]}}}, "finite, and near the crop; in row 3"),
        ({"rows": {"box": {0: [5.0, 0, 1, 1]}}}, "'box' must be x0, y0, x1, y1"),
        ({"rows": {"to_photo": {0: [np.nan] * 6}}}, "'to_photo' must be finite"),
        ({"rows": {"photo_box": {0: [np.inf] * 4}}}, "'photo_box' must hold four finite"),
        ({"rows": {"size": {1: 0}}}, "'size' must be from 1 to"),
        ({"rows": {"split": {1: "holdout"}}}, "'split' must be train or val or test; in row 1"),
        ({"rows": {"quality": {1: None}}}, "'quality' must be there"),
        ({"rows": {"subsets": {1: [None]}}}, "'subsets' has null in it"),
        ({"rows": {"visible": {1: [True]}}}, "'visible' must be 3 values, or null; in row 1"),
        ({"rows": {"orientation": {1: 9}}}, "'orientation' must be from 1 to 8"),
        ({"columns": lambda table: table.slice(0, 0), "meta": with_(0, "counts", "faces")}, "counts.faces must be"),
        ({"columns": lambda table: table.slice(0, 2)}, "has 2 rows, its metadata say 4"),
        ({"meta": lambda _: b"{"}, "metadata is damaged, it is not JSON"),
        ({"meta": lambda _: b"\xff\xfe"}, "metadata is damaged, it is not JSON"),
        ({"meta": lambda _: []}, "must be keys and values"),
        ({"meta": without("version")}, "version must be"),
        ({"meta": without("markup")}, "markup: must be keys and values"),
        ({"meta": without("counts")}, "counts must be keys and values"),
        ({"meta": with_("many", "counts", "split", "train")}, "counts.split.train must be a whole number"),
        ({"meta": with_(float("inf"), "margin")}, "Infinity is no JSON number"),
        ({"meta": with_(-1, "margin")}, "margin must be a number from"),
        ({"meta": with_(10**400, "size")}, "size must be .* got a huge number"),
    ],
)
def test_what_no_pack_holds_is_one_sentence(rewrite: Rewrite, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Pack.open(rewrite(**changes))


def test_labels_of_many_gigabytes_are_refused_before_they_are_read(rewrite: Rewrite) -> None:
    path = rewrite(rows={"subsets": {0: ["x" * 9_000_000]}})
    with pytest.raises(InputError, match="its labels would take 9 MB"):
        Pack.open(path)


DAMAGED = [b"", b"no image", b"\xff\xd8\xff", "half", "other size"]


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_image_costs_its_face_and_is_named(
    rewrite: Rewrite, caplog: pytest.LogCaptureFixture, damage: bytes | str
) -> None:
    import cv2

    jpeg = pq.read_table(rewrite()).to_pylist()[1]["image"]
    if damage == "half":
        damage = jpeg[: len(jpeg) // 2]
    if damage == "other size":
        damage = cv2.imencode(".jpg", np.zeros((40_00, 40_00, 3), np.uint8))[1].tobytes()
    pack = Pack.open(rewrite(rows={"image": {1: damage}}))
    with pytest.raises(InputError, match=r"image of face face1.jpg in .*new.parquet cannot be used"):
        pack.image(1)
    with caplog.at_level(logging.WARNING, logger="facekd"):
        left = pack.readable()
        result = protocol.evaluate(Oracle(pack), pack, bootstrap=10)
    assert left.names.tolist() == ["face0.jpg", "face2.jpg", "face3.jpg"]
    assert result.subsets["full"]["count"] == 3 and result.subsets["common"]["count"] == 2
    assert [record.message for record in caplog.records] == [f"left out: {_error(pack)}"]


def _error(pack: Pack) -> InputError:
    with pytest.raises(InputError) as caught:
        pack.image(1)
    return caught.value


def test_a_pack_without_any_image_is_refused(rewrite: Rewrite) -> None:
    with pytest.raises(InputError, match=r"no face of .* has an image that can be read"):
        Pack.open(rewrite(rows={"image": dict.fromkeys(range(4), b"")})).readable()


def test_whole_faces_are_the_same_pack(rewrite: Rewrite) -> None:
    pack = Pack.open(rewrite())
    assert pack.readable() is pack


def test_a_file_that_ends_early_is_one_sentence(rewrite: Rewrite) -> None:
    path = rewrite()
    content = path.read_bytes()
    for length in (0, 3, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="is not a pack, or it is damaged"):
            Pack.open(path)


def test_prepare_writes_what_the_gate_lets_in(tmp_path: Path) -> None:
    from facekd.data.synthetic import DATASET

    assert DATASET.markup
    prepare(
        DATASET.read(count=3, seed=0), tmp_path / "s.parquet", DATASET.markup, dataset="s", terms="", size=64, jobs=1
    )
    pack = Pack.open(tmp_path / "s.parquet")
    assert pack.readable() is pack and len(pack) == 3
