"""Large photos: other ways through memory, the same pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PpmImagePlugin

from facekd import images, pixels
from facekd.errors import InputError
from facekd.images import read_image
from photo_files import KINDS, PHOTO, deep

WITHOUT_LOSS = (
    "png",
    "tiff",
    "bmp",
    "ppm",
    "png, 16 bits",
    "png, 12 of 16 bits",
    "tiff, 12 of 16 bits",
    "ppm, 16 bits",
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_photo_has_the_pixels_that_it_has_as_a_small_one(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = KINDS[kind]()
    expected = read_image(content)
    if kind in WITHOUT_LOSS:
        np.testing.assert_array_equal(expected, np.asarray(PHOTO))
    (tmp_path / "photo").write_bytes(content)
    monkeypatch.setattr(pixels, "LARGE", 1)
    monkeypatch.setattr(pixels, "_BAND", 67 * 7)  # 45 rows are six bands and a half
    np.testing.assert_array_equal(read_image(content), expected)
    np.testing.assert_array_equal(read_image(tmp_path / "photo"), expected)
    monkeypatch.setattr(images, "_HELD", 0)
    found = read_image(tmp_path / "photo")
    np.testing.assert_array_equal(found, expected)
    assert found.flags.c_contiguous and found.flags.writeable
    monkeypatch.delattr("os.memfd_create", raising=False)
    monkeypatch.setattr(pixels.Room, "offer", lambda room, image: False)  # a Pillow that has no such function
    np.testing.assert_array_equal(read_image(tmp_path / "photo"), expected)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "webp, animated"])
def test_a_large_photo_that_is_cut_is_refused_as_a_small_one_is(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = KINDS[kind]()
    content = content[: len(content) * 2 // 3]
    try:
        expected = read_image(content)
    except InputError:
        expected = None
    monkeypatch.setattr(pixels, "LARGE", 1)
    if expected is None:
        with pytest.raises(InputError):
            read_image(content)
    else:  # its decoder fills up what is missing
        np.testing.assert_array_equal(read_image(content), expected)


def test_the_pixels_of_an_image_that_is_the_users_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "LARGE", 1)
    image = Image.open(io.BytesIO(KINDS["png, transparent"]()))
    first = read_image(image)
    np.testing.assert_array_equal(read_image(image), first)
    assert np.asarray(image).shape == (45, 67, 4)


def test_a_large_ppm_of_16_bits_is_not_read_by_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder of Pillow that is written in Python takes half a minute for each ten megapixels of it."""
    monkeypatch.setattr(PpmImagePlugin.PpmDecoder, "decode", None)
    content = deep("ppm", 16)
    np.testing.assert_array_equal(read_image(content), np.asarray(PHOTO))
    with pytest.raises(InputError, match="is damaged"):  # by that decoder, which tells
        read_image(content[:-1])


def test_a_room_gives_back_what_is_behind_the_pixels() -> None:
    room = pixels.Room(400, 500, 4)
    room.decoded(np.uint8)[:] = 7
    room.rgb[:] = 9
    assert (room.leave_rgb() == 9).all() and room.rgb.shape == (400, 500, 3)
    behind = room.decoded(np.uint8).reshape(-1)[600_000:]
    assert set(np.unique(behind)) <= {0, 7, 9} and behind[-1] in (0, 7)
