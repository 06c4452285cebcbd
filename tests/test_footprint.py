"""Memory that decoding takes, told before it does."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from facekd import decoders, footprint, images
from facekd.images import ImageTooLargeError, read_image
from photo_files import KINDS, saved

BYTES = {
    "jpeg": 4,
    "jpeg, turned": 6,
    "jpeg, cmyk": 4,
    "jpeg, progressive": 4 + 2 * 1.5,  # coefficients of two bytes; a quarter of the colours
    "jpeg, progressive, 4:4:4": 4 + 2 * 3,
    "jpeg, cmyk, progressive": 4 + 2 * 4,
    "png": 4,
    "png, transparent": 4,
    "png, grey, 16 bits": 5,
    "png, 12 of 16 bits": 6,
    "png, 12 of 16 bits, transparent": 8,
    "tiff": 6,  # it may be turned
    "tiff, turned": 8,
    "tiff, one strip": 8,
    "ppm, 16 bits": 6,
    "webp": 7.5,
    "webp, transparent": 8.5,
    "webp, animated": 16,
    "jpeg 2000": 4 + 3 * 5.2,
    "jpeg 2000, tiles": 4 + 3 * 5.2 * 16 * 16 / (67 * 45),
}


@pytest.mark.parametrize("kind", BYTES)
def test_bytes_of_a_pixel(kind: str) -> None:
    file = io.BytesIO(KINDS[kind]())
    image = Image.open(file)
    found = footprint.bytes_per_pixel(image, file, decoders.is_deep(image, file))
    assert found == pytest.approx(BYTES[kind], abs=0.05)


def test_a_jpeg_whose_channels_come_one_after_the_other_keeps_its_coefficients() -> None:
    content = saved("JPEG", subsampling="4:4:4")
    start = content.index(b"\xff\xda") + 4
    assert content[start] == 3  # channels of the first scan
    file = io.BytesIO(content[:start] + b"\1" + content[start + 1 :])
    assert footprint.bytes_per_pixel(Image.open(file), file, False) == 10


def test_what_takes_too_much_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = KINDS["jpeg 2000"]()
    monkeypatch.setattr(images, "MAX_BYTES", int(67 * 45 * 19.6) + 1)
    assert read_image(content).shape == (45, 67, 3)
    monkeypatch.setattr(images, "MAX_BYTES", int(67 * 45 * 19.6) - 1)
    with pytest.raises(
        ImageTooLargeError, match=r"has 67 x 45 pixels, to decode which takes .* GB of memory as JPEG2000"
    ):
        read_image(content)
    assert read_image(content, max_pixels=2 * images.MAX_PIXELS).shape == (45, 67, 3)  # who asks for more gets more
