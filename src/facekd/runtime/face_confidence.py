"""Confidence in a face as a whole: the probability that its landmarks are right, made of the points' confidence.

Where there is no face, or one that is turned or cut in a way the network was not trained on, the confidence of all
points falls together; so their mean tells right from wrong. Two numbers per network make a probability of it. Source:
Platt, "Probabilistic outputs for support vector machines and comparisons to regularized likelihood methods", 1999.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from facekd.documents import Fields

FAILURE = 0.1  # NME, a fraction, above which landmarks count as wrong; the usual failure rate is about the same
_STEPS = 50  # of Newton's method; it needs ten
_DAMPING = 1e-3  # keeps the slope finite where the mean confidence parts right from wrong without an error


@dataclass(frozen=True)
class FaceCalibration:
    """How the mean confidence of a face's points becomes the probability that its landmarks are right.

    Attributes:
        middle: mean confidence at which right and wrong are equally likely.
        slope: of the logistic curve, per unit of mean confidence.
    """

    middle: float
    slope: float

    def apply(self, confidence: np.ndarray) -> np.ndarray:
        """Compute the probability that landmarks are right: of a face, and with an NME of at most 10 %.

        Args:
            confidence: (..., N) of the points, in [0, 1].

        Returns:
            (...) in [0, 1].
        """
        odds = np.clip(self.slope * (confidence.mean(axis=-1, dtype=np.float64) - self.middle), -500, 500)
        probability: np.ndarray = 1 / (1 + np.exp(-odds))
        return probability

    @classmethod
    def fit(cls, confidence: np.ndarray, right: np.ndarray) -> FaceCalibration:
        """Fit the curve by maximum likelihood, with Platt's targets in place of 0 and 1.

        Args:
            confidence: (n, N) of the points of n faces and non-faces.
            right: (n,) whether the landmarks are; some must be and some must not.

        Returns:
            The calibration.
        """
        mean = confidence.mean(axis=1, dtype=np.float64)
        positive = int(right.sum())
        target = np.where(right, (positive + 1) / (positive + 2), 1 / (len(right) - positive + 2))
        inputs = np.column_stack([mean, np.ones_like(mean)])
        weights = np.zeros(2)
        for _ in range(_STEPS):
            probability = 1 / (1 + np.exp(-np.clip(inputs @ weights, -500, 500)))
            gradient = inputs.T @ (probability - target) + _DAMPING * weights
            curvature = (inputs * (probability * (1 - probability))[:, None]).T @ inputs + _DAMPING * np.eye(2)
            weights = weights - np.linalg.solve(curvature, gradient)
        slope = max(float(weights[0]), 1e-6)  # confidence that falls where errors fall says nothing
        return cls(middle=float(-weights[1] / slope), slope=slope)

    def to_dict(self) -> dict[str, float]:
        """Turn the calibration into plain values.

        Returns:
            Keys and values for a model card; `from_dict` reads them back.
        """
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any, where: str = "face calibration") -> FaceCalibration:
        """Read what `to_dict` wrote.

        Args:
            values: middle and slope.
            where: names the file in messages.

        Returns:
            The calibration.

        Raises:
            InputError: a value is missing or no finite number.
        """
        fields = Fields(values, where, path="face_calibration")
        return cls(middle=fields.number("middle"), slope=fields.number("slope"))
