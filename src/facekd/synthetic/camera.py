"""A camera before the head: pose, projection, and which points of the head an annotator would mark in the image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from facekd.synthetic.canvas import normals
from facekd.synthetic.head import BASE, BRIDGE, JAW, Head

WAY = np.linspace(0, 0.65, 32)  # steps of a sliding point, as shares of the distance to the face's middle line


def sample_camera(rng: np.random.Generator) -> Camera:
    """Draw a pose: mostly near frontal, yaw within 45 degrees, pitch and roll within 25.

    Args:
        rng: source of the randomness.

    Returns:
        A camera of one pixel per head unit; `Camera.framed` sets where in an image the head is.
    """
    pose = rng.normal(0.0, (20.0, 10.0, 9.0))
    strength = np.hypot(pose[0] / 45, pose[1] / 25)  # both at their ends would hide half of the landmarks
    pose[:2] /= max(1.0, float(strength))
    yaw, down, roll = np.clip(pose, (-45, -25, -25), (45, 25, 25))
    return Camera(float(yaw), -float(down), float(roll), distance=float(rng.uniform(6.0, 14.0)))


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera before a turned head.

    Attributes:
        yaw: degrees, positive when the head looks towards the image's right.
        pitch: degrees, positive when it looks up.
        roll: degrees, positive when it leans clockwise as seen in the image.
        distance: from the head's centre, in head units.
        unit: pixels per head unit at the head's centre.
        centre: (2,) where the head's centre is in the image, pixels.
    """

    yaw: float
    pitch: float
    roll: float
    distance: float
    unit: float = 1.0
    centre: tuple[float, float] = (0.0, 0.0)

    PIVOT = (0.0, 0.5, 0.1)  # the head's centre, about which it turns

    @cached_property
    def rotation(self) -> np.ndarray:
        """(3, 3) head frame -> camera frame."""
        (ca, cb, cc), (sa, sb, sc) = (f(np.radians((self.yaw, self.pitch, self.roll))) for f in (np.cos, np.sin))
        yaw = np.array([[ca, 0, sa], [0, 1, 0], [-sa, 0, ca]])
        pitch = np.array([[1, 0, 0], [0, cb, -sb], [0, sb, cb]])
        roll = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
        return roll @ pitch @ yaw

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Project points of the head into the image.

        Args:
            points: (..., 3), head frame.

        Returns:
            Pixels (..., 2), and nearness to the camera (...) in head units.
        """
        turned = (points - self.PIVOT) @ self.rotation.T
        near = turned[..., 2]
        return turned[..., :2] * (self.unit / (1 - near / self.distance))[..., None] + self.centre, near

    def lift(self, pixels: np.ndarray, near: np.ndarray) -> np.ndarray:
        """Find the points of the head that are seen somewhere; undoes `project`.

        Args:
            pixels: (..., 2), where in the image.
            near: (...) their nearness to the camera in head units.

        Returns:
            (..., 3), head frame.
        """
        level = (pixels - self.centre) * ((1 - near / self.distance) / self.unit)[..., None]
        return np.concatenate([level, near[..., None]], -1) @ self.rotation + self.PIVOT

    def framed(self, points: np.ndarray, side: float, middle: np.ndarray) -> Camera:
        """Return this camera moved so that points of the head fill a given square of the image.

        Args:
            points: (n, 3), head frame.
            side: larger side of their tight box in the image, pixels.
            middle: (2,) centre of that box, pixels.

        Returns:
            The same pose with another unit and centre.
        """
        seen, _ = replace(self, unit=1.0, centre=(0.0, 0.0)).project(points)
        low, high = seen.min(0), seen.max(0)
        unit = side / (high - low).max()
        x, y = middle - unit * (low + high) / 2
        return replace(self, unit=float(unit), centre=(float(x), float(y)))

    def cropped(self, x: int, y: int, shrink: int = 1) -> Camera:
        """Return this camera for a part of the image.

        Args:
            x: column of the part's left-most pixel.
            y: row of its topmost pixel.
            shrink: whole number by which the part is shrunk.

        Returns:
            The same pose with another unit and centre.
        """
        left, top = ((centre - start + 0.5) / shrink - 0.5 for centre, start in zip(self.centre, (x, y), strict=True))
        return replace(self, unit=self.unit / shrink, centre=(left, top))


def slide(head: Head, camera: Camera, flat: np.ndarray, outward: np.ndarray) -> np.ndarray:
    """Move points that are turned away from the camera to the visible outline of the head.

    That is where annotators of photos put the far side of a jaw. Each point moves over the face towards its middle
    line, to where it lies furthest outward in the image; a point that faces the camera stays. Points move level, but
    those of the chin (whose outward is not level) also upwards.

    Args:
        head: the head.
        camera: its pose; roll does not matter.
        flat: (n, 2) points in the frontal plane.
        outward: (n, 2) direction away from the face's middle, in the frontal plane.

    Returns:
        (n, 3) points of the head.
    """
    path = _paths(head, flat, outward)
    return path[outermost(path, camera, outward), np.arange(len(flat))]


def _paths(head: Head, flat: np.ndarray, outward: np.ndarray) -> np.ndarray:
    """Return the ways (32, n, 3) over the face on which `slide` moves points."""
    level = outward[:, 1] == 0
    middle = np.stack([np.zeros(len(flat)), np.where(level, flat[:, 1], np.minimum(flat[:, 1], 0.8))], -1)
    path = flat + WAY[:, None, None] * (middle - flat)
    return np.concatenate([path, head.relief(path, nose=False)[..., None]], -1)


def outermost(path: np.ndarray, camera: Camera, outward: np.ndarray) -> np.ndarray:
    """Choose where on its way over the head each point lies furthest outward in the image.

    Args:
        path: (k, n, 3) the ways of n points, head frame.
        camera: the head's pose; roll does not matter.
        outward: (n, 2) direction away from the face's middle, in the frontal plane.

    Returns:
        (n,) steps of the ways, 0 to k - 1.
    """
    upright, _ = replace(camera, roll=0.0).project(path)
    steps: np.ndarray = (upright * outward).sum(-1).argmax(0)
    return steps


def landmark_paths(head: Head) -> tuple[np.ndarray, np.ndarray]:
    """Return the ways on which landmarks move when a head turns: those of the nose stay, the others slide.

    Args:
        head: the head.

    Returns:
        The ways (k, 68, 3), head frame, and (68, 2) the direction away from the face's middle in the frontal plane.
    """
    outward = np.stack([np.sign(head.flat[:, 0]), np.zeros(68)], -1)
    outward[JAW] = normals(head.flat[JAW])
    path = _paths(head, head.flat, outward)
    nose = np.r_[BRIDGE, BASE]
    path[:, nose] = np.column_stack([head.flat[nose], head.relief(head.flat[nose])])
    return path, outward


def landmarks(head: Head, camera: Camera) -> np.ndarray:
    """Return the 68 points where a person who sees the image would put them.

    Args:
        head: the head.
        camera: its pose.

    Returns:
        (68, 3) points of the head, iBUG's order.
    """
    path, outward = landmark_paths(head)
    return path[outermost(path, camera, outward), np.arange(68)]
