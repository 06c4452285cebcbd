"""Reading photos: each kind of file has a defined result or one sentence."""

from __future__ import annotations

import io
import os
import random
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from facekd import decoders, images
from facekd.errors import InputError
from facekd.images import find_photos, photo_paths, read_ahead, read_image, swap_colors

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")  # it warns of what it can read past

RED, GREEN = (200, 10, 10), (10, 180, 20)


def two_halves(width: int = 32, height: int = 16) -> np.ndarray:
    """A photo whose left half is red and whose right half is green."""
    photo = np.zeros((height, width, 3), np.uint8)
    photo[:, : width // 2], photo[:, width // 2 :] = RED, GREEN
    return photo


def encoded(image: Image.Image, kind: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "JPEG", "WEBP", "JPEG2000", "AVIF"])
def test_formats(kind: str) -> None:
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {kind}")
    photo = read_image(encoded(Image.fromarray(two_halves()), kind))
    assert photo.shape == (16, 32, 3) and photo.dtype == np.uint8 and photo.flags.c_contiguous
    np.testing.assert_allclose(photo[8, 4], RED, atol=12)
    np.testing.assert_allclose(photo[8, 28], GREEN, atol=12)


@pytest.mark.parametrize("name", ["a b.png", "面 — é.png"])
def test_paths_with_spaces_and_unicode(tmp_path: Path, name: str) -> None:
    Image.fromarray(two_halves()).save(tmp_path / name)
    np.testing.assert_array_equal(read_image(tmp_path / name), two_halves())
    np.testing.assert_array_equal(read_image(str(tmp_path / name)), two_halves())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    stored_as = {  # how an upright photo is stored under each orientation
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }
    upright = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(stored_as[orientation](upright)))
    np.testing.assert_array_equal(read_image(encoded(stored, "PNG", exif=exif)), upright)


def by_pillow(content: bytes) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))


SMOOTH = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)).resize((133, 75))


@pytest.mark.parametrize("size", [(133, 75), (1, 1), (17, 8), (3, 64)])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"quality": 30, "subsampling": "4:4:4"},
        {"quality": 97, "subsampling": "4:2:2"},
        {"progressive": True},
        {"restart_marker_blocks": 2, "optimize": True},
        {"keep_rgb": True},
    ],
)
def test_jpeg_has_the_pixels_that_pillow_reads(size: tuple[int, int], settings: dict[str, object]) -> None:
    for mode in ("RGB", "L"):
        content = encoded(SMOOTH.resize(size).convert(mode), "JPEG", **settings)
        image = Image.open(io.BytesIO(content))
        assert decoders.decode(image, io.BytesIO(content)) is not None, "OpenCV did not read it"
        photo = read_image(content)
        assert photo.flags.c_contiguous
        np.testing.assert_array_equal(photo, by_pillow(content))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_is_turned_as_pillow_turns_it(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(SMOOTH, "JPEG", exif=exif)
    np.testing.assert_array_equal(read_image(content), by_pillow(content))
    np.testing.assert_array_equal(read_image(content, apply_exif=False), by_pillow(encoded(SMOOTH, "JPEG")))


@pytest.mark.parametrize("damage", ["none", "cut", "marker", "tail", "length"])
def test_odd_jpeg_files_are_left_to_pillow(damage: str) -> None:
    content = encoded(SMOOTH, "JPEG", quality=95)
    middle, scan = len(content) * 2 // 3, content.index(b"\xff\xda")
    odd = {
        "none": content,
        "cut": content[:middle],
        "marker": content[:middle] + b"\xff\xe0" + content[middle + 2 :],
        "tail": content + b"more",
        "length": content[: scan - 30],
    }[damage]
    assert decoders.is_whole_jpeg(odd) == (damage == "none")
    try:
        expected = by_pillow(odd)
    except OSError:
        with pytest.raises(InputError):
            read_image(odd)
    else:
        np.testing.assert_array_equal(read_image(odd), expected)


def test_stored_pixels_stay_as_they_are_if_asked_to() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(Image.fromarray(two_halves()), "PNG", exif=exif)
    np.testing.assert_array_equal(read_image(content, apply_exif=False), two_halves())


def test_damaged_exif_is_ignored() -> None:
    content = encoded(Image.fromarray(two_halves()), "PNG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    np.testing.assert_array_equal(read_image(content), two_halves())


def deepened(values: np.ndarray) -> np.ndarray:
    """Values of 8 bits as the upper ones of 16, the lower ones being others."""
    return values.astype(np.uint16) << 8 | 90


def test_grey_and_depths() -> None:
    grey = np.array([[0, 100], [200, 255]], np.uint8)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    deep = deepened(grey)
    for photo in (grey, grey[..., None], deep, rgb, deepened(rgb), Image.fromarray(grey)):
        np.testing.assert_array_equal(read_image(photo), rgb)
    for kind in ("PNG", "TIFF", "PPM"):
        image = Image.fromarray(deep) if kind != "PPM" else Image.fromarray(deep.astype(np.int32))
        np.testing.assert_array_equal(read_image(encoded(image, kind)), rgb)
    black_white = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    np.testing.assert_array_equal(read_image(encoded(black_white, "PNG"))[..., 0], [[0, 255]])


def png_of_16_bits(values: np.ndarray) -> bytes:
    """A PNG of 16-bit RGB (H, W, 3), which Pillow reads but does not write."""
    height, width, _ = values.shape

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff_of_16_bits(values: np.ndarray, orientation: int) -> bytes:
    """An uncompressed TIFF of 16-bit RGB (H, W, 3), which Pillow reads but does not write."""
    height, width, _ = values.shape
    at = 8 + 2 + 10 * 12 + 4  # where the directory ends: there follow the three depths, then the pixels
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, at), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(273, 4, 1, at + 6), (274, 3, 1, orientation), (277, 3, 1, 3), (278, 3, 1, height)]
    entries += [(279, 4, 1, 2 * values.size)]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<3H", 16, 16, 16) + values.astype("<u2").tobytes()


def files_of_16_bits(values: np.ndarray) -> dict[str, bytes]:
    """Files that hold 16-bit RGB or RGBA (H, W, 3 or 4)."""
    bgr = swap_colors(values)
    files = {kind: cv2.imencode(f".{kind}", bgr)[1].tobytes() for kind in ("png", "tiff")}
    if values.shape[2] == 3:
        header = f"P6 {values.shape[1]} {values.shape[0]} 65535\n".encode()
        lossless = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000]
        files |= {
            "png of pieces": png_of_16_bits(values),
            "plain tiff": tiff_of_16_bits(values, 1),
            "ppm": header + values.astype(">u2").tobytes(),
            "jp2": cv2.imencode(".jp2", bgr, lossless)[1].tobytes(),
        }
    return files


def test_16_bit_colour() -> None:
    for kind, file in files_of_16_bits(deepened(two_halves(64, 64))).items():
        np.testing.assert_array_equal(read_image(file), two_halves(64, 64), kind)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_files_of_16_bits_of_which_fewer_are_used(bits: int) -> None:
    """The values of all 256 brightnesses, with lower bits that are dropped."""
    expected = np.arange(64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    values = (expected.astype(np.uint16) << (bits - 8)) + (2 ** (bits - 8) - 1)
    for kind, file in files_of_16_bits(values).items():
        np.testing.assert_array_equal(read_image(file), expected, kind)
    opaque = np.dstack([values, np.full((64, 64), 65535, np.uint16)])  # as most programs write it
    for kind, photo in {"array": opaque, **files_of_16_bits(opaque)}.items():
        np.testing.assert_array_equal(read_image(photo), expected, kind)


def test_deep_tiff_files_are_turned_as_they_say() -> None:
    values = np.arange(4 * 6 * 3, dtype=np.uint16).reshape(4, 6, 3) * 56 + 7  # of 12 bits
    upright = (values >> 4).astype(np.uint8)
    turned = {1: upright, 3: upright[::-1, ::-1], 6: np.rot90(upright, -1), 8: np.rot90(upright)}
    for orientation, expected in turned.items():
        np.testing.assert_array_equal(read_image(tiff_of_16_bits(values, orientation)), expected)


def test_ppm_files_say_their_largest_value() -> None:
    """Of 1000, say: that is white, whatever the bits."""
    values = np.array([[[0, 500, 1000]]], ">u2")
    assert read_image(b"P6 1 1 1000\n" + values.tobytes()).tolist() == [[[0, 128, 255]]]


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_16_bits_of_which_fewer_are_used(bits: int) -> None:
    """Cameras write 10 or 12 bits into the lower ones of 16; the upper 8 alone would be black."""
    values = two_halves().astype(np.uint16)
    values[0, 0] = 255  # the brightest there is
    expected = values.astype(np.uint8)
    values = (values << (bits - 8)) + (2 ** (bits - 8) - 1)  # lower bits that are dropped
    for photo in (values, png_of_16_bits(values), np.dstack([values, np.full((16, 32), 2**bits - 1, np.uint16)])):
        np.testing.assert_array_equal(read_image(photo), expected)
    grey = values[..., 0]
    for photo in (grey, encoded(Image.fromarray(grey), "PNG")):
        np.testing.assert_array_equal(read_image(photo)[..., 1], expected[..., 0])


def test_bits_in_use_are_those_of_the_largest_value() -> None:
    """1023 is the largest value of 10 bits, 1024 needs 11, which no camera gives: 12."""
    for largest, dropped in ((0, 0), (255, 0), (256, 2), (1023, 2), (1024, 4), (4096, 6), (16383, 6), (16384, 8)):
        photo = np.array([[largest, largest // 2]], np.uint16)
        expected = [largest >> dropped, largest // 2 >> dropped]
        np.testing.assert_array_equal(read_image(photo)[0, :, 0], expected)


def test_a_truncated_png_of_16_bits_is_damaged() -> None:
    noise = np.random.default_rng(0).integers(0, 1024, (32, 32, 3), np.uint16)
    content = png_of_16_bits(noise)
    with pytest.raises(InputError, match="is damaged"):
        read_image(content[: len(content) // 2])


def test_transparent_parts_become_white() -> None:
    photo = np.zeros((1, 3, 4), np.uint8)
    photo[0, :, :3], photo[0, :, 3] = (100, 0, 50), (255, 0, 51)
    expected = [[[100, 0, 50], [255, 255, 255], [224, 204, 214]]]  # 51 / 255 = one fifth of the colour
    np.testing.assert_array_equal(read_image(photo), expected)
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(photo), "PNG")), expected)
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([100, 0, 50, 1, 2, 3])
    see_through = encoded(palette, "PNG", transparency=1)
    np.testing.assert_array_equal(read_image(see_through), [[[100, 0, 50], [255, 255, 255]]])


def test_cmyk() -> None:
    photo = read_image(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))
    np.testing.assert_allclose(photo[8, 8], (255, 0, 0), atol=3)


@pytest.mark.parametrize(
    ("photo", "sentence"),
    [
        (b"", "is empty"),
        (b"not an image", "is no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no image"),  # would start Ghostscript
        (np.zeros((0, 5, 3), np.uint8), "with pixels in it"),
        (np.zeros((5, 5, 2), np.uint8), "an array"),
        (np.zeros(5, np.uint8), "an array"),
        (np.zeros((5, 5, 3), np.float32), r"8 bits \(uint8\) or 16 \(uint16\), got float32"),
        (np.zeros((5, 5, 3), np.int64), "got int64"),
        (Image.new("F", (4, 4)), "float pixels"),
        (Image.new("RGB", (0, 4)), "no pixels"),
        (np.zeros((1, 40_000), np.uint8), "may have 32766 pixels a side"),
        (Image.new("L", (40_000, 1)), "40000 pixels long"),
        (7, "got int"),
        ("no/such/photo.jpg", "No such file"),
        ("null\0byte.jpg", "cannot be read"),
    ],
)
def test_bad_input_is_one_sentence(photo: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        read_image(photo)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def test_folder_is_no_photo(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no file"):
        read_image(tmp_path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_truncated_file_is_named(tmp_path: Path, kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    content = encoded(noise, kind)
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cut.jpg is (damaged|no image)"):
        read_image(tmp_path / "cut.jpg")


def png_that_claims(width: int, height: int) -> bytes:
    content = bytearray(encoded(Image.new("L", (1, 1)), "PNG"))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


@pytest.mark.parametrize("side", [12_300, 20_000, 2**31 - 1])
def test_decompression_bombs_are_refused(side: int) -> None:
    with pytest.raises(InputError, match="more than 150 megapixels"):
        read_image(png_that_claims(side, side))


def test_100_megapixels_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="is damaged"):  # its few bytes end early; the size was not what stopped it
        read_image(png_that_claims(10_000, 10_000))
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    with pytest.raises(InputError, match="has 32 x 16 pixels, more than"):
        read_image(Image.fromarray(two_halves()))


def test_the_kind_of_error_tells_what_is_no_image_and_what_is_too_large() -> None:
    photo = encoded(Image.fromarray(two_halves()), "PNG")
    assert read_image(photo, max_pixels=32 * 16).shape == (16, 32, 3)
    for given in (photo, Image.fromarray(two_halves()), png_that_claims(20_000, 20_000)):
        with pytest.raises(images.ImageTooLargeError, match=r"more than 0\.000511 megapixels"):
            read_image(given, max_pixels=32 * 16 - 1)
    for content in (b"", b"no photo"):
        with pytest.raises(images.NotAnImageError):
            read_image(content)
    with pytest.raises(InputError, match="is damaged") as damaged:
        read_image(photo[:-30])
    assert not isinstance(damaged.value, images.NotAnImageError | images.ImageTooLargeError)


def test_read_ahead_keeps_the_order_and_passes_errors_on() -> None:
    photos = [np.full((2, 2), value, np.uint8) for value in range(20)]
    photos[7] = np.zeros(3, np.uint8)
    found = list(read_ahead(photos, workers=3))
    assert isinstance(found.pop(7), InputError)
    assert [int(photo[0, 0, 0]) for photo in found] == [value for value in range(20) if value != 7]


def test_reading_in_threads_leaves_the_warning_filters_of_the_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list] = []
    true_open = Image.open
    monkeypatch.setattr(Image, "open", lambda *a, **k: seen.append(warnings.filters[:]) or true_open(*a, **k))
    (photo,) = read_ahead([encoded(Image.fromarray(two_halves()), "PNG")])
    np.testing.assert_array_equal(photo, two_halves())
    assert seen == [warnings.filters]


def test_photo_paths(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "deep/er/c.webp", "notes.txt", ".hidden.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert photo_paths(tmp_path) == [tmp_path / "a.PNG", tmp_path / "b.jpg", tmp_path / "deep/er/c.webp"]
    assert photo_paths(f"{tmp_path}/*.jpg") == [tmp_path / "b.jpg"]
    assert photo_paths(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]
    (tmp_path / "[x].jpg").touch()
    assert photo_paths(tmp_path / "[x].jpg") == [tmp_path / "[x].jpg"]  # a name that looks like a pattern
    (tmp_path / "empty").mkdir()
    for argument, sentence in (("empty", "holds no photo"), ("*.bmp", "no file matches")):
        with pytest.raises(InputError, match=sentence):
            photo_paths(tmp_path / argument)


def test_natural_order_and_files_that_are_no_photos(tmp_path: Path) -> None:
    names = [
        "1/b.jpg",
        "2/a.jpg",
        "3.jpg",
        "03.jpg/a.jpg",
        "10/a.jpg",
        "frame1.jpg",
        "frame2.jpg",
        "frame02.png",
        "frame10.jpg",
    ]
    for name in (*names, "b10.txt", "b9.txt", ".hidden.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found, others = find_photos(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == names
    assert others == [tmp_path / "b9.txt", tmp_path / "b10.txt"]
    assert [path.name for path in photo_paths(f"{tmp_path}/frame*.jpg")] == ["frame1.jpg", "frame2.jpg", "frame10.jpg"]


class Named:
    """A path that is neither a text nor a pathlib.Path, such as those of py.path and cloudpathlib."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)


def test_every_kind_of_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = tmp_path / "a.png"
    Image.fromarray(two_halves()).save(photo)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    read_before = io.BytesIO(photo.read_bytes())
    read_before.seek(7)
    with open(photo, "rb") as opened, zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(photo, "a.png")
        with archive.open("a.png") as packed:
            for given in (Named(photo), "~/a.png", Path("~/a.png"), opened, read_before, packed):
                np.testing.assert_array_equal(read_image(given), two_halves())
    monkeypatch.chdir(tmp_path)
    os.rename(photo, "~a.png")  # a name that only looks like a home folder
    np.testing.assert_array_equal(read_image("~a.png"), two_halves())
    (tmp_path / "text.txt").write_text("no photo")
    with open("text.txt") as text, pytest.raises(InputError, match="open the file in mode 'rb'"):
        read_image(text)  # type: ignore[arg-type]
    closed = io.BytesIO(b"x")
    closed.close()
    with pytest.raises(InputError, match="file object cannot be read: I/O operation on closed file"):
        read_image(closed)


def test_heic_is_read_once_a_plugin_is_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for pillow-heif: a PNG behind the first bytes of a HEIC file."""
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    photo = tmp_path / "a.HEIC"
    photo.write_bytes(b"\0\0\0\x18ftypheic" + encoded(Image.fromarray(two_halves()), "PNG"))
    with pytest.raises(InputError, match=r"a\.HEIC is HEIC, .*; pip install pillow-heif"):
        read_image(photo)
    with pytest.raises(InputError, match="holds no photo"):
        photo_paths(tmp_path)

    def opened(file: io.BytesIO, _: object) -> Image.Image:
        return Image.open(io.BytesIO(file.read()[12:]))

    monkeypatch.setitem(Image.OPEN, "HEIF", (opened, lambda prefix: prefix[4:12] == b"ftypheic"))
    np.testing.assert_array_equal(read_image(photo), two_halves())
    assert photo_paths(tmp_path) == [photo]
    monkeypatch.delitem(Image.OPEN, "AVIF", raising=False)
    photo.rename(tmp_path / "b.avif")
    with pytest.raises(InputError, match="holds no photo"):
        photo_paths(tmp_path)


def test_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scandir(path: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        photo_paths(tmp_path)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Damage a file: flipped bytes, cut, doubled, removed or foreign parts."""
    damaged = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(damaged) + 1)
        stop = min(len(damaged), start + chance.randint(1, 40))
        kind = chance.randrange(5)
        if kind == 0:
            damaged[start:stop] = chance.randbytes(stop - start)
        elif kind == 1:
            del damaged[start:stop]
        elif kind == 2:
            damaged[start:start] = damaged[start:stop]
        elif kind == 3:
            damaged[start:stop] = bytes([chance.choice([0, 0xFF, 0x7F, 0x80])]) * (stop - start)
        else:
            del damaged[start:]
    return bytes(damaged)


def test_thousands_of_damaged_files() -> None:
    """Each gives an upright RGB photo or an InputError of one line; nothing else, whatever the bytes."""
    chance = random.Random(0)
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    picture = Image.fromarray(np.where(np.arange(32)[:, None] < 16, two_halves(32, 24), noise))
    exif = Image.Exif()
    exif[0x0112] = 6
    seeds = [encoded(picture, kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000")]
    seeds += [
        encoded(picture, "JPEG", exif=exif, progressive=True),
        encoded(picture.convert("CMYK"), "JPEG"),
        encoded(picture.convert("RGBA"), "PNG", exif=exif),
        encoded(picture, "TIFF", compression="tiff_lzw"),
        png_of_16_bits(noise.astype(np.uint16) << 8),
        tiff_of_16_bits(noise.astype(np.uint16) << 2, 6),
    ]
    outcomes = {"read": 0, "refused": 0}
    for _ in range(4000):
        content = mutated(chance.choice(seeds), chance)
        try:
            photo = read_image(content)
        except InputError as error:
            assert "\n" not in str(error)
            outcomes["refused"] += 1
        else:
            assert photo.ndim == 3 and photo.shape[2] == 3 and photo.dtype == np.uint8 and photo.size > 0
            outcomes["read"] += 1
    assert min(outcomes.values()) > 400, outcomes  # both ways out are exercised


def test_arrays_may_hold_bgr() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(read_image(rgb[..., ::-1], color="bgr"), rgb)
    alpha = np.full((5, 7, 1), 255, np.uint8)
    np.testing.assert_array_equal(read_image(np.concatenate([rgb[..., ::-1], alpha], axis=2), color="bgr"), rgb)
    np.testing.assert_array_equal(read_image(rgb[..., 0], color="bgr")[..., 1], rgb[..., 0])
    np.testing.assert_array_equal(read_image(Image.fromarray(rgb), color="bgr"), rgb)  # it says itself what it holds
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(rgb), "PNG"), color="bgr"), rgb)
    with pytest.raises(InputError, match="color 'bgra' is no order of channels; did you mean 'bgr'"):
        read_image(rgb, color="bgra")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files on this system")
@pytest.mark.parametrize("kind", ["fifo", "loop", "folder", "device"])
def test_what_is_no_file_is_one_sentence_and_nothing_waits(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"photo .*x\.jpg (is no file|cannot be read: Too many levels)"):
        read_image(path)
