"""OpenCV in place of Pillow: the same pixels, less memory, and nothing made up."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from facekd import decoders, pixels
from facekd.errors import InputError
from facekd.images import read_image

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def png(array: np.ndarray = PHOTO, **settings: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", **settings)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_pixels(rows: int, method: int = 0) -> bytes:
    """A file that claims the photo's size, with so many rows of pixels in it, each by a method of prediction."""
    lines = b"".join(bytes([method]) + PHOTO[row % 40].tobytes() for row in range(rows))
    head = struct.pack(">IIBBBBB", 60, 40, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def upside_down() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 3
    return exif.tobytes()[6:]  # without "Exif\0\0", which JPEG has before it


@pytest.fixture(autouse=True)
def every_png_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "LARGE", 1)


def by_opencv(content: bytes) -> np.ndarray | None:
    return decoders.decode(Image.open(io.BytesIO(content)), io.BytesIO(content))


@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_a_whole_png_is_decoded_as_pillow_does(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "_PIECE", piece)
    for content in (png(), png(compress_level=0), with_pixels(40)):
        assert np.array_equal(by_opencv(content), PHOTO) and np.array_equal(read_image(content), PHOTO)


def test_without_files_in_memory_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.memfd_create", raising=False)
    assert np.array_equal(by_opencv(png()), PHOTO)


def test_an_orientation_before_the_pixels_counts() -> None:
    content = png()
    place = content.index(b"IDAT") - 4
    turned = content[:place] + chunk(b"eXIf", upside_down()) + content[place:]
    assert by_opencv(turned) is not None
    np.testing.assert_array_equal(read_image(turned), PHOTO[::-1, ::-1])


@pytest.mark.parametrize(
    ("content", "is_damaged"),
    [
        (png()[:-30], True),
        (png()[:-20] + b"\0" + png()[-19:], True),  # one byte of the pixels is another: their checksum tells
        (with_pixels(39), False),  # as Pillow takes it
        (with_pixels(41), False),  # Pillow leaves out what is too much
        (png()[:-12] + chunk(b"eXIf", upside_down()) + png()[-12:], False),  # found when the pixels have been read
        (png(np.dstack([PHOTO, PHOTO[..., :1]])), False),  # transparent
        (png(PHOTO[..., 0]), False),
        (png(transparency=(1, 2, 3)), False),
    ],
    ids=["cut", "checksum", "rows are missing", "too many rows", "turned", "alpha", "grey", "a transparent colour"],
)
def test_what_is_not_whole_or_plain_is_left_to_pillow(content: bytes, is_damaged: bool) -> None:
    assert by_opencv(content) is None
    if is_damaged:
        with pytest.raises(InputError, match="is damaged"):
            read_image(content)
    else:
        read_image(content)


def test_rows_that_no_method_predicts_are_damaged() -> None:
    with pytest.raises(InputError, match="is damaged"):
        read_image(with_pixels(40, method=9))


PEAK = """
import re, sys
from facekd.images import read_image
def peak(): return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
read_image(sys.argv[2])
before = peak()
photo = read_image(sys.argv[1])
print((peak() - before) / photo.nbytes)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
@pytest.mark.parametrize(
    ("name", "settings", "copies"),
    [
        ("a.jpg", {}, 1.3),
        ("a.png", {"compress_level": 1}, 1.3),
        ("turned.jpg", {"exif": b"Exif\0\0" + upside_down()}, 2.3),
        ("alpha.png", {"compress_level": 1}, 1.8),  # 4 bytes of a pixel in place of 3
        ("cmyk.jpg", {}, 1.7),
        ("a.tif", {}, 1.5),  # and not the file's content, which is as much
        ("12 bits.png", {}, 2.2),  # 6 bytes of a pixel
    ],
)
def test_memory_of_a_large_photo(name: str, settings: dict, copies: float, tmp_path: Path) -> None:
    """How many times its pixels a photo takes while it is read. At 150 megapixels they are 450 MB."""
    row = np.arange(6000, dtype=np.uint8)[None, :, None]
    photo = np.broadcast_to(row, (5000, 6000, 3)) + np.arange(3, dtype=np.uint8)
    mode = {"alpha.png": "RGBA", "cmyk.jpg": "CMYK"}.get(name, "RGB")
    for array, file in (photo, name), (PHOTO, f"small{name}"):  # what libraries allocate once does not count
        if name.startswith("12"):
            cv2.imwrite(str(tmp_path / file), array.astype(np.uint16) << 4, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        else:
            Image.fromarray(array).convert(mode).save(tmp_path / file, **settings)
    command = [sys.executable, "-c", PEAK, tmp_path / name, tmp_path / f"small{name}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 0.9 < float(done.stdout) < copies, done.stdout
