"""Curves and paint: exact where they are meant to be, so that landmarks on them are exact."""

from __future__ import annotations

import numpy as np
import pytest

from facekd.synthetic.canvas import Canvas, coverage, ellipse, normals, ribbon, spline

SQUARE = np.array([[10.0, 10.0], [30.0, 10.0], [30.0, 30.0], [10.0, 30.0]])


@pytest.mark.parametrize("closed", [False, True])
def test_spline_passes_through_every_knot(closed: bool) -> None:
    knots = np.random.default_rng(0).normal(size=(6, 2))
    curve = spline(knots, steps=5, closed=closed)
    assert np.allclose(curve[::5], knots)
    assert len(curve) == (30 if closed else 26)


def test_spline_of_points_on_a_line_is_the_line() -> None:
    curve = spline(np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0], [3.0, 6.0]]), steps=4)
    assert np.allclose(curve[:, 1], 2 * curve[:, 0])
    assert np.allclose(curve[:, 0], np.arange(13) / 4)


def test_normals_point_to_the_right_of_who_walks_along_the_curve() -> None:
    rightwards = np.array([[0.0, 0.0], [2.0, 0.0], [5.0, 0.0]])  # walking right, the right hand is down, at larger y
    assert np.allclose(normals(rightwards), [[0.0, 1.0]] * 3)


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.6])
@pytest.mark.parametrize("turn", [1, -1])
def test_coverage_is_half_on_the_outline_whichever_way_it_runs(shift: float, turn: int) -> None:
    disc = ellipse((32 + shift, 32), (16, 0), (0, 16), 80)[::turn]
    covered = coverage((64, 64), disc) / 255
    assert covered.sum() == pytest.approx(np.pi * 16**2, rel=0.02)
    left, right = covered[32, :32].sum(), covered[32, 32:].sum()  # row 32; pixel 32 begins at 31.5
    assert left == pytest.approx(15.5 - shift, abs=0.15)
    assert right == pytest.approx(16.5 + shift, abs=0.15)


def test_ribbon_is_as_wide_as_asked() -> None:
    line = np.array([[10.0, 20.0], [30.0, 20.0], [50.0, 20.0]])
    outline = ribbon(line, [2.0, 6.0, 4.0])
    assert np.allclose(outline[:3, 1] - outline[3:][::-1, 1], [2.0, 6.0, 4.0])
    assert np.allclose(outline[:3, 0], line[:, 0])


def test_fill_mixes_colours_by_alpha_and_stays_within() -> None:
    canvas = Canvas(np.full((40, 40, 3), 100, np.uint8), np.zeros((40, 40), np.uint8))
    within = np.zeros((40, 40), np.uint8)
    within[:, :20] = 255
    canvas.fill(SQUARE, (200, 100, 0), alpha=0.75, within=within)
    assert np.abs(canvas.image[20, 15] - np.array([175, 100, 25])).max() <= 1
    assert (canvas.image[20, 25] == 100).all()
    assert canvas.hidden is not None
    assert canvas.hidden[20, 15] == 255
    assert canvas.hidden[20, 25] == 0


def test_fill_that_one_sees_through_hides_nothing() -> None:
    canvas = Canvas(np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40), np.uint8))
    canvas.fill(SQUARE, (255, 255, 255), alpha=0.3)
    assert canvas.image[20, 20, 0] > 70
    assert canvas.hidden is not None
    assert not canvas.hidden.any()


def test_fill_beyond_the_edge_or_of_nothing_is_no_error() -> None:
    canvas = Canvas(np.zeros((40, 40, 3), np.uint8))
    canvas.fill([], (255, 0, 0))
    canvas.fill(SQUARE + 100, (255, 0, 0))
    canvas.fill(SQUARE - 100, (255, 0, 0))
    assert not canvas.image.any()
    canvas.fill(SQUARE + 20, (255, 0, 0))
    assert (canvas.image[35:, 35:] == (255, 0, 0)).all()
