"""Memory that decoding a photo takes: some formats take many times the bytes of their pixels."""

from __future__ import annotations

from typing import Any, BinaryIO

from PIL import Image

_TIFF_ROWS, _TIFF_TILE = 278, (322, 323)  # tags: rows of a strip; width and height of a tile
_TURNING = 6  # bytes a pixel: as stored, and upright
_BY_PYTHON = ("ppm", "ppm_plain", "bmp_rle")  # decoders of Pillow that are written in Python


def bytes_per_pixel(image: Image.Image, file: BinaryIO, is_deep: bool) -> float:
    """Return how many bytes a pixel of a file takes at most while it is decoded, its RGB pixels included.

    Args:
        image: the file as Pillow has opened it, not loaded.
        file: the same.
        is_deep: whether it has colours of 16 bits.

    Returns:
        Bytes, as measured for each format (benchmarks/bounds.py).
    """
    pixel = 5.0 if image.mode.startswith("I;") else 4.0  # Pillow's, in whose place the RGB pixels come
    if is_deep:
        pixel = 2.0 * (4 if "A" in image.mode else 3)
    if image.format in ("JPEG", "MPO") and _has_many_scans(image, file):
        pixel += _coefficients(image)
    elif image.format == "WEBP":
        pixel = 16 if getattr(image, "is_animated", False) else 7.5 if image.mode == "RGB" else 8.5
    elif image.format == "JPEG2000":
        bits = 16 if is_deep else 8
        pixel += len(image.getbands()) * (4.2 + bits / 8) * (1 if is_deep else _share_of_a_tile(file, image))
    elif image.format in ("AVIF", "HEIF"):
        pixel = 16
    elif image.format == "TIFF":
        pixel = _of_tiff(image, pixel)
    elif image.tile and image.tile[0][0] in _BY_PYTHON and not is_deep:  # type: ignore[attr-defined]
        pixel = 12
    return round(max(pixel, _TURNING) if _is_turned(image) else pixel, 1)


def _is_turned(image: Image.Image) -> bool:
    return bool(image.info.get("exif") or image.format == "TIFF")


def _has_many_scans(image: Image.Image, file: BinaryIO) -> bool:
    """Tell whether a JPEG file has its coefficients in several scans, between which all of them are kept."""
    if image.info.get("progressive"):
        return True
    file.seek(2)
    while (head := file.read(4))[:1] == b"\xff" and len(head) == 4:
        if head[1] == 0xDA:  # the first scan; with all channels it is the only one
            return file.read(1)[:1] != bytes([len(image.getbands())])
        file.seek(int.from_bytes(head[2:], "big") - 2, 1)
    return True


def _coefficients(image: Image.Image) -> float:
    """Return the bytes of a JPEG pixel's coefficients; channels of fewer rows and columns have fewer."""
    layers: list[Any] = getattr(image, "layer", [])  # name, horizontal and vertical sampling, table
    whole = max(layer[1] for layer in layers) * max(layer[2] for layer in layers)
    return 2.0 * sum(layer[1] * layer[2] for layer in layers) / whole


def _share_of_a_tile(file: BinaryIO, image: Image.Image) -> float:
    """Return which part of a JPEG 2000 image is decoded at once."""
    file.seek(0)
    _, mark, size = file.read(1 << 16).partition(b"\xff\x4f\xff\x51")  # the start, and the segment of sizes
    width, height = (int.from_bytes(size[place : place + 4], "big") for place in (20, 24))
    return min(1.0, width * height / (image.width * image.height)) if mark else 1.0


def _of_tiff(image: Any, pixel: float) -> float:
    tags = image.tag_v2
    if tags.get(274, 1) != 1:  # Pillow turns it, into a second image
        pixel = max(pixel, 8.0)
    if image.tile and image.tile[0][0] == "libtiff":  # which decodes a strip or tile, and then copies it
        pixels = image.width * image.height
        width, height = (tags.get(tag) for tag in _TIFF_TILE)
        strip = width * height if width and height else image.width * tags.get(_TIFF_ROWS, image.height)
        pixel += 4.0 * min(1.0, strip / pixels)
    return pixel
