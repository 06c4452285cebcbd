"""Synthetic faces with exact landmarks: for the demo and the tests, without a photo of anyone.

`head` is the shape model, `camera` its pose and projection, `skin` its lit surface, `look` its colours; `canvas`
paints, `paint` the face, `scene` what is behind it, `occluders` what is before it. Everything is drawn with NumPy and
OpenCV. A face depends on its seed and index alone: neither on how many are made nor on how many processes make them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from facekd.data.dataset import Annotation, Dataset, Item
from facekd.data.face import Face
from facekd.markup import IBUG68
from facekd.synthetic import scene
from facekd.synthetic.camera import landmarks, sample_camera
from facekd.synthetic.canvas import Canvas
from facekd.synthetic.head import sample_head
from facekd.synthetic.look import sample_look
from facekd.synthetic.occluders import occlude
from facekd.synthetic.paint import FacePainter
from facekd.synthetic.skin import sample_light

__all__ = ["DATASET", "SyntheticFace", "faces", "read", "render"]

SPLITS = ("train",) * 8 + ("val", "test")  # by the last digit of the index
LARGE_YAW = 30.0  # degrees; from here on, or with this share of its landmarks hidden, a test face is a challenge
MANY_HIDDEN = 0.1


@dataclass(frozen=True, eq=False)
class SyntheticFace:
    """A rendered face.

    Attributes:
        image: (size, size, 3) uint8 RGB.
        points: (68, 2) float32, pixels of the image in iBUG's order, all inside it.
        visible: (68,) bool, False where something before the face, or the face itself, hides the landmark.
        pose: yaw, pitch, roll in degrees; positive turns the nose to the image's right, down, and the head clockwise.
    """

    image: np.ndarray
    points: np.ndarray
    visible: np.ndarray
    pose: tuple[float, float, float]


def render(seed: int, index: int, size: int = 256) -> SyntheticFace:
    """Render one face.

    Args:
        seed: names a dataset, 0 or more.
        index: the face's number in it, 0 or more.
        size: side of the image in pixels; the face is the same at every size, but for the sensor's noise.
    """
    rng = np.random.default_rng((seed, index))
    head, camera, light, look = sample_head(rng), sample_camera(rng), sample_light(rng), sample_look(rng)
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


def faces(count: int, seed: int = 0, size: int = 256) -> Iterator[Face]:
    """Yield faces 0 to count - 1 as a pack takes them; see `annotation` for splits and subsets."""
    for index in range(count):
        made = annotation(seed, index, size)
        yield Face(made.load(), made.points, made.name, made.split, made.subsets, visible=made.visible)


def annotation(seed: int, index: int, size: int = 256) -> Annotation:
    """Render one face and label it: of ten faces eight train, one validates, one tests.

    Test faces are in "full", and in "challenge" or "common", as those of 300W: a challenge is a head turned by more
    than 30 degrees, or a tenth of the landmarks hidden.
    """
    face = render(seed, index, size)
    split = SPLITS[index % 10]
    challenge = abs(face.pose[0]) > LARGE_YAW or np.mean(~face.visible) > MANY_HIDDEN
    subsets = ("full", "challenge" if challenge else "common") if split == "test" else ()
    name = f"seed{seed}/{index:06d}"
    return Annotation(name, lambda: face.image, face.points, split, subsets, visible=face.visible)


def read(count: int, seed: int) -> Iterator[Item]:
    """Yield `count` faces as functions that render them, so that worker processes do."""
    for index in range(count):
        yield partial(annotation, seed, index)


DATASET = Dataset(
    "synthetic", read, IBUG68, "Rendered by facekd from a shape model of its own; free of any terms.", generated=True
)
