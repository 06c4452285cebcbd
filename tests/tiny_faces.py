"""Four tiny faces whose figures fit in the head, and a predictor that misses each by a known distance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facekd.data.face import LabelledFace
from facekd.data.pack import Pack, PackWriter
from facekd.geometry import BoxTransform, apply, crop_matrix
from facekd.markup import Contour, MarkUp

TRIANGLE = MarkUp(
    "triangle",
    3,
    (1, 0, 2),
    (Contour("eyes", (0, 1)), Contour("outline", (0, 1, 2), closed=True)),
    inter_ocular=((0,), (1,)),
)
# Inter-ocular 32, tight box 32 x 24, diagonal 40, in a stored crop of 96 px.
POINTS = np.array([[30.0, 40.0], [62.0, 40.0], [46.0, 64.0]])


def write_pack(
    path: Path, markup: MarkUp, points: np.ndarray, visible: np.ndarray | None = None, split: str = "test"
) -> Pack:
    """Faces 0, 1, 2 are common, 3 is challenge; face i is a flat grey of level 40 + 40 i."""
    with PackWriter(path, markup, dataset="tiny", margin=3.0, size=96, jpeg_quality=95, terms="Made up.") as writer:
        for i in range(4):
            writer.add(
                LabelledFace(
                    image=np.full((96, 96, 3), 40 + 40 * i, np.uint8),
                    points=points,
                    name=f"face{i}.jpg",
                    split=split,
                    subsets=("full", "challenge" if i == 3 else "common"),
                    visible=None if visible is None else visible[i],
                )
            )
    return Pack.open(path)


@dataclass
class Oracle:
    """Sees by the grey level which face it has, and answers with its true points moved right by `pixels[i]`."""

    pack: Pack
    pixels: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)  # in the stored crop
    size: int = 64
    scale: float = 1.25
    box_transform: BoxTransform | None = None
    confident: bool = False

    @property
    def markup(self) -> MarkUp:
        return self.pack.markup

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        assert images.shape[1:] == (self.size, self.size, 3) and images.dtype == np.uint8
        faces = [round((int(image[32, 32, 0]) - 40) / 40) for image in images]
        points = []
        for i in faces:
            matrix = crop_matrix(self.pack.boxes[i], self.size, self.scale)
            points.append(apply(matrix, self.pack.points[i] + [self.pixels[i], 0.0]))
        confidence = np.full((len(images), self.markup.count), 0.5, np.float32) if self.confident else None
        return np.array(points, np.float32), confidence


@dataclass
class Detects:
    """A face detector that answers as it is told: boxes (k, 4) and scores (k,) of an image."""

    answer: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.answer(image)
