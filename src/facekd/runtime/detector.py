"""Finding faces: YuNet through OpenCV, and the protocol for a detector of one's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from facekd.errors import ModelError
from facekd.geometry import centre_and_side, iou
from facekd.runtime.card import sha256

# YuNet: Wu et al., "YuNet: A tiny millisecond-level face detector", Machine Intelligence Research 2023. The file is
# that of https://github.com/opencv/opencv_zoo (MIT licence: YUNET_LICENSE.txt beside it).
YUNET = "face_detection_yunet_2023mar.onnx"
_FOLDER = Path(__file__).parents[1] / "weights"
_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
_OVERLAP = 0.3  # IoU above which two boxes are one face, as in OpenCV's sample
_SMALLEST = 8  # pixels; in narrower images YuNet finds no face but answers at random
_SMALL = 20  # pixels; the smallest faces that YuNet finds reliably
_TOUCHES = 3  # pixels; boxes so near to the edge of a tile may be of faces that it cuts
_LOG_ERRORS = 2  # OpenCV's LOG_LEVEL_ERROR, which older versions do not name
_ENLARGED = 1.5  # of faces 20 px wide YuNet finds 86 % as they are, 97 % enlarged by this


class Detector(Protocol):
    """What finds faces; bring your own by giving `Landmarker` an object with this method."""

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find faces.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            Boxes (k, 4) x0, y0, x1, y1 in pixels of the image, and scores (k,) in [0, 1], best first.
        """
        ...


def yunet_weights() -> Path:
    """Find YuNet's ONNX file, which comes with the package, and check it.

    Returns:
        The file.

    Raises:
        ModelError: it is missing, or not the known one.
    """
    path = _FOLDER / YUNET
    if not path.is_file() or sha256(path) != _SHA256:
        what = "damaged" if path.is_file() else "missing"
        raise ModelError(f"the face detector's weights {path} are {what}; `pip install --force-reinstall facekd`")
    return path


class YuNet:
    """Face detector for faces from 20 px to the full frame. Calls from several threads take turns.

    It runs on each photo at two scales, at `size` for the small faces and at a quarter of it for faces that fill the
    frame; if that finds none, once more enlarged. What is found twice is kept once, with its better score.

    Args:
        threshold: lowest score that counts as a face, in [0, 1].
        size: photos are shrunk until their larger side is at most this many pixels; it bounds time and memory.
        small_faces: also run tile by tile on the enlarged photo, which finds 20 px faces in photos of any size at
            about 0.2 s per megapixel.

    Raises:
        ModelError: the weights are missing or damaged.
    """

    def __init__(self, threshold: float = 0.6, size: int = 1280, small_faces: bool = False) -> None:
        self.threshold, self.size, self.small_faces = threshold, size, small_faces
        with _quiet():
            self._network = cv2.FaceDetectorYN.create(str(yunet_weights()), "", (size, size), threshold, _OVERLAP)
        self._lock = threading.Lock()  # the network keeps its input size between calls

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find faces.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            Boxes (k, 4) float32 x0, y0, x1, y1 in pixels of the image, which may reach beyond it; and scores (k,)
            float32 in [0, 1], falling.
        """
        fit = self.size / max(image.shape[:2])
        found = np.concatenate([self._detect_at(image, min(1.0, fit)), self._detect_at(image, min(1.0, fit / 4))])
        if self.small_faces:
            hits = np.concatenate(list(self._tiles(image)))
            # Parts of a large face look like faces where a tile cuts it or hardly holds it; were they any, the shrunk
            # photo would show them, too.
            clear = centre_and_side(hits[:, :4])[1] * min(1.0, fit) >= _SMALL
            found = np.concatenate([found, hits[~(clear & _mostly_inside(hits, found))]])
        elif not len(found) and fit > 1:
            found = self._detect_at(image, min(_ENLARGED, fit))
        found = _without_repeats(found)
        return found[:, :4], found[:, 4]

    def _tiles(self, image: np.ndarray) -> Iterator[np.ndarray]:
        """Yield (k, 5) boxes and scores of overlapping tiles of the enlarged image."""
        side = round(self.size / _ENLARGED)
        overlap = side // 8  # faces larger than that are found in the shrunk photo
        height, width = image.shape[:2]
        for top in range(0, max(1, height - overlap), side - overlap):
            for left in range(0, max(1, width - overlap), side - overlap):
                found = self._detect_at(image[top : top + side, left : left + side], _ENLARGED)
                found += np.array([left, top, left, top, 0], np.float32)
                beyond = (found[:, :4] - [left, top, left + side, top + side]) * [-1, -1, 1, 1]
                inner = [left > 0, top > 0, left + side < width, top + side < height]
                cut = (inner & (beyond > -_TOUCHES)).any(axis=1)
                # What an edge cuts the next tile holds whole, unless it is large.
                yield found[~cut | (centre_and_side(found[:, :4])[1] > overlap)]

    def _detect_at(self, image: np.ndarray, scale: float) -> np.ndarray:
        """Return (k, 5) boxes and scores found in the image resized by `scale`."""
        height, width = image.shape[:2]
        size = max(1, round(width * scale)), max(1, round(height * scale))
        if min(size) < _SMALLEST:
            return np.zeros((0, 5), np.float32)
        filter_ = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        resized = image if size == (width, height) else cv2.resize(image, size, interpolation=filter_)
        with self._lock:
            self._network.setInputSize(size)
            rows = self._network.detect(cv2.cvtColor(resized, cv2.COLOR_RGB2BGR))[1]
        if rows is None:
            return np.zeros((0, 5), np.float32)
        rows = rows[np.isfinite(rows).all(axis=1) & (rows[:, 2:4] > 0).all(axis=1)]  # its exponentials can overflow
        corners = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
        # Resizing keeps the edges of the pixels, and (0, 0) is the centre of one.
        boxes = (corners + 0.5) * np.array([width / size[0], height / size[1]] * 2) - 0.5
        return np.column_stack([boxes, rows[:, 14]]).astype(np.float32)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCV's warnings from the user: version 5 gives one on each network that runs on the CPU."""
    logging = getattr(cv2.utils, "logging", cv2)  # before version 4.13 its functions were in cv2 itself
    before = logging.getLogLevel()
    logging.setLogLevel(_LOG_ERRORS)
    try:
        yield
    finally:
        logging.setLogLevel(before)


def _mostly_inside(found: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return (k,) whether more than half of a box, of rows (k, 5), lies in one of other rows' (j, 5) boxes."""
    low = np.maximum(found[:, None, :2], others[:, :2])
    high = np.minimum(found[:, None, 2:4], others[:, 2:4])
    shared, area = np.clip(high - low, 0, None).prod(axis=-1), (found[:, 2:4] - found[:, :2]).prod(axis=-1)
    inside: np.ndarray = (shared > area[:, None] / 2).any(axis=1)
    return inside


def _without_repeats(found: np.ndarray) -> np.ndarray:
    """Return rows (k, 5) of boxes and scores, best first, without those that overlap with a better one."""
    found = found[np.argsort(-found[:, 4], kind="stable")]
    kept: list[int] = []
    for index, row in enumerate(found):
        if not kept or iou(found[kept, :4], row[None, :4]).max() <= _OVERLAP:
            kept.append(index)
    return found[kept]
