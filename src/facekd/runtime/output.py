"""What a landmark network gives for each crop."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


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
