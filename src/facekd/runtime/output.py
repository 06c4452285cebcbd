"""What a landmark network gives for each crop."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekd.errors import ModelError

_FARTHEST = 1e6  # pixels from a crop's corner; no landmark is so far


class NetworkOutput(NamedTuple):
    """What a network gives for B crops; `NetworkOutput(*predictor(crops))` fills up what a predictor does not give.

    Attributes:
        points: (B, N, 2) float32 in pixels of the crop.
        confidence: (B, N) float32 in [0, 1], or None.
        visible: (B, N) float32, the probability that each point is visible, or None.
    """

    points: np.ndarray
    confidence: np.ndarray | None = None
    visible: np.ndarray | None = None


def check_output(name: str, values: np.ndarray, shape: tuple[int, ...], where: str) -> None:
    """Refuse what no landmark network of facekd gives; engines hold a file to no shapes of its own.

    Args:
        name: of the output.
        values: of B crops.
        shape: that those of one crop must have.
        where: names the network in messages.

    Raises:
        ModelError: another type or shape, or values that are huge or not finite.
    """
    fits = values.dtype == np.float32 and values.shape[1:] == shape
    if not fits or not np.abs(values).max(initial=0) < _FARTHEST:  # NaN is below nothing
        given = "values that are not finite, or huge" if fits else f"{values.shape} {values.dtype}"
        wanted = f"(B, {', '.join(map(str, shape))}) float32"
        raise ModelError(f"{where} gives {name} as {given}; it must be {wanted}: train or export it again")
