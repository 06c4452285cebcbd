"""Pictures: what is drawn is what the shape says, and the file is an image."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from facekd.evaluation.shapes import draw_shape, modes
from facekd.markup import Contour, MarkUp
from facekd.shape import ShapeModel

HOUSE = MarkUp("house", 5, (1, 0, 3, 2, 4), (Contour("walls", (0, 1, 3, 2), closed=True),))
POINTS = np.array([[0.0, 1], [1, 1], [0, 2], [1, 2], [0.5, 0]])


def test_contours_are_lines_and_other_points_are_dots() -> None:
    axes = Figure().subplots()
    draw_shape(axes, POINTS, HOUSE, label="house")
    walls, loose = axes.lines
    assert walls.get_xydata() == pytest.approx(POINTS[[0, 1, 3, 2, 0]])
    assert loose.get_xydata() == pytest.approx(POINTS[[4]])
    assert len(axes.get_legend_handles_labels()[1]) == 1
    draw_shape(axes, POINTS, HOUSE)
    assert axes.yaxis_inverted()  # y points down however many shapes are drawn


@pytest.mark.parametrize("count", [1, 4])
def test_picture_of_a_shape_model(tmp_path: Path, count: int) -> None:
    """With fewer modes in the model than asked for, there are fewer panels."""
    moves = np.random.default_rng(0).normal(size=(count + 1, 5, 2))
    modes(ShapeModel.fit(POINTS + 0.1 * moves), tmp_path / "modes.png", HOUSE)
    image = cv2.imread(str(tmp_path / "modes.png"))
    assert image.shape[1] > (2 * count + 3) * 120
    assert image.std() > 10
    assert [path.name for path in tmp_path.iterdir()] == ["modes.png"]
