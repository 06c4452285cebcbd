"""Eyes closed by warping: where lids and pixels go, worked out for an eye of straight lines."""

from __future__ import annotations

import numpy as np
import pytest

from facekd.errors import InputError, RecipeError
from facekd.markup import COFW29, FIVE, IBUG68, WFLW98, Contour, MarkUp
from facekd.recipes.groups import Augment, Input
from facekd.recipes.load import parse
from facekd.runtime.measures import eye_openness
from facekd.training.augment import Augmenter
from facekd.training.eyes import Eye, close_eyes, eyes_of

EYE = Eye((0, 3), (1, 2), (5, 4))
# An eye from x = 20 to x = 60 on the line y = 50: its lids are at y = 42 and y = 54 between x = 30 and x = 50.
POINTS = np.array([[20, 50], [30, 42], [50, 42], [60, 50], [50, 54], [30, 54]], np.float32)


def openness(points: np.ndarray, eye: Eye) -> np.ndarray:
    """The mean distance between the lids of faces (..., N, 2) over that of the corners, for mark-ups of the tests."""
    width = np.linalg.norm(points[..., eye.corners[0], :] - points[..., eye.corners[1], :], axis=-1)
    return np.linalg.norm(points[..., list(eye.upper), :] - points[..., list(eye.lower), :], axis=-1).mean(-1) / width


def ramp() -> np.ndarray:
    """An image whose red tells the row, so that pixels say where they came from."""
    return np.repeat(np.arange(100, dtype=np.uint8)[:, None, None] * 2, 80, axis=1).repeat(3, axis=2)


def test_lids_meet_on_the_line_that_is_asked_for() -> None:
    _, closed = close_eyes(ramp(), POINTS, [EYE], closed=1.0, meeting=0.25)
    np.testing.assert_allclose(closed[[0, 3]], POINTS[[0, 3]])  # corners stay
    np.testing.assert_allclose(closed[[1, 2, 4, 5], 1], 54 - 0.25 * 12)
    np.testing.assert_allclose(closed[:, 0], POINTS[:, 0])
    assert openness(closed, EYE) == pytest.approx(0, abs=1e-6)


def test_half_closed_is_half_the_way() -> None:
    _, closed = close_eyes(ramp(), POINTS, [EYE], closed=0.5, meeting=0.0)
    np.testing.assert_allclose(closed[[1, 2], 1], 48)
    np.testing.assert_allclose(closed[[4, 5], 1], 54)
    assert openness(closed, EYE) == pytest.approx(openness(POINTS, EYE) / 2)
    assert openness(POINTS, EYE) == pytest.approx(12 / 40)


def test_pixels_move_as_the_lids_do() -> None:
    """At x = 40: the lid's pixel row 42 comes to row 48, what is at 48 goes to 51, the skin's end stays."""
    image, _ = close_eyes(ramp(), POINTS, [EYE], closed=0.5, meeting=0.0)
    column = image[:, 40, 0] / 2
    assert column[48] == pytest.approx(42, abs=0.6)
    assert column[51] == pytest.approx(48, abs=0.6)
    assert column[54] == pytest.approx(54, abs=0.6)
    # Above: from the skin's end, 0.45 widths above the lid (row 24), to the lid, 18 rows are stretched over 24.
    assert column[36] == pytest.approx(33, abs=0.6)
    unchanged = np.r_[0:24, 55:100]
    np.testing.assert_array_equal(image[unchanged, 40], ramp()[unchanged, 40])
    np.testing.assert_array_equal(image[:, :20], ramp()[:, :20])
    np.testing.assert_array_equal(image[:, 61:], ramp()[:, 61:])


def test_an_eye_of_any_roll_closes_alike() -> None:
    """A quarter turn clockwise: x, y become 99 - y, x in an image of 100 rows and columns."""
    square = np.concatenate([ramp(), ramp()[:, :20]], axis=1)
    upright, points = close_eyes(square, POINTS, [EYE], 1.0, 0.2)
    turned = np.stack([99 - POINTS[:, 1], POINTS[:, 0]], axis=1)
    image, found = close_eyes(np.ascontiguousarray(np.rot90(square, -1)), turned, [EYE], 1.0, 0.2)
    np.testing.assert_allclose(found, np.stack([99 - points[:, 1], points[:, 0]], axis=1), atol=1e-4)
    np.testing.assert_allclose(image.astype(int), np.rot90(upright, -1).astype(int), atol=2)


@pytest.mark.parametrize("closed", [0.0, 1.0])
def test_what_cannot_be_closed_stays(closed: float) -> None:
    missing, shut = POINTS.copy(), POINTS.copy()
    missing[1] = np.nan
    shut[[1, 2, 4, 5], 1] = 50
    for points in (missing, shut, np.tile(POINTS[:1], (6, 1))):
        image, found = close_eyes(ramp(), points, [EYE], closed, 0.2)
        np.testing.assert_allclose(found, points, atol=1e-5)
        np.testing.assert_allclose(image.astype(int), ramp().astype(int), atol=1)


def test_an_eye_beyond_the_edge_moves_its_labels_only() -> None:
    image, found = close_eyes(ramp(), POINTS + np.array([200, 0]), [EYE], 1.0, 0.0)
    np.testing.assert_array_equal(image, ramp())
    np.testing.assert_allclose(found[[1, 2], 1], 54)


def test_mark_ups_with_lids_have_two_eyes() -> None:
    for markup, lid in ((IBUG68, 2), (WFLW98, 3), (COFW29, 1)):
        assert [len(eye.upper) for eye in eyes_of(markup)] == [lid, lid] == [len(e.lower) for e in eyes_of(markup)]
    assert eyes_of(FIVE) == []
    left = eyes_of(IBUG68)[0]
    assert left == Eye((36, 39), (37, 38), (41, 40))
    points = np.random.default_rng(0).uniform(0, 100, (68, 2))
    measured = eye_openness(points, IBUG68)
    assert measured is not None and measured.left == pytest.approx(float(openness(points, left)))


TWO = MarkUp(
    "two eyes",
    12,
    (9, 8, 7, 6, 11, 10, 3, 2, 1, 0, 5, 4),
    (Contour("left eye", (0, 1, 2, 3, 4, 5), True), Contour("right eye", (6, 7, 8, 9, 10, 11), True)),
)


def views(close: float, seed: int = 0) -> np.ndarray:
    """Openness (200, 2) of both eyes in views of one face, which vary in nothing else."""
    import torch

    settings = Augment(rotation=0, scale=0, shift=0, mirror=False, close_eyes=close)
    points = np.concatenate([POINTS, POINTS + np.array([60, 0])]).astype(np.float32)
    frames = torch.zeros(1, 140, 140, 3, dtype=torch.uint8).repeat(200, 1, 1, 1)
    augmenter = Augmenter(settings, Input(size=64, scale=1.2), TWO, seed)
    box = np.array([[20, 0, 120, 100]], np.float32)
    seen = augmenter(frames, points[None].repeat(200, 0), box.repeat(200, 0), np.arange(200)).landmarks.numpy()
    return np.stack([openness(seen, eye) for eye in eyes_of(TWO)], axis=1)


def test_so_many_views_are_closed_as_is_asked_for() -> None:
    assert views(0.0) == pytest.approx(0.3, abs=1e-4)
    found = views(0.5)
    closed = (found < 0.299).any(axis=1)
    assert 0.4 < closed.mean() < 0.6  # 100 +- 7 of 200
    both = (found[closed] < 0.299).all(axis=1)
    assert 0.8 < both.mean() < 0.98  # one in ten winks
    least = found[closed].min(axis=1)
    assert (least < 0.001).mean() == pytest.approx(0.5, abs=0.15) and least.max() <= 0.151
    np.testing.assert_array_equal(views(0.5), found)
    assert not np.array_equal(views(0.5, seed=1), found)


def test_closing_eyes_leaves_all_other_randomness_alone() -> None:
    import torch

    frames = torch.randint(0, 255, (4, 100, 100, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    points = np.tile(np.concatenate([POINTS, POINTS + np.array([15, 30])])[None], (4, 1, 1)).astype(np.float32)
    boxes = np.tile(np.array([[10, 10, 90, 90]], np.float32), (4, 1))
    # So seldom that no view of these is hit, but the setting is on.
    plain, rare = (
        Augmenter(Augment(close_eyes=share), Input(size=48), TWO)(frames, points, boxes, np.arange(4))
        for share in (0.0, 1e-9)
    )
    assert torch.equal(plain.images, rare.images) and torch.equal(plain.landmarks, rare.landmarks)


def test_a_mark_up_without_lids_and_teachers_of_plain_crops_are_refused() -> None:
    with pytest.raises(InputError, match="close_eyes needs lids, and 'five5' has no closed contour"):
        Augmenter(Augment(close_eyes=0.1), Input(), FIVE)
    stage = {"backbone": "mobilenetv2_035", "init": "none"}
    stages = {
        "a": stage,
        "b": stage | {"teachers": [{"stage": "a", "how": "landmarks"}], "teacher_view": "plain"},
    }
    with pytest.raises(RecipeError, match="b: teachers that see the plain crop see open eyes; set teacher_view"):
        parse({"name": "x", "augment": {"close_eyes": 0.2}, "stages": stages}, "x")
