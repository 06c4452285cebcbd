"""Aligned chips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import facekd
from facekd.errors import InputError
from facekd.geometry import apply, crop_matrix
from facekd.markup import COFW29, FIVE, MarkUp
from facekd.runtime.align import ARCFACE, align, template
from facekd.runtime.face import Face
from facekd.runtime.landmarker import Landmarker

SAMPLE = Path(facekd.__file__).parent / "weights" / "sample.jpg"


COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255]], np.uint8)


def dots(points: np.ndarray, size: int = 300) -> np.ndarray:
    """A black photo with a disc of its own colour at each of five points."""
    y, x = np.mgrid[:size, :size]
    photo = np.zeros((size, size, 3), np.uint8)
    for colour, (px, py) in zip(COLOURS, points, strict=True):
        photo[np.hypot(x - px, y - py) < 7] = colour
    return photo


def centres(chip: np.ndarray) -> np.ndarray:
    """Where the five discs are."""
    found = [np.argwhere((np.abs(chip.astype(int) - colour) < 100).all(axis=-1)) for colour in COLOURS]
    return np.array([each.mean(axis=0)[::-1] for each in found])


@pytest.mark.parametrize("size", [112, 160])
def test_eyes_nose_and_mouth_lie_on_the_template(size: int) -> None:
    matrix = crop_matrix(np.array([0, 0, 112.0, 112]), 230, rotation=35)  # a face twice as large that leans
    points = apply(matrix, ARCFACE) + 30
    chip = align(dots(points), points, FIVE, size)
    assert chip.shape == (size, size, 3) and chip.dtype == np.uint8
    np.testing.assert_allclose(centres(chip), template(size), atol=1.0)


def test_the_template_is_insightfaces_and_scales_by_the_edges_of_pixels() -> None:
    np.testing.assert_array_equal(template(), ARCFACE)
    np.testing.assert_array_equal(ARCFACE[[0, 4]], [[38.2946, 51.6963], [70.7299, 92.2041]])
    np.testing.assert_allclose((template(224)[2] - 0.5) / 2, ARCFACE[2])  # pixels 2k and 2k + 1 become pixel k


def test_a_found_face_aligns_in_any_mark_up() -> None:
    face = Landmarker(threads=1).detect(SAMPLE)[0]
    chip = face.align(SAMPLE)
    assert chip.shape == (112, 112, 3)
    (again,) = Landmarker(threads=1).detect(chip, boxes=[[0, 0, 111, 111]])
    np.testing.assert_allclose(again.convert(FIVE).points, ARCFACE, atol=9)  # the mean of faces; this one is another
    np.testing.assert_allclose(face.convert(FIVE).align(SAMPLE), chip, atol=1)
    assert abs(again.pose.roll) < 6


def test_an_array_keeps_its_order_of_channels() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    np.testing.assert_array_equal(align(photo[..., ::-1], ARCFACE, FIVE)[..., ::-1], align(photo, ARCFACE, FIVE))
    np.testing.assert_array_equal(align(photo, ARCFACE, FIVE), photo)


def test_what_cannot_be_aligned_is_refused() -> None:
    photo = np.zeros((20, 20, 3), np.uint8)
    for points in (np.full((5, 2), 3.0), np.full((5, 2), np.nan)):
        with pytest.raises(InputError, match="lie in one spot, or are no numbers"):
            align(photo, points, FIVE)
    with pytest.raises(InputError, match="size of 1 pixel or more, got 0"):
        align(photo, ARCFACE, FIVE, 0)
    own = MarkUp("own", 2, (1, 0))
    with pytest.raises(InputError, match="'own' cannot become 'five5'"):
        Face(np.zeros(4), 1.0, np.eye(2), None, own).align(photo)
    points = np.random.default_rng(0).uniform(0, 20, (29, 2))
    assert align(photo, points, COFW29).shape == (112, 112, 3)
