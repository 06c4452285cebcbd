"""Photos without labels become faces that say where they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np

import facekd
from facekd.data import unlabelled
from facekd.data.dataset import Annotation, Problem
from facekd.data.pack import Pack
from facekd.data.prepare import prepare
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
