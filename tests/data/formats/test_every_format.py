"""The same faces, written in every format, are read back the same."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest

from facekd.data import folder
from facekd.data.dataset import Annotation, Problem
from facekd.data.folder import Options
from facekd.data.formats import registry
from facekd.errors import InputError
from facekd.markup import FIVE
from label_files import WRITERS, Labelled, faces, write_photos

EVERY = pytest.mark.parametrize("name", WRITERS)


def written(path: Path, name: str) -> list[Labelled]:
    made = faces() if WRITERS[name].several else faces()[:4]
    write_photos(path, made)
    WRITERS[name].write(path, made)
    return made


def test_there_is_a_writer_for_every_format() -> None:
    assert list(WRITERS) == list(registry.FORMATS)


@EVERY
@pytest.mark.parametrize("asked", ["auto", "by name"])
def test_what_is_written_comes_back(tmp_path: Path, name: str, asked: str) -> None:
    made = written(tmp_path, name)
    found = list(folder.read(tmp_path, FIVE, Options("auto" if asked == "auto" else name)))
    assert [item for item in found if isinstance(item, Problem)] == []
    names = ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "3.jpg#2"][: len(made)]
    assert [item.name for item in found] == names
    for item, face in zip(found, made, strict=True):
        assert isinstance(item, Annotation)
        np.testing.assert_allclose(item.points, face.points, atol=1e-5)
        there = ~np.isnan(face.points).any(axis=1)
        if WRITERS[name].occlusion:
            np.testing.assert_array_equal(item.visible, there & ~face.occluded)
        else:
            assert item.visible is None
        if WRITERS[name].boxes:
            np.testing.assert_allclose(item.box, face.box, atol=1e-5)
        else:
            assert item.box is None
        assert item.load().shape == (192, 192, 3)


@EVERY
def test_splits_do_not_depend_on_the_format(tmp_path: Path, name: str) -> None:
    written(tmp_path, name)
    (tmp_path / "test.txt").write_text("2.jpg\n")
    found = folder.read(tmp_path, FIVE, Options(test_list=tmp_path / "test.txt"))
    splits = {item.name: item.split for item in found if isinstance(item, Annotation)}
    assert splits["2.jpg"] == "test" and set(splits.values()) <= {"train", "val", "test"}
    assert list(splits.values()).count("test") == 1


@EVERY
def test_a_photo_without_a_label_and_a_label_without_a_photo_are_named(tmp_path: Path, name: str) -> None:
    made = written(tmp_path, name)
    (tmp_path / "0.jpg").rename(tmp_path / "other.jpg")
    problems = [item for item in folder.read(tmp_path, FIVE) if isinstance(item, Problem)]
    assert sorted(problem.kind for problem in problems) == ["labels without a photo", "photos without a label"]
    assert "other.jpg" in {problem.name for problem in problems}
    found = [item for item in folder.read(tmp_path, FIVE) if isinstance(item, Annotation)]
    assert len(found) == len(made) - 1


@EVERY
def test_without_occlusion_no_format_says_that_all_is_visible(tmp_path: Path, name: str) -> None:
    made = faces(missing=False)[: 5 if WRITERS[name].several else 4]
    write_photos(tmp_path, made)
    WRITERS[name].write(tmp_path, made)
    for item in folder.read(tmp_path, FIVE):
        assert isinstance(item, Annotation) and item.visible is None


@EVERY
def test_a_format_that_is_not_there_is_one_sentence(tmp_path: Path, name: str) -> None:
    write_photos(tmp_path, faces())
    with pytest.raises(InputError, match=f"found no labels of 5 points in {name}"):
        list(folder.read(tmp_path, FIVE, Options(name)))


def damaged(content: bytes, seed: int) -> bytes:
    """Cut, change or insert a little, as a failing disk or a hurried editor does."""
    chance = random.Random(seed)
    for _ in range(chance.choice([1, 2, 5])):
        place, kind = chance.randrange(len(content) or 1), chance.randrange(4)
        numbers = list(re.finditer(rb"-?\d+\.?\d*", content))
        if kind == 0:
            content = content[:place] + content[place + chance.choice([1, 3, 20]) :]
        elif kind == 1:
            junk = [b'"', b"<", b"null", b"{}", b"[]", b"nan", b"1e999", b",", b"\xff", b"\0", b"\n"]
            content = content[:place] + chance.choice(junk) + content[place:]
        elif kind == 2 and numbers:
            number = chance.choice(numbers)
            other = chance.choice([b"null", b'"x"', b"[]", b"1e400", b"-5", b"99999999999", b"", b"NaN", b"true"])
            content = content[: number.start()] + other + content[number.end() :]
        elif kind == 3:
            word = chance.choice([b"group_id", b"points", b"keypoints", b"id", b"filename", b"label", b"name", b"bbox"])
            content = content.replace(word, b"q")
    return content


@EVERY
def test_damaged_files_give_a_sentence_and_no_traceback(tmp_path: Path, name: str) -> None:
    written(tmp_path, name)
    path = sorted(path for path in tmp_path.iterdir() if path.suffix != ".jpg")[0]
    content = path.read_bytes()
    told = 0
    for seed in range(60):
        path.write_bytes(damaged(content, seed))
        try:
            told += any(isinstance(item, Problem) for item in folder.read(tmp_path, FIVE, Options(name)))
        except InputError:
            told += 1
    assert told > 10  # and it is noticed, where the damage is such


def test_labels_in_two_formats_are_not_guessed_between(tmp_path: Path) -> None:
    for name in ("csv", "coco"):
        written(tmp_path, name)
    with pytest.raises(
        InputError, match=r"several formats: csv \(faces.csv\), coco \(labels.json\); choose .* --format"
    ):
        list(folder.read(tmp_path, FIVE))
    assert len(list(folder.read(tmp_path, FIVE, Options("coco")))) == 5


def test_an_unknown_format_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'yolo-pose'"):
        list(folder.read(tmp_path, FIVE, Options("yolo_pose")))
