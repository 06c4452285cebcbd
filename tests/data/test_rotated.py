"""Rotated faces as a dataset: whose, how many, by how much, and what is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny_faces
from facekd.data import registry
from facekd.data.dataset import Annotation, Problem
from facekd.data.pack import Pack
from facekd.data.prepare import prepare
from facekd.data.rotated import DATASET, read, sample_turn
from facekd.data.synthetic import read as synthetic
from facekd.errors import InputError
from facekd.markup import IBUG68


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faces") / "faces.parquet"
    prepare(synthetic(10, 4), path, IBUG68, dataset="synthetic", terms="None.", size=96, margin=2.0, jobs=1)
    return path


def test_training_and_validation_faces_are_rotated_evenly_and_test_faces_never(faces: Path, tmp_path: Path) -> None:
    assert registry.get("rotated") is DATASET
    out = tmp_path / "rotated.parquet"
    prepare(read(faces, 20, seed=1), out, IBUG68, dataset="rotated", terms="None.", size=96, margin=2.0, jobs=1)
    pack, source = Pack.open(out), Pack.open(faces)
    of = [name.split(" ")[0] for name in pack.names]
    splits = dict(zip(source.names, source.splits, strict=True))
    assert [splits[name] for name in of] == list(pack.splits)
    assert set(pack.splits) <= {"train", "val"}
    assert max(of.count(name) for name in of) == 3
    assert set(pack.quality) == {"derived"} and set(pack.subsets) == {("rotated",)}
    assert len(set(pack.names)) == len(pack)


def test_poses_do_not_depend_on_the_count_and_change_with_the_seed(faces: Path) -> None:
    def names(count: int, seed: int) -> list[str]:
        return [made.name for item in read(faces, count, seed) if not isinstance(made := item(), Problem)]

    assert set(names(9, 1)) < set(names(18, 1))
    assert not set(names(9, 1)) & set(names(9, 2))
    assert len(list(read(faces, 4, 0))) == 4


def test_a_name_tells_the_turn_and_points_are_in_the_picture(faces: Path) -> None:
    made = next(made for item in read(faces, 9, 0) if isinstance(made := item(), Annotation))
    _, yaw, pitch = made.name.split(" ")
    assert 10 <= abs(int(yaw.removeprefix("yaw"))) <= 60
    assert abs(int(pitch.removeprefix("pitch"))) <= 30
    image = made.load()
    assert made.points.shape == (68, 2) and (made.points > -1).all() and (made.points < len(image)).all()


@given(st.integers(0, 2**32), st.floats(-80, 80), st.floats(-40, 40))
def test_turns_lead_away_from_the_camera_and_not_too_far(seed: int, yaw: float, pitch: float) -> None:
    turn = sample_turn(np.random.default_rng(seed), yaw, pitch)
    if turn is None:
        assert abs(yaw) > 55
        return
    assert 10 <= abs(turn[0]) <= 60 and abs(turn[1]) <= 30
    assert abs(yaw + turn[0]) <= 65 + 1e-6
    assert abs(yaw) <= 8 or abs(yaw + turn[0]) > abs(yaw)
    assert abs(pitch + turn[1]) <= max(35, abs(pitch)) + 1e-6


def test_faces_that_cannot_be_rotated_are_problems(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scattered, missing = rng.uniform(20, 76, (68, 2)), rng.uniform(20, 76, (68, 2))
    missing[3] = np.nan
    for points, reason in ((scattered, "the head model misses"), (missing, "are missing")):
        path = tmp_path / f"{reason[:3]}.parquet"
        tiny_faces.write_pack(path, IBUG68, points, split="train")
        (made,) = (item() for item in read(path, 1, 0))
        assert isinstance(made, Problem) and reason in made.reason


def test_packs_without_faces_to_rotate_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no pack"):
        next(read(tmp_path / "none.parquet", 1, 0))
    tiny_faces.write_pack(tmp_path / "three.parquet", tiny_faces.TRIANGLE, tiny_faces.POINTS)
    with pytest.raises(InputError, match="only faces with ibug68"):
        next(read(tmp_path / "three.parquet", 1, 0))
    tiny_faces.write_pack(tmp_path / "test.parquet", IBUG68, np.random.default_rng(0).uniform(20, 76, (68, 2)))
    with pytest.raises(InputError, match="test faces only"):
        next(read(tmp_path / "test.parquet", 1, 0))
