"""Which way a head is turned, from its landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facekd.geometry import centre_and_side, tight_box
from facekd.markup import IBUG68, MarkUp, convert, convertible

# A generic face in mm, by iBUG point: x to the image's right, y down, z away from the camera, the origin midway between
# the outer eye corners, 90 mm apart. Only points that move little with the expression. The face whose projections fit
# the training shapes of 300W best (factorised as in Tomasi & Kanade, "Shape and motion from image streams", 1992), made
# symmetric; pitch 0 is their median.
_FACE = {
    27: (0, -1, -21),  # root of the nose
    28: (0, 11, -28),
    29: (0, 23, -35),
    30: (0, 36, -41),  # tip of the nose
    31: (-15, 44, -21),  # wings of the nose
    33: (0, 49, -26),  # below the nose
    35: (15, 44, -21),
    36: (-45, 0, 0),  # eye corners
    39: (-19, 2, -6),
    42: (19, 2, -6),
    45: (45, 0, 0),
    48: (-29, 67, 3),  # mouth corners
    54: (29, 67, 3),
}
_INDICES = list(_FACE)
_MODEL = np.array(list(_FACE.values()), np.float64)
# The camera is taken to be this many face sides away, looking straight at the face: its true lens is not known.
_DISTANCE = 5.0


@dataclass(frozen=True)
class Pose:
    """The rotation of a head in degrees, 0 when it faces the camera.

    Attributes:
        yaw: positive towards the image's right.
        pitch: positive up.
        roll: positive clockwise, as seen in the image.
    """

    yaw: float
    pitch: float
    roll: float


def head_pose(points: np.ndarray, markup: MarkUp) -> Pose | None:
    """Estimate the pose of a face by fitting a generic head to 13 of its points (perspective-n-point, SQPnP).

    Good to some degrees: faces differ.

    Args:
        points: (N, 2) landmarks in pixels.
        markup: what the points are.

    Returns:
        The pose; None if the mark-up does not hold the iBUG points, or these lie in one spot.
    """
    if not convertible(markup, IBUG68):
        return None
    points = convert(np.asarray(points, np.float64), markup, IBUG68)
    centre, side = centre_and_side(tight_box(points))
    if not side > 0:
        return None
    seen = (points[_INDICES] - centre) / side
    camera = np.array([[_DISTANCE, 0, 0], [0, _DISTANCE, 0], [0, 0, 1.0]])
    try:
        found, turn, _ = cv2.solvePnP(_MODEL, seen, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    except cv2.error:  # the 13 lie in one spot, or nearly, though others do not
        return None
    return _angles(cv2.Rodrigues(turn)[0]) if found and np.isfinite(turn).all() else None


def _angles(rotation: np.ndarray) -> Pose:
    """Return the pose of a rotation matrix (3, 3) that turns about y, then x, then z."""
    yaw = np.arctan2(rotation[2, 0], rotation[2, 2])
    pitch = np.arcsin(np.clip(-rotation[2, 1], -1, 1))
    roll = np.arctan2(-rotation[0, 1], rotation[1, 1])
    return Pose(*(float(angle) for angle in np.degrees([yaw, pitch, roll])))
