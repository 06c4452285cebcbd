"""The One-Euro filter: still points stay still, moving points are followed without lag."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from facekd.errors import InputError


@dataclass(frozen=True)
class Smoothing:
    """Settings of the One-Euro filter, in units of the face, so that they hold at every size and frame rate.

    Attributes:
        cutoff: Hz that pass when a point rests; lower is stiller.
        beta: by how many Hz the cutoff rises per face side per second; higher lags less.
        speed_cutoff: Hz at which the speed itself is smoothed.

    Raises:
        InputError: a cutoff is not above 0, `beta` is below 0, or a value is not finite.
    """

    cutoff: float = 1.0
    beta: float = 30.0
    speed_cutoff: float = 2.0

    def __post_init__(self) -> None:
        finite = all(math.isfinite(value) for value in asdict(self).values())
        if not (finite and self.cutoff > 0 and self.speed_cutoff > 0 and self.beta >= 0):
            raise InputError(f"smoothing needs cutoffs above 0 and a beta of 0 or more, all finite; got {asdict(self)}")


class OneEuro:
    """Filter of one face's points over time (Casiez, Roussel & Vogel, "1€ Filter", CHI 2012).

    Args:
        settings: how strong it filters.
    """

    def __init__(self, settings: Smoothing) -> None:
        self.settings = settings
        self._points: np.ndarray | None = None
        self._speed: np.ndarray | None = None
        self._seen: np.ndarray | None = None
        self._time = 0.0

    def __call__(self, points: np.ndarray, time: float, side: float) -> np.ndarray:
        """Smooth the points of the next frame.

        Args:
            points: (N, 2) pixels.
            time: of the frame, seconds; a frame that is not later than the last starts anew.
            side: larger side of the face, pixels; the unit of speed.

        Returns:
            (N, 2) float64 pixels.
        """
        points = np.asarray(points, np.float64)
        elapsed = time - self._time
        if self._points is None or self._seen is None or self._speed is None or elapsed <= 0:
            self._points, self._speed = points, np.zeros_like(points)
        else:
            speed = (points - self._seen) / (elapsed * side)
            self._speed = self._speed + _weight(self.settings.speed_cutoff, elapsed) * (speed - self._speed)
            # One cutoff per point, not per coordinate: a filter that treats x and y alike does not bend its path.
            moving = np.linalg.norm(self._speed, axis=-1, keepdims=True)
            cutoff = self.settings.cutoff + self.settings.beta * moving
            self._points = self._points + _weight(cutoff, elapsed) * (points - self._points)
        self._seen, self._time = points, time
        return self._points


def _weight(cutoff: float | np.ndarray, elapsed: float) -> float | np.ndarray:
    """Return the share of the new value that a first-order low-pass of `cutoff` Hz takes after `elapsed` seconds."""
    turn = 2 * np.pi * cutoff * elapsed
    return turn / (turn + 1)
