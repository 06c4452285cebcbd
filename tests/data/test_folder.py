"""Own folders: which photo a label means, which split it is in, what is left out and named."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import layouts
from facekd.data import folder
from facekd.data.dataset import NO_LABEL, NO_PHOTO, Annotation, Problem, train_or_val
from facekd.data.folder import Options
from facekd.errors import InputError
from facekd.markup import FIVE, IBUG68, MarkUp
from facekd.pts import write_pts
from layouts import photo, shape, write_labelled, write_photo

TWO = MarkUp("two", 2, (1, 0))
ROW = "10,20,30.5,40"


def read(path: Path, markup: MarkUp = TWO, **options: object) -> dict[str, Annotation | Problem]:
    return {item.name: item for item in folder.read(path, markup, Options(**options))}  # type: ignore[arg-type]


def found(path: Path, markup: MarkUp = TWO, **options: object) -> dict[str, Annotation]:
    return {name: item for name, item in read(path, markup, **options).items() if isinstance(item, Annotation)}


def problems(path: Path, markup: MarkUp = TWO, **options: object) -> list[Problem]:
    return [item for item in read(path, markup, **options).values() if isinstance(item, Problem)]


def table(path: Path, *names: str, photos: bool = True) -> Path:
    """Write a CSV that gives each of the names two points, and photos of those names."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "faces.csv").write_text("".join(f"{name},{ROW}\n" for name in names))
    for name in names if photos else ():
        write_photo(path / name)
    return path


# Photos


def test_pts_files_beside_their_photos(tmp_path: Path) -> None:
    write_labelled(tmp_path / "a/b/one.png", 1)
    write_labelled(tmp_path / "test/two.jpg", 2)
    (tmp_path / "a/lonely.pts").write_text((tmp_path / "a/b/one.pts").read_text())
    items = read(tmp_path, IBUG68)
    assert list(items) == ["a/lonely.pts", "a/b/one.png", "test/two.jpg"]  # problems first
    assert items["a/lonely.pts"] == Problem("a/lonely.pts", "there is no photo 'lonely'", NO_PHOTO)
    one, two = items["a/b/one.png"], items["test/two.jpg"]
    assert isinstance(one, Annotation) and isinstance(two, Annotation)
    assert (two.split, two.subsets) == ("test", ("full",))
    assert one.split == train_or_val("a/b/one.png")
    np.testing.assert_allclose(one.points, shape(seed=1), atol=1e-4)


@pytest.mark.parametrize("suffix", [".tif", ".BMP", ".JPG"])
@pytest.mark.parametrize("label", ["a.pts", "a.PTS", "a{}.pts"])
def test_suffixes_in_capitals_and_doubled(tmp_path: Path, suffix: str, label: str) -> None:
    write_photo(tmp_path / f"a{suffix}")
    write_pts(tmp_path / label.format(suffix), shape())
    assert list(found(tmp_path, IBUG68)) == [f"a{suffix}"]


@pytest.mark.parametrize(
    "written",
    [
        "photos/a 1.jpg",
        "photos\\a 1.jpg",
        "./photos/a 1.jpg",
        "a 1.jpg",
        "a 1",
        "photos/a 1",
        "PHOTOS/A 1.JPG",
        "C:\\Users\\me\\faces\\photos\\a 1.jpg",
        "/home/me/test/photos/a 1.jpg",
        "images/a 1.jpg",
        "../up/photos/a 1.jpg",
    ],
)
def test_names_as_tools_and_other_computers_write_them(tmp_path: Path, written: str) -> None:
    write_photo(tmp_path / "photos/a 1.jpg")
    (tmp_path / "faces.csv").write_text(f"{written},{ROW}\n")
    assert list(found(tmp_path)) == ["photos/a 1.jpg"]
    assert found(tmp_path)["photos/a 1.jpg"].split == train_or_val("photos/a 1.jpg")


def test_a_name_never_means_a_photo_of_another_folder(tmp_path: Path) -> None:
    write_photo(tmp_path / "test/1.jpg")
    write_photo(tmp_path / "train/2.jpg")
    (tmp_path / "faces.csv").write_text(f"train/1.jpg,{ROW}\n")
    (problem,) = (each for each in problems(tmp_path) if each.kind == NO_PHOTO)
    assert problem.name == "faces.csv, row 1" and problem.reason == "there is no photo 'train/1.jpg'"


def test_a_name_that_several_photos_have_is_asked_about(tmp_path: Path) -> None:
    write_photo(tmp_path / "x/1.jpg")
    write_photo(tmp_path / "y/1.jpg")
    (tmp_path / "faces.csv").write_text(f"1.jpg,{ROW}\n")
    assert "several photos are called '1.jpg': x/1.jpg, y/1.jpg" in problems(tmp_path)[0].reason


def test_one_photo_has_one_name(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg")
    (tmp_path / "faces.csv").write_text(f"a.jpg,{ROW}\n./a.jpg,{ROW}\na,{ROW}\n")
    faces = found(tmp_path)
    assert list(faces) == ["a.jpg", "a.jpg#2", "a.jpg#3"]
    assert len({face.split for face in faces.values()}) == 1


def test_photos_without_labels_and_labels_without_photos_are_counted(tmp_path: Path) -> None:
    table(tmp_path, "a.jpg", "b.jpg")
    write_photo(tmp_path / "deep/c.jpg")
    (tmp_path / "b.jpg").unlink()
    assert problems(tmp_path) == [
        Problem("faces.csv, row 2", "there is no photo 'b.jpg'", NO_PHOTO),
        Problem("deep/c.jpg", "no label that can be used names it", NO_LABEL),
    ]


def test_a_stray_table_hides_no_labels(tmp_path: Path) -> None:
    write_labelled(tmp_path / "a.jpg")
    (tmp_path / "readme.csv").write_text("file,licence\na.jpg,CC0\n")
    assert list(found(tmp_path, IBUG68)) == ["a.jpg"]


def test_hidden_files_are_none(tmp_path: Path) -> None:
    table(tmp_path, "a.jpg")
    write_photo(tmp_path / ".thumbnails/a.jpg")
    write_photo(tmp_path / "._a.jpg")
    assert list(read(tmp_path)) == ["a.jpg"]


def test_the_pixels_are_those_that_detection_sees(tmp_path: Path) -> None:
    ramp = np.arange(0, 65536, 4096, dtype=np.uint16).reshape(4, 4)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    Image.new("RGBA", (4, 4), (10, 20, 30, 0)).save(tmp_path / "see-through.png")
    (tmp_path / "faces.csv").write_text("deep.png,1,2,3,4\nsee-through.png,1,2,3,4\n")
    deep, see_through = (face.load() for face in found(tmp_path).values())
    np.testing.assert_array_equal(deep[..., 0], ramp >> 8)
    np.testing.assert_array_equal(see_through, np.full((4, 4, 3), 255))


# EXIF


def turned(path: Path) -> None:
    """Write a photo of 120x90 stored pixels that is shown turned by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo()).save(path, exif=exif)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_photos_are_turned_as_viewers_do(tmp_path: Path, suffix: str) -> None:
    turned(tmp_path / f"a.{suffix}")
    (tmp_path / "faces.csv").write_text(f"a,{ROW}\n")
    upright, stored = (found(tmp_path, stored_pixels=value)[f"a.{suffix}"] for value in (None, True))
    assert upright.load().shape == (layouts.WIDTH, layouts.HEIGHT, 3) and upright.orientation == 6
    assert stored.load().shape == (layouts.HEIGHT, layouts.WIDTH, 3) and stored.orientation == 1


def test_dlib_counts_in_stored_pixels(tmp_path: Path) -> None:
    turned(tmp_path / "a.jpg")
    parts = "<part name='0' x='1' y='2'/><part name='1' x='3' y='4'/>"
    box = f"<box top='1' left='2' width='30' height='40'>{parts}</box>"
    (tmp_path / "a.xml").write_text(f"<dataset><images><image file='a.jpg'>{box}</image></images></dataset>")
    assert found(tmp_path)["a.jpg"].load().shape == (layouts.HEIGHT, layouts.WIDTH, 3)
    assert found(tmp_path, stored_pixels=False)["a.jpg"].load().shape == (layouts.WIDTH, layouts.HEIGHT, 3)


def test_labels_of_another_size_are_named(tmp_path: Path) -> None:
    turned(tmp_path / "a.jpg")
    (tmp_path / "faces.csv").write_text(f"image,width,height,x0,y0,x1,y1\na.jpg,90,120,{ROW}\n")
    assert list(found(tmp_path)) == ["a.jpg"]
    (problem,) = problems(tmp_path, stored_pixels=True)
    assert problem.reason == "a.jpg: labelled at 90x120, but 120x90 with its EXIF not applied; try --upright"
    (tmp_path / "faces.csv").write_text(f"image,width,height,x0,y0,x1,y1\na.jpg,120,90,{ROW}\n")
    assert problems(tmp_path)[0].reason.endswith(
        "labelled at 120x90, but 90x120 with its EXIF applied; try --stored-pixels"
    )
    (tmp_path / "faces.csv").write_text(f"image,width,height,x0,y0,x1,y1\na.jpg,240,180,{ROW}\n")
    assert problems(tmp_path)[0].reason == "a.jpg: labelled at 240x180, but the photo has 90x120"


# Marks that nobody set


@pytest.mark.parametrize(("mark", "fix"), [("0,0", "--missing=0,0"), ("-1,-1", "--missing=-1,-1"), ("0.0,0.0", "0,0")])
def test_marks_left_at_the_corner_are_problems(tmp_path: Path, mark: str, fix: str) -> None:
    write_photo(tmp_path / "a.jpg")
    (tmp_path / "faces.csv").write_text(f"a.jpg,{mark},80,30,{mark},45,70,75,70\n")
    (problem,) = problems(tmp_path, FIVE)
    assert (
        problem.name == "faces.csv, row 1"
        and "a.jpg: point 0 and 1 more at " in problem.reason
        and fix in problem.reason
    )


def test_marks_may_mean_missing(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg")
    (tmp_path / "faces.csv").write_text("a.jpg,0,0,80,30,-1,-1,45,70,75,70\n")
    face = found(tmp_path, FIVE, missing=((0.0, 0.0), (-1.0, -1.0)))["a.jpg"]
    assert np.isnan(face.points).all(axis=1).tolist() == [True, False, True, False, False]


def test_marks_in_pts_files_are_as_written(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg")
    (tmp_path / "a.pts").write_text("n_points: 3\n{\n0 0\n50 60\n70 80\n}\n")
    assert "point 0 at 0,0" in problems(tmp_path, MarkUp("three", 3, (0, 1, 2)))[0].reason


def test_a_point_at_the_corner_of_its_photo_is_a_point(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg")
    (tmp_path / "faces.csv").write_text("a.jpg,0,0,40,5,20,20,5,40,35,40\n")  # a face in the corner, cut by the edge
    assert list(found(tmp_path, FIVE)) == ["a.jpg"]


# Splits


def test_folders_name_splits(tmp_path: Path) -> None:
    names = ["a.jpg", "test/b.jpg", "Test/c.jpg", "2026/test/d.jpg", "latest/e.jpg", "test.jpg", "testimony/f.jpg"]
    table(tmp_path / "test", *names)  # the data set's own folder may be called so
    splits = {name: face.split for name, face in found(tmp_path / "test").items()}
    assert {name for name, split in splits.items() if split == "test"} == {
        "test/b.jpg",
        "Test/c.jpg",
        "2026/test/d.jpg",
    }


def test_absolute_names_below_a_folder_test_are_split_by_what_is_below_the_source(tmp_path: Path) -> None:
    source = table(tmp_path / "test/mine", *(f"{i}.jpg" for i in range(30)))
    (source / "faces.csv").write_text("".join(f"{source / f'{i}.jpg'},{ROW}\n" for i in range(30)))
    splits = Counter(face.split for face in found(source).values())
    assert splits["test"] == 0 and splits["train"] > 20


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "val2017"])
def test_an_own_validation_set_is_the_only_one(tmp_path: Path, name: str) -> None:
    table(tmp_path, *(f"{i}.jpg" for i in range(40)), f"{name}/a.jpg")
    splits = {photo: face.split for photo, face in found(tmp_path).items()}
    assert [photo for photo, split in splits.items() if split == "val"] == [f"{name}/a.jpg"]


def test_a_folder_train_still_gives_one_in_ten_to_validation(tmp_path: Path) -> None:
    table(tmp_path, *(f"train/{i}.jpg" for i in range(40)), "test/a.jpg")
    splits = {photo: face.split for photo, face in found(tmp_path).items()}
    assert {photo: split for photo, split in splits.items() if photo[:5] == "train"} == {
        f"train/{i}.jpg": train_or_val(f"train/{i}.jpg") for i in range(40)
    }
    assert "val" in splits.values()


def test_lists_of_photos(tmp_path: Path) -> None:
    table(tmp_path, *(f"{i}.jpg" for i in range(10)), "test/a.jpg")
    (tmp_path / "v.txt").write_text("1.jpg\n\n./2.jpg\nnone.jpg\n")
    (tmp_path / "t.txt").write_text("3\ntest/a.jpg\n")
    items = read(tmp_path, val_list=tmp_path / "v.txt", test_list=tmp_path / "t.txt")
    splits = {name: item.split for name, item in items.items() if isinstance(item, Annotation)}
    assert [name for name, split in splits.items() if split == "val"] == ["1.jpg", "2.jpg"]
    assert [name for name, split in splits.items() if split == "test"] == ["3.jpg", "test/a.jpg"]
    assert items["v.txt, line 4"] == Problem("v.txt, line 4", "there is no photo 'none.jpg'")
    (tmp_path / "t.txt").write_text("1.jpg\n")
    with pytest.raises(InputError, match=r"photo 1.jpg is in both lists"):
        read(tmp_path, val_list=tmp_path / "v.txt", test_list=tmp_path / "t.txt")


def test_the_label_file_says_splits_subsets_and_groups(tmp_path: Path) -> None:
    for i in range(4):
        write_photo(tmp_path / f"{i}.jpg", i)
    rows = ["test,dark; glasses", "val,dark", "train,dark", "Testing,"]
    text = "".join(f"{i}.jpg,{ROW},{row}\n" for i, row in enumerate(rows))
    (tmp_path / "faces.csv").write_text("image,x0,y0,x1,y1,split,subset\n" + text)
    faces = found(tmp_path)
    assert [(face.split, face.subsets) for face in faces.values()] == [
        ("test", ("full", "dark", "glasses")),
        ("val", ("dark",)),
        ("train", ()),
        ("test", ("full",)),
    ]


def test_files_called_after_splits(tmp_path: Path) -> None:
    for i in range(3):
        write_photo(tmp_path / f"{i}.jpg", i)
    for i, name in enumerate(("train", "faces_val", "test-2")):
        (tmp_path / f"{name}.csv").write_text(f"{i}.jpg,{ROW}\n")
    assert [(n, face.split) for n, face in sorted(found(tmp_path).items())] == [
        ("0.jpg", "train"),
        ("1.jpg", "val"),
        ("2.jpg", "test"),
    ]


def test_a_single_file_may_be_called_test(tmp_path: Path) -> None:
    write_photo(tmp_path / "0.jpg")
    (tmp_path / "test.csv").write_text(f"0.jpg,{ROW}\n")
    assert found(tmp_path)["0.jpg"].split == train_or_val("0.jpg")


def test_a_group_stays_in_one_split(tmp_path: Path) -> None:
    text = "image,x0,y0,x1,y1,person\n"
    for i in range(60):
        write_photo(tmp_path / f"{i}.jpg", i)
        text += f"{i}.jpg,{ROW},person {i // 3}\n"
    text += f"0.jpg,{ROW},person 1\n"  # persons 0 and 1 share a photo
    (tmp_path / "faces.csv").write_text(text)
    faces = found(tmp_path)
    by_person = [{faces[f"{3 * k + i}.jpg"].split for i in range(3)} for k in range(20)]
    assert all(len(splits) == 1 for splits in by_person) and by_person[0] == by_person[1]
    assert 0 < sum(splits == {"val"} for splits in by_person) < 6


def test_groups_that_the_user_splits_are_an_error(tmp_path: Path) -> None:
    table(tmp_path, "test/a.jpg", "val/b.jpg")
    (tmp_path / "faces.csv").write_text(f"image,x0,y0,x1,y1,group\ntest/a.jpg,{ROW},g\nval/b.jpg,{ROW},g\n")
    with pytest.raises(InputError, match=r"test/a.jpg is in split test, val/b.jpg in val, but they share"):
        read(tmp_path)


def test_a_face_of_a_test_group_goes_to_the_test_set(tmp_path: Path) -> None:
    table(tmp_path, "test/a.jpg", "b.jpg")
    (tmp_path / "faces.csv").write_text(f"image,x0,y0,x1,y1,group\ntest/a.jpg,{ROW},g\nb.jpg,{ROW},g\n")
    assert found(tmp_path)["b.jpg"].split == "test"


def test_a_face_with_too_few_points_is_left_out_and_named(tmp_path: Path) -> None:
    """Two of five points do not say where the others would be, and how large the crop is to be."""
    write_photo(tmp_path / "a.jpg")
    rows = ["image,x0,y0,x1,y1,x2,y2,x3,y3,x4,y4", "a.jpg,30,40,70,40,,,,,,", "a.jpg,30,40,70,40,50,60,,,,"]
    (tmp_path / "faces.csv").write_text("\n".join(rows))
    problem, face = folder.read(tmp_path, FIVE)
    assert "only 2 of its 5 points are there" in str(problem)
    assert np.isnan(face.points[3:]).all() and np.isfinite(face.points[:3]).all()


def test_one_point_is_enough_where_crops_are_the_faces(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg")
    (tmp_path / "faces.csv").write_text("image,x0,y0,x1,y1,x2,y2,x3,y3,x4,y4\na.jpg,30,40,,,,,,,,\n")
    assert isinstance(next(folder.read(tmp_path, FIVE)), Problem)
    assert isinstance(next(folder.read(tmp_path, replace(FIVE, crop="face"))), Annotation)
