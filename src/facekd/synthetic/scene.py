"""What is behind a face (background, clothes, neck, hair, ears), and the faults of the camera that takes the photo."""

from __future__ import annotations

import cv2
import numpy as np

from facekd.synthetic.camera import Camera
from facekd.synthetic.canvas import Canvas, coverage, ellipse, ribbon, spline
from facekd.synthetic.head import Head
from facekd.synthetic.look import Look
from facekd.synthetic.skin import Light

# Half of a neckline and shoulder, from the neck to beyond the image, in head units from the foot of the neck.
_SHOULDER = np.array([[0.0, 0.14], [0.4, 0.06], [0.7, -0.12], [1.3, 0.12], [2.1, 0.4], [2.6, 1.0], [3.0, 4.0]])


def cloud(rng: np.random.Generator, cells: int, size: int) -> np.ndarray:
    """Return smooth noise.

    Args:
        rng: source of the randomness.
        cells: about how many blotches there are across.
        size: side in pixels.

    Returns:
        (size, size) float32, mean 0, deviation near 1.
    """
    return cv2.resize(rng.standard_normal((cells, cells), np.float32), (size, size), interpolation=cv2.INTER_CUBIC)


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Paint what is behind a person: colours that flow, blotches, things with edges, blur.

    Args:
        rng: source of the randomness.
        size: side in pixels.

    Returns:
        (size, size, 3) uint8 RGB.
    """
    grey, tint = rng.uniform(20, 235, (2, 1)), rng.uniform(-60, 60, (2, 3)) * rng.random()
    ends = np.clip(grey + tint, 0, 255).astype(np.float32)
    half = size // 2  # it is smooth, and so quicker
    flow = 1 / (1 + np.exp(-2 * cloud(rng, int(rng.integers(2, 6)), half)))
    smooth = ends[0] + flow[..., None] * (ends[1] - ends[0]) + (rng.uniform(1, 16) * cloud(rng, 24, half))[..., None]
    canvas = Canvas(cv2.resize(np.clip(smooth, 0, 255).astype(np.uint8), (size, size)))
    for _ in range(rng.integers(0, 8)):
        centre, reach, turn = rng.uniform(0, size, 2), rng.uniform(0.03, 0.4, 2) * size, rng.normal(0, 0.4)
        right, down = reach[:, None] * [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
        box = np.array([-right - down, right - down, right + down, down - right])
        shape = centre + box if rng.random() < 0.7 else ellipse(centre, right, down)
        canvas.fill(shape, np.clip(rng.uniform(10, 245) + rng.normal(0, 35, 3), 0, 255), rng.uniform(0.4, 1.0))
    blur = rng.uniform(-0.005, 0.02) * size
    return cv2.GaussianBlur(canvas.image, (0, 0), blur) if blur > 0.5 else canvas.image


def behind(rng: np.random.Generator, canvas: Canvas, head: Head, camera: Camera, light: Light, look: Look) -> None:
    """Paint clothes, neck, the back of the head with its hair, and the ears.

    Args:
        rng: source of the randomness.
        canvas: the image.
        head: the head.
        camera: its pose.
        light: the lamp.
        look: colours of skin and hair.
    """
    width = head.flat[16, 0]
    towards = camera.rotation @ (-np.sign(camera.yaw), 0.0, 0.3)  # the side of the head that one sees
    lit = light.colour * (light.ambient + (1 - light.ambient) * np.clip(1.2 * towards @ light.towards, 0.1, 1.0))
    skin, hair = look.skin * lit, look.hair * (0.4 + 0.8 * lit)
    skull = _skull(width * look.volume, look.volume)
    if look.length:
        fall = [[x, y * look.length, -0.35] for x, y in ((1.14, 0.45), (1.24, 0.75), (1.16, 0.95), (0.8, 1.0))]
        skull = np.concatenate([skull, np.multiply(fall, (look.volume, 1, 1)), np.multiply(fall, (-look.volume, 1, 1))])
    mane = spline(cv2.convexHull(np.float32(camera.project(skull)[0]))[:, 0].astype(float), 4, closed=True)
    if look.length:  # long hair falls behind the neck
        canvas.fill(mane, 0.8 * hair)
    _body(rng, canvas, head, camera, skin)
    if not look.length:
        canvas.fill(mane, skin if look.bald else hair)
        _ears(canvas, width, camera, skin)
    if not look.bald:
        for tone in (0.6, 1.4):
            locks, _ = camera.project(_locks(rng, 7, width * look.volume))
            thick = np.array([0.3, 1.0, 0.3]) * rng.uniform(0.03, 0.06) * camera.unit
            canvas.fill([ribbon(lock, thick) for lock in locks], tone * hair, 0.5)


def _body(rng: np.random.Generator, canvas: Canvas, head: Head, camera: Camera, skin: np.ndarray) -> None:
    """Paint a neck with the jaw's shadow on it, and clothes of any colour."""
    unit, chin = camera.unit, head.flat[8, 1]
    top = camera.project(np.array([[-0.5, 0.3, -0.2], [0.5, 0.3, -0.2]]))[0]
    foot = camera.project(np.array([0.0, chin + 0.45, -0.5]))[0]
    neck = np.concatenate([top, foot + np.array([[0.66, 0.3], [-0.66, 0.3]]) * unit])
    canvas.fill(neck, 0.78 * skin)
    jaw = head.flat[2:15]
    shadow = camera.project(np.column_stack([jaw, head.shell(jaw)]))[0] + 0.16 * unit * camera.rotation[:2, 1]
    canvas.fill(spline(shadow), 0.45 * skin, 0.8, 0.05 * unit, within=coverage(canvas.image.shape[:2], neck))
    shoulders = np.concatenate([_SHOULDER[:0:-1], _SHOULDER * (-1, 1)])
    canvas.fill(spline(shoulders * unit + foot, 4), rng.uniform(15, 235, 3))


def _ears(canvas: Canvas, width: float, camera: Camera, skin: np.ndarray) -> None:
    """Paint both ears; the face then covers the far one."""
    for side in (-1, 1):
        centre, right, down = np.array([[side * width * 1.02, 0.22, -0.2], [side * 0.12, 0, -0.16], [0, 0.27, 0]])
        canvas.fill(camera.project(ellipse(centre, right, down))[0], 0.92 * skin)
        inner = ellipse(centre, 0.5 * right, 0.6 * down)
        canvas.fill(camera.project(inner)[0], 0.62 * skin, 0.7, 0.02 * camera.unit)


def _skull(width: float, volume: float) -> np.ndarray:
    """Return points (n, 3) on the back of the head down to the ears, where the hair is."""
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    sine = np.linspace(-1, 0.35, 7)[:, None]
    ring = np.sqrt(1 - sine**2)
    sideways, forwards = ring * np.cos(turn) * width, ring * np.sin(turn) * 1.15 - 0.12
    points = np.stack(np.broadcast_arrays(sideways, 1.1 * volume * sine - 0.25, forwards), -1).reshape(-1, 3)
    return points[points[:, 2] < 0.75]


def _locks(rng: np.random.Generator, count: int, width: float) -> np.ndarray:
    """Return locks of hair that fall from the crown over the head, (count, 10, 3)."""
    turn, end, wave = rng.uniform((0, 0.4, -0.3), (2 * np.pi, 1.4, 0.3), (count, 3)).T[..., None]
    fall = 0.1 + (end - 0.1) * np.linspace(0, 1, 10)
    turn = turn + wave * np.sin(3 * fall)
    sideways, forwards = np.sin(fall) * np.cos(turn) * width, np.sin(fall) * np.sin(turn) * 1.15 - 0.12
    return np.stack([sideways, -1.15 * np.cos(fall) - 0.25, forwards], -1)


def develop(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Return an image as a camera would have kept it: tone, blur, sensor noise, JPEG.

    Args:
        rng: source of the randomness.
        image: (size, size, 3) uint8 RGB.

    Returns:
        Another image of this shape and type.
    """
    size = len(image)
    gain, gamma = rng.uniform(0.8, 1.15), rng.uniform(0.8, 1.3)
    grey, blur, quality = rng.random() < 0.06, rng.uniform(-1.0, 1.2) * size / 256, int(rng.integers(45, 96))
    tone = np.clip(255 * gain * (np.arange(256) / 255) ** gamma, 0, 255).astype(np.uint8)
    image = cv2.LUT(image, tone)
    if grey:
        image = cv2.merge([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)] * 3)
    if blur > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    noise = (rng.uniform(0.5, 7.0) * rng.standard_normal((size, size), np.float32)).astype(np.int16)
    image = cv2.add(image, cv2.merge([noise] * 3), dtype=cv2.CV_8U)
    _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR))  # RGB as it went in: the coder takes it for BGR
