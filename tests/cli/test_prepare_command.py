"""`facekd prepare` and `facekd inspect` as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

import label_files
import layouts
from facekd.cli import data
from facekd.data.formats import registry as formats
from facekd.data.pack import Pack
from facekd.errors import InputError

FIVE_CSV = "image,x0,y0,x1,y1,x2,y2,x3,y3,x4,y4\n" + "".join(
    f"{i}.png,40,30,80,30,60,45,45,70,75,70\n" for i in range(4)
)


def call(*words: str | Path) -> Result:
    app = typer.Typer()
    data.register(app)
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=True)
    if isinstance(result.exception, InputError):
        raise result.exception
    return result


@pytest.fixture
def own_photos(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    for i in range(4):
        layouts.write_photo(folder / f"{i}.png", i)
    (folder / "faces.csv").write_text(FIVE_CSV)
    return folder


def test_prepare_and_inspect_300w(tmp_path: Path) -> None:
    source, out = layouts.w300(tmp_path / "300w"), tmp_path / "a.parquet"
    (source / "afw/100_1.jpg").write_bytes(b"")
    result = call("prepare", "300w", source, out, "--jobs", "1", "--size", "64", "--margin", "1.5", "--quality", "80")
    assert result.exit_code == 0
    assert f"{out}: 7 faces" in result.stdout
    assert f"left out: afw/100_1.jpg: photo {source}/afw/100_1.jpg is empty" in result.stdout
    meta = Pack.open(out).meta
    assert (meta["size"], meta["margin"], meta["jpeg_quality"], meta["dataset"]) == (64, 1.5, 80, "300w")

    result = call("inspect", out, "--faces", "4")
    assert result.exit_code == 0
    folder = tmp_path / "a.inspect"
    sheets = {path.name for path in folder.iterdir()}
    assert {"train.jpg", "test-full.jpg", "test-common.jpg", "test-challenge.jpg", "soft.jpg", "inspect.json"} <= sheets
    report = json.loads((folder / "inspect.json").read_text())
    assert report["subset"] == {"challenge": 1, "common": 2, "full": 3}
    assert "challenge 1  common 2  full 3" in result.stdout


def test_prepare_own_photos_with_a_known_mark_up(tmp_path: Path, own_photos: Path) -> None:
    call("prepare", "folder", own_photos, tmp_path / "a.parquet", "--markup", "five5", "--jobs", "1")
    assert Pack.open(tmp_path / "a.parquet").markup.name == "five5"


def test_prepare_own_photos_with_an_own_mark_up(tmp_path: Path, own_photos: Path) -> None:
    (tmp_path / "mine.yaml").write_text("{name: mine, count: 5, mirror: [[0, 1], [3, 4]]}")
    out = tmp_path / "a.parquet"
    call("prepare", "folder", own_photos, out, "--markup", tmp_path / "mine.yaml", "--jobs", "1")
    assert (Pack.open(out).markup.name, Pack.open(out).markup.mirror) == ("mine", (1, 0, 2, 4, 3))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("prepare", "wlfw", "src", "out"), "did you mean 'wflw'"),
        (("prepare", "300w", "src"), "300w takes SRC and OUT, got 1 paths"),
        (("prepare", "300w", "none", "out"), "there is no folder none"),
        (("prepare", "300w", "none", "out", "--markup", "ibug68"), "300w needs no --markup"),
        (("prepare", "folder", "none", "out"), "folder needs the points' meaning: --markup"),
        (("inspect", "none.parquet"), "there is no pack at none.parquet"),
    ],
)
def test_mistakes_get_one_sentence(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        call(*words)


def test_strict_stops(tmp_path: Path) -> None:
    source = layouts.w300(tmp_path / "300w")
    (source / "afw/100_1.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"^afw/100_1\.jpg: photo .* is empty"):
        call("prepare", "300w", source, tmp_path / "a.parquet", "--strict", "--jobs", "1")
    assert not (tmp_path / "a.parquet").exists()


def test_marks_that_were_not_set_are_left_out_or_missing(tmp_path: Path, own_photos: Path) -> None:
    rows = [f"{i}.png,{'0,0' if i < 3 else '40,30'},80,30,60,45,45,70,75,70\n" for i in range(4)]
    (own_photos / "faces.csv").write_text("".join(rows))
    out = tmp_path / "a.parquet"
    result = call("prepare", "folder", own_photos, out, "--markup", "five5", "--jobs", "1")
    assert f"{out}: 1 faces" in result.stdout
    assert "left out: faces.csv, row 1: 0.png: point 0 at 0,0, as marks that were not set" in result.stdout
    assert "left out 3 in all" in result.stdout
    result = call("prepare", "folder", own_photos, out, "--markup", "five5", "--jobs", "1", "--missing", "0,0")
    assert f"{out}: 4 faces" in result.stdout and "of 20 points 15.0 % missing" in result.stdout
    assert "left out" not in result.stdout
    assert call("inspect", out).exit_code == 0


def test_paths_that_do_not_fit_are_counted(tmp_path: Path, own_photos: Path) -> None:
    (own_photos / "2.png").rename(own_photos / "two.png")
    result = call("prepare", "folder", own_photos, tmp_path / "a.parquet", "--markup", "five5", "--jobs", "1")
    assert "left out 2 in all, among them 1 labels without a photo and 1 photos without a label" in result.stdout
    with pytest.raises(InputError, match=r"faces.csv, row 4: there is no photo '2.png'"):
        call("prepare", "folder", own_photos, tmp_path / "a.parquet", "--markup", "five5", "--strict", "--jobs", "1")


def test_strict_minds_no_photo_without_a_label(tmp_path: Path, own_photos: Path) -> None:
    layouts.write_photo(own_photos / "5.png", 5)
    out = tmp_path / "a.parquet"
    result = call("prepare", "folder", own_photos, out, "--markup", "five5", "--strict", "--jobs", "1")
    assert result.exit_code == 0 and len(Pack.open(out)) == 4


def test_splits_are_printed(tmp_path: Path, own_photos: Path) -> None:
    (tmp_path / "val.txt").write_text("0.png\n1.png\n")
    (tmp_path / "test.txt").write_text("2\n")
    out = tmp_path / "a.parquet"
    lists = ("--val-list", tmp_path / "val.txt", "--test-list", tmp_path / "test.txt")
    result = call("prepare", "folder", own_photos, out, "--markup", "five5", "--jobs", "1", "--format", "csv", *lists)
    assert f"{out}: 4 faces (test 1, train 1, val 2)" in result.stdout


def test_options_of_folder_are_for_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--format, .* are for folder, not 300w"):
        call("prepare", "300w", layouts.w300(tmp_path / "300w"), tmp_path / "a.parquet", "--format", "csv")
    with pytest.raises(InputError, match=r"--missing takes a position such as 0,0 or -1,-1, got '0'"):
        call("prepare", "folder", tmp_path, tmp_path / "a.parquet", "--markup", "five5", "--missing", "0")


def test_the_help_names_every_format() -> None:
    assert tuple(formats.FORMATS) == data._FORMATS


@pytest.mark.parametrize("name", label_files.WRITERS)
def test_every_format_from_files_to_sheets(tmp_path: Path, name: str) -> None:
    source, out = tmp_path / "mine", tmp_path / "a.parquet"
    made = label_files.faces(photos=14)[:14]
    label_files.write_photos(source, made)
    label_files.WRITERS[name].write(source, made)
    result = call("prepare", "folder", source, out, "--markup", "five5", "--jobs", "1")
    assert result.exit_code == 0 and f"{out}: 14 faces" in result.stdout and "left out" not in result.stdout
    assert "of 70 points 1.4 % missing" in result.stdout
    assert ("occluded" in result.stdout) == label_files.WRITERS[name].occlusion
    result = call("inspect", out)
    assert result.exit_code == 0 and "no problem found" in result.stdout, result.stdout
    assert "missing landmarks  1.43 %" in result.stdout


@pytest.mark.slow
def test_prepare_rotated_faces_of_a_pack_and_merge(tmp_path: Path) -> None:
    faces, rotated, both = (tmp_path / f"{name}.parquet" for name in ("faces", "rotated", "both"))
    call("prepare", "synthetic", faces, "--count", "8", "--seed", "4", "--size", "96", "--jobs", "1")
    result = call("prepare", "rotated", faces, rotated, "--count", "6", "--seed", "1", "--size", "96", "--jobs", "1")
    assert result.exit_code == 0 and f"{rotated}: {len(Pack.open(rotated))} faces" in result.stdout
    assert all("yaw" in name for name in Pack.open(rotated).names) and 0 < len(Pack.open(rotated)) <= 6
    result = call("merge", faces, rotated, both, "--train-only")
    merged, first, second = Pack.open(both), Pack.open(faces), Pack.open(rotated)
    assert result.exit_code == 0 and set(merged.splits) == set(first.splits)
    assert (merged.splits == "val").sum() == (first.splits == "val").sum()  # the first pack alone chooses and measures
    assert (merged.splits == "train").sum() == (first.splits == "train").sum() + (second.splits == "train").sum()
    with pytest.raises(InputError, match="rotated takes SRC and OUT, got 1 paths"):
        call("prepare", "rotated", rotated)
