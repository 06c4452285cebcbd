"""The colours and habits of a face: all that tells two people with one shape apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facekd.synthetic.head import CROWN

# Tones from dark to light; hair and eyes of any colour go with the lighter half.
_SKIN = np.array([[94, 62, 48], [124, 82, 60], [150, 102, 74], [190, 138, 104], [222, 172, 138], [240, 200, 172]])
_HAIR = np.array(
    [[24, 20, 20], [48, 34, 26], [84, 56, 36], [128, 88, 50], [196, 160, 104], [140, 60, 30], [170, 168, 165]]
)  # fmt: skip
_IRIS = np.array([[58, 36, 22], [92, 60, 32], [96, 104, 60], [84, 120, 140], [70, 100, 160], [110, 116, 120]])


@dataclass(frozen=True, eq=False)
class Look:
    """The colours and habits of one face; colours are (3,) RGB, 0 to 255.

    Attributes:
        skin: colour in white light.
        hair: colour.
        iris: colour.
        lips: colour.
        blush: how red the cheeks are, 0 to 1.
        beard: how dark the beard is, 0 to 1.
        brow: thickness of the brows in head units.
        lashes: darkness of the upper lid's line, 0 to 1.
        folds: depth of the folds about nose and eyes, 0 to 1.
        gaze: (2,) where the eyes look, in units of the iris' radius.
        freckles: (k, 2) in the frontal plane.
        hairline: (7, 2) in the frontal plane, from the image's right to its left.
        bald: without hair.
        volume: size of the hair over the size of the head.
        length: y in head units where long hair ends; 0 for short hair.
    """

    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    lips: np.ndarray
    blush: float
    beard: float
    brow: float
    lashes: float
    folds: float
    gaze: np.ndarray
    freckles: np.ndarray
    hairline: np.ndarray
    bald: bool
    volume: float
    length: float


def sample_look(rng: np.random.Generator, tone: float | None = None) -> Look:
    """Draw colours and habits.

    Args:
        rng: source of the randomness.
        tone: of the skin, from 0 (dark) to 1 (light), all else being the same at every tone; None: drawn.

    Returns:
        The look.
    """
    drawn = rng.uniform(0, len(_SKIN) - 1)
    any_colour = drawn > 2.5 and tone is None  # of hair and eyes
    skin_tone = drawn if tone is None else tone * (len(_SKIN) - 1)
    skin = np.array([np.interp(skin_tone, np.arange(len(_SKIN)), channel) for channel in _SKIN.T])
    hair = _HAIR[rng.choice(len(_HAIR) if any_colour else 3)] * rng.uniform(0.7, 1.2)
    redder = np.array([0.93, 0.58, 0.64]) if rng.random() < 0.6 else rng.uniform((0.7, 0.3, 0.4), (0.95, 0.5, 0.65))
    bald = rng.random() < 0.08
    height = rng.uniform(-1.0, -0.66)
    side = [[0.0, -0.25], [0.06, 0.62 * height], [0.38, 0.97 * height]]
    if bald:
        side, height = [[0.0, -0.45], [0.0, -0.85], [0.0, -1.15]], CROWN + 0.01
    right = np.array([[np.sqrt(1 - (y / CROWN) ** 2) - inset, y] for inset, y in side])
    hairline = np.concatenate([right, [[0.0, height]], (right * (-1, 1))[::-1]])
    if not bald:
        hairline += rng.normal(0, 0.03, hairline.shape)
    freckles = rng.normal((0.0, 0.4), (0.4, 0.16), (rng.integers(12, 50), 2))
    return Look(
        skin=skin * rng.uniform(0.95, 1.05, 3),
        hair=hair,
        iris=_IRIS[rng.choice(len(_IRIS) if any_colour else 2)] * rng.uniform(0.8, 1.25),
        lips=np.clip(skin * redder * rng.uniform(0.9, 1.1), 0, 255),
        blush=rng.uniform(0.0, 0.5),
        beard=rng.uniform(0.2, 0.8) if rng.random() < 0.25 else 0.0,
        brow=rng.uniform(0.05, 0.13),
        lashes=rng.uniform(0.5, 1.0),
        folds=rng.uniform(0.0, 1.0),
        gaze=rng.normal(0.0, (0.45, 0.2)),
        freckles=freckles if rng.random() < 0.25 else freckles[:2],
        hairline=hairline,
        bald=bald,
        volume=1.02 if bald else rng.uniform(1.06, 1.18),
        length=rng.uniform(1.2, 2.6) if rng.random() < 0.45 and not bald else 0.0,
    )
