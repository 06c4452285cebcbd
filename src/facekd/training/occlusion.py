"""Covering part of a labelled face: a surgical mask, dark glasses, a hand, or some other thing. The labels stay.

In-the-wild training sets hold few covered faces, and cut-out's flat rectangles look like none of these.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from facekd.markup import MarkUp
from facekd.synthetic.canvas import Canvas, ellipse, spline

_MASKS = ((200, 215, 225), (225, 225, 225), (120, 165, 190), (30, 30, 35))  # surgical, white, blue, black
_HIDDEN = 128  # of 255: a point is hidden where at least half of its pixel is painted over

Occluder = Callable[[np.random.Generator, Canvas, np.ndarray], None]


def occluders(markup: MarkUp) -> list[Occluder]:
    """Return what may cover faces of a mark-up.

    Args:
        markup: a mask needs its contours "jaw" and "nose bridge"; glasses need "left eye" and "right eye". A hand or a
            thing can cover any face.

    Returns:
        Functions that paint one occluder over a face's landmarks (N, 2), all there, on a canvas.
    """
    contours = {contour.name: list(contour.points) for contour in markup.contours}
    found: list[Occluder] = [_paint_thing, _paint_hand]
    if {"jaw", "nose bridge"} <= contours.keys():
        jaw, bridge = contours["jaw"], contours["nose bridge"]
        found.append(lambda rng, canvas, points: _paint_mask(rng, canvas, points[jaw], points[bridge]))
    if {"left eye", "right eye"} <= contours.keys() and len(contours["left eye"]) > 2:
        eyes = contours["left eye"], contours["right eye"]
        found.append(lambda rng, canvas, points: _paint_glasses(rng, canvas, [points[eye] for eye in eyes]))
    return found


def occlude(
    image: np.ndarray, points: np.ndarray, kinds: list[Occluder], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cover a part of a face.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        points: (N, 2) landmarks, pixels of the image; a face with a point that is missing (NaN) stays as it is.
        kinds: one of these is painted.
        rng: source of the randomness.

    Returns:
        The image, and (N,) bool: which points are hidden.
    """
    hidden = np.zeros(len(points), bool)
    if not kinds or not np.isfinite(points).all() or np.ptp(points, axis=0).min() < 2:
        return image, hidden
    canvas = Canvas(image.copy(), np.zeros(image.shape[:2], np.uint8))
    kinds[rng.integers(len(kinds))](rng, canvas, points.astype(np.float64))
    _texture(rng, canvas)
    x, y = np.rint(points).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < image.shape[1]) & (y < image.shape[0])
    assert canvas.hidden is not None
    hidden[inside] = canvas.hidden[y[inside], x[inside]] >= _HIDDEN
    return canvas.image, hidden


def _texture(rng: np.random.Generator, canvas: Canvas) -> None:
    """Let light and folds vary over what was painted: smooth noise of some size."""
    assert canvas.hidden is not None
    cells = int(rng.integers(2, 24))
    noise = rng.normal(0, rng.uniform(4, 30), (cells, cells)).astype(np.float32)
    height, width = canvas.hidden.shape
    change = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) * (canvas.hidden / np.float32(255))
    canvas.image[...] = np.clip(canvas.image + change[..., None], 0, 255).astype(np.uint8)


def _paint_mask(rng: np.random.Generator, canvas: Canvas, jaw: np.ndarray, bridge: np.ndarray) -> None:
    """Paint a mask from the nose's bridge over mouth and chin to the jaw."""
    count = len(jaw)
    ends = round(rng.uniform(0.06, 0.2) * count)  # which of the jaw's points its upper corners reach
    top = bridge[0] + rng.uniform(0.3, 1.0) * (bridge[-1] - bridge[0])
    middle = jaw.mean(axis=0)
    below = jaw[ends : count - ends]
    below = middle + rng.uniform(0.98, 1.08) * (below - middle)
    left, right = jaw[ends], jaw[count - 1 - ends]
    upper = np.array([right, right + 0.55 * (top - right), top, left + 0.55 * (top - left), left])
    lift = 0.06 * (top - below[len(below) // 2])
    upper[[1, 3]] += rng.uniform(-1, 1) * lift
    base = _MASKS[rng.integers(len(_MASKS))] if rng.random() < 0.7 else rng.uniform(0, 235, 3)
    colour = np.clip(np.array(base) * rng.uniform(0.6, 1.1), 0, 255)
    unit = float(np.linalg.norm(jaw[-1] - jaw[0]))
    canvas.fill(np.concatenate([below, spline(upper)]), colour, 0.97)
    for share in rng.uniform(0.2, 0.8, 2):  # folds
        fold = left + share * (below[len(below) // 2] - top), right + share * (below[len(below) // 2] - top)
        line = np.array([fold[0], (fold[0] + fold[1]) / 2 + 0.03 * (below[len(below) // 2] - top), fold[1]])
        canvas.stroke(spline(0.5 * line + 0.5 * line.mean(axis=0)), 0.85 * colour, 0.01 * unit, 0.6)


def _paint_glasses(rng: np.random.Generator, canvas: Canvas, eyes: list[np.ndarray]) -> None:
    """Paint dark glasses before both eyes."""
    centres = [eye.mean(axis=0) for eye in eyes]
    across = centres[1] - centres[0]
    down = np.array([-across[1], across[0]])
    half = rng.uniform((0.32, 0.24), (0.46, 0.4))
    square, lower = rng.uniform(0.5, 1.0), rng.uniform(0.0, 0.1)
    turn = np.linspace(0, 2 * np.pi, 33)
    round_ = np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    shape = half * np.sign(round_) * np.abs(round_) ** square + [0, lower]
    glass, frame = rng.uniform(0, 60, 3), rng.uniform(0, 120, 3)
    unit = float(np.linalg.norm(across))
    for centre in centres:
        rim = centre + shape[:, :1] * across + shape[:, 1:] * down
        canvas.fill(rim, glass, rng.uniform(0.85, 1.0))
        canvas.stroke(rim, frame, rng.uniform(0.03, 0.09) * unit)
    canvas.stroke(np.array([centres[0] + half[0] * across, centres[1] - half[0] * across]), frame, 0.06 * unit)


def _paint_hand(rng: np.random.Generator, canvas: Canvas, points: np.ndarray) -> None:
    """Paint a hand: a palm on an arm that comes from the image's edge, and fingers, in the face's own colour.

    It is drawn apart from `facekd.synthetic.occluders`, with which `benchmarks/hard_faces.py` measures: a network that
    trains on the hand it is measured with learns that hand.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    unit = 0.5 * float(np.linalg.norm(high - low))
    at = rng.uniform(low - 0.1 * (high - low), high + 0.1 * (high - low))
    away = at - (low + high) / 2
    tilt = np.arctan2(away[1], away[0]) + rng.normal(0, 0.6)  # where the arm comes from: mostly from outside
    up = -unit * np.array([np.cos(tilt), np.sin(tilt)])
    across = np.array([-up[1], up[0]])
    x, y = np.clip(np.rint(points[rng.integers(len(points), size=9)]), 0, np.array(canvas.image.shape[1::-1]) - 1).T
    skin = np.median(canvas.image[y.astype(int), x.astype(int)], axis=0) * rng.uniform(0.75, 1.2)
    palm = at - 0.3 * up
    canvas.stroke(np.linspace(palm - 5 * up, palm, 5), 0.9 * skin, np.array([0.6, 0.5, 0.5]) * unit)
    canvas.fill(ellipse(palm, 0.32 * across, 0.36 * up), 0.95 * skin)
    for k, length in enumerate(rng.permutation([0.45, 0.55, 0.52, 0.4])):
        root = palm + (k - 1.5) * 0.18 * across + 0.15 * up
        tip = root + length * up + (k - 1.5) * rng.uniform(0.0, 0.1) * across
        for width, shade in ((0.2, 0.6), (0.17, 1.0)):
            canvas.stroke(np.linspace(root, tip, 5), shade * skin, width * unit)
            canvas.fill(ellipse(tip, width / 2 * across, width / 2 * up), shade * skin)


def _paint_thing(rng: np.random.Generator, canvas: Canvas, points: np.ndarray) -> None:
    """Paint a thing held before the face: a phone, a book, a cup, hair's colour or any other."""
    low, high = points.min(axis=0), points.max(axis=0)
    at = rng.uniform(low, high)
    reach = rng.uniform(0.12, 0.42, 2) * float((high - low).max())
    turn = rng.uniform(0, np.pi)
    right, down = reach[:, None] * [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
    colour = rng.uniform(0, 255, 3)
    if rng.random() < 0.6:
        corners = np.array([-right - down, right - down, right + down, down - right])
        canvas.fill(at + corners, colour)
        canvas.fill(at + rng.uniform(0.4, 0.9) * corners, rng.uniform(0, 255, 3), rng.random())
    else:
        canvas.fill(ellipse(at, right, down, 32), colour)
