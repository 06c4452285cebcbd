"""Crops of points that are a part of the face, on the picture that comes with the package: six faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from facekd.data.crop import Cropper, fitting_margin, fitting_size
from facekd.data.dataset import Annotation, Problem
from facekd.data.pack import Pack
from facekd.data.prepare import prepare
from facekd.exporters.onnx import SAMPLE
from facekd.geometry import apply, iou, square
from facekd.images import read_image
from facekd.markup import MarkUp
from facekd.pipeline.boxes import fit_box_transform
from facekd.runtime.detector import YuNet
from facekd.runtime.landmarker import Landmarker


def parts(*indices: int) -> list[Annotation]:
    """Some points of each face."""
    points = [face.points[list(indices)] for face in Landmarker("facekd-68", threads=1).detect(SAMPLE)]
    return [Annotation(f"{i}.jpg", partial(read_image, SAMPLE), face, "train") for i, face in enumerate(points)]


def prepared(items: Sequence[Annotation], markup: MarkUp, path: Path, **more: Any) -> Pack:
    prepare(items, path, markup, dataset="sample", terms="None.", jobs=1, **more)
    return Pack.open(path)


def test_crops_hold_the_whole_face_however_small_a_part_the_points_are(tmp_path: Path) -> None:
    for name, indices, margin in (("mouth", (48, 54, 51, 57), (4, 9)), ("most", range(68), (2, 2))):
        count = len(indices)
        markup = MarkUp(name, count, tuple(range(count)))
        pack = prepared(parts(*indices), markup, tmp_path / f"{name}.parquet")
        assert margin[0] <= pack.meta["margin"] <= margin[1]
        assert fit_box_transform(pack).found == len(pack) == 6
    narrow = prepared(parts(48, 54, 51, 57), MarkUp("m", 4, (0, 1, 2, 3)), tmp_path / "n.parquet", margin=1.5)
    assert narrow.meta["margin"] == 1.5 and fit_box_transform(narrow).found < 6


def test_the_margin_holds_what_nine_in_ten_faces_need() -> None:
    assert fitting_margin([1.5] * 10) == fitting_margin([None] * 5 + [6.0] * 5) == fitting_margin([]) == 2.0
    assert fitting_margin([4.0] * 10) == 5.0  # 1.15 * 4, rounded up to halves
    assert fitting_margin([40.0] * 10) == 10.0
    assert (fitting_size(2.0), fitting_size(3.0), fitting_size(10.0)) == (448, 672, 1024)


def test_crops_of_the_face_are_cut_by_the_box_that_is_given_or_found(tmp_path: Path) -> None:
    """A given box counts, unless it is no more than that of the points, or lies elsewhere."""
    tips, markup = parts(30), MarkUp("tip", 1, (0,), crop="face")
    found = prepared(tips, markup, tmp_path / "found.parquet")
    in_photo = [apply(m, box.reshape(2, 2)).ravel() for m, box in zip(found.to_photo, found.boxes, strict=True)]
    detected, _ = YuNet(threads=1).detect(read_image(SAMPLE))
    for box in in_photo:
        assert iou(square(detected), box).max() > 0.99
    own = square(in_photo[0], 1.4)
    elsewhere, nothing = np.array([0.0, 0, 9, 9]), np.tile(tips[2].points[0], 2)
    boxes = zip(tips, (own, elsewhere, nothing), strict=False)
    given: list[Annotation] = [replace(tip, box=box) for tip, box in boxes]
    pack = prepared(given, markup, tmp_path / "given.parquet")
    again = [apply(m, box.reshape(2, 2)).ravel() for m, box in zip(pack.to_photo, pack.boxes, strict=True)]
    np.testing.assert_allclose(again, [own, in_photo[1], in_photo[2]], atol=0.05)


def test_a_face_without_a_box_is_left_out_and_named(tmp_path: Path) -> None:
    nowhere = Annotation("wall.jpg", partial(np.zeros, (90, 90, 3), np.uint8), np.array([[40.0, 40.0]]), "train")
    problem = Cropper(MarkUp("tip", 1, (0,), crop="face"), 2.0, 64, 90)(nowhere)
    assert isinstance(problem, Problem) and "give the face's box with its label" in problem.reason
