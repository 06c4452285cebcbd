"""Photos in, RGB arrays out: every format, orientation and depth becomes (H, W, 3) uint8, or one clear sentence."""

from __future__ import annotations

import glob
import io
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image

from facekd import decoders, footprint, pixels
from facekd.errors import InputError, nearest
from facekd.files import expand


class NotAnImageError(InputError):
    """What is given as a photo is no image of a known format."""


class ImageTooLargeError(InputError):
    """A photo has more pixels than are decoded."""


Photo = str | os.PathLike[str] | bytes | BinaryIO | np.ndarray | Image.Image
COLORS = ("rgb", "bgr")  # orders of an array's channels

# Refused before decoding: a file of some kB can claim to hold more pixels than the memory (a decompression bomb).
MAX_PIXELS = 150_000_000
MAX_SIDE = 32_766  # OpenCV cuts crops from no larger image
# Formats of photos only; Pillow's others include documents and plug-ins that start programs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000")
_PLUGINS = {"AVIF": (".avif",), "HEIF": (".heic", ".heif")}  # those of Pillow that not every installation has
MAX_BYTES = 900_000_000  # that decoding a file may take, beside the program
_HELD = 64_000_000  # bytes of a file that is read at once; longer ones are read where a decoder asks
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2"),
)


def check_color(color: str) -> str:
    """Check the order of an array's channels.

    Args:
        color: "rgb" or "bgr".

    Returns:
        The same.

    Raises:
        InputError: it is neither.
    """
    if color not in COLORS:
        raise InputError(f"color '{color}' is no order of channels; {nearest(str(color), COLORS)}")
    return color


def swap_colors(array: np.ndarray) -> np.ndarray:
    """Turn BGR into RGB and back.

    Args:
        array: (H, W, 3) or (H, W, 4), whose last channel is alpha and stays the last; grey arrays stay as they are.

    Returns:
        The array with its first and third channel swapped; a view or a copy.
    """
    if array.ndim != 3 or array.shape[2] not in (3, 4):
        return array
    return array[..., [2, 1, 0, 3][: array.shape[2]]]


def read_image(photo: Photo, apply_exif: bool = True, color: str = "rgb", max_pixels: int | None = None) -> np.ndarray:
    """Read a photo as RGB.

    Of animations the first frame is taken; transparent parts become white; grey becomes RGB; CMYK and palettes are
    converted. Of 16 bits (PNG, TIFF, PPM, JPEG 2000, arrays) the upper 8 of those in use stay: cameras write 10 or 12
    bits into the lower ones, so the bits of the largest value, rounded up to 8, 10, 12, 14 or 16, are taken for all.

    Args:
        photo: a path ("~" is the home folder), the bytes of a file, a file object opened in mode "rb" (also BytesIO), a
            PIL image, or an array: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) with alpha, uint8 or uint16.
        apply_exif: turn files as their EXIF orientation says. Labels of the published datasets count in the stored
            pixels.
        color: order of an array's channels: "rgb", or "bgr" as OpenCV reads files. Files and PIL images say it
            themselves.
        max_pixels: files and PIL images of more pixels are refused before they are decoded; default MAX_PIXELS.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: it is missing, no image (`NotAnImageError`), damaged, empty, of float values, or larger than
            `max_pixels` or MAX_SIDE (`ImageTooLargeError`); or `color` is neither "rgb" nor "bgr".
    """
    check_color(color)
    max_pixels = MAX_PIXELS if max_pixels is None else max_pixels
    if isinstance(photo, np.ndarray):
        return _from_array(photo if color == "rgb" else swap_colors(photo))
    if isinstance(photo, Image.Image):
        return _decode(photo, "the PIL image", apply_exif, max_pixels)
    if isinstance(photo, str | os.PathLike):
        with _open(expand(photo)) as file:
            return _from_file(file, f"photo {photo}", apply_exif, max_pixels)
    if isinstance(photo, bytes | bytearray | memoryview):
        return _from_file(io.BytesIO(photo), "the photo given as bytes", apply_exif, max_pixels)
    if hasattr(photo, "read"):
        return _from_file(io.BytesIO(_content(photo)), "the photo given as a file object", apply_exif, max_pixels)
    raise InputError(f"a photo is a path, bytes, a file object, an array or a PIL image, got {type(photo).__name__}")


def read_ahead(photos: Iterable[Photo], workers: int = 2, color: str = "rgb") -> Iterator[np.ndarray | InputError]:
    """Read photos in threads, a few ahead of the one in use.

    Args:
        photos: as for `read_image`.
        workers: how many threads, and how many photos ahead.
        color: as for `read_image`.

    Yields:
        Each photo as (H, W, 3) uint8 RGB, in order; in place of one that cannot be read, its error.
    """

    def read(photo: Photo) -> np.ndarray | InputError:
        try:
            return read_image(photo, color=color)
        except InputError as error:
            return error

    rest = iter(photos)
    with ThreadPoolExecutor(workers) as pool:
        waiting: list[Future[np.ndarray | InputError]] = [pool.submit(read, photo) for photo in islice(rest, workers)]
        while waiting:
            done = waiting.pop(0).result()
            waiting.extend(pool.submit(read, photo) for photo in islice(rest, 1))
            yield done


def photo_suffixes() -> tuple[str, ...]:
    """List the suffixes of photos, in small letters; those of HEIC and AVIF only if Pillow has a plugin for them.

    Returns:
        Suffixes with their dot.
    """
    Image.init()
    return SUFFIXES + tuple(suffix for name, more in _PLUGINS.items() if name in Image.OPEN for suffix in more)


def find_photos(argument: str | os.PathLike[str]) -> tuple[list[Path], list[Path]]:
    """Find the photos that an argument names, and what lies beside them.

    Args:
        argument: a file, a folder with all below it, or a pattern (`*.jpg`); "~" is the home folder.

    Returns:
        The photos, those of a folder or pattern in natural order (frame2 before frame10); a file that does not exist is
        among them, for reading it tells. And the files of a folder that are no photos by their suffix, hidden ones left
        out.

    Raises:
        InputError: nothing is there, a folder cannot be read, or it holds no photo.
    """
    path = expand(argument)
    if path.is_dir():
        suffixes = photo_suffixes()
        files = sorted(_walk(path), key=_natural)
        found = [file for file in files if file.name.lower().endswith(suffixes)]
        if not found:
            raise InputError(f"folder {path} holds no photo ({' '.join(suffixes)})")
        return found, [file for file in files if not file.name.lower().endswith(suffixes)]
    if glob.has_magic(str(path)) and not path.exists():
        names = (name for name in glob.glob(str(path), recursive=True) if not os.path.isdir(name))
        found = sorted(map(Path, names), key=_natural)
        if not found:
            raise InputError(f"no file matches '{argument}'")
        return found, []
    return [path], []


def photo_paths(argument: str | os.PathLike[str]) -> list[Path]:
    """Find the photos that an argument names.

    Args:
        argument: as for `find_photos`.

    Returns:
        The photos, as `find_photos` returns them.

    Raises:
        InputError: nothing is there, a folder cannot be read, or it holds no photo.
    """
    return find_photos(argument)[0]


def _natural(path: Path) -> tuple[tuple[Any, ...], str]:
    """Return what paths are sorted by so that numbers within names count as numbers."""
    chunks = ([int(c) if c.isdecimal() else c for c in re.split("([0-9]+)", part)] for part in path.parts)
    return tuple(chunks), str(path)


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"folder {error.filename} cannot be read: {error.strerror}") from error

    for root, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(root, name) for name in names if name[0] != ".")


def _content(file: Any) -> bytes:
    """Return all that a file object holds, whatever was read of it."""
    try:
        if file.seekable():
            file.seek(0)
        content = file.read()
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"the photo given as a file object cannot be read: {error}") from error
    if not isinstance(content, bytes):
        raise InputError("the photo given as a file object gives text; open the file in mode 'rb'")
    return content


def _open(path: Path) -> BinaryIO:
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"photo {path} is no file")
        with ExitStack() as stack:
            file = stack.enter_context(open(path, "rb"))
            if os.fstat(file.fileno()).st_size <= _HELD:
                return io.BytesIO(file.read())
            stack.pop_all()
            return file
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise InputError(f"photo {path} cannot be read: {getattr(error, 'strerror', error)}") from error


def _from_file(file: BinaryIO, name: str, apply_exif: bool, max_pixels: int) -> np.ndarray:
    head = file.read(12)
    if not head:
        raise NotAnImageError(f"{name} is empty")
    # Pillow warns of some damage that it can read past. Silencing it is the program's choice, not ours: Python's
    # warning filters belong to the whole process, and photos are read in threads.
    try:
        Image.init()
        formats = (*FORMATS, *(name for name in _PLUGINS if name in Image.OPEN))
        image = Image.open(file, formats=formats)
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(f"{name} claims more than {max_pixels / 1e6:g} megapixels; shrink it first") from error
    except Exception as error:  # damage can make a decoder raise anything
        if head[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
            raise NotAnImageError(
                f"{name} is HEIC, which Pillow reads with a plugin; pip install pillow-heif"
            ) from error
        raise NotAnImageError(f"{name} is no image that can be read (known: {', '.join(formats)})") from error
    return _decode(image, name, apply_exif, max_pixels, file)


def _decode(
    image: Image.Image, name: str, apply_exif: bool, max_pixels: int, file: BinaryIO | None = None
) -> np.ndarray:
    """Return the pixels of an image that Pillow has opened; `file` is that of which, if there is one."""
    if image.width * image.height > max_pixels:
        size = f"{image.width} x {image.height}"
        raise ImageTooLargeError(
            f"{name} has {size} pixels, more than {max_pixels / 1e6:g} megapixels; shrink it first"
        )
    if max(image.size) > MAX_SIDE:
        raise ImageTooLargeError(
            f"{name} is {max(image.size)} pixels long, more than {MAX_SIDE}; cut or shrink it first"
        )
    if image.width * image.height == 0:
        raise InputError(f"{name} has no pixels")
    if image.mode == "F":
        raise InputError(f"{name} has float pixels, whose range is not known; save it with 8 or 16 bits")
    try:
        array = _of_file(image, file, name, max_pixels) if file else pixels.from_pillow(image)
        return pixels.turned(array, _orientation(image)) if apply_exif else array
    except ImageTooLargeError:
        raise
    except Exception as error:  # damage can make a decoder raise anything
        raise InputError(f"{name} is damaged: {error}") from error


def _of_file(image: Image.Image, file: BinaryIO, name: str, max_pixels: int) -> np.ndarray:
    """Return the pixels of a file that Pillow has opened, and that takes no more memory than it may."""
    deep = decoders.is_deep(image, file)
    pixel, count = footprint.bytes_per_pixel(image, file, deep), image.width * image.height
    most = MAX_BYTES * max(1, max_pixels / MAX_PIXELS)
    if count * pixel > most:
        raise ImageTooLargeError(
            f"{name} has {image.width} x {image.height} pixels, to decode which takes {count * pixel / 1e9:.1f} GB of "
            f"memory as {image.format} is, more than {most / 1e9:g} GB; shrink it, or save it as PNG of 8 bits"
        )
    if deep:
        return decoders.decode_deep(image, file)
    array = decoders.decode(image, file)
    return pixels.from_pillow(image, pixels.load(image)) if array is None else array


def _orientation(image: Image.Image) -> int:
    """Return the orientation of a loaded image as EXIF counts it; 1 is upright."""
    try:
        # Pillow's method for PNG would load an image that another decoder has decoded.
        return int(Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1))
    except Exception:  # a damaged EXIF block says nothing about the orientation; the pixels are fine
        return 1


def _from_array(array: np.ndarray) -> np.ndarray:
    channels = array.shape[2] if array.ndim == 3 else 1
    if max(array.shape) > MAX_SIDE:
        raise InputError(f"a photo may have {MAX_SIDE} pixels a side, got {array.shape}; cut or shrink it first")
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or array.size == 0:
        raise InputError(f"a photo is an array (H, W), (H, W, 3) or (H, W, 4) with pixels in it, got {array.shape}")
    if array.dtype not in (np.uint8, np.uint16):
        raise InputError(f"a photo has values of 8 bits (uint8) or 16 (uint16), got {array.dtype}; convert it first")
    return pixels.from_array(array)
