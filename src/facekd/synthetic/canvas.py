"""Smooth curves, and paint between and along them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike

_SHIFT = 4  # OpenCV takes coordinates as whole numbers of 1/16 pixel
_SWELL = 0.6  # pixels by which OpenCV's anti-aliased fill reaches beyond the outline


def spline(knots: np.ndarray, steps: int = 8, closed: bool = False) -> np.ndarray:
    """Return a smooth curve through knots (Catmull-Rom), every knot on it.

    Args:
        knots: (k, d).
        steps: points per segment.
        closed: whether the curve returns to its first knot.

    Returns:
        (k * steps, d) for a closed curve, ((k - 1) * steps + 1, d) for an open one.
    """
    if closed:
        padded = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    a, b, c, d = (padded[i : len(padded) - 3 + i, None] for i in range(4))
    t = (np.arange(steps) / steps)[:, None]
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    curve = curve.reshape(-1, knots.shape[1])
    return curve if closed else np.concatenate([curve, knots[-1:]])


def ellipse(centre: ArrayLike, right: ArrayLike, down: ArrayLike, steps: int = 20) -> np.ndarray:
    """Return the outline of an ellipse.

    Args:
        centre: (d,).
        right: (d,) one half axis.
        down: (d,) the other.
        steps: how many points.

    Returns:
        (steps, d).
    """
    turn = np.linspace(0, 2 * np.pi, steps, endpoint=False)[:, None]
    return np.asarray(centre) + np.cos(turn) * np.asarray(right) + np.sin(turn) * np.asarray(down)


def _unit(along: np.ndarray) -> np.ndarray:
    """Turn complex steps along a curve by 90 degrees to the right and make them one pixel long."""
    return 1j * along / np.maximum(np.abs(along), 1e-9)


def _complex(curve: np.ndarray) -> np.ndarray:
    """Return points (n, 2) as complex numbers (n,): many small curves are quicker so."""
    return np.ascontiguousarray(curve, np.float64).view(np.complex128)[:, 0]


def normals(curve: np.ndarray) -> np.ndarray:
    """Return the unit normals of an open curve, to the right of who walks along it.

    Args:
        curve: (n, 2).

    Returns:
        (n, 2).
    """
    z = _complex(curve)
    return _unit(np.concatenate([z[1:], z[-1:]]) - np.concatenate([z[:1], z[:-1]])).view(np.float64).reshape(-1, 2)


def ribbon(curve: np.ndarray, width: ArrayLike) -> np.ndarray:
    """Return the outline of a brush stroke along an open curve.

    Args:
        curve: (n, 2), pixels.
        width: in pixels, one or several along the curve.

    Returns:
        (2n, 2), pixels.
    """
    half = np.maximum(np.atleast_1d(width) / 2, _SWELL)
    if len(half) > 1:
        half = np.interp(np.arange(len(curve)) / (len(curve) - 1), np.arange(len(half)) / (len(half) - 1), half)
    side = normals(curve) * half[:, None]
    return np.concatenate([curve + side, (curve - side)[::-1]])


def coverage(shape: tuple[int, ...], outline: np.ndarray) -> np.ndarray:
    """Return how much of each pixel of an image a closed outline covers.

    Args:
        shape: (h, w) of the image.
        outline: (n, 2), pixels.

    Returns:
        (h, w) uint8, 255 where it covers the whole pixel.
    """
    mask = np.zeros(shape, np.uint8)
    _cover(mask, outline, (0, 0))
    return mask


def _cover(mask: np.ndarray, outline: np.ndarray, origin: tuple[int, int]) -> None:
    """Draw a filled outline into a mask whose top-left pixel is `origin` of the image."""
    z = _complex(outline)
    after, before = np.concatenate([z[1:], z[:1]]), np.concatenate([z[-1:], z[:-1]])
    clockwise = np.sign((z.real * after.imag - z.imag * after.real).sum())
    shrunk = z + _SWELL * clockwise * _unit(after - before) - complex(*origin)
    fixed = np.rint(shrunk.view(np.float64) * 2**_SHIFT).astype(np.int32).reshape(1, -1, 2)
    cv2.fillPoly(mask, fixed, 255, cv2.LINE_AA, _SHIFT)


def blend(below: np.ndarray, above: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Lay one image over another.

    Args:
        below: (h, w, 3) uint8.
        above: (h, w, 3) uint8.
        weight: (h, w) float32 of the upper one, 0 to 1.

    Returns:
        (h, w, 3) uint8.
    """
    return cv2.blendLinear(above, below, weight, 1 - weight)


class Canvas:
    """An RGB image to paint on.

    Args:
        image: (h, w, 3) uint8, painted in place.
        hidden: (h, w) uint8, grows to 255 where something is painted; None keeps no such record.
    """

    def __init__(self, image: np.ndarray, hidden: np.ndarray | None = None) -> None:
        self.image, self.hidden = image, hidden

    def fill(
        self,
        outlines: np.ndarray | list[np.ndarray],
        colour: ArrayLike,
        alpha: float = 1.0,
        soft: float = 0.0,
        within: np.ndarray | None = None,
    ) -> None:
        """Fill closed outlines, one (n, 2) or several.

        Args:
            outlines: pixels, the centre of the top-left pixel is (0, 0).
            colour: RGB; values beyond 255 count as 255.
            alpha: 0 (nothing) to 1 (opaque).
            soft: blur of the edge in pixels.
            within: (h, w) uint8 that limits the paint, 255 where it may go.
        """
        outlines = outlines if isinstance(outlines, list) else [outlines]
        if not outlines:
            return
        every = np.concatenate(outlines)
        reach = 2 + 3 * soft
        height, width = self.image.shape[:2]
        x0, y0 = np.maximum(every.min(0) - reach, 0).astype(int)
        x1, y1 = np.minimum(every.max(0) + reach + 1, (width, height)).astype(int)
        if x0 >= x1 or y0 >= y1:
            return
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        for outline in outlines:
            _cover(mask, outline, (x0, y0))
        if soft > 0.3:
            mask = cv2.GaussianBlur(mask, (0, 0), soft)
        if within is not None:
            mask = cv2.multiply(mask, within[y0:y1, x0:x1], scale=1 / 255)
        here = self.image[y0:y1, x0:x1]
        paint = np.empty(here.shape, np.uint8)
        paint[...] = np.minimum(colour, 255)
        here[...] = blend(here, paint, mask * np.float32(alpha / 255))
        if self.hidden is not None and alpha > 0.5:
            np.maximum(self.hidden[y0:y1, x0:x1], mask, out=self.hidden[y0:y1, x0:x1])

    def stroke(
        self, curve: np.ndarray, colour: ArrayLike, width: ArrayLike, alpha: float = 1.0, soft: float = 0.0
    ) -> None:
        """Paint a brush stroke along an open curve.

        Args:
            curve: (n, 2), pixels.
            colour: RGB; values beyond 255 count as 255.
            width: in pixels, one or several along the curve; thinner than a pixel fades instead.
            alpha: 0 (nothing) to 1 (opaque).
            soft: blur of the edge in pixels.
        """
        thin = min(1.0, float(np.max(width)))
        self.fill(ribbon(curve, width), colour, alpha * thin, soft)
