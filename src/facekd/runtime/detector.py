"""Finding faces: YuNet at several scales, and the protocol for a detector of one's own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import cv2
import numpy as np

from facekd.errors import InputError
from facekd.geometry import apply, centre_and_side, crop_faces, invert, iou, tight_box
from facekd.runtime.enhance import enhance_photo
from facekd.runtime.yunet import YuNetNetwork, without_repeats

_SMALLEST = 8  # pixels; in narrower images YuNet finds no face but answers at random
_SMALL = 20  # pixels; the smallest faces that YuNet finds reliably
_TOUCHES = 3  # pixels; boxes so near to the edge of a tile may be of faces that it cuts
# The first pass: the photo's larger side is a quarter of `size` or of its own, within these bounds, in pixels.
_COARSE = 160, 320
# Scores below the threshold that may be of faces: small ones; larger ones, which are seen more clearly; and those that
# overlap with a face that was found, as rolled faces side by side do.
_HINT, _LARGE_HINT, _BESIDE_HINT = 0.15, 0.2, 0.35
_TINY, _HINT_SIDE, _SURE_SIDE, _ROUGH = 12, 24, 32, 48  # pixels of the first pass; see `YuNet._search`
_SURE_SCORE = 0.75
_CROP, _FACE_IN_CROP = 128, 64  # pixels of the crops that small faces are boxed in again
_SAME = 0.3  # IoU from which a box in a crop is that of the face it was cut out for
_APART = 0.1  # IoU below which a hint is no part of a face that was found
_WHOLE = 0.9  # share of a box within the photo from which a rolled face is looked for in it
_ENLARGED = 1.5  # of faces 20 px wide YuNet finds 86 % as they are, 97 % enlarged by this


class Detector(Protocol):
    """What finds faces; bring your own by giving `Landmarker` an object with this method.

    With a second, `detect_once`, that searches small crops alike but spends no time on a second look, photos with faces
    that cannot be trusted take less time.
    """

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find faces.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            Boxes (k, 4) x0, y0, x1, y1 in pixels of the image, and scores (k,) in [0, 1], best first.
        """
        ...


class YuNet:
    """Face detector for faces from 20 px to the full frame. Calls from several threads are safe.

    A first pass over the shrunk photo finds most faces. Only if something in it may be a face that it shows too small,
    or if it shows none, the photo is searched at `size` as well. What is dark, pale or noisy is enhanced first.

    Args:
        threshold: lowest score that counts as a face, in [0, 1].
        size: photos are shrunk until their larger side is at most this many pixels; it bounds time and memory.
            Then sides are padded to multiples of 32, as OpenCV does.
        small_faces: also run tile by tile on the enlarged photo, which finds 20 px faces in photos of any size at
            about 0.2 s per megapixel.
        threads: CPU threads of the network; None: as many as there are cores.
        thorough: search every photo at `size` and at a quarter of it, whatever the first pass shows; several times as
            slow. `small_faces` implies it.

    Raises:
        ModelError: the weights are missing or damaged, or `threads` is below 1.
        InputError: `threshold` is outside [0, 1], or `size` below 8.
    """

    def __init__(
        self,
        threshold: float = 0.6,
        size: int = 1280,
        small_faces: bool = False,
        threads: int | None = None,
        thorough: bool = False,
    ) -> None:
        if not 0 <= threshold <= 1:
            raise InputError(f"threshold must be within 0 and 1, got {threshold}")
        if not size >= _SMALLEST:
            raise InputError(f"size must be {_SMALLEST} or more, got {size}")
        self.threshold, self.size, self.small_faces, self.thorough = threshold, size, small_faces, thorough
        self._network = YuNetNetwork(threads)

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find faces.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            Boxes (k, 4) float32 x0, y0, x1, y1 in pixels of the image, which may reach beyond it; and scores (k,)
            float32 in [0, 1], falling.
        """
        fit = self.size / max(image.shape[:2])
        if self.small_faces:
            found = self._at_both_scales(image)
            hits = np.concatenate(list(self._tiles(image)))
            # Parts of a large face look like faces where a tile cuts it or hardly holds it; were they any, the shrunk
            # photo would show them, too.
            clear = centre_and_side(hits[:, :4])[1] * min(1.0, fit) >= _SMALL
            found = np.concatenate([found, hits[~(clear & _mostly_inside(hits, found))]])
        else:
            found = self._at_both_scales(image) if self.thorough else self._search(image)
            if not len(found) and fit > 1:
                found = self._detect_at(image, min(_ENLARGED, fit), self.threshold)
        found = found[without_repeats(found[:, :4], found[:, 4])]
        return found[:, :4], found[:, 4]

    def detect_once(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find faces in one pass of the network over the image as it is: for crops of what may be a face.

        Args:
            image: (H, W, 3) uint8 RGB; no larger than `size`.

        Returns:
            As `detect`.
        """
        found = self._detect_at(image, 1.0, self.threshold)
        return found[:, :4], found[:, 4]

    def _at_both_scales(self, image: np.ndarray) -> np.ndarray:
        """Return (k, 5) boxes and scores found at `size` and at a quarter of it."""
        fit = self.size / max(image.shape[:2])
        scales = {min(1.0, fit), min(1.0, fit / 4)}
        return np.concatenate([self._detect_at(image, scale, self.threshold) for scale in sorted(scales)])

    def _search(self, image: np.ndarray) -> np.ndarray:
        """Return (k, 5) boxes and scores found in the shrunk photo, and at `size` if that is needed."""
        longest = max(image.shape[:2])
        fine = min(1.0, self.size / longest)
        coarse = min(fine, float(np.clip(fine * longest / 4, *_COARSE)) / longest)
        seen = self._detect_at(image, coarse, min(_HINT, self.threshold))
        is_face = seen[:, 4] >= self.threshold
        faces, hints = seen[is_face], seen[~is_face]
        if coarse == fine:
            return faces
        side = centre_and_side(faces[:, :4])[1] * coarse
        if len(faces) and not len(hints) and side.min() >= _ROUGH:
            return faces  # as in most photos: no rule below has a say
        apart = iou(hints[:, None, :4], faces[:, :4]).max(axis=1, initial=0) < _APART
        small = centre_and_side(hints[:, :4])[1] * coarse < _HINT_SIDE
        if not len(faces) or side.min() < _TINY or (apart & small).any():
            # Small faces of low score are trusted only if this pass finds them, too.
            sure = (side >= _SURE_SIDE) | (faces[:, 4] >= _SURE_SCORE)
            return np.concatenate([faces[sure], self._at_both_scales(image)])
        rough = side < _ROUGH
        faces[rough] = self._boxed_again(image, faces[rough])
        strong = hints[:, 4] >= np.where(apart, _LARGE_HINT, _BESIDE_HINT)
        hints = self._boxed_again(image, hints[strong & ~_mostly_inside(hints, faces)])
        for quarters in (1, 2, 3):  # what is still not clear may be a rolled face
            rolled = (hints[:, 4] >= _BESIDE_HINT) & (hints[:, 4] < self.threshold) & whole(hints, image)
            hints[rolled] = self._boxed_again(image, hints[rolled], 90.0 * quarters)
        return np.concatenate([faces, hints[hints[:, 4] >= self.threshold]])

    def _boxed_again(self, image: np.ndarray, faces: np.ndarray, rotation: float = 0.0) -> np.ndarray:
        """Return rows (k, 5) with the boxes that (rotated) crops of them show and the larger score, or as they are."""
        if not len(faces):
            return faces
        crops = crop_faces(image, faces[:, :4], _CROP, _CROP / _FACE_IN_CROP, rotation)
        images = np.array([enhance_photo(crop) for crop in crops.images])
        better = faces.copy()
        for index, found in enumerate(self._network(images, _HINT)):
            corners = found[:, :4].reshape(-1, 2, 2)
            boxes = tight_box(apply(invert(crops.matrices[index]), corners.astype(np.float64)))
            overlap = iou(boxes, faces[index, :4])
            if len(found) and overlap.max() > _SAME:
                best = int(overlap.argmax())
                better[index] = [*boxes[best], max(faces[index, 4], found[best, 4])]
        return better

    def _tiles(self, image: np.ndarray) -> Iterator[np.ndarray]:
        """Yield (k, 5) boxes and scores of overlapping tiles of the enlarged image."""
        side = round(self.size / _ENLARGED)
        overlap = side // 8  # faces larger than that are found in the shrunk photo
        height, width = image.shape[:2]
        for top in range(0, max(1, height - overlap), side - overlap):
            for left in range(0, max(1, width - overlap), side - overlap):
                found = self._detect_at(image[top : top + side, left : left + side], _ENLARGED, self.threshold)
                found += np.array([left, top, left, top, 0], np.float32)
                beyond = (found[:, :4] - [left, top, left + side, top + side]) * [-1, -1, 1, 1]
                inner = [left > 0, top > 0, left + side < width, top + side < height]
                cut = (inner & (beyond > -_TOUCHES)).any(axis=1)
                # What an edge cuts the next tile holds whole, unless it is large.
                yield found[~cut | (centre_and_side(found[:, :4])[1] > overlap)]

    def _detect_at(self, image: np.ndarray, scale: float, threshold: float) -> np.ndarray:
        """Return (k, 5) boxes and scores found in the image resized by `scale`."""
        if min(image.shape[:2]) * scale < _SMALLEST - 0.5:
            return np.zeros((0, 5), np.float32)
        resized, step = shrink(image, scale)
        (found,) = self._network(enhance_photo(resized)[None], threshold)
        # Resizing keeps the edges of the pixels, and (0, 0) is the centre of one.
        found[:, :4] = (found[:, :4] + 0.5) * np.tile(step, 2) - 0.5
        return found


def holding(detected: np.ndarray, tight: np.ndarray) -> np.ndarray:
    """Find the detections that may be of a face whose landmarks are known: those that hold the landmarks' centre.

    Args:
        detected: (k, 4) boxes of a face detector.
        tight: (4,) tight box of the landmarks, however small a part of the face they are.

    Returns:
        (j,) indices of detections, in their order.
    """
    (x, y), boxes = centre_and_side(tight)[0], np.reshape(detected, (-1, 4))
    inside = (boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3])
    return np.flatnonzero(inside)


def shrink(image: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Resize an image: it is halved until it is nearest to the size, and bilinear sampling does the rest.

    OpenCV averages blocks of two by two pixels four times as fast as larger ones, and many times as fast as fractions.

    Args:
        image: (H, W, C) uint8.
        scale: about how many pixels a pixel becomes; above 1 the image is enlarged.

    Returns:
        The resized image (h, w, C), its edges those of the image but for some rows and columns that have no partner;
        and how many pixels of the image one of its pixels is wide and high (2,).
    """
    height, width = image.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    halvings = min(max(0, round(-math.log2(scale))), min(height, width).bit_length() - 1)
    for _ in range(halvings):
        half = image.shape[1] // 2, image.shape[0] // 2
        image = cv2.resize(image[: 2 * half[1], : 2 * half[0]], half, interpolation=cv2.INTER_AREA)
    step = np.array(image.shape[1::-1]) * 2.0**halvings / size
    if size != image.shape[1::-1]:
        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return image, step


def whole(boxes: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Tell which boxes the image's edge does not cut: nine tenths of them and more lie within it.

    Args:
        boxes: (k, 4 or more) x0, y0, x1, y1 in pixels; each has an area.
        image: (H, W, C).

    Returns:
        (k,) bool.
    """
    corners = boxes[:, :4].reshape(-1, 2, 2)
    within = np.clip(corners, -0.5, np.array(image.shape[1::-1]) - 0.5)
    cut: np.ndarray = np.diff(within, axis=1).prod(axis=(1, 2)) < _WHOLE * np.diff(corners, axis=1).prod(axis=(1, 2))
    return ~cut


def _mostly_inside(found: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return (k,) whether more than half of a box, of rows (k, 5), lies in one of other rows' (j, 5) boxes."""
    low = np.maximum(found[:, None, :2], others[:, :2])
    high = np.minimum(found[:, None, 2:4], others[:, 2:4])
    shared, area = np.clip(high - low, 0, None).prod(axis=-1), (found[:, 2:4] - found[:, :2]).prod(axis=-1)
    inside: np.ndarray = (shared > area[:, None] / 2).any(axis=1)
    return inside
