"""Image enhancement before a network: contrast stretched, noise smoothed, blur sharpened, each as far as it is there.

Networks learn photos as they mostly are. Few are dark, pale, noisy or blurred, and networks fail on those, most on dark
skin, which has the least contrast left. What is measured here changes little from one frame of a video to the next, and
most photos stay exactly as they are: docs/explanation/design/enhance.md.

Noise is measured after Immerkaer, "Fast Noise Variance Estimation", 1996; sharpening is unsharp masking.
"""

from __future__ import annotations

import cv2
import numpy as np

_CONTRAST, _CUT = 128, 0.01  # levels from the darkest to the lightest hundredth of a crop; fewer are stretched
_MAX_GAIN = 16.0  # with less contrast than that needs there is nothing but noise
_NOISE, _SIGMA_PER_LEVEL, _MAX_SIGMA = 3.0, 0.4, 1.4  # levels that are not smoothed; pixels per level beyond; pixels
_MIN_SIGMA = 0.3  # pixels; a narrower Gaussian changes nothing
_SIDE, _LARGE = 112, 160  # pixels of a crop, of which _BANDS and _MAX_SIGMA are; from which on it is halved
# Detail over structure: the deviation between the first two of these blurs over that between the last two. Of 300W's
# validation faces 98 % have more than 0.52; blurred by 4 and 8 % of the inter-ocular distance 0.44 and 0.32 at most.
_BANDS, _SHARP = (0.8, 1.6, 3.2), 0.5
_BLURRED = 0.8  # levels of noise that a blurred crop does not have; the bands of most crops are not measured
_UNSHARP_PER_RATIO, _SIDE_PER_WIDTH = 18.0, 12  # a crop's side over the width of what it is blurred by, twice


def enhance_photo(image: np.ndarray) -> np.ndarray:
    """Stretch the contrast of an image in which faces are searched, and smooth its noise, as far as that is needed.

    Args:
        image: (H, W, 3) uint8 RGB, at the size at which it is searched; black counts as no part of it.

    Returns:
        (H, W, 3) uint8; the image itself if nothing was.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    # A face may be a thousandth of a photo, so that all of it counts, but for single pixels.
    middle, gain = _contrast(_halved(grey), cut=0)
    return _smoothed(_stretched(image, middle, gain), _sigma(gain * _noise(grey)))


def enhance_crops(images: np.ndarray) -> np.ndarray:
    """Stretch the contrast of crops of faces, smooth noise, and sharpen what is blurred, as far as that is needed.

    Args:
        images: (B, S, S, 3) uint8 RGB; black counts as no part of the photo.

    Returns:
        (B, S, S, 3) uint8; `images` itself if nothing was.
    """
    crops = list(images)
    enhanced = [_enhanced(crop) for crop in crops]
    if all(after is before for after, before in zip(enhanced, crops, strict=True)):
        return images
    return np.array(enhanced)


def _enhanced(image: np.ndarray) -> np.ndarray:
    """Return a crop (S, S, 3), enhanced; the array itself if nothing was needed."""
    grey, unit = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), len(image) / _SIDE
    while len(grey) >= _LARGE:
        grey = _halved(grey)
    middle, gain = _contrast(grey, _CUT)
    noise = gain * _noise(grey)
    image = _stretched(image, middle, gain)
    if noise < _BLURRED and (amount := _unsharp_amount(grey)):
        return _sharpened(image, amount)
    return _smoothed(image, unit * _sigma(noise))


def _halved(grey: np.ndarray) -> np.ndarray:
    """Return the means of blocks of two by two pixels; the image itself if it has none."""
    if min(grey.shape) < 2:
        return grey
    height, width = (side // 2 for side in grey.shape)
    return cv2.resize(grey[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)


def _contrast(grey: np.ndarray, cut: float) -> tuple[float, float]:
    """Return the middle of the levels that an image has, and by how much their range is to be stretched; 1: not at all.

    Of its pixels the share `cut` that is darkest, and that is lightest, does not count.
    """
    count = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel()
    count[0] = 0  # outside the photo
    below = count.cumsum()
    total = float(below[-1])
    low, high = below.searchsorted([cut * total + 1, (1 - cut) * total]).tolist()
    return (low + high) / 2, min(max(1.0, _CONTRAST / max(high - low, 1)), _MAX_GAIN)


def _stretched(image: np.ndarray, middle: float, gain: float) -> np.ndarray:
    """Return the image with its levels stretched about their middle; the image itself if the gain is 1."""
    if gain == 1:
        return image
    to = min(max(middle, _CONTRAST / 2), 255 - _CONTRAST / 2)  # so that the range stays within what 8 bits hold
    levels = ((np.arange(256) - middle) * gain + to).clip(0, 255)
    return cv2.LUT(image, levels.round().astype(np.uint8))


def _noise(grey: np.ndarray) -> float:
    """Return the standard deviation of an image's noise, in levels; fine detail adds a little."""
    differences = cv2.Sobel(grey, cv2.CV_16S, 2, 2)  # (1, -2, 1) along both axes
    return cv2.norm(differences, cv2.NORM_L1) / grey.size * np.sqrt(np.pi / 2) / 6


def _sigma(noise: float) -> float:
    """Return the width of the Gaussian that smooths noise."""
    return min(max(0.0, _SIGMA_PER_LEVEL * (noise - _NOISE)), _MAX_SIGMA)


def _smoothed(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return the image convolved with a Gaussian; the image itself if that is too narrow to matter."""
    return image if sigma < _MIN_SIGMA else cv2.GaussianBlur(image, (0, 0), sigma)


def _unsharp_amount(grey: np.ndarray) -> float:
    """Return how much of its detail a crop needs on top; 0 if it is sharp."""
    inner = slice(len(grey) // 6, -(len(grey) // 6))  # without what lies about the face
    fine, middle, coarse = (
        cv2.GaussianBlur(grey.astype(np.float32), (0, 0), sigma * len(grey) / _SIDE)[inner, inner] for sigma in _BANDS
    )
    ratio = (fine - middle).std() / max(float((middle - coarse).std()), 1e-6)
    return max(0.0, _UNSHARP_PER_RATIO * (_SHARP - float(ratio)))


def _sharpened(image: np.ndarray, amount: float) -> np.ndarray:
    """Return a crop plus so much of its difference from itself blurred."""
    width = len(image) // _SIDE_PER_WIDTH | 1
    blurred = cv2.blur(cv2.blur(image, (width, width)), (width, width))  # nearly a Gaussian, in a tenth of its time
    return cv2.addWeighted(image, 1 + amount, blurred, -amount, 0)
