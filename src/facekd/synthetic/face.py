"""One synthetic face: head, camera, light and look drawn at random, painted, and labelled."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from facekd.synthetic import scene
from facekd.synthetic.camera import landmarks, sample_camera
from facekd.synthetic.canvas import Canvas
from facekd.synthetic.head import sample_head
from facekd.synthetic.look import sample_look
from facekd.synthetic.occluders import occlude
from facekd.synthetic.paint import FacePainter
from facekd.synthetic.skin import sample_light


@dataclass(frozen=True, eq=False)
class SyntheticFace:
    """A rendered face.

    Attributes:
        image: (size, size, 3) uint8 RGB.
        points: (68, 2) float32, pixels of the image in iBUG's order, all inside it.
        visible: (68,) bool, False where something before the face, or the face itself, hides the landmark.
        pose: yaw, pitch, roll in degrees, with the signs of `facekd.runtime.pose`: yaw is positive when the head looks
            towards the image's right, pitch when it looks up, roll when it leans clockwise as seen in the image.
    """

    image: np.ndarray
    points: np.ndarray
    visible: np.ndarray
    pose: tuple[float, float, float]


def render(
    seed: int, index: int, size: int = 256, yaw: float | None = None, tone: float | None = None
) -> SyntheticFace:
    """Render one face.

    Args:
        seed: names a dataset, 0 or more.
        index: the face's number in it, 0 or more.
        size: side of the image in pixels; the face is the same at every size, but for the sensor's noise.
        yaw: of the head in degrees, -70 to 70 (beyond, the head model has no profile); None: drawn, within 45.
        tone: of the skin, from 0 (dark) to 1 (light), all else being the same at every tone; None: drawn.

    Returns:
        The image with its landmarks, their visibility and the head's pose.
    """
    rng = np.random.default_rng((seed, index))
    head, camera, light, look = sample_head(rng), sample_camera(rng), sample_light(rng), sample_look(rng, tone)
    if yaw is not None:
        camera = replace(camera, yaw=yaw)
    solid = landmarks(head, camera)
    side = rng.uniform(0.38, 0.56)
    middle = 0.5 + rng.uniform(-0.6, 0.6, 2) * (0.48 - side / 2)
    camera = camera.framed(solid, side * size, middle * size - 0.5)
    points, _ = camera.project(solid)

    image = scene.background(rng, size)
    scene.behind(rng, Canvas(image), head, camera, light, look)
    reach = camera.unit * np.array([0.35, 1.4])  # the forehead is not among the points
    left, top = np.maximum(points.min(0) - reach, 0).astype(int)
    right, bottom = np.minimum(points.max(0) + 0.35 * camera.unit, size).astype(int)
    painter = FacePainter(head, camera.cropped(left, top), light, look, solid, (bottom - top, right - left))
    painter.paint(image[top:bottom, left:right], rng)
    hidden = np.zeros((size, size), np.uint8)
    occlude(rng, Canvas(image, hidden), head, camera, light, look)
    column, row = np.rint(points).astype(int).T
    visible = painter.visible() & (hidden[row, column] < 128)
    pose = camera.yaw, camera.pitch, camera.roll
    return SyntheticFace(scene.develop(rng, image), points.astype(np.float32), visible, pose)
