"""What the landmarks of one face measure: how wide eyes and mouth are open, as ratios that do not depend on size."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekd.markup import IBUG68, MarkUp, convert, convertible

# iBUG points. Of an eye: the corners, and the pairs of upper and lower lid between them; of the inner lips alike.
_LEFT_EYE = ((36, 39), ((37, 41), (38, 40)))
_RIGHT_EYE = ((42, 45), ((43, 47), (44, 46)))
_MOUTH = ((60, 64), ((61, 67), (62, 66), (63, 65)))


class EyeOpenness(NamedTuple):
    """The aspect ratio of each eye: 0 closed, about 0.3 open.

    Attributes:
        left: of the eye on the image's left, which is the person's right one.
        right: of the eye on the image's right.
    """

    left: float
    right: float


def eye_openness(points: np.ndarray, markup: MarkUp) -> EyeOpenness | None:
    """Measure how wide the eyes are open.

    The eye aspect ratio (EAR): the mean distance between upper and lower lid, at two places, over the distance of the
    corners. Source: Soukupova & Cech, "Real-time eye blink detection using facial landmarks", CVWW 2016, equation 1;
    they take an eye below about 0.2 for closed. A head that is turned far aside makes its eyes narrower and the ratio
    larger.

    Args:
        points: (N, 2) landmarks in pixels.
        markup: what the points are.

    Returns:
        The ratio of each eye; None for a mark-up without the iBUG points, or where an eye's corners are one point.
    """
    ratios = [_aspect_ratio(points, markup, *eye) for eye in (_LEFT_EYE, _RIGHT_EYE)]
    return None if ratios[0] is None or ratios[1] is None else EyeOpenness(ratios[0], ratios[1])


def mouth_openness(points: np.ndarray, markup: MarkUp) -> float | None:
    """Measure how wide the mouth is open.

    The mouth aspect ratio (MAR): the mean distance between upper and lower inner lip, at three places, over the
    distance of the inner corners. It is the eye's ratio (Soukupova & Cech, CVWW 2016) carried over to the eight points
    of the inner lips; texts that divide the sum of the three by 2 rather than 3 get 1.5 times this value.

    Args:
        points: (N, 2) landmarks in pixels.
        markup: what the points are.

    Returns:
        The ratio: 0 closed, about 1 as high as wide; None for a mark-up without the iBUG points, or where the corners
        are one point.
    """
    return _aspect_ratio(points, markup, *_MOUTH)


def _aspect_ratio(
    points: np.ndarray, markup: MarkUp, corners: tuple[int, int], lids: tuple[tuple[int, int], ...]
) -> float | None:
    """Return the mean height over the width; None where that cannot be told."""
    if not convertible(markup, IBUG68):
        return None
    ibug = convert(np.asarray(points, np.float64), markup, IBUG68)
    width = np.linalg.norm(ibug[corners[0]] - ibug[corners[1]])
    if not width > 0:
        return None
    upper, lower = np.array(lids).T
    return float(np.linalg.norm(ibug[upper] - ibug[lower], axis=-1).mean() / width)
