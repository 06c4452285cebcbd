"""Merged packs: every face as it was, in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facekd.data.merge import merge
from facekd.data.pack import LabelledFace, Pack, PackWriter
from facekd.errors import InputError
from facekd.markup import FIVE, IBUG68, MarkUp
from layouts import photo, shape


def made(path: Path, splits: str, markup: MarkUp = IBUG68, visible: bool = False, **about: object) -> Pack:
    values: dict = {"dataset": path.stem, "margin": 2.0, "size": 80, "jpeg_quality": 92, "terms": f"Of {path.stem}."}
    with PackWriter(path, markup, **values | about) as writer:
        for i, letter in enumerate(splits):
            points = shape(markup, seed=i, centre=(40, 40))
            points[2] = np.nan
            face = LabelledFace(
                photo(i, 80, 80),
                points,
                f"{path.stem}/{i}.jpg",
                {"t": "train", "v": "val", "e": "test"}[letter],
                ("full",) if letter == "e" else (),
                "derived" if i % 2 else "exact",
                np.arange(markup.count) % 3 > 0 if visible else None,
                np.array([1.0, 2, 3, 4]) if i % 2 else None,
                np.array([[2, 0, i], [0, 2, -i]]),
                3,
                np.array([10.0, 11, 70, 71]),
            )
            writer.add(face)
    return Pack.open(path)


@pytest.mark.parametrize("visible", [False, True])
def test_faces_stay_as_they_are(tmp_path: Path, visible: bool) -> None:
    a = made(tmp_path / "a.parquet", "tve", visible=visible)
    b = made(tmp_path / "b.parquet", "tv", visible=visible, margin=1.5, size=64, jpeg_quality=80)
    assert merge([a, b], tmp_path / "ab.parquet") == 5
    both = Pack.open(tmp_path / "ab.parquet")
    assert both.splits.tolist() == ["train", "val", "test", "train", "val"]
    for index, (source, row) in enumerate([(a, 0), (a, 1), (a, 2), (b, 0), (b, 1)]):
        one, other = source.face(row), both.face(index)
        assert bytes(one.image) == bytes(other.image)
        for name in ("name", "split", "subsets", "quality", "orientation", "size"):
            assert getattr(one, name) == getattr(other, name)
        for name in ("points", "box", "to_photo", "visible", "photo_box"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
    assert both.subsets[2] == ("full",) and both.quality.tolist() == ["exact", "derived", "exact", "exact", "derived"]
    meta = both.meta
    assert (meta["dataset"], meta["terms"]) == ("a + b", "Of a. + Of b.")
    assert (meta["margin"], meta["size"], meta["jpeg_quality"]) == (1.5, 80, 80)


def test_terms_that_another_pack_repeats_are_said_once(tmp_path: Path) -> None:
    a = made(tmp_path / "a.parquet", "t")
    rotated = made(tmp_path / "a rotated.parquet", "t", terms="Of a. Photos whose faces were rotated.")
    merge([a, rotated, made(tmp_path / "c.parquet", "t")], tmp_path / "all.parquet")
    meta = Pack.open(tmp_path / "all.parquet").meta
    assert meta["dataset"] == "a + a rotated + c"
    assert meta["terms"] == "Of a. Photos whose faces were rotated. + Of c."


def test_the_dataset_of_validation_and_test_faces_keeps_its_name(tmp_path: Path) -> None:
    a, b, c = (made(tmp_path / f"{name}.parquet", "tve") for name in "abc")
    merge([a, b], tmp_path / "ab.parquet", train_only=True)
    merge([Pack.open(tmp_path / "ab.parquet"), c], tmp_path / "abc.parquet", train_only=True)
    merge([a, b], tmp_path / "both.parquet")
    found = {name: Pack.open(tmp_path / f"{name}.parquet") for name in ("a", "ab", "abc", "both")}
    assert {name: (pack.meta["dataset"], pack.evaluation_dataset) for name, pack in found.items()} == {
        "a": ("a", "a"), "ab": ("a + b", "a"), "abc": ("a + b + c", "a"), "both": ("a + b", "a + b"),
    }  # fmt: skip


def test_only_training_faces_of_the_others(tmp_path: Path) -> None:
    packs = [made(tmp_path / f"{name}.parquet", splits) for name, splits in (("a", "te"), ("b", "tvet"))]
    assert merge(packs, tmp_path / "ab.parquet", train_only=True) == 4
    both = Pack.open(tmp_path / "ab.parquet")
    assert both.names.tolist() == ["a/0.jpg", "a/1.jpg", "b/0.jpg", "b/3.jpg"]
    assert both.splits.tolist() == ["train", "test", "train", "train"]


def test_of_occluded_points_a_pack_speaks_as_a_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    a, seen = made(tmp_path / "a.parquet", "t"), made(tmp_path / "seen.parquet", "t", visible=True)
    merge([seen, a], tmp_path / "both.parquet")
    assert "a.parquet does not say which points are occluded, so" in caplog.text
    both = Pack.open(tmp_path / "both.parquet")
    assert both.visible is None and len(both) == 2


def test_what_cannot_be_merged(tmp_path: Path) -> None:
    a, five = made(tmp_path / "a.parquet", "t"), made(tmp_path / "five.parquet", "t", FIVE)
    tests = made(tmp_path / "tests.parquet", "e")
    out = tmp_path / "out.parquet"
    with pytest.raises(InputError, match=r"five.parquet has the mark-up five5, .*a.parquet ibug68"):
        merge([a, five], out)
    with pytest.raises(InputError, match=r"tests.parquet has no face with split train"):
        merge([a, tests], out, train_only=True)
    with pytest.raises(InputError, match="is one of the packs"):
        merge([a, tests], tmp_path / "a.parquet")
    assert not out.exists() and len(Pack.open(tmp_path / "a.parquet")) == 1
