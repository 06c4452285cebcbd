"""Readers of the official layouts: every field where the dataset keeps it, every defect named."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import layouts
from facekd.data import cofw, registry, w300, wflw
from facekd.data.dataset import Annotation, Problem, train_or_val
from facekd.errors import InputError
from facekd.markup import COFW29, WFLW98
from layouts import photo, shape, write_labelled, write_photo


def by_name(items: object) -> dict[str, Annotation | Problem]:
    return {item.name: item for item in items}  # type: ignore[attr-defined]


def test_registry_names_the_nearest() -> None:
    assert registry.get("300w") is w300.DATASET
    with pytest.raises(InputError, match="did you mean 'wflw'"):
        registry.get("wlfw")


def test_one_training_photo_in_ten_validates_for_ever() -> None:
    names = [f"photo {i}" for i in range(10_000)]
    assert sum(train_or_val(name) == "val" for name in names) == 988
    assert [train_or_val(f"lfpw/trainset/image_{i:04d}") for i in (19, 20, 21)] == ["train", "val", "train"]


# 300W


def test_w300_splits_and_subsets(tmp_path: Path) -> None:
    faces = by_name(w300.read(layouts.w300(tmp_path)))
    assert list(faces) == list(layouts.W300_NAMES)
    assert faces["lfpw/testset/image_0003.png"].subsets == ("full", "common")
    assert faces["helen/testset/300_1.jpg"].subsets == ("full", "common")
    assert faces["ibug/image_004.jpg"].subsets == ("full", "challenge")
    assert all((face.split == "test") == bool(face.subsets) for face in faces.values())
    np.testing.assert_allclose(faces["afw/100_2.jpg"].points, shape(seed=1), atol=1e-4)
    np.testing.assert_array_equal(faces["lfpw/trainset/image_0001.png"].load(), photo(2))


def test_w300_faces_of_a_photo_stay_together(tmp_path: Path) -> None:
    for i in range(40):
        for k in (1, 2, 3):
            write_labelled(tmp_path / f"afw/{i}_{k}.png", i)
    splits: dict[str, set[str]] = {}
    for face in w300.read(tmp_path):
        if isinstance(face, Annotation):
            splits.setdefault(face.name.split("_")[0], set()).add(face.split)
    assert all(len(split) == 1 for split in splits.values())
    assert Counter(split for group in splits.values() for split in group) == {"train": 36, "val": 4}


def test_w300_validation_does_not_depend_on_other_photos(tmp_path: Path) -> None:
    for i in range(60):
        write_labelled(tmp_path / f"lfpw/trainset/image_{i:04d}.png")
    before = {name: face.split for name, face in by_name(w300.read(tmp_path)).items() if isinstance(face, Annotation)}
    assert 2 < list(before.values()).count("val") < 12
    for name in list(before)[::3]:
        (tmp_path / name).with_suffix(".pts").unlink()
    after = {name: face.split for name, face in by_name(w300.read(tmp_path)).items() if isinstance(face, Annotation)}
    assert len(after) == 40
    assert after == {name: before[name] for name in after}


def test_w300_derived_labels_train_and_never_validate(tmp_path: Path) -> None:
    names = [f"helen/trainset/{i}_1.png" for i in range(60)]
    for name in names:
        write_labelled(tmp_path / name)
    validating = [face.name for face in w300.read(tmp_path) if isinstance(face, Annotation) and face.split == "val"]
    assert validating
    (tmp_path / "derived_labels.txt").write_text("\n".join(validating))
    faces = by_name(w300.read(tmp_path))
    assert {faces[name].split for name in names} == {"train"}
    assert [name for name in names if faces[name].quality == "derived"] == sorted(validating)


def test_w300_labels_count_in_stored_pixels(tmp_path: Path) -> None:
    source, exif = layouts.w300(tmp_path), Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter
    Image.fromarray(photo(2)).save(source / "lfpw/trainset/image_0001.png", exif=exif)
    face = by_name(w300.read(source))["lfpw/trainset/image_0001.png"]
    np.testing.assert_array_equal(face.load(), photo(2))


def test_w300_defects_are_named(tmp_path: Path) -> None:
    source = layouts.w300(tmp_path)
    (source / "afw/100_1.jpg").unlink()
    (source / "afw/100_2.pts").write_text("rubbish")
    for path in (source / "ibug").iterdir():
        path.unlink()
    (source / "ibug").rmdir()
    problems = [str(item) for item in w300.read(source) if isinstance(item, Problem)]
    assert problems[0] == "afw/100_1.pts: no photo lies beside it"
    assert problems[1].startswith("afw/100_2.pts: not a .pts file")
    assert problems[2] == "ibug: this folder of 300W is missing"
    assert len(problems) == 3


def test_w300_elsewhere_says_what_it_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="300W needs the folders afw, lfpw/trainset"):
        list(w300.read(tmp_path))


@pytest.mark.slow
def test_w300_real_counts(shared_data: Path) -> None:
    faces = list(w300.read(shared_data / "300w"))
    assert not [item for item in faces if isinstance(item, Problem)]
    folders = Counter(face.name.rsplit("/", 1)[0] for face in faces)
    assert (folders["afw"], folders["lfpw/trainset"], folders["helen/trainset"]) == (337, 805, 1939)
    assert Counter(s for face in faces for s in face.subsets) == {"full": 689, "common": 554, "challenge": 135}
    splits = Counter(face.split for face in faces)
    assert splits["train"] + splits["val"] == 3081
    assert 160 <= splits["val"] <= 240  # a tenth of the 2,012 with exact labels
    assert not [face for face in faces if face.split == "val" and face.quality == "derived"]
    photos = {s: {w300.photo_of(face.name) for face in faces if face.split == s} for s in ("train", "val")}
    assert not photos["train"] & photos["val"]


# WFLW


def test_wflw_fields(tmp_path: Path) -> None:
    points = shape(WFLW98)
    line = layouts.wflw_line
    source = layouts.wflw(
        tmp_path,
        train=[line(points, (1, 2, 30, 40), (1, 0, 0, 0, 0, 0), "0--Parade/a.jpg")] * 2,
        test=[
            line(points + 3, (5, 6, 70, 80), (1, 0, 1, 0, 0, 1), "9--Press/b.jpg"),
            line(points, (0, 0, 9, 9), (0, 0, 0, 0, 0, 0), "9--Press/c.jpg"),
        ],
    )
    write_photo(source / "WFLW_images/9--Press/b.jpg", 5)
    first, second, b, c = wflw.read(source)
    assert (first.name, second.name) == ("0--Parade/a.jpg", "0--Parade/a.jpg#2")
    assert first.split == second.split == train_or_val("0--Parade/a.jpg")
    assert first.subsets == ()
    assert b.subsets == ("full", "pose", "illumination", "blur")
    assert c.subsets == ("full",)
    np.testing.assert_allclose(b.points, points + 3, atol=1e-5)  # counted from 0 as they are
    np.testing.assert_array_equal(b.box, [5, 6, 70, 80])
    assert b.load().shape == (layouts.HEIGHT, layouts.WIDTH, 3)


def test_wflw_attributes_stand_in_the_order_of_its_read_me(tmp_path: Path) -> None:
    names = ("pose", "expression", "illumination", "makeup", "occlusion", "blur")
    one_each = [tuple(map(int, row)) for row in np.eye(6)]
    test = [layouts.wflw_line(shape(WFLW98), (1, 2, 3, 4), attributes, "a.jpg") for attributes in one_each]
    faces = wflw.read(layouts.wflw(tmp_path, train=[], test=test))
    assert [face.subsets for face in faces] == [("full", name) for name in names]


def test_wflw_defects_are_named_by_line(tmp_path: Path) -> None:
    good = layouts.wflw_line(shape(WFLW98), (1, 2, 3, 4), (0,) * 6, "a.jpg")
    source = layouts.wflw(tmp_path, train=[good, "1 2 3 a.jpg\n", "\n", good.replace("1 2 3 4", "1 2 3 x")], test=[])
    items = list(wflw.read(source))
    assert [type(item) for item in items] == [Annotation, Problem, Problem]
    assert str(items[1]).startswith("list_98pt_rect_attr_train.txt, line 2: expected 206 numbers")
    assert "line 4" in str(items[2])


def test_wflw_elsewhere_says_what_it_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"WFLW needs WFLW_annotations/.*train.txt and .*test.txt and WFLW_images/"):
        list(wflw.read(tmp_path))


# COFW


def test_cofw_fields_and_orientation(tmp_path: Path) -> None:
    points, hidden = shape(COFW29), (np.arange(29) % 4 == 0).astype(float)
    colour, grey = photo(1), photo(2)[..., 0]
    source = layouts.cofw(tmp_path, [colour, grey], [colour], points, hidden)
    train, second, test = cofw.read(source)
    np.testing.assert_array_equal(train.load(), colour)
    np.testing.assert_array_equal(second.load(), np.stack([grey] * 3, axis=2))
    np.testing.assert_allclose(test.points, points, atol=1e-9)
    np.testing.assert_array_equal(test.visible, hidden == 0)
    np.testing.assert_array_equal(test.box, [10, 20, 40, 60])
    assert (test.name, test.split, test.subsets) == ("COFW_test_color.mat/0000", "test", ("full",))
    assert (train.split, second.split) == (train_or_val("train/0000"), train_or_val("train/0001"))


def test_cofw_elsewhere_says_what_it_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"COFW needs COFW_train_color.mat or .* and COFW_test_color.mat or"):
        list(cofw.read(tmp_path))


def test_cofw_other_files_are_refused(tmp_path: Path) -> None:
    layouts.cofw(tmp_path, [photo()], [photo()], shape(COFW29), np.zeros(29))
    (tmp_path / "COFW_test_color.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(InputError, match=r"must be a MATLAB v7.3 file with IsT, phisT and bboxesT"):
        list(cofw.read(tmp_path))


def test_cofw_wrong_table_is_refused(tmp_path: Path) -> None:
    layouts.cofw(tmp_path, [photo()], [photo()], shape(COFW29)[:28], np.zeros(28))
    with pytest.raises(InputError, match="expected 87 values per face in phisTr"):
        list(cofw.read(tmp_path))


def test_cofw_photo_that_is_no_reference_is_a_problem_of_that_face(tmp_path: Path) -> None:
    layouts.cofw(tmp_path, [photo().astype(np.float64)], [photo()], shape(COFW29), np.zeros(29))
    first, _ = cofw.read(tmp_path)
    with pytest.raises(InputError, match="got float64"):
        first.load()


def test_wflw_lists_in_other_encodings_are_read_line_by_line(tmp_path: Path) -> None:
    line = layouts.wflw_line(shape(WFLW98), (1, 2, 30, 40), (0,) * 6, "a/1.jpg")
    folder = layouts.wflw(tmp_path, [line, line], [line])
    path = folder / "WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_train.txt"
    path.write_bytes(path.read_bytes().replace(b"a/1.jpg", b"a/\xe9.jpg", 1))
    assert [item.name for item in wflw.read(folder)] == ["a/\xe9.jpg", "a/1.jpg", "a/1.jpg#2"]


@pytest.mark.parametrize("numbers", [np.zeros(5), np.float64(1), np.zeros((0, 0))])
def test_cofw_tables_of_other_shapes_are_refused(tmp_path: Path, numbers: np.ndarray) -> None:
    folder = layouts.cofw(tmp_path, [photo(0)], [photo(1)], shape(COFW29), np.zeros(29))
    with h5py.File(folder / "COFW_train_color.mat", "r+") as file:
        del file["phisTr"]
        file["phisTr"] = numbers
    with pytest.raises(InputError, match=r"COFW_train_color\.mat"):
        list(cofw.read(folder))


def test_cofw_group_in_place_of_a_table_is_refused(tmp_path: Path) -> None:
    folder = layouts.cofw(tmp_path, [photo(0)], [photo(1)], shape(COFW29), np.zeros(29))
    with h5py.File(folder / "COFW_train_color.mat", "r+") as file:
        del file["bboxesTr"]
        file.create_group("bboxesTr")
    with pytest.raises(InputError, match=r"COFW_train_color\.mat must be a MATLAB v7\.3 file"):
        list(cofw.read(folder))
