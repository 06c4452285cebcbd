"""One labelled face: what prepare cuts out of a photo, a pack stores, and the synthetic faces are made of."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from PIL import Image

from facekd.decoders import is_whole_jpeg
from facekd.errors import InputError
from facekd.images import read_image

SPLITS = ("train", "val", "test")
QUALITIES = ("exact", "derived", "predicted")
IDENTITY = np.array([[1, 0, 0], [0, 1, 0]], np.float32)


@dataclass
class LabelledFace:
    """One labelled face as a pack holds it.

    Attributes:
        image: the square crop, (S, S, 3) uint8 RGB, or its encoded JPEG (then `size` is needed).
        points: (N, 2) float, pixels of the crop, the centre of the top-left pixel is (0, 0); NaN where one is missing.
        name: the photo's path relative to the dataset's folder; from a photo's second face on with `#k` behind it.
        split: "train", "val" or "test".
        subsets: the face belongs to, such as ("full", "common") of a test face, ("rotated",) of a training face.
        quality: "exact"; "derived" for labels that were registered rather than annotated; "predicted" for points that
            a network found, which are no labels.
        visible: (N,) bool, False where the landmark is occluded or missing; None if the dataset does not say.
        photo_box: the dataset's own face box x0, y0, x1, y1 in photo pixels; None if it has none.
        to_photo: (2, 3) float, crop pixels -> photo pixels.
        orientation: of the photo, as EXIF counts it, that was undone before the crop was cut; 1 if none.
        box: the tight box of all points, also of those that are missing, pixels of the crop; None: of the points that
            are there.
        size: side of the crop in pixels; read off the image when that is an array.
    """

    image: np.ndarray | bytes
    points: np.ndarray
    name: str
    split: str = "train"
    subsets: tuple[str, ...] = ()
    quality: str = "exact"
    visible: np.ndarray | None = None
    photo_box: np.ndarray | None = None
    to_photo: np.ndarray = field(default_factory=IDENTITY.copy)
    orientation: int = 1
    box: np.ndarray | None = None
    size: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.image, np.ndarray):
            self.size = int(self.image.shape[0])

    def encoded(self, quality: int) -> LabelledFace:
        """Return the face with its image as JPEG; bytes stay as they are.

        Args:
            quality: of the JPEG, 1 to 100.

        Returns:
            A copy, or the face itself.
        """
        if isinstance(self.image, bytes):
            return self
        bgr = cv2.cvtColor(self.image, cv2.COLOR_RGB2BGR)
        _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return replace(self, image=jpeg.tobytes())


def decode(image: bytes, size: int) -> np.ndarray:
    """Decode the image of a stored face.

    Args:
        image: bytes of a JPEG or PNG file.
        size: side of the square that it must be, in pixels.

    Returns:
        (size, size, 3) uint8 RGB.

    Raises:
        InputError: it is damaged, or of another size.
    """
    array = read_image(image, apply_exif=False, max_pixels=size * size)
    if array.shape != (size, size, 3):
        raise InputError(f"it has {array.shape[1]} x {array.shape[0]} pixels, not {size} x {size} as its row says")
    return array


def check(image: bytes, size: int) -> None:
    """Check an image without decoding all of it: much faster than `decode`.

    Args:
        image: bytes of a JPEG or PNG file.
        size: side of the square that it must be, in pixels.

    Raises:
        InputError: it is damaged, or of another size.
    """
    with suppress(OSError, ValueError, SyntaxError, cv2.error):  # of those, `decode` says what is wrong
        with Image.open(io.BytesIO(image), formats=("JPEG",)) as opened:
            fits = opened.size == (size, size) and opened.mode in ("RGB", "L")
        data = np.frombuffer(image, np.uint8)
        if fits and is_whole_jpeg(image) and cv2.imdecode(data, cv2.IMREAD_REDUCED_COLOR_8) is not None:
            return
    decode(image, size)
