"""Head pose."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facekd.markup import COFW29, IBUG68, WFLW98
from facekd.runtime import pose
from facekd.runtime.pose import head_pose


def turn(axis: str, degrees: float) -> np.ndarray:
    """Return the rotation matrix about an axis of the image (x right, y down, z away from the camera)."""
    return cv2.Rodrigues(np.radians(degrees) * np.eye(3)["xyz".index(axis)])[0]


def seen_from(rotation: np.ndarray, distance: float = 2000.0) -> np.ndarray:
    """Project the generic face, 2 m away: the 68 points, of which only the 13 it has are used."""
    points = np.zeros((68, 2))
    turned = pose._MODEL @ rotation.T + [0, 0, distance]
    points[:] = (turned[:, :2] / turned[:, 2:]).mean(axis=0)
    points[pose._INDICES] = turned[:, :2] / turned[:, 2:]
    return points * 8000 + [300, 200]


@pytest.mark.parametrize("yaw", [-50, -20, 0, 35])
@pytest.mark.parametrize("pitch", [-25, 0, 30])
@pytest.mark.parametrize("roll", [-80, 0, 15])
def test_turns_of_a_known_head(yaw: float, pitch: float, roll: float) -> None:
    # To look towards the image's right (x) the face, which looks along -z, turns about y by a negative angle.
    found = head_pose(seen_from(turn("z", roll) @ turn("x", -pitch) @ turn("y", -yaw)), IBUG68)
    np.testing.assert_allclose([found.yaw, found.pitch, found.roll], [yaw, pitch, roll], atol=4)


def test_nose_points_where_the_head_looks() -> None:
    tip, root = 30, 27
    right = seen_from(turn("y", -30))
    assert head_pose(right, IBUG68).yaw > 20 and right[tip, 0] > right[root, 0]
    up = seen_from(turn("x", -25))
    assert head_pose(up, IBUG68).pitch > 15 and up[tip, 1] < seen_from(np.eye(3))[tip, 1]


def test_mirrored_face_turns_the_other_way() -> None:
    points = seen_from(turn("z", 10) @ turn("y", -25))
    mirrored = (points * [-1, 1] + [600, 0])[list(IBUG68.mirror)]
    one, other = head_pose(points, IBUG68), head_pose(mirrored, IBUG68)
    np.testing.assert_allclose([one.yaw, one.pitch, one.roll], [-other.yaw, other.pitch, -other.roll], atol=1e-3)


def test_mark_ups_without_the_ibug_points() -> None:
    assert head_pose(np.random.default_rng(0).normal(size=(29, 2)), COFW29) is None
    assert head_pose(np.random.default_rng(0).normal(size=(98, 2)) * 50, WFLW98) is not None


def test_points_in_one_spot() -> None:
    assert head_pose(np.full((68, 2), 5.0), IBUG68) is None
    assert head_pose(np.full((68, 2), np.nan), IBUG68) is None
    jaw_apart = np.full((68, 2), 5.0)
    jaw_apart[:17] += np.arange(17)[:, None]
    assert head_pose(jaw_apart, IBUG68) is None
