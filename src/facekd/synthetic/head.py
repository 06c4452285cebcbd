"""A small 3-D shape model of the face, ours: 68 iBUG points in linear modes over a relief of the head.

Head frame: x to the image's right, y down, z towards the viewer, origin between the eyes. One unit is half the width
of an average face. Points are set in the frontal plane (x, y); the relief gives their z. All proportions are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from facekd.markup import IBUG68
from facekd.synthetic.canvas import spline

JAW, LEFT_BROW, RIGHT_BROW = np.arange(17), np.arange(17, 22), np.arange(22, 27)
BRIDGE, BASE = np.arange(27, 31), np.arange(31, 36)
LEFT_EYE, RIGHT_EYE = np.arange(36, 42), np.arange(42, 48)
CROWN = -1.32  # y of the top of the head
CHIN = 1.64  # y of the mean chin

# The right half of the mean face, mouth closed; the left half is its mirror image.
_RIGHT_HALF = {
    16: (1.0, 0.0), 15: (0.995, 0.27), 14: (0.975, 0.54), 13: (0.925, 0.80),
    12: (0.83, 1.05), 11: (0.675, 1.27), 10: (0.475, 1.455), 9: (0.245, 1.59), 8: (0.0, CHIN),
    26: (0.80, -0.21), 25: (0.67, -0.31), 24: (0.50, -0.345), 23: (0.325, -0.325), 22: (0.165, -0.27),
    27: (0.0, 0.0), 28: (0.0, 0.17), 29: (0.0, 0.34), 30: (0.0, 0.51),
    33: (0.0, 0.685), 34: (0.10, 0.665), 35: (0.19, 0.625),
    42: (0.25, 0.035), 43: (0.35, -0.065), 44: (0.485, -0.075), 45: (0.60, 0.015), 46: (0.485, 0.07), 47: (0.36, 0.075),
    51: (0.0, 0.885), 52: (0.10, 0.865), 53: (0.24, 0.905), 54: (0.385, 0.98), 55: (0.25, 1.085), 56: (0.11, 1.13),
    57: (0.0, 1.14), 62: (0.0, 0.985), 63: (0.11, 0.98), 64: (0.335, 0.98), 65: (0.11, 0.985), 66: (0.0, 0.99),
}  # fmt: skip


def _mirrored(half: dict[int, tuple[float, float]]) -> np.ndarray:
    """Complete values on the right half, (68, 2), so that the left is their mirror image."""
    points = np.zeros((68, 2))
    for i, (x, y) in half.items():
        points[i] = x, y
        points[IBUG68.mirror[i]] = -x, y
    return points


MEAN = _mirrored(_RIGHT_HALF)


def _move(weights: dict[int, float], x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """Shift right-half points, each by its weight, and their mirror images alike."""
    return _mirrored({i: (x * w, y * w) for i, w in weights.items()})


def _stretch(points: np.ndarray, x: float = 0.0, y: float = 0.0, about: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Stretch right-half points away from `about`, and their mirror images alike."""
    centre = np.array(about)
    return _mirrored({i: tuple((MEAN[i] - centre) * (x, y)) for i in points if i in _RIGHT_HALF})


def _only(side: np.ndarray, move: np.ndarray) -> np.ndarray:
    """Keep the displacement of the named points only."""
    kept = np.zeros_like(move)
    kept[side] = move[side]
    return kept


_ALL, _EYES, _MOUTH = np.arange(68), np.r_[LEFT_EYE, RIGHT_EYE], np.arange(48, 68)
_LOWER_LIP = {55: 0.8, 56: 1.0, 57: 1.0, 65: 1.0, 66: 1.0}
_LOWER_JAW = {8: 1.0, 9: 0.98, 10: 0.88, 11: 0.6, 12: 0.25, 13: 0.05}
_EYE = (0.425, 0.02)  # centre of the right eye, about which it opens
_OPEN = _stretch(_EYES, y=1.0, about=(0.425, 0.055))  # mostly by the upper lid
_SHUT = -0.87  # of which the smallest eyes leave the lids just apart

# Identity: displacement (68, 2) at one standard deviation.
IDENTITY = {
    "face width": _stretch(JAW, x=0.05),
    "face length": _stretch(_ALL, y=0.045),
    "jaw width": _move({13: 0.4, 12: 0.8, 11: 1.0, 10: 0.8, 9: 0.4}, x=0.045, y=0.012),
    "chin length": _move({8: 1.0, 9: 0.9, 10: 0.6, 11: 0.25}, y=0.05),
    "eye distance": _move({i: 1.0 for i in (*range(22, 27), *range(42, 48))}, x=0.022),
    "eye size": _stretch(_EYES, x=0.08, y=0.05, about=_EYE),
    "eye tilt": _move({45: 1.0, 44: 0.4, 46: 0.4, 42: -0.7, 43: -0.35, 47: -0.35}, y=0.022),
    "brow height": _move({i: 1.0 for i in range(22, 27)}, y=0.035),
    "brow arch": _move({23: 0.5, 24: 1.0, 25: 0.8}, y=-0.028),
    "brow tilt": _move({22: -1.0, 23: -0.5, 25: 0.5, 26: 1.0}, y=0.03),
    "nose length": _stretch(np.r_[BRIDGE, BASE], y=0.06),
    "nose width": _stretch(BASE, x=0.13),
    "nose tip": _move({30: 1.0, 29: 0.4}, y=0.022),
    "mouth height": _move({i: 1.0 for i in range(48, 68) if i in _RIGHT_HALF}, y=0.025),
    "mouth width": _stretch(_MOUTH, x=0.08),
    "upper lip": _move({51: 1.0, 52: 1.0, 53: 0.8}, y=-0.022),
    "lower lip": _move({55: 0.8, 56: 1.0, 57: 1.0}, y=0.026),
}
# Expression: displacement at 1, where 1 is strong but human.
EXPRESSION = {
    "open mouth": _move(_LOWER_LIP, y=0.36) + _move(_LOWER_JAW, y=0.30) + _move({54: 1.0, 64: 1.0}, x=-0.05, y=0.12),
    "bare teeth": _move({51: 1.0, 52: 1.0, 53: 0.7, 62: 1.2, 63: 1.2}, y=-0.05) + _move(_LOWER_LIP, y=0.03),
    "smile": _move({54: 1.0, 64: 1.0, 53: 0.45, 55: 0.45}, x=0.09, y=-0.085)
    + _move({56: 1.0, 57: 1.0, 65: 0.6, 66: 0.6, 51: 0.4, 52: 0.4, 62: 0.6, 63: 0.6}, y=0.02),
    "pucker": _stretch(_MOUTH, x=-0.35) + _stretch(np.array([51, 52, 53, 55, 56, 57]), y=0.25, about=(0.0, 0.985)),
    "skewed mouth": np.eye(68)[:, _MOUTH].sum(1)[:, None] * (0.09, 0.0),
    "brows up": _move({22: 1.0, 23: 1.1, 24: 1.1, 25: 1.0, 26: 0.7}, y=-0.10),
    "frown": _move({22: 1.0, 23: 0.6}, x=-0.045, y=0.085),
    "left lid": _only(LEFT_EYE, _OPEN),
    "right lid": _only(RIGHT_EYE, _OPEN),
}

# The head below the eyes, by height y over the mean chin's: depth of the jaw line, and of the face's middle line.
_HEIGHT, _JAW_DEPTH, _FRONT = spline(
    np.array(
        [
            [0.0, 0.0, 1.16], [0.2, 0.04, 1.16], [0.4, 0.16, 1.18], [0.6, 0.32, 1.20], [0.75, 0.52, 1.19],
            [0.88, 0.78, 1.17], [0.95, 0.93, 1.13], [1.0, 1.04, 1.05],
        ]
    )
).T  # fmt: skip


@dataclass(frozen=True, eq=False)
class Head:
    """One person with one expression.

    Attributes:
        flat: (68, 2) the points in the frontal plane.
        nose: how far the tip of the nose stands out, about 0.33.
        brow: how far the brow ridge stands out, about 0.05.
        cheek: how far the cheek bones stand out, about 0.06.
    """

    flat: np.ndarray
    nose: float
    brow: float
    cheek: float

    @cached_property
    def _jaw(self) -> np.ndarray:
        """The right half of the jaw line from the ear down to the chin, (2, n)."""
        return spline(self.flat[8:17], 6)[::-1].T

    def width(self, y: np.ndarray) -> np.ndarray:
        """Return half the width of the face: the jaw line below the eyes, an ellipse above them.

        Args:
            y: (...) heights, head units.

        Returns:
            (...) head units.
        """
        dome = np.sqrt(np.clip(1 - (np.minimum(y, 0) / CROWN) ** 2, 0, 1))
        return np.where(y > 0, np.interp(y, self._jaw[1], self._jaw[0]), self.flat[16, 0] * dome)

    def shell(self, xy: np.ndarray) -> np.ndarray:
        """Return the depth of the smooth head, without nose, eyes and mouth.

        Args:
            xy: (..., 2) points in the frontal plane.

        Returns:
            (...) z in head units.
        """
        x, y = xy[..., 0], xy[..., 1]
        below = y / self.flat[8, 1]
        dome = np.clip(1 - np.abs(np.minimum(y, 0) / CROWN) ** 2.4, 0, 1)
        rim = np.interp(below, _HEIGHT, _JAW_DEPTH)
        front = np.where(y > 0, np.interp(below, _HEIGHT, _FRONT), _FRONT[0] * dome**0.5)
        across = np.clip(np.abs(x) / np.maximum(self.width(y), 1e-3), 0, 1)
        return rim + (front - rim) * (1 - across**2.3) ** 0.5

    def relief(self, xy: np.ndarray, nose: bool = True) -> np.ndarray:
        """Return the depth of the face: the shell with its hills and hollows.

        Args:
            xy: (..., 2) points in the frontal plane.
            nose: whether the nose stands on it.

        Returns:
            (...) z in head units.
        """
        x, y = xy[..., 0], xy[..., 1]
        p = self.flat

        def hill(at: np.ndarray, wide: float, high: float, right: float = 0.0, down: float = 0.0) -> np.ndarray:
            return np.exp(-(((x - at[0] - right) / wide) ** 2) - ((y - at[1] - down) / high) ** 2)

        z = self.shell(xy)
        for eye, brow in ((p[LEFT_EYE].mean(0), p[19]), (p[RIGHT_EYE].mean(0), p[24])):
            side = np.sign(eye[0])
            z += 0.055 * hill(eye, 0.2, 0.13) - 0.11 * hill(eye, 0.30, 0.2, -side * 0.08, -0.03)  # ball in its socket
            z += self.brow * hill(brow, 0.34, 0.10, down=0.08)
            z += self.cheek * hill(eye, 0.3, 0.24, side * 0.12, 0.47)
        lips, corner = p[[51, 57]].mean(0), np.ptp(p[[48, 54], 0]) / 2
        z += 0.09 * hill(lips, 0.8 * corner, 0.12 + np.ptp(p[[51, 57], 1]) / 2)
        z -= 0.06 * hill(p[57], 0.26, 0.07, down=0.13)  # below the lower lip
        z += 0.07 * hill(p[8], 0.22, 0.14, down=-0.16)  # chin
        return z + self.nose * self.nose_profile(xy) if nose else z

    def nose_profile(self, xy: np.ndarray) -> np.ndarray:
        """Return how far the nose stands out, as a share of its tip's height.

        Args:
            xy: (..., 2) points in the frontal plane.

        Returns:
            (...) 0 to 1.
        """
        x, y = xy[..., 0], xy[..., 1]
        (_, root), (_, middle), (_, tip), (_, base) = self.flat[[27, 28, 30, 33]]
        alae = np.ptp(self.flat[[31, 35], 0]) / 2
        levels = [root - 0.22, root, middle, tip, (tip + base) / 2, base, base + 0.05]
        height = np.interp(y, levels, [0.0, 0.22, 0.5, 1.0, 0.88, 0.38, 0.0])
        half = np.interp(y, [root, middle, tip, base], [0.10, 0.11, 0.9 * alae, 0.95 * alae])
        return height * np.exp(-(np.abs((x - np.interp(y, self.flat[27:31, 1], self.flat[27:31, 0])) / half) ** 2.2))


def sample_head(rng: np.random.Generator) -> Head:
    """Draw a person and an expression: identity modes are normal, expressions come and go.

    Args:
        rng: source of the randomness.

    Returns:
        The head.
    """
    flat = MEAN.copy()
    for mode in IDENTITY.values():
        flat += mode * np.clip(rng.normal(), -2.2, 2.2)
    lids = _SHUT if rng.random() < 0.06 else np.clip(rng.normal(0.0, 0.3), -0.6, 0.6)
    wink = rng.normal(0.0, 0.08) if rng.random() < 0.95 else _SHUT
    amounts = {
        "open mouth": rng.uniform(0.03, 1.1) ** 1.5 * (rng.random() < 0.5),
        "bare teeth": rng.uniform(0.2, 1.0) * (rng.random() < 0.35),
        "smile": np.clip(rng.normal(0.2, 0.5), -0.6, 1.2),
        "pucker": rng.uniform(0.2, 1.0) * (rng.random() < 0.12),
        "skewed mouth": rng.normal(0.0, 0.35),
        "brows up": np.clip(rng.normal(0.1, 0.45), -0.5, 1.1),
        "frown": rng.uniform(0.0, 1.0) * (rng.random() < 0.3),
        "left lid": lids,
        "right lid": np.clip(lids + wink, _SHUT, 0.7),
    }
    for name, amount in amounts.items():
        flat += EXPRESSION[name] * amount
    return Head(flat, *rng.uniform((0.26, 0.02, 0.03), (0.40, 0.08, 0.09)))
