"""Pseudo-labels: what views of a face agree on, with networks whose error is known."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from facekd.data.pack import LabelledFace, Pack, PackWriter
from facekd.data.pseudo_labels import consensus, pseudo_label
from facekd.errors import InputError
from facekd.geometry import BoxTransform
from facekd.markup import FIVE, IBUG68, MarkUp

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255]], np.float64)
POINTS = np.array([[70, 80], [118, 74], [98, 104], [80, 130], [118, 126]], np.float32)  # turned a little


class DotFinder:
    """A network that finds five dots by their colours, and moves some points by (x, y) pixels of its crop.

    Like a real one it calls the eye at the image's left the left eye, also in a mirrored image.
    """

    size, scale, markup, box_transform = 96, 1.5, FIVE, BoxTransform()

    def __init__(self, moved: dict[int, tuple[float, float]] | None = None) -> None:
        self.moved = moved or {}

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, None, None]:
        found = np.zeros((len(images), 5, 2), np.float32)
        for points, image in zip(found, images.astype(np.float64), strict=True):
            for i, colour in enumerate(COLOURS):
                weight = np.clip(1 - np.abs(image - colour).sum(axis=-1) / 200, 0, 1)
                y, x = np.indices(weight.shape)
                points[i] = (x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum()
            if points[0, 0] > points[1, 0]:
                points[:] = points[list(FIVE.mirror)]
            for i, by in self.moved.items():
                points[i] += by
        return found, None, None


def dots() -> np.ndarray:
    image = np.zeros((200, 200, 3), np.uint8)
    for (x, y), colour in zip(POINTS, COLOURS, strict=True):
        cv2.circle(image, (int(x), int(y)), 5, colour.tolist(), -1, cv2.LINE_AA)
    return image


def pack_of(path: Path, points: np.ndarray, markup: MarkUp = FIVE, count: int = 1) -> Pack:
    about: dict = {"dataset": "dots", "margin": 2.0, "size": 200, "jpeg_quality": 100, "terms": "Ours."}
    with PackWriter(path, markup, **about) as writer:
        for i in range(count):
            writer.add(LabelledFace(dots(), points, f"{i}.png", split="train", quality="predicted"))
    return Pack.open(path)


def test_views_of_a_network_without_error_agree() -> None:
    """Rotated, resized and mirrored views lead back to the same places, from a start that is 3 pixels off."""
    found = consensus(dots(), POINTS + 3, [DotFinder()])
    np.testing.assert_allclose(found.points, POINTS, atol=0.35)
    assert found.spread.shape == (5,) and found.spread.max() < 0.006


def test_the_spread_is_how_far_views_scatter() -> None:
    """Of two networks one puts the nose 4 crop pixels to the right, mirrored views thus to the left.

    A crop pixel is 1.5 sides of the box / 96 in the plain view; so nose and spread can be worked out: half of the views
    are right, a quarter is off by 4 pixels to either side: root mean square 4 / sqrt(2).
    """
    found = consensus(dots(), POINTS, [DotFinder(), DotFinder({2: (4.0, 0.0)})])
    expected = 4 / np.sqrt(2) * 1.5 / 96
    assert found.spread[2] == pytest.approx(expected, rel=0.12)  # views differ in size
    assert found.spread[[0, 1, 3, 4]].max() < 0.006
    np.testing.assert_allclose(found.points, POINTS, atol=0.5)


def test_points_without_agreement_are_missing_and_faces_with_few_are_left_out(tmp_path: Path) -> None:
    pack, out = pack_of(tmp_path / "in.parquet", POINTS, count=2), tmp_path / "out.parquet"
    models = [DotFinder(), DotFinder({2: (6.0, 0.0)})]
    calls: list[int] = []
    assert pseudo_label(pack, out, models, max_spread=0.02, advance=lambda: calls.append(1)) == (2, 0, 0.2)
    found = Pack.open(out)
    assert np.isnan(found.points[:, 2]).all() and np.isfinite(np.delete(found.points, 2, axis=1)).all()
    np.testing.assert_allclose(np.delete(found.points[1], 2, axis=0), np.delete(POINTS, 2, axis=0), atol=0.5)
    np.testing.assert_allclose(found.boxes[0], [70, 74, 118, 130], atol=0.5)  # of all points, missing ones too
    assert found.quality.tolist() == ["predicted"] * 2 and found.meta["terms"] == "Ours." and len(calls) == 2
    with pytest.raises(InputError, match="the networks agree on no face"):
        pseudo_label(pack, out, models, max_spread=0.02, min_points=0.9)
    assert len(Pack.open(out)) == 2  # what was there stays


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    pack = pack_of(tmp_path / "in.parquet", np.tile(POINTS, (14, 1))[:68], IBUG68)
    with pytest.raises(InputError, match="has points of ibug68, a network those of five5"):
        pseudo_label(pack, tmp_path / "out.parquet", [DotFinder()])
    pack = pack_of(tmp_path / "five.parquet", POINTS)
    for wrong in ({"max_spread": 0.0}, {"max_spread": np.nan}, {"min_points": 1.5}):
        with pytest.raises(InputError, match="max_spread above 0"):
            pseudo_label(pack, tmp_path / "out.parquet", [DotFinder()], **wrong)
    with pytest.raises(InputError, match="need a network"):
        pseudo_label(pack, tmp_path / "out.parquet", [])
    assert not (tmp_path / "out.parquet").exists()
