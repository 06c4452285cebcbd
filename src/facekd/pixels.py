"""Decoded pixels as 8-bit RGB, a band of rows at a time, so that a large photo is not held twice."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image

LARGE = 25_000_000  # pixels from which on the memory is worth some time
_BAND = 1_000_000  # pixels that are converted at once
_DEPTHS = (8, 10, 12, 14, 16)  # bits of a value that cameras use
_WIDE = (
    "RGB",
    "RGBA",
    "RGBX",
    "RGBa",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "LA",
    "La",
    "PA",
    "I",
)  # 4 bytes a pixel in Pillow


def is_large(image: Image.Image) -> bool:
    """Tell whether an image has so many pixels that its memory is worth some time.

    Args:
        image: as Pillow has opened it.

    Returns:
        Whether it has.
    """
    return image.width * image.height >= LARGE


class Room:
    """Memory in which an image is decoded, and to whose front its RGB pixels move: each has fewer bytes than before.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        pixel: bytes of a decoded pixel, from 3 on.
    """

    def __init__(self, height: int, width: int, pixel: int) -> None:
        own = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}
        self._memory = mmap.mmap(-1, height * width * pixel, **own)  # the system gives what is written
        self._shape = height, width

    def decoded(self, dtype: type[np.unsignedinteger]) -> np.ndarray:
        """Return the memory as what is decoded into it.

        Args:
            dtype: uint8 or uint16.

        Returns:
            (H, W, C) of the type.
        """
        return np.frombuffer(self._memory, dtype).reshape(*self._shape, -1)

    def offer(self, image: Image.Image) -> bool:
        """Let Pillow decode an image into the memory, 4 bytes a pixel.

        Args:
            image: opened, not loaded.

        Returns:
            Whether this Pillow takes it; else it uses memory of its own.
        """
        try:
            image.im = Image.core.map_buffer(self._memory, image.size, "raw", 0, (image.mode, 0, 1))
        except Exception:  # not of Pillow's public interface
            return False
        return True

    @property
    def rgb(self) -> np.ndarray:
        """The front: (H, W, 3) uint8."""
        height, width = self._shape
        return np.frombuffer(self._memory, np.uint8, height * width * 3).reshape(height, width, 3)

    def leave_rgb(self) -> np.ndarray:
        """Give the memory behind the front back to the system, where it takes it.

        Returns:
            The front.
        """
        end = -(-self.rgb.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
        if hasattr(mmap, "MADV_DONTNEED") and end < len(self._memory):
            self._memory.madvise(mmap.MADV_DONTNEED, end)
        return self.rgb


def from_array(array: np.ndarray, out: np.ndarray | None = None, bgr: bool = False) -> np.ndarray:
    """Return an array of pixels as RGB: the upper 8 of the bits in use, on white where transparent.

    Args:
        array: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) with alpha, uint8 or uint16.
        out: (H, W, 3) uint8 that takes the pixels, such as `Room.rgb` of the array's own memory; None: a new array, or
            the given one if it is as wanted.
        bgr: the channels are BGR or BGRA.

    Returns:
        (H, W, 3) uint8.
    """
    array = array.reshape(*array.shape[:2], -1)
    if out is None and array.dtype == np.uint8 and array.shape[2] == 3:
        return np.ascontiguousarray(array[..., ::-1] if bgr else array)
    colors = slice(2, None, -1) if bgr else slice(3)
    unused = _unused(array[..., :3])  # an alpha of all 16 bits may go with colours of 10
    unused_alpha = _unused(array[..., 3:]) if array.shape[2] == 4 else 0
    out = np.empty((*array.shape[:2], 3), np.uint8) if out is None else out
    for rows in _bands(*array.shape[:2]):
        band = (array[rows, :, colors] >> unused).astype(np.uint8)
        if array.shape[2] == 4:
            alpha = (array[rows, :, 3:] >> unused_alpha).astype(np.uint16)
            band = (band * alpha + 255 * (255 - alpha) + 127) // 255
        out[rows] = band
    return out


def load(image: Image.Image) -> Room | None:
    """Load a file that Pillow has opened.

    Args:
        image: not loaded.

    Returns:
        Where its pixels are, for `from_pillow`, if it is large; None: in Pillow's memory.
    """
    plain = image.format != "TIFF" or getattr(image, "tag_v2", {}).get(ExifTags.Base.Orientation, 1) == 1
    room = Room(image.height, image.width, 4) if plain and is_large(image) and image.mode in _WIDE else None
    offered = image.im if room and room.offer(image) else None
    image.load()  # which turns a TIFF file, into a second image
    return room if offered is not None and image.im is offered else None


def from_pillow(image: Image.Image, room: Room | None = None) -> np.ndarray:
    """Return the pixels of an image as RGB.

    Args:
        image: as Pillow has opened it, of any mode but F.
        room: where `load` has put its pixels, which then are no more; None: in Pillow's memory.

    Returns:
        (H, W, 3) uint8.
    """
    image.load()
    shape, is_grey = (image.height, image.width), image.mode.startswith("I")  # 16 bits; Pillow holds some in 32
    mode = "RGBA" if image.has_transparency_data else "RGB"

    def band(rows: slice) -> np.ndarray:
        part = image.crop((0, rows.start, image.width, rows.stop))
        if is_grey:
            return np.clip(np.asarray(part), 0, 65535).astype(np.uint16)[..., None]
        return np.asarray(part if part.mode == mode else part.convert(mode))

    unused = _unused(np.array([band(rows).max() for rows in _bands(*shape)])) if is_grey else 0
    out = room.rgb if room else np.empty((*shape, 3), np.uint8)
    for rows in _bands(*shape):
        out[rows] = band(rows) >> unused if is_grey else from_array(band(rows))
    return room.leave_rgb() if room else out


def uses_all_bits(image: Image.Image) -> bool:
    """Tell whether colours, and alpha, have values of which all 16 bits are in use, and not 14.

    Args:
        image: as Pillow has loaded it from a file of 16 bits: the upper 8.

    Returns:
        Whether they have.
    """
    shape, channels = (image.height, image.width), len(image.getbands())
    parts = (image.crop((0, rows.start, image.width, rows.stop)) for rows in _bands(*shape))
    largest = np.max([np.asarray(part).reshape(-1, channels).max(axis=0) for part in parts], axis=0)
    colors = largest[: 3 if channels >= 3 else 1]
    return bool(colors.max() >= 64 and largest[len(colors) :].min(initial=255) >= 64)


def turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """Return pixels upright that are stored as an EXIF orientation says.

    Args:
        array: (H, W, 3).
        orientation: 1 to 8, as EXIF counts it; 1 is upright.

    Returns:
        (H, W, 3) or (W, H, 3), contiguous.
    """
    if orientation in (5, 6, 7, 8):  # rows and columns are swapped
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def _bands(height: int, width: int) -> Iterator[slice]:
    rows = max(1, _BAND // width)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def _unused(values: np.ndarray) -> int:
    """Return how many bits are to be dropped of values of 8 or 16 bits, so that the upper 8 of those in use stay."""
    if values.dtype == np.uint8:
        return 0
    return next(bits for bits in _DEPTHS if int(values.max()) < 2**bits) - 8
