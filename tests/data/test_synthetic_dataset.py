"""Synthetic faces as a dataset: splits, subsets, and the way into a pack."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facekd.data import registry
from facekd.data.pack import Pack
from facekd.data.prepare import prepare
from facekd.data.synthetic import DATASET, faces, read
from facekd.markup import IBUG68
from facekd.synthetic import render


def test_faces_are_split_by_index_and_do_not_depend_on_the_count() -> None:
    made = list(faces(10, seed=4, size=64))
    assert [face.split for face in made] == ["train"] * 8 + ["val", "test"]
    assert len({face.name for face in made}) == 10
    assert all(face.subsets == () for face in made[:9])
    assert made[9].subsets[0] == "full"
    assert made[9].subsets[1] in ("common", "challenge")
    third = list(faces(3, seed=4, size=64))[2]
    assert np.array_equal(third.image, made[2].image)
    assert third.name == made[2].name


def test_prepare_packs_synthetic_faces(tmp_path: Path) -> None:
    assert registry.get("synthetic") is DATASET
    path = tmp_path / "synthetic.parquet"
    summary = prepare(read(10, 4), path, IBUG68, dataset="synthetic", terms=DATASET.terms, size=96, margin=2.0, jobs=1)
    assert summary.faces == 10
    assert not summary.problems
    pack = Pack.open(path)
    assert len(pack.select(split="train")) == 8
    assert pack.visible is not None
    assert pack.visible.shape == (10, 68)
    face = render(4, 2)
    in_photo = pack.points[2] @ pack.to_photo[2, :, :2].T + pack.to_photo[2, :, 2]
    assert np.allclose(in_photo, face.points, atol=0.01)
