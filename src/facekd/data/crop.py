"""From a labelled face in its photo to the square crop a pack stores. Runs in `prepare`'s worker processes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facekd.data.dataset import Annotation, Item, Problem
from facekd.data.face import LabelledFace
from facekd.data.marks import unset
from facekd.errors import FacekdError
from facekd.geometry import apply, centre_and_side, crop_matrix, invert, tight_box, warp

# A face that the photo's edge cuts has landmarks a little outside, set by guess: kept, and counted. Further out than
# this share of the face's side the labels belong to another photo, or count in other pixels.
FAR_OUTSIDE = 0.5
SMALLEST_SIDE = 4.0  # pixels of the tight landmark box; below, the points are one spot


@dataclass(frozen=True)
class Cropped:
    """A face ready for the pack.

    Attributes:
        face: cut out, with its image as JPEG.
        outside: how many of its points lie outside its photo.
        missing: how many of its points are missing.
        occluded: how many of its points are there and occluded; None if the dataset does not say.
    """

    face: LabelledFace
    outside: int
    missing: int
    occluded: int | None


@dataclass(frozen=True)
class Cropper:
    """Cuts faces out of their photos; picklable, so that worker processes can take it along.

    Attributes:
        count: how many points a face must have.
        margin: side of the crop / larger side of the tight landmark box, at least 1.
        size: largest side of a stored crop in pixels; a smaller face is stored as it is, never enlarged.
        jpeg_quality: 1 to 100.
    """

    count: int
    margin: float
    size: int
    jpeg_quality: int

    def __call__(self, item: Item) -> Cropped | Problem:
        """Return the cropped face, or why there is none; whatever goes wrong with a photo is its Problem."""
        if not isinstance(item, Annotation | Problem):
            item = item()
        if isinstance(item, Problem):
            return item
        if reason := self._wrong_points(item.points):
            return Problem(item.name, reason)
        try:
            photo = item.load()
        except FacekdError as error:
            return Problem(item.name, str(error))
        _, side = centre_and_side(_box(item))
        missing = np.isnan(item.points).any(axis=1)
        overhang = np.where(missing, 0, _overhang(item.points, photo.shape[1], photo.shape[0]))
        if overhang.max() > FAR_OUTSIDE * side:
            where = f"{overhang.max():.0f} px outside the photo ({photo.shape[1]}x{photo.shape[0]} px)"
            hint = ""
            if item.orientation in (5, 6, 7, 8):  # turned by a quarter
                fits = np.nanmax(_overhang(item.points, photo.shape[0], photo.shape[1])) <= FAR_OUTSIDE * side
                hint = ", but inside its stored pixels, before EXIF turns it: try --stored-pixels" if fits else ""
            return Problem(item.name, f"point {overhang.argmax()} lies {where}{hint}")
        occluded = None if item.visible is None else int((~item.visible & ~missing).sum())
        return Cropped(self._cut(item, photo), int((overhang > 0).sum()), int(missing.sum()), occluded)

    def _wrong_points(self, points: np.ndarray) -> str | None:
        if points.shape != (self.count, 2):
            return f"{len(points)} points where the mark-up has {self.count}"
        if np.isinf(points).any():
            return f"point {int(np.argmax(np.isinf(points).any(axis=1)))} is not a number"
        if np.isnan(points).any(axis=1).all():
            return "all points are missing"
        if len(corner := np.flatnonzero(unset(points))):
            x, y = points[corner[0]].round().astype(int)
            return f"point {corner[0]} lies at {x},{y}, as marks that were not set"
        if centre_and_side(tight_box(points))[1] < SMALLEST_SIDE:
            return f"all points lie within {SMALLEST_SIDE:.0f} px"
        return None

    def _cut(self, item: Annotation, photo: np.ndarray) -> LabelledFace:
        box = _box(item)
        stored = min(self.size, int(centre_and_side(box)[1] * self.margin))
        matrix = crop_matrix(box, stored, self.margin)
        face = LabelledFace(
            image=warp(photo, matrix, stored),
            points=apply(matrix, item.points),
            name=item.name,
            split=item.split,
            subsets=item.subsets,
            quality=item.quality,
            visible=item.visible,
            photo_box=item.box,
            orientation=item.orientation,
            box=None if item.tight_box is None else apply(matrix, box.reshape(2, 2)).ravel(),
            to_photo=invert(matrix),
        )
        return face.encoded(self.jpeg_quality)


def _box(item: Annotation) -> np.ndarray:
    return tight_box(item.points) if item.tight_box is None else item.tight_box


def _overhang(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return how far (N,) points (N, 2) lie outside a photo, in pixels; 0 inside."""
    low, high = -0.5 - points, points - (np.array([width, height]) - 0.5)
    return np.maximum(np.maximum(low, high).max(axis=1), 0)
