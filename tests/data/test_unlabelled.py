"""Photos without labels become faces that say where they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import facekd
from facekd.data import unlabelled
from facekd.data.dataset import Annotation, Problem
from facekd.data.pack import Pack
from facekd.data.prepare import prepare
from facekd.errors import InputError
from facekd.markup import IBUG68

SAMPLE = Path(facekd.__file__).parent / "weights" / "sample.jpg"


def test_the_largest_face_of_each_photo_goes_into_the_pack(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "deep").mkdir(parents=True)
    shutil.copy(SAMPLE, photos / "deep" / "a face.jpg")
    cv2.imwrite(str(photos / "wall.png"), np.full((200, 300, 3), 128, np.uint8))
    (photos / "broken.jpg").write_bytes(SAMPLE.read_bytes()[:2000])
    (photos / "notes.txt").write_text("no photo")
    summary = prepare(
        unlabelled.read(photos), tmp_path / "u.parquet", IBUG68, dataset="unlabelled", terms="Ours.", jobs=1
    )
    pack = Pack.open(tmp_path / "u.parquet")
    assert pack.names.tolist() == ["deep/a face.jpg"] and pack.splits.tolist() == ["train"]
    assert pack.quality.tolist() == ["predicted"]
    found = max(facekd.Landmarker().detect(SAMPLE), key=lambda face: face.box[2] - face.box[0])
    in_photo = pack.points[0] @ pack.to_photo[0][:, :2].T + pack.to_photo[0][:, 2]
    np.testing.assert_allclose(in_photo, found.points, atol=0.05)
    assert sorted(problem.name for problem in summary.problems) == ["broken.jpg", "wall.png"]
    assert "no face was found" in str(summary.problems[1])


def test_faces_are_found_by_who_asks(tmp_path: Path) -> None:
    shutil.copy(SAMPLE, tmp_path / "a.jpg")
    (item,) = unlabelled.read(tmp_path)
    assert not isinstance(item, Annotation | Problem)
    found = item()
    assert isinstance(found, Annotation) and found.points.shape == (68, 2)


def test_boxes_say_where_the_faces_are(tmp_path: Path) -> None:
    """A row is a face, whatever the network thinks of it; a photo may hold several."""
    shutil.copy(SAMPLE, tmp_path / "a.jpg")
    faces = facekd.Landmarker().detect(SAMPLE)[:2]
    x0, y0, _, y1 = faces[1].box
    rows = [",".join(["a.jpg", *(f"{value:.3f}" for value in face.box), "more"]) for face in faces]
    rows += [f"a.jpg,{x0},{y0},{x0},{y1},", "gone.jpg,1,2,30,40,", "a.jpg,0,0,40,40,"]
    table = tmp_path / "boxes.csv"
    table.write_text("\n".join(["file,x0,y0,x1,y1,tags", *rows]))
    found = [item() for item in unlabelled.read(tmp_path, table)]  # type: ignore[operator]
    names = [item.name for item in found]
    assert names == ["a.jpg", "a.jpg#2", "a.jpg#3", "gone.jpg", "a.jpg#4"]
    for item, face in zip(found[:2], faces, strict=True):
        assert isinstance(item, Annotation) and item.quality == "predicted"
        np.testing.assert_allclose(item.points, face.points, atol=0.1)
    assert isinstance(found[2], Problem) and isinstance(found[3], Problem)  # no box, no photo
    assert isinstance(found[4], Annotation)  # no face is there; who gave the box says so


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,x0,y0,x1\na.jpg,1,2,3\n", "boxes.csv has no column 'y1'"),
        ("", "boxes.csv has no column 'file'"),
        ("file,x0,y0,x1,y1\na.jpg,1,2,3,4\na.jpg,1,two,3,4\n", "boxes.csv, line 3: x0, y0, x1 and y1 must be numbers"),
        ("file,x0,y0,x1,y1\na.jpg,1,2\n", "line 2: x0, y0, x1 and y1 must be numbers"),
        ("file,x0,y0,x1,y1\n,1,2,3,4\n", "line 2: it names no file"),
    ],
)
def test_a_file_of_boxes_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        list(unlabelled.read(tmp_path, tmp_path / "boxes.csv"))
