"""Faces that are covered: what is painted hides the points under it, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facekd.geometry import tight_box
from facekd.markup import COFW29, FIVE, IBUG68, WFLW98, MarkUp
from facekd.recipes.groups import Augment, Input
from facekd.synthetic.face import render
from facekd.training.augment import Augmenter
from facekd.training.occlusion import Occluder, occlude, occluders

THING, HAND, MASK, GLASSES = range(4)  # in the order of `occluders(IBUG68)`
EYES, MOUTH, BROWS = range(36, 48), range(48, 68), range(17, 27)


@pytest.fixture(scope="module")
def face() -> tuple[np.ndarray, np.ndarray]:
    found = render(0, 11, size=160)
    return np.asarray(found.image), found.points.astype(np.float32)


def cover(face: tuple[np.ndarray, np.ndarray], kind: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return occlude(*face, [occluders(IBUG68)[kind]], np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("markup", "count"), [(IBUG68, 4), (WFLW98, 4), (COFW29, 3), (FIVE, 2)], ids=lambda value: str(value)[:12]
)
def test_what_can_cover_a_face_depends_on_its_points(markup: MarkUp, count: int) -> None:
    """A mask follows the jaw and the nose's bridge, glasses the lids; COFW has no jaw, five points neither."""
    assert len(occluders(markup)) == count


@pytest.mark.parametrize("seed", range(5))
def test_a_mask_hides_the_mouth_and_glasses_the_eyes(face: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    _, masked = cover(face, MASK, seed)
    assert masked[MOUTH].all() and not masked[EYES].any() and not masked[BROWS].any()
    _, shaded = cover(face, GLASSES, seed)
    assert shaded[EYES].mean() > 0.9 and not shaded[MOUTH].any()


@pytest.mark.parametrize("kind", [THING, HAND, MASK, GLASSES])
def test_a_point_is_hidden_where_pixels_changed(face: tuple[np.ndarray, np.ndarray], kind: int) -> None:
    image, points = face
    shown = 0
    for seed in range(8):
        covered, hidden = cover(face, kind, seed)
        changed = np.abs(covered.astype(int) - image).max(axis=-1) > 0
        x, y = np.rint(points).astype(int).T
        seen = changed[y, x]
        assert not (hidden & ~seen).sum() > 1  # paint may have the colour that was there
        assert seen[~hidden].mean() < 0.3  # rims, folds and soft edges, a mask's along the jaw
        shown += hidden.sum()
    assert shown > 8


def test_the_same_random_numbers_cover_alike_and_the_image_is_not_changed(
    face: tuple[np.ndarray, np.ndarray],
) -> None:
    before = face[0].copy()
    first, second, other = (cover(face, HAND, seed)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    np.testing.assert_array_equal(face[0], before)


def test_a_face_with_a_missing_point_stays_as_it_is(face: tuple[np.ndarray, np.ndarray]) -> None:
    image, points = face
    points = points.copy()
    points[3] = np.nan
    covered, hidden = occlude(image, points, occluders(IBUG68), np.random.default_rng(0))
    assert covered is image and not hidden.any()


def test_points_outside_of_the_image_are_not_hidden(face: tuple[np.ndarray, np.ndarray]) -> None:
    def everything(rng: np.random.Generator, canvas, points: np.ndarray) -> None:
        canvas.fill(np.array([[-99.0, -99], [999, -99], [999, 999], [-99, 999]]), (9, 9, 9))

    kinds: list[Occluder] = [everything]
    _, hidden = occlude(face[0], face[1] + np.array([100, 0], np.float32), kinds, np.random.default_rng(0))
    assert hidden.any() and not hidden.all()
    np.testing.assert_array_equal(hidden, (face[1][:, 0] + 100).round() < 160)


def test_views_say_what_is_covered(face: tuple[np.ndarray, np.ndarray]) -> None:
    """Through the augmenter: the share of views, the same in any batch, hidden points told, labels as they were."""
    image, points = face
    frames = torch.from_numpy(np.repeat(image[None], 24, axis=0))
    points, visible = np.repeat(points[None], 24, axis=0), np.ones((24, 68), bool)
    still: dict = {"rotation": 0, "scale": 0, "shift": 0, "mirror": False, "brightness": 0, "contrast": 0}
    still |= {"saturation": 0, "tint": 0, "blur": 0, "noise": 0, "cutout": 0}

    def views(rows: slice, **settings: float):
        eye = Augmenter(Augment(**still, **settings), Input(size=96), IBUG68, seed=2)
        faces = np.arange(24)[rows]
        return eye(frames[rows], points[rows], tight_box(points[rows]), faces, 5, visible[rows])

    plain, covered = views(slice(None)), views(slice(None), occlusion=0.5)
    assert plain.visible is not None and plain.visible.all()
    assert covered.visible is not None
    changed = (covered.images != plain.images).flatten(1).any(1)
    assert 6 < changed.sum() < 18
    assert covered.visible[~changed].all() and not covered.visible[changed].all(1).all()
    torch.testing.assert_close(covered.landmarks, plain.landmarks)
    alone = views(slice(7, 8), occlusion=0.5)
    torch.testing.assert_close(alone.images[0], covered.images[7])
