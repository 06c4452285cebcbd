"""From a labelled face in its photo to the square crop a pack stores. Runs in `prepare`'s worker processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from facekd.data.dataset import Annotation, Item, Problem
from facekd.data.face import LabelledFace
from facekd.data.marks import unset
from facekd.errors import FacekdError
from facekd.geometry import apply, centre_and_side, crop_matrix, invert, square, tight_box, warp
from facekd.markup import MarkUp
from facekd.runtime.detector import YuNet, holding

# A face that the photo's edge cuts has landmarks a little outside, set by guess: kept, and counted. Further out than
# this share of the face's side the labels belong to another photo, or count in other pixels.
FAR_OUTSIDE = 0.5
SMALLEST_SIDE = 4.0  # pixels of the box that is cut; below, the points are one spot
MARGIN, SIZE = 2.0, 448  # of crops whose points are spread over the whole face
SAMPLE, _TYPICAL = 24, 0.9  # faces that tell how large a part of the face the points are, and which of them decides
_AROUND = 1.15  # of the face's box, that crops hold at least: a detector needs some of what is about it
_LARGEST = 10.0, 1024  # margin and size that are chosen by themselves


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
        markup: says how many points a face must have, and which box is cut.
        margin: side of the crop / larger side of that box, at least 1.
        size: largest side of a stored crop in pixels; a smaller face is stored as it is, never enlarged.
        jpeg_quality: 1 to 100.
    """

    markup: MarkUp
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
        box = self._box(item, photo)
        if box is None:
            return Problem(item.name, "no face is found around its points; give the face's box with its label")
        _, side = centre_and_side(box)
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
        return Cropped(self._cut(item, photo, box), int((overhang > 0).sum()), int(missing.sum()), occluded)

    def _wrong_points(self, points: np.ndarray) -> str | None:
        if points.shape != (self.markup.count, 2):
            return f"{len(points)} points where the mark-up has {self.markup.count}"
        if np.isinf(points).any():
            return f"point {int(np.argmax(np.isinf(points).any(axis=1)))} is not a number"
        if np.isnan(points).any(axis=1).all():
            return "all points are missing"
        if len(corner := np.flatnonzero(unset(points))):
            x, y = points[corner[0]].round().astype(int)
            return f"point {corner[0]} lies at {x},{y}, as marks that were not set"
        if self.markup.crop == "points" and centre_and_side(tight_box(points))[1] < SMALLEST_SIDE:
            return f"all points lie within {SMALLEST_SIDE:.0f} px"
        return None

    def _box(self, item: Annotation, photo: np.ndarray) -> np.ndarray | None:
        """Return the box that a face is cut by; None if it is the face's, and there is none."""
        if self.markup.crop == "face":
            return face_box(item, photo)
        return tight_box(item.points) if item.tight_box is None else item.tight_box

    def _cut(self, item: Annotation, photo: np.ndarray, box: np.ndarray) -> LabelledFace:
        own = self.markup.crop == "points" and item.tight_box is None  # a pack computes it from the points
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
            box=None if own else apply(matrix, box.reshape(2, 2)).ravel(),
            to_photo=invert(matrix),
        )
        return face.encoded(self.jpeg_quality)


def face_box(item: Annotation, photo: np.ndarray) -> np.ndarray | None:
    """Return the square box of a face whose points say little of it.

    It is the one that its label gives, if that is more than a box of the points themselves, as some tools write; or
    what the face detector finds around the points.

    Args:
        item: the labelled face.
        photo: (H, W, 3) uint8 RGB.

    Returns:
        (4,) in pixels of the photo; None if there is none.
    """
    tight = tight_box(item.points)
    if item.box is not None and len(holding(item.box, tight)) and _side(item.box) > max(1.1 * _side(tight), 1.0):
        return square(item.box)
    boxes, _ = _detector().detect(photo)
    found = holding(boxes, tight)
    return square(boxes[found[0]]) if len(found) else None


def needed_margin(item: Item) -> float | None:
    """Compute how wide a crop about a face's points must be to hold the whole face.

    Args:
        item: the labelled face.

    Returns:
        Side of the crop / larger side of the tight landmark box; None if the face detector does not find the face, or
        the label or its photo cannot be used.
    """
    if not isinstance(item, Annotation | Problem):
        item = item()
    if isinstance(item, Problem) or np.isnan(item.points).all():
        return None
    try:
        boxes, _ = _detector().detect(item.load())
    except FacekdError:
        return None
    tight = tight_box(item.points) if item.tight_box is None else item.tight_box
    found = holding(boxes, tight)
    if not len(found) or _side(tight) < SMALLEST_SIDE:
        return None
    centre, corners = centre_and_side(tight)[0], boxes[found[0]].reshape(2, 2)
    return 2 * float(np.abs(corners - centre).max()) / _side(tight)


def fitting_margin(needed: Sequence[float | None]) -> float:
    """Choose the margin of crops, so that they hold the whole face, however small a part of it the points are.

    Args:
        needed: of some faces of the data set, as `needed_margin` returns it.

    Returns:
        Side of a crop / larger side of the box that it is cut by: `MARGIN` where that holds the faces, and where the
        face detector finds fewer than half of them, as of drawn ones.
    """
    known = [value for value in needed if value is not None]
    if 2 * len(known) <= len(needed) or np.quantile(known, _TYPICAL) <= MARGIN:
        return MARGIN
    return min(_LARGEST[0], float(np.ceil(2 * _AROUND * np.quantile(known, _TYPICAL)) / 2))


def fitting_size(margin: float) -> int:
    """Choose the size of crops, so that a wide margin does not cost the points their pixels.

    Args:
        margin: of the crops.

    Returns:
        Largest side of a stored crop in pixels.
    """
    return min(_LARGEST[1], max(SIZE, round(SIZE * margin / MARGIN)))


def _side(box: np.ndarray) -> float:
    return float(centre_and_side(box)[1])


@cache
def _detector() -> YuNet:
    """One for each process."""
    return YuNet(threads=1)


def _overhang(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return how far (N,) points (N, 2) lie outside a photo, in pixels; 0 inside."""
    low, high = -0.5 - points, points - (np.array([width, height]) - 0.5)
    return np.maximum(np.maximum(low, high).max(axis=1), 0)
