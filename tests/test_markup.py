"""Mark-ups: mirror pairs, conversions and a user's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facekd import markup
from facekd.errors import InputError
from facekd.markup import COFW29, FIVE, IBUG68, MARKUPS, WFLW98, MarkUp


@pytest.mark.parametrize("m", MARKUPS.values(), ids=lambda m: m.name)
def test_mirroring_twice_changes_nothing(m: MarkUp) -> None:
    points = np.random.default_rng(0).uniform(size=(m.count, 2))
    once = (points * [-1, 1])[list(m.mirror)]
    assert not np.allclose(once, points)
    np.testing.assert_array_equal((once * [-1, 1])[list(m.mirror)], points)


@pytest.mark.parametrize("m", MARKUPS.values(), ids=lambda m: m.name)
def test_mirroring_swaps_left_and_right_contours(m: MarkUp) -> None:
    by_name = {c.name: set(c.points) for c in m.contours}
    for name, points in by_name.items():
        twin = name.replace("left", "right") if "left" in name else name.replace("right", "left")
        assert {m.mirror[i] for i in points} == by_name[twin], name


@pytest.mark.parametrize("m", MARKUPS.values(), ids=lambda m: m.name)
def test_contours_name_every_point(m: MarkUp) -> None:
    assert {i for c in m.contours for i in c.points} == set(range(m.count))


def test_mirror_pairs_of_300w() -> None:
    """Spot checks against the picture of the mark-up (0-based)."""
    for left, right in [(0, 16), (36, 45), (39, 42), (48, 54), (60, 64), (31, 35), (17, 26), (41, 46)]:
        assert IBUG68.mirror[left] == right
    for middle in (8, 27, 30, 33, 51, 57, 62, 66):
        assert IBUG68.mirror[middle] == middle


def test_mirror_pairs_of_cofw() -> None:
    """The eyes' points, placed by hand after the dataset's picture: corners, upper and lower lid, pupil."""
    left = {8: (-5, 0), 10: (-2, 0), 12: (-3, -1), 13: (-3, 1), 16: (-4, 0)}
    right = {9: (5, 0), 11: (2, 0), 14: (3, -1), 15: (3, 1), 17: (4, 0)}
    for i, (x, y) in left.items():
        assert right[COFW29.mirror[i]] == (-x, y)


@pytest.mark.parametrize(("m", "left", "right"), [(IBUG68, 36, 45), (WFLW98, 60, 72), (COFW29, 8, 9)])
def test_inter_ocular_is_from_outer_corner_to_outer_corner(m: MarkUp, left: int, right: int) -> None:
    assert m.inter_ocular == ((left,), (right,))


def test_wflw_becomes_68_with_the_eye_corners_and_lips_in_place() -> None:
    source = np.stack([np.arange(98.0), -np.arange(98.0)], axis=1)
    points = markup.convert(source, WFLW98, IBUG68)
    assert points.shape == (68, 2)
    np.testing.assert_array_equal(
        points[[0, 8, 16, 36, 39, 45, 48, 54, 60, 67], 0], [0, 16, 32, 60, 64, 72, 76, 82, 88, 95]
    )
    # Mirroring before or after the conversion gives the same points.
    np.testing.assert_array_equal(
        markup.convert(source[list(WFLW98.mirror)], WFLW98, IBUG68), points[list(IBUG68.mirror)]
    )


def test_68_become_five() -> None:
    source = np.zeros((2, 68, 2))
    source[:, 36:42] = [10, 20]
    source[:, 42:48] = [30, 20]
    source[:, 30], source[:, 48], source[:, 54] = [20, 30], [12, 40], [28, 40]
    expected = [[10, 20], [30, 20], [20, 30], [12, 40], [28, 40]]
    np.testing.assert_allclose(markup.convert(source, IBUG68, FIVE), [expected, expected])
    assert markup.convert(np.zeros((98, 2)), WFLW98, FIVE).shape == (5, 2)
    assert markup.convert(np.zeros((29, 2)), COFW29, FIVE).shape == (5, 2)


def test_what_cannot_be_converted_is_refused() -> None:
    with pytest.raises(InputError, match="cannot become 'wflw98'"):
        markup.convert(np.zeros((68, 2)), IBUG68, WFLW98)
    with pytest.raises(InputError, match="has 98 points"):
        markup.convert(np.zeros((68, 2)), WFLW98, FIVE)


def test_a_mark_up_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "cat.yaml"
    path.write_text(
        "name: cat\ncount: 3\nmirror: [[0, 1]]\ncontours: [{name: face, points: [0, 1, 2], closed: true}]\n"
        "inter_ocular: [0, 1]\n"
    )
    cat = markup.get(path)
    assert (cat.count, cat.mirror, cat.inter_ocular) == (3, (1, 0, 2), ((0,), (1,)))
    assert MarkUp.from_dict(cat.to_dict()) == cat


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\ncount: 2\nmirror: [1, 1]", "once each"),
        (
            "name: a\ncount: 2\ncontours: [{name: c, points: [5]}]",
            "contours.points must be a list of .* 0 to 1, got .5.",
        ),
        ("name: a\ncount: .inf", "count must be a whole number from 1 to 10000, got inf"),
        (f"name: a\ncount: {'9' * 400}", "count must be .* got a huge number"),
        ("name: a\ncount: 2\ninter_ocular: [[0], [7]]", "inter_ocular must be .* groups of points from 0 to 1, got"),
        ("name: a\ncount: 2\nmirror: [[0, 7]]", "mirror must be .* pairs of 0 to 1, got"),
        ("name: a\ncount: 2\nmirror: [[0, 1]]\nmirror: []", "the key 'mirror' is there twice"),
        ("name: a\ncount: 2\ninter_ocular: [0, 0]", "inter_ocular must be two groups of different points"),
        ("name: a\ncount: 2\ninter_pupil: [[0, 1], [1, 0]]", "inter_pupil must be two groups of different points"),
        ("!!timestamp x", "is not YAML"),
        ("name: a\ncount: 2\nmirrow: []", "did you mean 'mirror'"),
        ("count: 2", "name"),
        ("name: a\ncount: 2\ncrop: faces", "did you mean 'face'"),
        ("[1, 2]", "keys and values"),
        ("{", "is not YAML"),
        (f"a: {'[' * 5000}", "is not YAML"),
    ],
)
def test_a_wrong_mark_up_is_refused_in_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        markup.get(path)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'ibug68'"):
        markup.get("ibug86")


@pytest.mark.parametrize("m", MARKUPS.values(), ids=lambda m: m.name)
def test_to_dict_and_back(m: MarkUp) -> None:
    assert MarkUp.from_dict(m.to_dict()) == m


def test_a_mark_up_of_ones_own_does_not_take_anothers_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("{name: ibug68, count: 5}")
    with pytest.raises(InputError, match="'ibug68' is another mark-up's name"):
        markup.get(path)
    path.write_text("{name: mine, count: -3}")
    with pytest.raises(InputError, match="count must be a whole number from 1 to 10000, got -3"):
        markup.get(path)
    path.write_text("{name: mine, count: 5}")
    assert not markup.get(path).mirrors and IBUG68.mirrors


def test_crops_may_be_of_the_face(tmp_path: Path) -> None:
    path = tmp_path / "nose.yaml"
    path.write_text("name: nose\ncount: 3\ncrop: face\n")
    nose = markup.get(path)
    assert nose.crop == "face" and MarkUp.from_dict(nose.to_dict()) == nose
    assert markup.FIVE.crop == "points" and "crop" not in markup.FIVE.to_dict()


def test_a_single_point_is_cut_out_by_the_face() -> None:
    assert MarkUp.from_dict({"name": "tip", "count": 1}).crop == "face"
    with pytest.raises(InputError, match="a single point has no box to be cut out by; give it crop: face"):
        MarkUp.from_dict({"name": "tip", "count": 1, "crop": "points"})
