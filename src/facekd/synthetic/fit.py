"""Fit the head model to the landmarks of a face in a photo."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from facekd.geometry import centre_and_side, tight_box
from facekd.markup import IBUG68
from facekd.runtime.pose import head_pose
from facekd.synthetic.camera import WAY, Camera, landmark_paths, outermost
from facekd.synthetic.head import EXPRESSION, IDENTITY, MEAN, Head

_MODES = np.array([*IDENTITY.values(), *EXPRESSION.values()])
# Standard deviations of the modes' amounts among faces.
_SPREAD = np.array([1.0] * len(IDENTITY) + [{"open mouth": 0.6}.get(name, 0.5) for name in EXPRESSION])
_NOSE, _NOSE_SPREAD = 0.33, 0.06
_NOISE = 0.03  # head units by which labels and model disagree
_DISTANCE = 9.0  # of the camera in head units: that of the photo is not known
_ITERATIONS = 10
_STEP = 1e-4


@dataclass(frozen=True, eq=False)
class Fit:
    """A head and a camera whose landmarks are those of a face.

    Attributes:
        head: the head.
        camera: its pose, and where in the photo it is.
        points: (68, 2) the model's landmarks in the photo, pixels.
        error: root mean square distance between them and the labels, in inter-ocular distances of the head (which do
            not shrink when it turns).
    """

    head: Head
    camera: Camera
    points: np.ndarray
    error: float


def fit_head(points: np.ndarray) -> Fit | None:
    """Fit pose, identity and expression of the head model by damped least squares.

    Args:
        points: (68, 2) landmarks in iBUG's order, pixels.

    Returns:
        The fit; None if the points show no pose at all.
    """
    points = np.asarray(points, np.float64)
    pose = head_pose(points, IBUG68)
    if pose is None:
        return None
    camera = Camera(pose.yaw, pose.pitch, pose.roll, _DISTANCE)
    amounts, nose = np.zeros(len(_MODES)), _NOSE
    head = _head(amounts, nose)
    centre, side = centre_and_side(tight_box(points))
    camera = camera.framed(_solid(head, camera)[0], float(side), centre)
    for _ in range(_ITERATIONS):
        solid, moved = _solid(head, camera)
        rows = _jacobian(head, camera, solid, moved)
        residual = (points - camera.project(solid)[0]).ravel() / (camera.unit * _NOISE)
        rows /= camera.unit * _NOISE
        pull = np.concatenate([np.full(6, 1e-3), 1 / _SPREAD, [1 / _NOSE_SPREAD]])
        still = np.concatenate([np.zeros(6), -amounts / _SPREAD, [(_NOSE - nose) / _NOSE_SPREAD]])
        step = np.linalg.solve(rows.T @ rows + np.diag(pull**2), rows.T @ residual + pull * still)
        camera = _moved(camera, step[:6])
        amounts, nose = amounts + step[6:-1], float(np.clip(nose + step[-1], 0.15, 0.5))
        head = _head(amounts, nose)
    seen = camera.project(_solid(head, camera)[0])[0]
    eyes = camera.unit * np.linalg.norm(head.flat[45] - head.flat[36])
    error = np.sqrt(((points - seen) ** 2).sum(1).mean()) / eyes
    return Fit(head, camera, seen, float(error)) if np.isfinite(error) else None


def _head(amounts: np.ndarray, nose: float) -> Head:
    return Head(MEAN + np.tensordot(amounts, _MODES, 1), nose, brow=0.05, cheek=0.06)


def _solid(head: Head, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Return the landmarks (68, 3) on the head, and the share (68,) of the way to the middle that each has slid."""
    path, outward = landmark_paths(head)
    steps = outermost(path, camera, outward)
    return path[steps, np.arange(68)], WAY[steps]


def _moved(camera: Camera, step: np.ndarray) -> Camera:
    """Return the camera after a step in yaw, pitch, roll (degrees), log of the unit, and centre (units)."""
    yaw, pitch, roll = camera.yaw + step[0], camera.pitch + step[1], camera.roll + step[2]
    centre = (camera.centre[0] + camera.unit * step[4], camera.centre[1] + camera.unit * step[5])
    return replace(camera, yaw=yaw, pitch=pitch, roll=roll, unit=camera.unit * float(np.exp(step[3])), centre=centre)


def _jacobian(head: Head, camera: Camera, solid: np.ndarray, slid: np.ndarray) -> np.ndarray:
    """Return how the landmarks (136) move with the camera's 6 values, each mode's amount, and the nose's height."""
    here, near = camera.project(solid)
    columns = [(_moved(camera, _STEP * axis).project(solid)[0] - here).ravel() / _STEP for axis in np.eye(6)]
    scale = camera.unit / (1 - near / camera.distance)
    modes = _MODES * np.stack([1 - slid, np.ones(68)], -1)  # a point that has slid keeps its height
    shifts = modes @ camera.rotation[:2, :2].T * scale[:, None]
    stands = np.zeros(68)
    stands[27:36] = head.nose_profile(head.flat[27:36])
    lift = stands[:, None] * camera.rotation[:2, 2] * scale[:, None]
    return np.column_stack([*columns, shifts.reshape(len(_MODES), -1).T, lift.ravel()])
