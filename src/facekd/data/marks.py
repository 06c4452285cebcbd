"""Marks that an annotation tool left at its corner: points that nobody set."""

from __future__ import annotations

import numpy as np

from facekd.geometry import centre_and_side, tight_box

_REACH = 0.25  # of the face's side: a mark so near to the others may be where it belongs, at the edge of its photo


def unset(points: np.ndarray, tolerance: float = 0.01) -> np.ndarray:
    """Find the points of a face that lie at 0,0 or -1,-1, away from its others.

    Args:
        points: (N, 2), as the label file writes them; NaN where one is missing.
        tolerance: in the same units.

    Returns:
        (N,) bool.
    """
    corner = (np.abs(points) < tolerance).all(axis=1) | (np.abs(points + 1) < tolerance).all(axis=1)
    others = points[~corner & ~np.isnan(points).any(axis=1)]
    if not corner.any() or not len(others):
        return corner
    centre, side = centre_and_side(tight_box(others))
    return corner & (np.abs(points - centre) > (0.5 + _REACH) * side).any(axis=1)
