"""The network of YuNet, in ONNX Runtime: images in, boxes and scores out.

Source: Wu et al., "YuNet: A tiny millisecond-level face detector", Machine Intelligence Research 2023. The file is made
from https://github.com/opencv/opencv_zoo (MIT licence: YUNET_LICENSE.txt beside it) by `facekd.exporters.yunet`.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from facekd.errors import ModelError
from facekd.runtime import ort
from facekd.runtime.card import sha256

YUNET = "yunet.onnx"
OVERLAP = 0.3  # IoU above which two boxes are one face, as in OpenCV's sample
_FOLDER = Path(__file__).parents[1] / "weights"
_SHA256 = "bf501f0e4894e9673b60422f147fb410d7ff7e0a8892da89180d8f8833bedb4e"
_STRIDES = np.array([8, 16, 32])
_MULTIPLE = 32  # of which sides must be multiples: the largest stride


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


class YuNetNetwork:
    """YuNet at one scale: finds faces of about 10 px to 300 px. Calls from several threads are safe.

    Args:
        threads: CPU threads per call; None: as many as there are cores.

    Raises:
        ModelError: the weights are missing or damaged, or `threads` is below 1.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._session = ort.Session(yunet_weights(), threads, plan_memory=False)  # photos have many sizes

    def __reduce__(self) -> tuple[type[YuNetNetwork], tuple[int | None]]:
        return type(self), (self._threads,)  # a copy loads the installed weights

    def __call__(self, images: np.ndarray, threshold: float) -> list[np.ndarray]:
        """Find faces in images of one size.

        Args:
            images: (n, H, W, 3) uint8 RGB.
            threshold: lowest score that counts as a face, in [0, 1].

        Returns:
            Per image (k, 5) float32 x0, y0, x1, y1 in pixels and the score, best first.
        """
        height, width = (-(-side // _MULTIPLE) * _MULTIPLE for side in images.shape[1:3])
        return [decode(maps, width, threshold) for maps in self.maps(_padded(images, height, width))]

    def maps(self, images: np.ndarray) -> np.ndarray:
        """Run the network alone.

        Args:
            images: (n, H, W, 3) uint8 RGB, H and W multiples of 32.

        Returns:
            (n, 16, A) float32 for A anchors, those of stride 8 row by row, then of stride 16 and 32: classification
            and objectness in [0, 1], the box's four values, and five points.
        """
        (maps,) = self._session.run(["maps"], {"image": images})
        found: np.ndarray = maps
        return found


def _padded(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return images (n, height, width, 3), black to the right of and below what they show, as OpenCV pads them."""
    if images.shape[1:3] == (height, width):
        return np.ascontiguousarray(images)
    padded = np.zeros((len(images), height, width, 3), np.uint8)
    padded[:, : images.shape[1], : images.shape[2]] = images
    return padded


def decode(maps: np.ndarray, width: int, threshold: float) -> np.ndarray:
    """Turn the network's maps of one image into boxes.

    Args:
        maps: (16, A), as `YuNetNetwork.maps` gives them.
        width: of the image, in pixels.
        threshold: lowest score that counts as a face, in [0, 1].

    Returns:
        (k, 5) float32 x0, y0, x1, y1 in pixels and the score, best first; of boxes of one face the best.
    """
    # All levels together have 21 anchors per square of the largest stride: 16 + 4 + 1.
    squares = maps.shape[1] // 21
    starts = squares * np.array([0, 16, 20])
    product = maps[0] * maps[1]
    index = np.flatnonzero(product >= np.float32(threshold) ** 2)
    level = np.searchsorted(starts, index, side="right") - 1
    stride = _STRIDES[level]
    y, x = np.divmod(index - starts[level], width // stride)
    values = maps[2:6, index]
    with np.errstate(over="ignore"):  # of noise the exponentials can overflow
        sides = np.exp(values[2:]) * stride
    rectangles = np.concatenate([(values[:2] + np.array([x, y])) * stride - sides / 2, sides])
    sane = np.isfinite(rectangles).all(axis=0) & (sides > 0).all(axis=0)
    rectangles, score = rectangles[:, sane].T, np.sqrt(product[index[sane]])
    # OpenCV compares rectangles of whole pixels, cut off; so the same faces are kept.
    kept = _without_repeats(np.trunc(rectangles), score)
    found = np.column_stack([rectangles[kept], score[kept]])
    found[:, 2:4] += found[:, :2]
    return found.astype(np.float32)


def without_repeats(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Find the boxes that overlap with no better one (greedy non-maximum suppression).

    Args:
        boxes: (k, 4) x0, y0, x1, y1.
        scores: (k,).

    Returns:
        Indices (j,) of those to keep, best first.
    """
    return _without_repeats(np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1), scores)


def _without_repeats(rectangles: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return which rectangles (k, 4), left, top, width and height, overlap with no better one."""
    if len(rectangles) < 2:
        return np.arange(len(rectangles))
    return np.array(cv2.dnn.NMSBoxes(rectangles.tolist(), scores.tolist(), 0, OVERLAP), np.int64)
