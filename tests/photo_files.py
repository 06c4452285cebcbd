"""Photos as small files of every kind that is read in a way of its own."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from PIL import Image

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)).resize((67, 45))
_ALPHA = Image.fromarray(np.random.default_rng(1).integers(0, 256, (45, 67), np.uint8))
_EXIF = Image.Exif()
_EXIF[0x0112] = 6


def saved(kind: str, mode: str = "RGB", **settings: Any) -> bytes:
    """A file by Pillow; what may be transparent is, in part."""
    image = PHOTO.convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(_ALPHA)
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def deep(suffix: str, bits: int, alpha_bits: int = 0) -> bytes:
    """A file of 16 bits, of which so many are in use, by OpenCV."""
    array = np.asarray(PHOTO).astype(np.uint16) << bits - 8 | 5
    if alpha_bits:
        array = np.dstack([array, np.asarray(_ALPHA).astype(np.uint16) << alpha_bits - 8 | 5])
    lossless = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000] if suffix == "jp2" else []
    bgr = array[..., [2, 1, 0, 3][: array.shape[2]]]
    return bytes(cv2.imencode(f".{suffix}", bgr, lossless)[1])


KINDS: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved("JPEG"),
    "jpeg, grey": lambda: saved("JPEG", "L"),
    "jpeg, turned": lambda: saved("JPEG", exif=_EXIF),
    "jpeg, progressive": lambda: saved("JPEG", progressive=True),
    "jpeg, progressive, 4:4:4": lambda: saved("JPEG", progressive=True, subsampling="4:4:4"),
    "jpeg, cmyk": lambda: saved("JPEG", "CMYK"),
    "jpeg, cmyk, progressive": lambda: saved("JPEG", "CMYK", progressive=True),
    "png": lambda: saved("PNG"),
    "png, grey": lambda: saved("PNG", "L"),
    "png, black and white": lambda: saved("PNG", "1"),
    "png, palette": lambda: saved("PNG", "P"),
    "png, palette, transparent": lambda: saved("PNG", "P", transparency=3),
    "png, transparent": lambda: saved("PNG", "RGBA"),
    "png, transparent, turned": lambda: saved("PNG", "RGBA", exif=_EXIF),
    "png, grey, transparent": lambda: saved("PNG", "LA"),
    "png, a transparent colour": lambda: saved("PNG", transparency=PHOTO.getpixel((2, 2))),
    "png, 16 bits": lambda: deep("png", 16),
    "png, 12 of 16 bits": lambda: deep("png", 12),
    "png, 16 bits, transparent": lambda: deep("png", 16, 16),
    "png, 12 of 16 bits, transparent": lambda: deep("png", 12, 16),
    "png, 16 bits, of 12 transparent": lambda: deep("png", 16, 12),
    "png, grey, 16 bits": lambda: bytes(cv2.imencode(".png", np.asarray(PHOTO)[..., 0].astype(np.uint16) << 4)[1]),
    "tiff": lambda: saved("TIFF"),
    "tiff, turned": lambda: saved("TIFF", tiffinfo={274: 6}),
    "tiff, lzw": lambda: saved("TIFF", compression="tiff_lzw"),
    "tiff, one strip": lambda: saved("TIFF", compression="tiff_adobe_deflate", tiffinfo={278: 45}),
    "tiff, cmyk": lambda: saved("TIFF", "CMYK"),
    "tiff, transparent": lambda: saved("TIFF", "RGBA"),
    "tiff, lab": lambda: saved("TIFF", "LAB"),
    "tiff, 16 bits": lambda: deep("tiff", 16),
    "tiff, 12 of 16 bits": lambda: deep("tiff", 12),
    "tiff, 32 bits, grey": lambda: saved("TIFF", "I"),
    "bmp": lambda: saved("BMP"),
    "ppm": lambda: saved("PPM"),
    "ppm, 16 bits": lambda: deep("ppm", 16),
    "ppm, 12 of 16 bits": lambda: deep("ppm", 12),
    "gif": lambda: saved("GIF"),
    "gif, transparent": lambda: saved("GIF", "P", transparency=3),
    "webp": lambda: saved("WEBP"),
    "webp, lossless": lambda: saved("WEBP", lossless=True),
    "webp, transparent": lambda: saved("WEBP", "RGBA"),
    "webp, lossless, transparent": lambda: saved("WEBP", "RGBA", lossless=True),
    "webp, turned": lambda: saved("WEBP", exif=_EXIF),
    "webp, animated": lambda: saved("WEBP", save_all=True, append_images=[PHOTO.rotate(90)]),
    "jpeg 2000": lambda: saved("JPEG2000"),
    "jpeg 2000, tiles": lambda: saved("JPEG2000", tile_size=(16, 16)),
    "jpeg 2000, transparent": lambda: saved("JPEG2000", "RGBA"),
    "jpeg 2000, 16 bits": lambda: deep("jp2", 16),
}
