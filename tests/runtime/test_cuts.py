"""What tells a cut, and one face from another."""

from __future__ import annotations

import numpy as np
import pytest

from facekd.runtime.cuts import face_chip, is_cut, look_alike, thumbnail

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(20, 30, 3), (480, 640, 3), (1080, 1920, 3), (2000, 300, 3)])
def test_thumbnails_of_any_size(shape: tuple[int, ...]) -> None:
    left = np.zeros(shape, np.uint8)
    left[:, : shape[1] // 2] = 200
    small = thumbnail(left)
    assert small.shape == (32, 32, 3) and small[:, :15].min() == 200 and small[:, 17:].max() == 0


@pytest.mark.parametrize(("step", "cut"), [(10, False), (30, False), (35, True), (120, True)])
def test_a_change_of_the_whole_picture_is_a_cut(step: int, cut: bool) -> None:
    frame = RNG.integers(0, 130, (120, 160, 3), np.uint8)
    assert is_cut(thumbnail(frame), thumbnail(frame + np.uint8(step))) is cut


def test_faces_in_other_light_look_alike_and_others_do_not() -> None:
    first, second = (np.kron(RNG.random((8, 8)), np.ones((4, 4))) * 100 for _ in range(2))
    assert look_alike(first, first * 2 + 30) and look_alike(first, first + RNG.normal(0, 10, first.shape))
    assert not look_alike(first, second) and not look_alike(first, -first)
    assert look_alike(first, np.full_like(first, 255))  # whited out: nothing says otherwise


def test_chips_are_upright() -> None:
    frame = np.zeros((100, 100, 3), np.uint8)
    frame[20:50, 20:80] = 240  # the upper half of the box is bright
    upright = face_chip(frame, np.array([20, 20, 80, 80.0]), 0)
    assert upright[1:15, 1:-1].min() > 230 and upright[17:].max() < 10
    lying = face_chip(np.rot90(frame, -1), np.array([19, 20, 79, 80.0]), 90)  # turned clockwise
    np.testing.assert_allclose(lying[2:-2, 2:-2], upright[2:-2, 2:-2], atol=12)
