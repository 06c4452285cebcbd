"""Photos of folders, patterns, Parquet files and tars, as parts that stay the same from run to run."""

from __future__ import annotations

import io
import os
import sys
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facekd.bulk.sources import Part, find_parts, open_location, read_part
from facekd.errors import InputError


def contents(location: object, size: int = 100) -> dict[str, bytes | str]:
    """Each photo of a source by its name; in place of one that cannot be read, why."""
    system, _ = open_location(str(location))
    found = {}
    for part in find_parts(str(location), size):
        for name, content in read_part(system, part):
            assert name not in found
            found[name] = str(content) if isinstance(content, InputError) else content
    return found


def test_a_folder_with_all_below_it(photos: Path) -> None:
    found = contents(photos)
    names = [*(f"a/{i}.jpg" for i in range(3)), *(f"b/{i}.jpg" for i in range(3, 6)), "grey.png", "none.jpg"]
    assert [Path(name).relative_to(photos).as_posix() for name in found] == names
    assert found[f"{photos.as_posix()}/none.jpg"] == b"no photo"
    assert contents(photos.as_uri()) == found


def test_a_pattern_and_a_single_file(photos: Path) -> None:
    assert [Path(name).name for name in contents(photos / "b" / "*.jpg")] == ["3.jpg", "4.jpg", "5.jpg"]
    assert list(contents(photos / "grey.png")) == [f"{photos.as_posix()}/grey.png"]


def test_parts_have_no_more_photos_than_asked_and_new_photos_make_new_parts(photos: Path, tmp_path: Path) -> None:
    for index in range(5):
        (tmp_path / f"{index}.jpg").write_bytes(b"x")
    parts = list(find_parts(str(tmp_path), 2))
    assert [len(part.files) for part in parts] == [2, 2, 1]
    assert list(find_parts(str(tmp_path), 2, known=parts)) == []
    (tmp_path / "0a.jpg").write_bytes(b"x")
    assert list(find_parts(str(tmp_path), 2, known=parts)) == [Part("files", (f"{tmp_path.as_posix()}/0a.jpg",))]


def test_parquet_files_row_group_by_row_group(tmp_path: Path) -> None:
    plain = pa.table({"key": ["a", "b", "c"], "jpg": [b"1", b"2", None], "other": [1, 2, 3]})
    pq.write_table(plain, tmp_path / "plain.parquet", row_group_size=2)
    images = [{"bytes": b"3", "path": "x.jpg"}, {"bytes": b"4", "path": None}]  # as the package datasets has them
    pq.write_table(pa.table({"image": images}), tmp_path / "sets.parquet")
    found = contents(tmp_path)
    sets = f"{tmp_path.as_posix()}/sets.parquet"
    assert {name: found[name] for name in ("a", "b", "x.jpg", f"{sets}#1")} == {
        "a": b"1",
        "b": b"2",
        "x.jpg": b"3",
        f"{sets}#1": b"4",
    }
    assert "row 2 of" in found["c"] and len(found) == 5
    assert len(list(find_parts(str(tmp_path), 100))) == 3
    with pytest.raises(InputError, match="has no column 'photo'; it has key, jpg, other"):
        list(find_parts(str(tmp_path / "plain.parquet"), 100, "photo"))


def test_tars_and_what_is_damaged(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "000.tar", "w") as archive:
        for name, content in (("1.jpg", b"one"), ("1.json", b"{}"), ("2.jpg", b"two")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    whole = contents(tmp_path)
    tar = f"{tmp_path.as_posix()}/000.tar"
    assert whole == {f"{tar}/1.jpg": b"one", f"{tar}/2.jpg": b"two"}
    (tmp_path / "001.tar").write_bytes(b"no tar at all" * 100)
    broken = contents(tmp_path)
    assert broken.pop(f"{tmp_path.as_posix()}/001.tar").startswith(f"{tmp_path.as_posix()}/001.tar is damaged")
    assert broken == whole


def test_what_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing at"):
        list(find_parts(str(tmp_path / "no"), 1))
    with pytest.raises(InputError, match="holds no photos"):
        list(find_parts(str(tmp_path), 1))
    with pytest.raises(InputError, match="nothing here opens"):
        list(find_parts("nosuchscheme://a/b", 1))


def test_a_file_that_went_away_is_told_in_its_place(photos: Path) -> None:
    system, _ = open_location(str(photos))
    ((_, found),) = read_part(system, Part("files", ("/no/such.jpg",)))
    assert "/no/such.jpg cannot be read" in str(found)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no such names")
def test_a_name_that_is_no_text_is_one_sentence(photos: Path, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"b\xff.jpg")).write_bytes((photos / "grey.png").read_bytes())
    with pytest.raises(InputError, match=r"b'.*b\\xff\.jpg' is no UTF-8 text, .*; rename it"):
        list(find_parts(str(tmp_path), 9))


@pytest.mark.skipif(sys.platform == "win32", reason="links take rights there")
def test_links_that_come_back_are_not_followed_and_others_are(photos: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).symlink_to(photos, target_is_directory=True)
    (tmp_path / "below").mkdir()
    for name, target in (("self", "."), ("up", ".."), ("root", tmp_path)):
        (tmp_path / "below" / name).symlink_to(target, target_is_directory=True)
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (part,) = find_parts(str(tmp_path), 99)
    assert len(part.files) == 16 and not any("below" in name for name in part.files)
