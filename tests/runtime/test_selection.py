"""Which faces of a photo count."""

from __future__ import annotations

import numpy as np
import pytest

from facekd.markup import FIVE
from facekd.runtime.face import Face
from facekd.runtime.selection import better, with_turned, without_parts

UPRIGHT = np.array([[-48.0, -44], [48, -44], [0, 8], [-37, 40], [37, 40]])


def face(x: float, y: float, side: float, confidence: float | None, roll: float = 0.0) -> Face:
    """A face whose box is a square about a centre, and its landmarks, in the middle of it, turned by a roll."""
    angle = np.radians(roll)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (UPRIGHT / 150 * side) @ turn.T + [x, y]
    box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], np.float32)
    return Face(box, 0.8, points.astype(np.float32), None, FIVE, confidence)


def test_a_turned_face_that_is_clearly_more_confident_replaces_the_upright_one() -> None:
    wrong, right = face(50, 50, 40, 0.1), face(52, 50, 40, 0.9, roll=90)
    elsewhere = face(200, 50, 40, 0.95)
    assert with_turned([wrong, elsewhere], [right]) == [elsewhere, right]
    assert with_turned([], [right]) == [right]


@pytest.mark.parametrize("confidence", [0.49, 0.6])
def test_a_turned_face_that_cannot_be_trusted_or_is_hardly_better_is_left(confidence: float) -> None:
    upright, turned = face(50, 50, 40, 0.45), face(52, 50, 40, confidence, roll=180)
    assert with_turned([upright], [turned]) == [upright]
    assert better(upright, [turned]) is upright


def test_a_face_that_is_known_to_be_there_is_turned_even_if_it_cannot_be_trusted() -> None:
    """A covered face upside down: what was found upright is further from the truth than what was found turned."""
    upright, turned = face(50, 50, 40, 0.05), face(52, 50, 40, 0.4, roll=180)
    assert not turned.ok
    assert better(upright, [turned]) is turned
    assert with_turned([upright], [turned]) == [upright]  # where the detector says so, it may be no face at all


def test_an_upright_crop_of_a_rolled_face_gives_way_to_any_gain() -> None:
    # Its box was drawn as if it were upright, so that its landmarks are worse than its confidence tells.
    tilted, turned = face(50, 50, 40, 0.8, roll=85), face(52, 50, 40, 0.81, roll=88)
    assert with_turned([tilted], [turned]) == [turned] and better(tilted, [turned]) is turned
    assert with_turned([turned], [tilted]) == [turned]


@pytest.mark.parametrize(("roll", "gives_way"), [(44, False), (46, True), (-46, True)])
def test_from_half_a_quarter_turn_on_the_turned_crop_is_the_nearer_one(roll: float, gives_way: bool) -> None:
    found, turned = face(50, 50, 40, 0.8, roll=roll), face(52, 50, 40, 0.81, roll=roll)
    assert with_turned([found], [turned]) == [turned if gives_way else found]


def test_of_several_turned_faces_in_one_place_the_most_confident_stays() -> None:
    found = [face(50, 50, 40, 0.7, roll=180), face(51, 50, 40, 0.9, roll=90), face(50, 51, 40, 0.8, roll=270)]
    assert with_turned([face(50, 50, 40, 0.0)], found) == [found[1]]


def test_parts_of_a_face_and_repeats_of_it_are_left_out() -> None:
    whole, ear = face(100, 100, 100, 0.95), face(125, 100, 30, 0.1)
    repeat = face(104, 100, 104, 0.9)
    assert without_parts([repeat, ear, whole]) == [whole]


def test_a_trusted_face_inside_another_box_and_one_beside_it_stay() -> None:
    whole, child, beside = face(100, 100, 100, 0.95), face(125, 130, 30, 0.9), face(160, 100, 30, 0.1)
    assert without_parts([whole, child, beside]) == [whole, child, beside]


def test_without_calibration_nothing_but_repeats_could_go() -> None:
    whole, part = face(100, 100, 100, None), face(125, 100, 30, None)
    assert without_parts([whole, part]) == [whole, part] and whole.ok and part.ok
