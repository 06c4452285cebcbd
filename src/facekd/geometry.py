"""Boxes, crops, and similarity transforms between a photo and the frame a network sees.

Points are (..., N, 2), x then y, in pixels; the centre of the top-left pixel is (0, 0). Boxes are (..., 4): x0, y0, x1,
y1. A network frame of `size` pixels spans [-0.5, size - 0.5]. A matrix M (..., 2, 3) maps p to M[:, :2] p + M[:, 2].
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import cv2
import numpy as np

from facekd.documents import Fields
from facekd.errors import InputError

Points = TypeVar("Points", bound=Any)  # an array, or a tensor: both compute alike, and torch is not imported here

# Below this scale bilinear sampling skips pixels, so that an area average has to come first.
_SHRINKS = 0.6
_SNAPS = 512  # steps of a box's side: `snap`
_A_LITTLE = 1e-6  # of a pixel


def tight_box(points: np.ndarray) -> np.ndarray:
    """Compute the smallest boxes that hold points.

    Args:
        points: (..., N, 2); missing ones are NaN, and do not count.

    Returns:
        (..., 4): x0, y0, x1, y1; NaN where every point is missing.
    """
    return np.concatenate([np.fmin.reduce(points, axis=-2), np.fmax.reduce(points, axis=-2)], axis=-1)


def centre_and_side(box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute centres and larger sides of boxes.

    Args:
        box: (..., 4).

    Returns:
        The centres (..., 2), and the lengths (...) of the larger sides, float64.
    """
    box = np.asarray(box, dtype=np.float64)
    return (box[..., :2] + box[..., 2:]) / 2, (box[..., 2:] - box[..., :2]).max(axis=-1)


def square(box: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Make boxes square about their centres.

    Args:
        box: (..., 4).
        scale: side of the square, in units of the box's larger side.

    Returns:
        The square boxes (..., 4).
    """
    centre, side = centre_and_side(box)
    return _square(centre, side * scale)


def _square(centre: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Return the boxes (..., 4) with those centres (..., 2) and sides (...)."""
    half = (side / 2)[..., None]
    return np.concatenate([centre - half, centre + half], axis=-1)


def snap(box: np.ndarray) -> np.ndarray:
    """Round boxes a little, so that what is cut by them does not depend on the last digits of what they come from.

    Networks of 8 bits answer to pixels that differ by one level, and what is cut by their answers differs the more.

    Args:
        box: (..., 4).

    Returns:
        Square boxes (..., 4) about nearly the same centres, their sides and centres rounded to the power of two that is
        nearest to a 512th of the side.
    """
    centre, side = centre_and_side(box)
    step = 2.0 ** np.rint(np.log2(np.maximum(side, 1e-6) / _SNAPS))
    return _square(np.rint(centre / step[..., None]) * step[..., None], np.rint(side / step) * step)


def upright_box(points: np.ndarray, roll: np.ndarray | float) -> np.ndarray:
    """Compute the square boxes that hold rotated points tightly once the rotation is undone about their centres.

    `crop_matrix(box, size, scale, -roll)` cuts by such a box.

    Args:
        points: (..., N, 2).
        roll: degrees (...) by which the points are rotated, clockwise as seen.

    Returns:
        The square boxes (..., 4), in pixels of the photo.
    """
    cos, sin = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    turn = np.stack([np.stack([cos, sin], axis=-1), np.stack([-sin, cos], axis=-1)], axis=-2)
    centre, side = centre_and_side(tight_box(points @ np.swapaxes(turn, -1, -2)))
    return _square((centre[..., None, :] @ turn)[..., 0, :], side)


def crop_matrix(box: np.ndarray, size: int, scale: float = 1.0, rotation: np.ndarray | float = 0.0) -> np.ndarray:
    """Compute the transforms from the photo to a frame that the square box fills.

    Args:
        box: (..., 4), in photo pixels.
        size: side of the frame in pixels.
        scale: side of the square, in units of the box's larger side.
        rotation: degrees (...) by which the content turns, clockwise as seen, about the box's centre.

    Returns:
        Matrices (..., 2, 3).
    """
    centre, side = centre_and_side(box)
    zoom = size / (np.maximum(side, 1e-6) * scale)  # a box without extent is a point: zoomed in far, but finite
    cos, sin = np.cos(np.radians(rotation)) * zoom, np.sin(np.radians(rotation)) * zoom
    linear = np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)
    shift = (size - 1) / 2 - (linear @ centre[..., None])[..., 0]
    return np.concatenate([linear, shift[..., None]], axis=-1)


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points by matrices.

    Args:
        matrix: (..., 2, 3).
        points: (..., N, 2).

    Returns:
        The mapped points (..., N, 2).
    """
    return points @ np.swapaxes(matrix[..., :2], -1, -2) + matrix[..., None, :, 2]


def invert(matrix: np.ndarray) -> np.ndarray:
    """Invert transforms.

    Args:
        matrix: (..., 2, 3).

    Returns:
        The matrices (..., 2, 3) that map back.
    """
    linear = np.linalg.inv(matrix[..., :2])
    return np.concatenate([linear, -(linear @ matrix[..., 2:])], axis=-1)


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Compute the transforms that do one after the other.

    Args:
        outer: (..., 2, 3), what comes second.
        inner: (..., 2, 3), what comes first.

    Returns:
        The matrices (..., 2, 3).
    """
    shift = (outer[..., :2] @ inner[..., 2:])[..., 0] + outer[..., 2]
    return np.concatenate([outer[..., :2] @ inner[..., :2], shift[..., None]], axis=-1)


def frame_box(size: int, scale: float = 1.0) -> np.ndarray:
    """Return the square box that a frame was cut by, in the frame itself.

    Args:
        size: side of the frame in pixels.
        scale: side of the frame, in units of the box's.

    Returns:
        (4,).
    """
    return square(np.array([-0.5, -0.5, size - 0.5, size - 0.5]), 1 / scale)


def zoom(matrix: np.ndarray) -> np.ndarray:
    """Compute the scale of similarity transforms.

    Args:
        matrix: (..., 2, 3), from photo to frame.

    Returns:
        How many frame pixels (...) one photo pixel becomes.
    """
    return np.sqrt(np.abs(np.linalg.det(matrix[..., :2])))


def warp(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Cut a square frame from an image; bilinear, black outside the image.

    Where the image shrinks, the part that is needed is averaged by area first, so that texture does not alias.

    Args:
        image: (H, W, C) uint8.
        matrix: (2, 3), from image pixels to frame pixels.
        size: side of the frame in pixels.

    Returns:
        (size, size, C) uint8.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    scale = math.sqrt(abs(cv2.determinant(matrix[:, :2])))
    if scale < _SHRINKS:
        # By a whole number: OpenCV is many times faster then, and the sampling below sees to the rest.
        factor = round(1 / scale)
        back = cv2.invertAffineTransform(matrix)
        middle, half = back @ [(size - 1) / 2, (size - 1) / 2, 1], np.abs(back[:, :2]).sum(axis=1) * size / 2
        # What the frame shows of the image. Rounded boxes end on pixels: not the last digit says on which side.
        (x0, y0), (x1, y1) = middle - half - _A_LITTLE, middle + half - _A_LITTLE
        left, top = max(0, int(x0) - 1), max(0, int(y0) - 1)
        part = image[top : max(0, int(y1) + 2 + factor), left : max(0, int(x1) + 2 + factor)]
        if part.size == 0:
            return np.zeros((size, size, *image.shape[2:]), np.uint8)
        shrunk = [max(1, side // factor) for side in part.shape[1::-1]]
        part = part[: shrunk[1] * factor, : shrunk[0] * factor]
        image = cv2.resize(part, shrunk, interpolation=cv2.INTER_AREA).reshape(*shrunk[::-1], *image.shape[2:])
        # Shrunk pixel u lies at photo x = left + (u + 0.5) * step - 0.5.
        step = np.array(part.shape[1::-1]) / shrunk
        photo = np.array([left, top]) + step / 2 - 0.5
        matrix = np.column_stack([matrix[:, :2] * step, matrix[:, :2] @ photo + matrix[:, 2]])
    frame = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return frame.reshape(size, size, *image.shape[2:])


@dataclass(frozen=True)
class Crops:
    """Faces of one photo, cut out for a network, and the way back.

    Attributes:
        images: (k, S, S, 3) uint8.
        matrices: (k, 2, 3) from photo pixels to crop pixels.
    """

    images: np.ndarray
    matrices: np.ndarray

    def to_photo(self, points: np.ndarray) -> np.ndarray:
        """Map points of the crops back to the photo.

        Args:
            points: (k, N, 2), in pixels of each crop.

        Returns:
            (k, N, 2) float64, in pixels of the photo.
        """
        return apply(invert(self.matrices), np.asarray(points, np.float64))


def crop_faces(
    image: np.ndarray, boxes: np.ndarray, size: int, scale: float = 1.0, rotation: np.ndarray | float = 0.0
) -> Crops:
    """Cut faces out of a photo as a network sees them; `Crops.to_photo` leads its points back.

    Args:
        image: (H, W, 3) uint8.
        boxes: (k, 4), in pixels of the image; k may be 0.
        size: side of a crop in pixels.
        scale: side of the square that is cut, in units of the box's larger side.
        rotation: degrees, one or (k,), by which the content turns, clockwise as seen, about the box's centre.

    Returns:
        The crops (k, size, size, 3), black outside the photo.
    """
    matrices = crop_matrix(np.reshape(boxes, (-1, 4)), size, scale, rotation)
    images = [warp(image, matrix, size) for matrix in matrices]
    return Crops(np.array(images, np.uint8).reshape(-1, size, size, *image.shape[2:]), matrices)


def normalise(points: Points, size: int) -> Points:
    """Turn frame pixels into centred coordinates divided by the frame's size: what networks are trained on.

    Args:
        points: (..., 2) array or tensor, pixels of a frame.
        size: side of the frame in pixels.

    Returns:
        (..., 2) of the same kind; the frame spans [-0.5, 0.5].
    """
    return (points - (size - 1) / 2) / size


def to_pixels(landmarks: Points, size: int) -> Points:
    """Turn normalised coordinates into frame pixels; undoes `normalise`.

    Args:
        landmarks: (..., 2) array or tensor, normalised.
        size: side of the frame in pixels.

    Returns:
        (..., 2) of the same kind, pixels of the frame.
    """
    return landmarks * size + (size - 1) / 2


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compute the intersection over union of boxes.

    Args:
        first: (..., 4).
        second: (..., 4); leading axes broadcast with those of `first`.

    Returns:
        (...) in [0, 1]; 0 where neither box has an area.
    """
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., 2:], second[..., 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    areas = [np.clip(box[..., 2:] - box[..., :2], 0, None).prod(axis=-1) for box in (first, second)]
    union = areas[0] + areas[1] - shared
    return np.divide(shared, union, out=np.zeros_like(shared, dtype=np.float64), where=union > 0)


@dataclass(frozen=True)
class BoxTransform:
    """How a face detector's box becomes the box that a network was trained on.

    Attributes:
        scale: side of the network's square box, in units of the detector box's larger side.
        shift_x: by how much the centre moves to the right, in the same units.
        shift_y: by how much it moves down.

    Raises:
        InputError: `scale` is not above 0, or a value is not finite.
    """

    scale: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0

    def __post_init__(self) -> None:
        if not (self.scale > 0 and all(math.isfinite(value) for value in asdict(self).values())):
            raise InputError(f"a box transform needs a scale above 0 and finite shifts, got {asdict(self)}")

    def apply(self, boxes: np.ndarray) -> np.ndarray:
        """Transform a detector's boxes.

        Args:
            boxes: (..., 4), as the detector draws them.

        Returns:
            Square boxes (..., 4).
        """
        centre, side = centre_and_side(boxes)
        centre = centre + side[..., None] * np.array([self.shift_x, self.shift_y])
        return _square(centre, side * self.scale)

    @classmethod
    def fit(cls, detected: np.ndarray, tight: np.ndarray) -> BoxTransform:
        """Fit the transform to boxes of the same faces, by medians: outliers do not count.

        Args:
            detected: (n, 4), a detector's boxes.
            tight: (n, 4), tight boxes of the landmarks.

        Returns:
            The transform.
        """
        (centre, side), (wanted, wanted_side) = centre_and_side(detected), centre_and_side(tight)
        relative = np.column_stack([wanted_side / side, (wanted - centre) / side[:, None]])
        return cls(*(float(value) for value in np.median(relative, axis=0)))

    def residuals(self, detected: np.ndarray, tight: np.ndarray) -> np.ndarray:
        """Compute by how much transformed boxes miss the tight ones.

        Args:
            detected: (n, 4), a detector's boxes.
            tight: (n, 4), tight boxes of the landmarks.

        Returns:
            (n, 3): the logarithm of the ratio of sides; x and y of the centre, in units of the tight box's larger side.
        """
        (centre, side), (wanted, wanted_side) = centre_and_side(self.apply(detected)), centre_and_side(tight)
        return np.column_stack([np.log(side / wanted_side), (centre - wanted) / wanted_side[:, None]])

    def to_dict(self) -> dict[str, float]:
        """Turn the transform into plain values.

        Returns:
            Keys and values for a model card; `from_dict` reads them back.
        """
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any, where: str = "box transform") -> BoxTransform:
        """Read what `to_dict` wrote.

        Args:
            values: scale, shift_x and shift_y; anything else is an InputError.
            where: names the file in messages.

        Returns:
            The transform.
        """
        fields = Fields(values, where, path="box_transform")
        return cls(fields.number("scale", 1e-6, 1e3), *(fields.number(f"shift_{axis}", -1e3, 1e3) for axis in "xy"))
