"""Image enhancement: what is dark, pale, noisy or blurred comes nearer to what it was; what is usual is not touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from facekd.geometry import crop_faces
from facekd.images import read_image
from facekd.runtime.enhance import enhance_crops, enhance_photo
from facekd.runtime.landmarker import Landmarker

SAMPLE = Path(__file__).resolve().parents[2] / "src" / "facekd" / "weights" / "sample.jpg"
Change = Callable[[np.ndarray], np.ndarray]


def pale(image: np.ndarray, contrast: float = 0.12) -> np.ndarray:
    return np.rint(190 + contrast * (image - 128.0)).astype(np.uint8)


def dark(image: np.ndarray) -> np.ndarray:
    return np.rint(1 + 0.1 * image).astype(np.uint8)


def noisy(image: np.ndarray, deviation: float = 20) -> np.ndarray:
    noise = np.random.default_rng(5).normal(0, deviation, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def blurred(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), len(image) / 40)


def crop(size: int = 112) -> np.ndarray:
    """A face of the sample, large enough for 240 px."""
    return crop_faces(read_image(SAMPLE), np.array([[114, 74, 269, 235]]), size, 1.2).images[0]


def enhanced(image: np.ndarray) -> np.ndarray:
    return enhance_crops(image[None])[0]


def spread(image: np.ndarray) -> float:
    """Levels from the darkest to the lightest hundredth."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    low, high = np.percentile(grey[grey > 0], [1, 99])
    return float(high - low)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Root mean square difference once mean and deviation are alike: brightness and contrast do not count."""
    a, b = ((image - image.mean()) / image.std() for image in (first.astype(float), second.astype(float)))
    return float(np.sqrt(np.mean((a - b) ** 2)))


def edges(image: np.ndarray) -> float:
    """Mean size of the gradient, in levels per hundredth of the image."""
    return float(np.abs(np.diff(image.astype(float), axis=1)).mean()) * len(image) / 100


@pytest.mark.parametrize("size", [96, 112, 150, 240])
def test_usual_images_are_not_touched(size: int) -> None:
    crops = np.stack([crop(size)] * 2)
    assert enhance_crops(crops) is crops
    photo = read_image(SAMPLE)
    assert enhance_photo(photo) is photo
    none = np.zeros((0, size, size, 3), np.uint8)
    assert enhance_crops(none) is none


def test_only_the_crops_that_need_it_are_changed() -> None:
    crops = np.stack([crop(), pale(crop()), crop()])
    changed = enhance_crops(crops)
    assert [bool((after != before).any()) for after, before in zip(changed, crops, strict=True)] == [False, True, False]


@pytest.mark.parametrize("size", [112, 240])
@pytest.mark.parametrize("change", [pale, dark])
def test_contrast_is_stretched_to_half_the_levels(change: Change, size: int) -> None:
    image, before = crop(size), spread(change(crop(size)))
    after, photo = enhanced(change(image)), enhance_photo(change(image))
    assert before < 40
    assert spread(after) == pytest.approx(128, abs=12)
    assert 2.3 * before < spread(photo) < 128  # of which the darkest and the lightest pixels count
    assert max(distance(after, image), distance(photo, image)) < 0.25


def test_a_small_face_before_a_wall_has_all_contrast_it_needs() -> None:
    photo = np.full((480, 640, 3), 90, np.uint8)
    photo[200:220, 300:320] = cv2.resize(crop(), (20, 20), interpolation=cv2.INTER_AREA)
    assert enhance_photo(photo) is photo
    photo = pale(photo)
    photo[7, 9] = photo[300, 21] = 230  # single pixels tell little
    assert spread(enhance_photo(photo)[200:220, 300:320]) > 2.3 * spread(photo[200:220, 300:320])


def test_stretched_levels_stay_within_what_eight_bits_hold() -> None:
    """A range at an end of the scale moves towards its middle just so far that it fits."""
    image = crop()
    low, high = enhanced(dark(image)), enhanced(np.rint(225 + 0.1 * image).astype(np.uint8))
    assert np.percentile(low, 1) == pytest.approx(0, abs=14) and np.percentile(high, 99) == pytest.approx(255, abs=14)


def test_an_empty_wall_is_not_made_a_picture() -> None:
    wall = np.full((112, 112, 3), 150, np.uint8)
    wall[::2] += 1
    assert np.ptp(enhanced(wall)) <= 16 and np.ptp(enhance_photo(wall)) <= 16


def test_contrast_does_not_jump_where_it_begins_to_be_stretched() -> None:
    image, scale = crop().astype(float), 128 / spread(crop())
    above, below = (np.rint(128 + change * scale * (image - 128)).astype(np.uint8) for change in (1.02, 0.98))
    assert spread(above) > 128 > spread(below)
    assert np.array_equal(enhanced(above), above) and not np.array_equal(enhanced(below), below)
    assert np.abs(enhanced(above).astype(int) - enhanced(below)).max() <= 8


def test_black_beside_the_photo_stays_black_and_does_not_count() -> None:
    image = pale(crop())
    image[:, :50] = 0
    after = enhanced(image)
    assert (after[:, :50] == 0).all()
    assert spread(after) == pytest.approx(128, abs=12)
    black = np.zeros((1, 112, 112, 3), np.uint8)
    assert np.array_equal(enhance_crops(black), black)


@pytest.mark.parametrize("size", [112, 240])
def test_noise_is_smoothed(size: int) -> None:
    image = cv2.resize(noisy(crop(112), 30), (size, size))
    clean = cv2.resize(crop(112), (size, size))
    after = enhanced(image).astype(float)
    assert np.sqrt(np.mean((after - clean) ** 2)) < 0.75 * np.sqrt(np.mean((image - clean.astype(float)) ** 2))


def test_noise_is_smoothed_in_photos() -> None:
    clean = cv2.resize(read_image(SAMPLE), (320, 214), interpolation=cv2.INTER_AREA)
    image = noisy(clean, 30)
    after = enhance_photo(image).astype(float)
    assert np.sqrt(np.mean((after - clean) ** 2)) < 0.75 * np.sqrt(np.mean((image - clean.astype(float)) ** 2))


def test_noise_counts_by_what_stretching_makes_of_it() -> None:
    image = noisy(pale(crop()), 2.5)  # too little to be smoothed, but five times as much once stretched
    for after in (enhanced(image), enhance_photo(image)):
        assert distance(after, crop()) < 0.85 * distance(image, crop())


@pytest.mark.parametrize("size", [96, 112, 150, 240])
def test_blurred_crops_are_sharpened_and_photos_are_not(size: int) -> None:
    image = blurred(crop(size))
    sharp, soft, after = edges(crop(size)), edges(image), edges(enhanced(image))
    assert 2 * soft < after < 1.3 * sharp
    assert enhance_photo(image) is image


def test_noise_of_a_blurred_crop_is_not_sharpened() -> None:
    image = noisy(blurred(crop()), 25)
    assert enhanced(image).astype(float).std() < image.astype(float).std()


# Of the sample's six faces facekd-68 returns 2 pale, 2 dark, 2 noisy and 3 blurred ones where nothing is enhanced.
@pytest.mark.parametrize(
    "change",
    [
        lambda photo: pale(photo, 0.2),  # at 0.12 one is trusted by a hair, and not with the oldest OpenCV
        dark,
        lambda photo: noisy(photo, 30),
        lambda photo: cv2.GaussianBlur(photo, (0, 0), 4),
    ],
    ids=["pale", "dark", "noisy", "blurred"],
)
def test_faces_of_bad_photos_are_found_where_they_are(change: Change) -> None:
    landmarker, photo = Landmarker("facekd-68", threads=1, engine="onnx"), read_image(SAMPLE)
    truth = [face.points for face in landmarker.detect(photo)]
    found = [face.points for face in landmarker.detect(change(photo))]
    assert len(truth) == len(found) == 6
    for points in found:
        errors = [np.linalg.norm(points - other, axis=1).mean() / np.ptp(other, axis=0).mean() for other in truth]
        assert min(errors) < 0.06
