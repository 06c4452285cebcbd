"""Single bad labels are found, each for what it is, and good ones are not doubted."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from facekd.data.checks import Finding, label_findings
from facekd.data.face import LabelledFace
from facekd.data.marks import unset
from facekd.data.mean_shape import fit_mean, whole_boxes
from facekd.data.pack import Pack, PackWriter
from facekd.geometry import centre_and_side, tight_box
from facekd.markup import FIVE, IBUG68, MarkUp, convert
from facekd.synthetic import render

COUNT = 60
SIDE = 120


def points(count: int = COUNT) -> np.ndarray:
    """Landmarks (count, 68, 2) of synthetic heads, turned as they are, in crops of 120 px."""
    return np.array([render(5, i, SIDE).points for i in range(count)])


@pytest.fixture(scope="module")
def good() -> np.ndarray:
    return points()


def packed(path: Path, faces: np.ndarray, markup: MarkUp = IBUG68, orientations: Iterable[int] = ()) -> Pack:
    codes = list(orientations) or [1] * len(faces)
    about = {"dataset": "made up", "margin": 2.0, "size": SIDE, "jpeg_quality": 90, "terms": "None."}
    with PackWriter(path / "a.parquet", markup, **about) as writer:
        for i, (face, code) in enumerate(zip(faces, codes, strict=True)):
            shift = np.array([[1, 0, 0], [0, 1, 0]], float)
            writer.add(
                LabelledFace(np.zeros((SIDE, SIDE, 3), np.uint8), face, f"{i}.jpg", orientation=code, to_photo=shift)
            )
    return Pack.open(path / "a.parquet")


def kinds(found: list[Finding]) -> dict[str, tuple[int, ...]]:
    return {finding.kind: finding.faces for finding in found}


# The mean shape


def test_roll_and_distance_are_those_of_turned_and_bent_faces() -> None:
    face = points(1)[0]
    angle = np.radians(30)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])  # clockwise on the screen
    fits = fit_mean(np.array([face, face * 3 + 7, face, face, face @ turn.T]))
    np.testing.assert_allclose(fits.distance, 0, atol=1e-6)
    np.testing.assert_allclose(fits.roll - fits.roll[0], [0, 0, 0, 0, 30], atol=1e-6)


def test_missing_points_change_little(good: np.ndarray) -> None:
    holes = np.where(np.random.default_rng(0).random(good.shape[:2])[..., None] < 0.3, np.nan, good)
    whole, holed = fit_mean(good), fit_mean(holes)
    assert np.abs(whole.mean - holed.mean).max() < 0.01  # of a length of 1
    assert np.median(np.abs(whole.roll - holed.roll)) < 1 and np.median(np.abs(whole.distance - holed.distance)) < 0.02


def test_boxes_of_faces_with_missing_points_are_about_those_of_the_whole(good: np.ndarray) -> None:
    holes = good.copy()
    holes[::2, :17] = np.nan  # no jaw
    holes[1, 2:] = np.nan  # two points alone say nothing
    whole, found = tight_box(good), whole_boxes(holes)
    np.testing.assert_array_equal(found[3::2], whole[3::2])
    np.testing.assert_array_equal(found[1], tight_box(holes[1]))
    sides = centre_and_side(whole)[1][::2]
    tight, completed = (centre_and_side(box[::2])[1] / sides for box in (tight_box(holes), found))
    assert np.median(tight) < 0.8 and np.abs(np.median(completed) - 1) < 0.03
    assert np.median(np.abs(found - whole)[::2].max(axis=1) / sides) < 0.15  # heads are turned


# What is wrong with single faces


def test_good_labels_are_not_doubted(tmp_path: Path, good: np.ndarray) -> None:
    assert label_findings(packed(tmp_path, good)) == []
    holes = np.where(np.random.default_rng(0).random(good.shape[:2])[..., None] < 0.3, np.nan, good)
    assert label_findings(packed(tmp_path, holes)) == []
    assert label_findings(packed(tmp_path, convert(good, IBUG68, FIVE), FIVE)) == []


def test_three_faces_with_a_brow_at_the_corner(tmp_path: Path, good: np.ndarray) -> None:
    faces = good[:3].copy()
    faces[:, 17:22] = 0
    found = label_findings(packed(tmp_path, faces))
    assert kinds(found)["marks not set"] == (0, 1, 2)
    assert found[0].details == ("5 points",) * 3


@pytest.mark.parametrize("value", [0, -1])
def test_a_mark_at_the_corner_of_the_photo_and_not_of_the_crop(tmp_path: Path, good: np.ndarray, value: int) -> None:
    faces = good[:20].copy()
    faces[7, 40] = value
    found = label_findings(packed(tmp_path, faces))
    assert kinds(found) == {"marks not set": (7,)}


def test_a_mark_set_twice_in_one_place(tmp_path: Path, good: np.ndarray) -> None:
    faces = good.copy()
    faces[9, 3] = faces[9, 4]  # neighbours on the jaw
    faces[20, 30] = faces[20, 8]
    found = label_findings(packed(tmp_path, faces))
    assert kinds(found) == {"repeated": (9, 20)}
    assert found[0].details == ("points 3 and 4", "points 8 and 30")


def test_lips_and_eyelids_may_meet(tmp_path: Path, good: np.ndarray) -> None:
    faces = good.copy()
    faces[:40, [61, 62, 63]] = faces[:40, [67, 66, 65]]
    faces[:2, 37] = faces[:2, 41]
    assert "repeated" not in kinds(label_findings(packed(tmp_path, faces)))


def test_two_points_that_meet_on_every_face_were_never_set_apart(tmp_path: Path, good: np.ndarray) -> None:
    faces = good.copy()
    faces[:, 3] = faces[:, 4]
    assert len(kinds(label_findings(packed(tmp_path, faces)))["repeated"]) == COUNT


def test_a_face_in_another_order_is_far_from_the_mean_shape(tmp_path: Path, good: np.ndarray) -> None:
    faces = good.copy()
    faces[13] = np.roll(faces[13], 20, axis=0)
    assert kinds(label_findings(packed(tmp_path, faces))) == {"far from the mean shape": (13,)}


def test_a_point_off_is_named(tmp_path: Path, good: np.ndarray) -> None:
    faces = good.copy()
    faces[13, 48] += 1.2 * np.ptp(faces[13], axis=0).max()  # the whole face is far from the mean shape, too
    found = label_findings(packed(tmp_path, faces))
    assert kinds(found) == {"points off": (13,)} and found[0].details == ("point 48",)


def test_left_and_right_swapped_whole_and_in_part(tmp_path: Path, good: np.ndarray) -> None:
    faces = good.copy()
    mirror = np.array(IBUG68.mirror)
    faces[11] = faces[11][mirror]
    faces[12, [36, 45]] = faces[12, [45, 36]]
    found = label_findings(packed(tmp_path, faces))
    assert kinds(found) == {"swapped": (11,), "pairs swapped": (12,)}
    assert found[1].details == ("points 36 and 45",)


def test_without_pairs_nobody_asks_about_mirrors(tmp_path: Path, good: np.ndarray) -> None:
    unpaired = MarkUp("mine", 68, tuple(range(68)))
    faces = good.copy()
    faces[11] = faces[11][list(IBUG68.mirror)]
    found = kinds(label_findings(packed(tmp_path, faces, unpaired)))
    assert found == {"far from the mean shape": (11,)}
    assert label_findings(packed(tmp_path, good, unpaired)) == []


def test_a_wrong_pair_of_the_mark_up_is_named(tmp_path: Path, good: np.ndarray) -> None:
    mirror = list(IBUG68.mirror)
    mirror[36], mirror[45], mirror[39], mirror[42] = 42, 39, 45, 36
    found = label_findings(packed(tmp_path, good, MarkUp("mine", 68, tuple(mirror))))
    assert [f.text for f in found if f.kind == "mirror"] == [
        "the mark-up's mirror does not fit the mean face at points [36, 39, 42, 45]; fix its table"
    ]


@pytest.mark.parametrize(("code", "quarters"), [(6, 1), (3, 2), (8, 3)])
def test_labels_made_on_stored_pixels(tmp_path: Path, good: np.ndarray, code: int, quarters: int) -> None:
    faces, codes = good.copy(), [1] * COUNT
    for i in range(0, COUNT, 3):
        codes[i] = code
        for _ in range(quarters):  # the label is upright in the stored photo, which EXIF turns clockwise when shown
            x, y = faces[i].T
            faces[i] = np.column_stack([y, SIDE - 1 - x])
    upright_labels = packed(tmp_path, good, orientations=codes)
    assert "stored pixels" not in kinds(label_findings(upright_labels))
    found = kinds(label_findings(packed(tmp_path, faces, orientations=codes)))
    assert found == {"stored pixels": tuple(range(0, COUNT, 3))}


@pytest.mark.parametrize("count", [1, 2])
def test_mark_ups_of_one_or_two_points(tmp_path: Path, good: np.ndarray, count: int) -> None:
    few = MarkUp("few", count, tuple(range(count)), crop="face" if count == 1 else "points")
    assert label_findings(packed(tmp_path, good[:, [36, 45]][:, :count], few)) == []


def test_unset_marks_lie_away_from_the_face() -> None:
    face = np.array([[0.0, 0], [40, 30], [60, 30], [50, 50]])
    assert unset(face).tolist() == [True, False, False, False]
    assert unset(np.array([[0.0, 0], [10, 3], [5, 20], [20, 20]])).sum() == 0  # at the edge of its photo
    assert unset(np.array([[np.nan, np.nan], [-1, -1], [60, 30], [50, 50]])).tolist() == [False, True, False, False]
    assert unset(np.zeros((3, 2))).all()
