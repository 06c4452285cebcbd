"""Faces of photos rotated out of the image plane, with their landmarks.

The idea is that of 300W-LP (Zhu et al., "Face Alignment Across Large Poses", CVPR 2016), the head model and all code
are ours: a head is fitted to the landmarks, deformed so that its landmarks are the labels, covered with the photo, and
seen by another camera. What is about the face follows its rim smoothly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from facekd.geometry import centre_and_side, tight_box
from facekd.synthetic.camera import Camera, landmark_paths, outermost
from facekd.synthetic.fit import Fit
from facekd.synthetic.head import Head
from facekd.synthetic.raster import grid_triangles, rasterise

_ROWS = 64  # of the face's mesh
_SIDES = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 63))  # its columns as shares of the face's half width
_HIDES = 0.6  # head units by which a whole half of a face that is turned away covers what is beside it
_REACH = 0.3  # head units over which the disagreement of labels and model fades
_AROUND = 0.7  # head units over which what is about the face follows its rim
_TOP = -0.85  # y where the face's mesh ends; what is above follows
_INSET = 0.05  # share of the face's half width: how far inside the rim newly seen skin is taken from the photo
_FULL_INSET = 25.0  # degrees of turn from which it is
_COARSE = 8  # pixels per cell of the map of what is about the face, which is smooth


class Field:
    """Displacements that are given at some points, go smoothly from one to the next and fade away from them.

    Args:
        points: (n, 2).
        values: (n, 2) at these points.
        reach: over which they fade, in the points' unit.
    """

    def __init__(self, points: np.ndarray, values: np.ndarray, reach: float) -> None:
        self._points, self._reach = points, reach
        self._weights = np.linalg.solve(self._kernel(points) + 1e-3 * np.eye(len(points)), values)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Return the displacements (..., 2) at points (..., 2)."""
        flat = self._kernel(points.reshape(-1, 2)) @ self._weights.astype(np.float32)
        return flat.reshape(points.shape)

    def _kernel(self, points: np.ndarray) -> np.ndarray:
        a, b = ((each / self._reach).astype(np.float32) for each in (points, self._points))
        squares = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T
        far = np.sqrt(np.maximum(squares, 0))
        kernel: np.ndarray = (1 + far) * np.exp(-far)
        return kernel


@dataclass(frozen=True, eq=False)
class SolidFace:
    """A face as a surface in space.

    Attributes:
        fit: the head model and camera it was made from.
        labels: (68, 2) its landmarks in the photo, pixels.
        mesh: (rows, columns, 3) the surface, head frame.
        texture: (rows, columns, 2) where in the photo it is seen, pixels.
        inset: (rows, columns, 2) how far its texture moves inwards when it turns, pixels: at the rim labels are not so
            exact that hair and background would not be seen.
        paths: (k, 68, 3) the ways over it on which its landmarks slide when it turns, head frame.
        outward: (68, 2) away from the face's middle, in the frontal plane.
    """

    fit: Fit
    labels: np.ndarray
    mesh: np.ndarray
    texture: np.ndarray
    inset: np.ndarray
    paths: np.ndarray
    outward: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, fit: Fit) -> SolidFace:
        """Deform a fitted head so that its landmarks are the labels.

        Args:
            labels: (68, 2), pixels of the photo.
            fit: the head model fitted to them.

        Returns:
            The face.
        """
        labels, camera = np.asarray(labels, np.float64), fit.camera
        field = Field(fit.points, labels - fit.points, _REACH * camera.unit)

        def deform(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            pixels, near = camera.project(points)
            pixels = pixels + field(pixels)
            return camera.lift(pixels, near), pixels

        flat, rim = _grid(fit.head)
        mesh, texture = deform(_on(fit.head, flat))
        middle = np.array([0.0, 0.4])
        _, inner = deform(_on(fit.head, flat + _INSET * rim[..., None] * (middle - flat)))
        paths, outward = landmark_paths(fit.head)
        return cls(fit, labels, mesh, texture, inner - texture, deform(paths)[0], outward)

    def _landmarks(self, camera: Camera) -> np.ndarray:
        """Return the landmarks (68, 2) in an image by a camera, but for what the labels differ from them."""
        return camera.project(self.paths[outermost(self.paths, camera, self.outward), np.arange(68)])[0]

    def turned(self, yaw: float, pitch: float) -> tuple[Camera, np.ndarray]:
        """Turn the face, its landmarks' box staying where it is.

        Args:
            yaw: degrees to add.
            pitch: degrees to add.

        Returns:
            The camera that sees it turned, and the landmarks (68, 2) in its image, pixels.
        """
        before = self.fit.camera
        after = replace(before, yaw=before.yaw + yaw, pitch=before.pitch + pitch)
        points = self._landmarks(after) + self.labels - self._landmarks(before)
        (was, side), (now, new_side) = (centre_and_side(tight_box(p)) for p in (self.labels, points))
        scale = float(side / new_side)
        x, y = was + scale * (np.array(after.centre) - now)
        return replace(after, unit=after.unit * scale, centre=(float(x), float(y))), was + scale * (points - now)


def _grid(head: Head) -> tuple[np.ndarray, np.ndarray]:
    """Return a grid (rows, columns, 2) over the frontal plane of a face, and 1 at its rim, fading to 0 (rows, columns).

    It is dense where the face turns away.
    """
    height = np.linspace(_TOP, head.flat[8, 1], _ROWS)
    flat = np.stack([head.width(height)[:, None] * _SIDES, np.repeat(height[:, None], len(_SIDES), 1)], -1)
    return flat, np.maximum(np.abs(_SIDES) ** 8, (np.maximum(height, 0) / height[-1])[:, None] ** 12)


def _on(head: Head, flat: np.ndarray) -> np.ndarray:
    """Return the points (..., 3) of a head over points (..., 2) of the frontal plane."""
    return np.concatenate([flat, head.relief(flat)[..., None]], -1)


def rotate(image: np.ndarray, face: SolidFace, yaw: float, pitch: float) -> tuple[np.ndarray, np.ndarray]:
    """Render the photo of a face with the head turned.

    Args:
        image: (H, W, 3) uint8, the photo.
        face: the face in it.
        yaw: degrees to add, positive to the image's right.
        pitch: degrees to add, positive up.

    Returns:
        The image (H, W, 3) uint8, and the landmarks (68, 2) in it, pixels.
    """
    camera, points = face.turned(yaw, pitch)
    pixels, near = camera.project(face.mesh)
    shape = image.shape[:2]
    triangles = grid_triangles(*near.shape)
    strength = min(1.0, float(np.hypot(yaw, pitch)) / _FULL_INSET)
    texture = face.texture + strength * face.inset
    seen, _ = rasterise(pixels.reshape(-1, 2), near.ravel(), texture.reshape(-1, 2), triangles, shape)
    covered = ~np.isnan(seen[..., 0])
    source = np.where(covered[..., None], seen, _about(face, pixels, strength, shape))
    return cv2.remap(image, source.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), points


def _about(face: SolidFace, pixels: np.ndarray, strength: float, shape: tuple[int, int]) -> np.ndarray:
    """Return where in the photo each pixel (h, w, 2) about a turned face is taken from.

    What lies at the face's outline in the photo lies at its outline in the image; it fades out from there.
    """
    height, width = shape
    unit, roll = face.fit.camera.unit, np.radians(face.fit.camera.roll)
    right = np.array([np.cos(roll), np.sin(roll)])
    rows = np.arange(_ROWS)
    high = np.linspace(1.0, -1.0, _ROWS) ** 3  # beside the ears skin goes on, below the jaw it ends
    outline = face.texture + strength * high[:, None, None] * face.inset
    where, source = [], []
    for side in (-1, 1):
        before, after = ((side * (grid @ right)).argmax(1) for grid in (face.texture, pixels))
        # On the side that turns away what was next to the face goes behind it.
        hidden = np.maximum(side * (_SIDES[before] - _SIDES[after]), 0)
        where.append(pixels[rows, after])
        source.append(outline[rows, before] + (side * _HIDES * unit * hidden)[:, None] * right)
    top = np.arange(4, len(_SIDES) - 4, 4)
    where.append(pixels[0, top])
    source.append(outline[0, top])
    edge = np.linspace(-0.5, 0.5, 9)[:-1]
    border = np.concatenate([np.stack([edge, 0 * edge - 0.5], -1), np.stack([0 * edge + 0.5, edge], -1)])
    border = (np.concatenate([border, -border]) + 0.5) * (width - 1, height - 1)
    start, end = np.concatenate([*where, border]), np.concatenate([*source, border])
    field = Field(start, end - start, _AROUND * unit)
    cells = [np.arange(side // _COARSE + 2) * _COARSE for side in (width, height)]
    coarse = field(np.stack(np.meshgrid(*cells), -1).astype(np.float32))
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(coarse, x / _COARSE, y / _COARSE, cv2.INTER_LINEAR) + np.stack([x, y], -1)
