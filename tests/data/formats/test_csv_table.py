"""CSV as Excel, pandas and people write it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facekd.data.dataset import Problem
from facekd.data.formats import table
from facekd.data.formats.label import Label
from facekd.errors import InputError
from facekd.markup import MarkUp

TWO = MarkUp("two", 2, (1, 0))
NAMED = MarkUp("named", 2, (0, 1), names=("left eye", "nose_tip"))
POINTS = [[10.5, 20], [30, 40.25]]


def labels(path: Path, text: str | bytes, markup: MarkUp = TWO, name: str = "faces.csv") -> list[Label | Problem]:
    file = path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert table.recognise(file, markup)
    return list(table.read([file], markup))


def label(path: Path, text: str | bytes, markup: MarkUp = TWO) -> Label:
    (one,) = labels(path, text, markup)
    assert isinstance(one, Label), one
    return one


PLAIN = "image,x0,y0,x1,y1\na.jpg,10.5,20,30,40.25\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        "a.jpg,10.5,20,30,40.25\n",
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", ";").replace(".5", ",5").replace(".25", ",25"),
        "sep=;\n" + PLAIN.replace(",", ";"),
        "a.jpg;10,5;20;30;40,25\n",
        '"a.jpg","10.5","20","30","40.25"\n',
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.replace(",", "\t").encode("utf-16"),
        PLAIN.replace("\n", ",\n"),
        PLAIN.replace("\n", ",,\n"),
        "a.jpg,10.5,20,30,40.25,\n",
        ",image,x0,y0,x1,y1\n0,a.jpg,10.5,20,30,40.25\n",
        "Unnamed: 0,image,x0,y0,x1,y1\n0,a.jpg,10.5,20,30,40.25\n",
        "0,a.jpg,10.5,20,30,40.25\n",
        "\n\n" + PLAIN + ",,,,\n\n",
        "filename,x0,y0,x1,y1\na.jpg,10.5,20,30,40.25\n",
        "File_Name,X_0,Y_0,X_1,Y_1\na.jpg,10.5,20,30,40.25\n",
        "image,x1,y1,x2,y2\na.jpg,10.5,20,30,40.25\n",
        "image,x0,x1,y0,y1\na.jpg,10.5,30,20,40.25\n",
        "image,x1,y1,x0,y0\na.jpg,30,40.25,10.5,20\n",
        "image,p0_x,p0_y,p1_x,p1_y\na.jpg,10.5,20,30,40.25\n",
        "image,landmark_x0,landmark_y0,landmark_x1,landmark_y1\na.jpg,10.5,20,30,40.25\n",
        "x0,y0,x1,y1,path,age\n10.5,20,30,40.25,a.jpg,31\n",
        "photo,score,x0,y0,x1,y1,yaw,pitch,roll,confidence0\na.jpg,0.9,10.5,20,30,40.25,1,2,3,0.5\n",
        "image,left_eye_x,left_eye_y,nose_x,nose_y\na.jpg,10.5,20,30,40.25\n",
    ],
)
def test_every_dialect_gives_the_same_points(tmp_path: Path, text: str | bytes) -> None:
    one = label(tmp_path, text)
    assert one.photo == "a.jpg"
    np.testing.assert_array_equal(one.points, POINTS)
    assert one.visible is None and one.box is None


@pytest.mark.parametrize("name", ["faces.CSV", "faces.tsv"])
def test_a_name_in_another_alphabet_and_a_comma(tmp_path: Path, name: str) -> None:
    (one,) = labels(tmp_path, '"Müller, Ökö 顔.jpg",10.5,20,30,40.25\n', name=name)
    assert isinstance(one, Label) and one.photo == "Müller, Ökö 顔.jpg"


def test_windows_western_encoding(tmp_path: Path) -> None:
    assert label(tmp_path, "Müller.jpg,10.5,20,30,40.25\n".encode("cp1252")).photo == "Müller.jpg"


def test_points_by_name_are_put_in_the_mark_up_s_order(tmp_path: Path) -> None:
    text = "image,mouth_x,mouth_y,Nose tip_x,Nose tip_y,left-eye.x,left-eye.y\na.jpg,1,2,30,40.25,10.5,20\n"
    np.testing.assert_array_equal(label(tmp_path, text, NAMED).points, POINTS)
    with pytest.raises(InputError, match="no columns hold point 'nose_tip', which mark-up 'named' names"):
        labels(tmp_path, "image,left_eye_x,left_eye_y\na.jpg,1,2\n", NAMED)


@pytest.mark.parametrize("empty", ["", "nan", "NaN", "NA", "null", " "])
def test_empty_cells_are_missing_points(tmp_path: Path, empty: str) -> None:
    one = label(tmp_path, f"image,x0,y0,x1,y1\na.jpg,{empty},{empty},30,40.25\n")
    assert np.isnan(one.points[0]).all() and one.points[1].tolist() == [30, 40.25]
    _, last = labels(tmp_path, f"a.jpg,1,2,3,4\nb.jpg,1,2,{empty},{empty}\n")
    assert isinstance(last, Label) and np.isnan(last.points[1]).all()


def test_a_row_without_points_is_a_photo_without_a_face(tmp_path: Path) -> None:
    first, second = labels(tmp_path, "photo,score,x0,y0,x1,y1,error\na.jpg,,,,,,\nb.jpg,0.9,10.5,20,30,40.25,\n")
    assert isinstance(first, Label) and isinstance(second, Label)
    assert first.points.shape == (0, 2) and second.points.tolist() == POINTS


@pytest.mark.parametrize(
    ("columns", "cells", "visible", "there"),
    [
        ("visible0,visible1", "1,0", [True, False], [True, True]),
        ("visible0,visible1", "True,false", [True, False], [True, True]),
        ("p0_occluded,p1_occluded", "0,1", [True, False], [True, True]),
        ("visible1", "0", [True, False], [True, True]),
        ("v0,v1", "2,1", [True, False], [True, True]),
        ("v0,v1", "2,0", [True, False], [True, False]),
        ("visibility0,visibility1", "2,1", [True, False], [True, True]),
    ],
)
def test_visibility(tmp_path: Path, columns: str, cells: str, visible: list[bool], there: list[bool]) -> None:
    one = label(tmp_path, f"image,x0,y0,x1,y1,{columns}\na.jpg,10.5,20,30,40.25,{cells}\n")
    assert one.visible is not None and one.visible.tolist() == visible
    assert (~np.isnan(one.points).any(axis=1)).tolist() == there


@pytest.mark.parametrize(
    ("columns", "cells"),
    [
        ("box_x0,box_y0,box_x1,box_y1", "1,2,31,42"),
        ("bbox_x,bbox_y,bbox_w,bbox_h", "1,2,30,40"),
        ("box_left,box_top,box_width,box_height", "1,2,30,40"),
        ("face_xmin,face_ymin,face_xmax,face_ymax", "1,2,31,42"),
    ],
)
def test_boxes(tmp_path: Path, columns: str, cells: str) -> None:
    one = label(tmp_path, f"image,{columns},x0,y0,x1,y1\na.jpg,{cells},10.5,20,30,40.25\n")
    assert one.box is not None and one.box.tolist() == [1, 2, 31, 42]
    np.testing.assert_array_equal(one.points, POINTS)


def test_what_a_photo_and_a_face_are_in(tmp_path: Path) -> None:
    one = label(tmp_path, "image,x0,y0,x1,y1,width,height,split,subset,group\na.jpg,1,2,3,4,640,480,valid,a b|c,anna\n")
    assert (one.size, one.split, one.subsets, one.group) == ((640, 480), "val", ("a", "b", "c"), "anna")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("c.png,1,2,3", "row 2: c.png: the row has fewer cells than the table has columns"),
        ("c.png,1,2,3,4,5", "row 2: c.png: 6 cells where the heading has 5"),
        ("c.png,1,2,three,4", "row 2: c.png: expected a number, found 'three'"),
        ('c.png,"1,5",2,3,4', "row 2: c.png: expected a number, found '1,5'"),
    ],
)
def test_a_bad_row_is_named_and_the_rest_goes_on(tmp_path: Path, row: str, says: str) -> None:
    problem, good = labels(tmp_path, f"image,x0,y0,x1,y1\n{row}\na.jpg,1,2,3,4\n")
    assert isinstance(good, Label) and str(problem).endswith(says)


@pytest.mark.parametrize(
    ("heading", "cells", "says"),
    [
        ("image,x0,y0,x1,y1,split", "a.jpg,1,2,3,4,holdout", "split 'holdout' is none of train, val and test"),
        ("image,x0,y0,x1,y1,v0", "a.jpg,1,2,3,4,7", "visibility '7' is none of 0 (missing)"),
        ("image,x0,y0,x1,y1,visible0", "a.jpg,1,2,3,4,maybe", "visible 'maybe' is neither yes nor no"),
    ],
)
def test_words_that_mean_nothing_are_problems(tmp_path: Path, heading: str, cells: str, says: str) -> None:
    (problem,) = labels(tmp_path, f"{heading}\n{cells}\n")
    assert isinstance(problem, Problem)
    assert says in problem.reason


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a.jpg,1,2,3,4,5,6\n", "columns of 3 points where mark-up 'two' has 2"),
        ("image,x0,y0\na.jpg,1,2\n", "columns of 1 points where mark-up 'two' has 2"),
        ("image,x0,y0,x1\na.jpg,1,2,3\n", "point '1' has a column of x alone"),
        ("image,x0,y0,x2,y2\na.jpg,1,2,3,4\n", "numbered 0 to 2 with gaps"),
        ("image,x2,y2,x3,y3\na.jpg,1,2,3,4\n", "numbered 2 to 3 with gaps"),
        ("image,x0,y0,x0,y0\na.jpg,1,2,3,4\n", "two columns hold x of point '0'"),
        ("image,x0,y0,x1,y1,visible7\na.jpg,1,2,3,4,1\n", "point '7' has a column of its visibility"),
        ("who,x0,y0,x1,y1\na.jpg,1,2,3,4\n", "no column is called image, filename"),
        ("", "is empty"),
        ("a.jpg,1,2,3,4,5\n", "has no heading, and its rows are not a photo, x0"),
    ],
)
def test_a_table_that_cannot_be_read_says_why(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "faces.csv").write_text(text)
    with pytest.raises(InputError, match=says):
        list(table.read([tmp_path / "faces.csv"], TWO))


@pytest.mark.parametrize("text", ["", "\n", "file,licence\na.jpg,CC0\n", "Read me first\n", "date,visitors\n2026,12\n"])
def test_other_tables_are_not_taken_for_labels(tmp_path: Path, text: str) -> None:
    (tmp_path / "readme.csv").write_text(text)
    assert not table.recognise(tmp_path / "readme.csv", TWO)
