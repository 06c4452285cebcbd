"""`.pts` files: counted from 1 on disk, from 0 in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facekd.errors import InputError
from facekd.pts import read_pts, write_pts


def test_first_pixel_is_one_on_disk_and_zero_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.pts"
    path.write_text("version: 1\nn_points:  2\n{\n1.000 1.000\n10.5 20.25\n}\n")
    np.testing.assert_allclose(read_pts(path), [[0, 0], [9.5, 19.25]])


def test_writing_adds_one(tmp_path: Path) -> None:
    write_pts(tmp_path / "a.pts", np.array([[0.0, 2.5]]))
    assert (tmp_path / "a.pts").read_text().splitlines() == ["version: 1", "n_points: 1", "{", "1.0000 3.5000", "}"]


def test_round_trip(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(-5, 3000, (68, 2))
    write_pts(tmp_path / "a.pts", points)
    np.testing.assert_allclose(read_pts(tmp_path / "a.pts"), points, atol=6e-5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a .pts file"),
        ("version: 1\nn_points: 1\n{\n1 two\n}", "not a .pts file"),
        ("version: 1\nn_points: 3\n{\n1 2\n3 4\n}", "says n_points: 3, but holds 2"),
        ("version: 1\nn_points: 1\n{\n1 2 3\n}", "one 'x y' per line"),
        ("version: 1\nn_points: 0\n{\n}", "one 'x y' per line"),
    ],
)
def test_damaged_file(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "a.pts").write_text(text)
    with pytest.raises(InputError, match=says):
        read_pts(tmp_path / "a.pts")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_pts(tmp_path / "none.pts")
