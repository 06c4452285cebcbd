"""Things before a face: a fringe, glasses, a hand, something held up. They hide landmarks."""

from __future__ import annotations

import numpy as np

from facekd.synthetic.camera import Camera
from facekd.synthetic.canvas import Canvas, ellipse, ribbon, spline
from facekd.synthetic.head import Head
from facekd.synthetic.look import Look
from facekd.synthetic.skin import Light


def occlude(rng: np.random.Generator, canvas: Canvas, head: Head, camera: Camera, light: Light, look: Look) -> None:
    """Paint none, one or several occluders.

    Args:
        rng: source of the randomness.
        canvas: the image; its `hidden` grows where something is painted.
        head: whose face is hidden.
        camera: its pose.
        light: falls on a hand, too.
        look: colours of hair and skin.
    """
    fringe, glasses, held = rng.random(3)
    if fringe < 0.35 and not look.bald:
        paint_fringe(rng, canvas, head, camera, look)
    if glasses < 0.2:
        paint_glasses(rng, canvas, head, camera, dark=glasses < 0.05)
    if held < 0.09:
        paint_hand(rng, canvas, camera, light, look)
    elif held < 0.16:
        paint_thing(rng, canvas, camera)


def paint_fringe(rng: np.random.Generator, canvas: Canvas, head: Head, camera: Camera, look: Look) -> None:
    """Paint locks that fall from the hairline over the forehead, some as far as the eyes.

    Args:
        rng: source of the randomness.
        canvas: the image.
        head: whose hair it is.
        camera: its pose.
        look: hairline and colour.
    """
    parting, reach = rng.uniform(-0.5, 0.5), rng.uniform(0.3, 0.95)
    x, y = look.hairline[::-1].T
    root = np.sort(rng.uniform(-0.75, 0.75, rng.integers(5, 14)))
    fall = np.linspace(0, 1, 9)[:, None] * reach * rng.uniform(0.6, 1.0, len(root))
    flat = np.stack([root + 0.5 * (root - parting) * fall**1.5, np.interp(root, x, y) - 0.1 + fall], -1)
    flat[..., 0] = np.clip(flat[..., 0], -0.9, 0.9)
    locks, _ = camera.project(np.concatenate([flat, head.shell(flat)[..., None] + 0.06], -1))
    for lock in locks.transpose(1, 0, 2):
        widths = np.array([1.0, 0.8, 0.1]) * rng.uniform(0.05, 0.14) * camera.unit
        canvas.fill(ribbon(lock, widths), rng.uniform(0.65, 1.25) * look.hair, 0.95)


def paint_glasses(rng: np.random.Generator, canvas: Canvas, head: Head, camera: Camera, dark: bool) -> None:
    """Paint glasses before the eyes.

    Args:
        rng: source of the randomness.
        canvas: the image.
        head: who wears them.
        camera: its pose.
        dark: they hide the eyes; clear ones hide nothing.
    """
    unit, frame, width = camera.unit, rng.uniform(0, 90, 3), rng.uniform(0.02, 0.055) * camera.unit
    half, square, shine = rng.uniform((0.27, 0.19), (0.33, 0.27)), rng.uniform(0.5, 1.0), rng.uniform(0.03, 0.12)
    turn = np.linspace(0, 2 * np.pi, 33)
    round_ = np.stack([np.cos(turn), np.sin(turn)], -1)
    shape = half * np.sign(round_) * np.abs(round_) ** square
    bridge = head.relief(np.array([[0.0, 0.05]]))[0] + 0.02
    rims = []
    for eye in (slice(36, 42), slice(42, 48)):
        rim = head.flat[eye].mean(0) + shape
        rims.append(camera.project(np.column_stack([rim, bridge - 0.3 * rim[:, 0] ** 2]))[0])
    for rim in rims:
        if dark:
            canvas.fill(rim, 0.5 * frame, 0.92)
        else:
            Canvas(canvas.image).fill(rim, (235, 240, 245), shine)  # clear glass hides nothing
        canvas.stroke(rim, frame, width)
    left, right = rims[0][0], rims[1][16]
    arch = (left + right) / 2 - 0.04 * unit * camera.rotation[:2, 1]
    canvas.stroke(spline(np.array([left, arch, right])), frame, width)


def paint_hand(rng: np.random.Generator, canvas: Canvas, camera: Camera, light: Light, look: Look) -> None:
    """Paint a hand before the lower face: a palm on an arm that comes from the image's edge, and four fingers.

    Args:
        rng: source of the randomness.
        canvas: the image.
        camera: pose of the head.
        light: falls on the hand.
        look: colour of the skin.
    """
    unit, tilt = camera.unit, rng.uniform(-1.0, 1.0)
    at = camera.project(np.array([rng.uniform(-0.9, 0.9), rng.uniform(0.7, 1.7), 1.3]))[0]
    up, across = np.array([[np.sin(tilt), -np.cos(tilt)], [np.cos(tilt), np.sin(tilt)]]) * unit
    lit = light.colour * (light.ambient + 0.7 * (1 - light.ambient)) * rng.uniform(0.85, 1.1)
    skin = np.clip(look.skin * lit, 0, 240)
    palm = at - 0.55 * up
    canvas.stroke(np.linspace(palm - 6 * up, palm, 6), 0.9 * skin, np.array([0.8, 0.75, 0.7]) * unit)
    canvas.fill(ellipse(palm, 0.46 * across, 0.5 * up), 0.95 * skin)
    for k, length in enumerate(rng.permutation([0.62, 0.75, 0.72, 0.55])):
        root = palm + (k - 1.5) * 0.25 * across + 0.2 * up
        tip = root + length * up + (k - 1.5) * rng.uniform(0.0, 0.12) * across
        for width, shade in ((0.27, 0.6), (0.235, 1.0)):
            canvas.stroke(np.linspace(root, tip, 5), shade * skin, width * unit)
            canvas.fill(ellipse(tip, width / 2 * across, width / 2 * up), shade * skin)
        canvas.fill(ellipse(tip + 0.02 * up, 0.07 * across, 0.08 * up), 1.1 * skin + 12, 0.7)


def paint_thing(rng: np.random.Generator, canvas: Canvas, camera: Camera) -> None:
    """Paint a thing held before the face: a phone or a book, a ball or a cup's bottom.

    Args:
        rng: source of the randomness.
        canvas: the image.
        camera: pose of the head.
    """
    at = camera.project(np.array([rng.choice([-1, 1]) * rng.uniform(0.45, 1.1), rng.uniform(0.1, 1.7), 1.4]))[0]
    turn, reach = rng.normal(0, 0.5), rng.uniform(0.25, 0.6, 2) * camera.unit
    right, down = reach[:, None] * [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
    colour = rng.uniform(0, 210, 3)
    if rng.random() < 0.6:
        corners = np.array([-right - down, right - down, right + down, down - right])
        canvas.fill(at + corners, colour)
        canvas.fill(at + 0.86 * corners, 0.7 * colour + 30)
    else:
        canvas.fill(ellipse(at, right, down, 32), colour)
        shine = ellipse(at - 0.2 * (right + down), 0.5 * right, 0.5 * down)
        canvas.fill(shine, 1.1 * colour + 20, 0.6, 0.05 * camera.unit)
