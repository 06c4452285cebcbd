"""The lit surface of a head: its relief seen by the camera, pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facekd.synthetic.camera import Camera
from facekd.synthetic.head import CROWN, Head

# Columns of the relief as shares of the face's half width: dense on the nose and where the head turns away.
_HALF = [0, 0.06, 0.12, 0.18, 0.25, 0.34, 0.45, 0.56, 0.67, 0.77, 0.86, 0.92, 0.96, 0.985, 0.999]
_ACROSS = np.interp(np.linspace(0, len(_HALF) - 1, 27), np.arange(len(_HALF)), _HALF)
_SIDES = np.concatenate([-_ACROSS[:0:-1], _ACROSS])
_ROWS = 64
_DENSE = 1.35  # samples per pixel; fewer leave holes where the surface faces the camera


@dataclass(frozen=True)
class Light:
    """A lamp far away, and the room's own light.

    Attributes:
        towards: (3,) unit vector from the head to the lamp, in the camera's frame.
        ambient: share of the light that comes from everywhere, 0 to 1.
        colour: (3,) RGB factors near 1.
    """

    towards: np.ndarray
    ambient: float
    colour: np.ndarray


def sample_light(rng: np.random.Generator) -> Light:
    """Draw a lamp: from the left to the right, mostly from above, hard or soft, warm or cool.

    Args:
        rng: source of the randomness.

    Returns:
        The lamp and the room's own light.
    """
    side, up = np.radians(rng.uniform((-75, -15), (75, 60)))
    towards = np.array([np.sin(side) * np.cos(up), -np.sin(up), np.cos(side) * np.cos(up)])
    warmth = rng.normal(0.0, 0.06)
    return Light(towards, float(rng.uniform(0.4, 0.8)), np.array([1 + warmth, 1.0, 1 - warmth]))


@dataclass(frozen=True)
class Surface:
    """What the camera sees of a head, as float32 maps (h, w).

    Attributes:
        near: nearness to the camera in head units; very negative where there is no face.
        light: how brightly each pixel is lit, about 0.3 to 1.3.
        nose: 1 on the nose, which may stand before an eye or a cheek, else 0.
        blush: 0 to 1, cheeks and tip of the nose.
        beard: 0 to 1, where a beard would grow.
    """

    near: np.ndarray
    light: np.ndarray
    nose: np.ndarray
    blush: np.ndarray
    beard: np.ndarray


def surface(head: Head, camera: Camera, light: Light, shape: tuple[int, int]) -> Surface:
    """Render the relief of a head into maps.

    A height field is drawn back to front by walking its grid from the corner that is farthest from the camera, so that
    of the samples that fall on a pixel the last one written is the one in front.

    Args:
        head: the head.
        camera: its pose, and where in the maps it is.
        light: the lamp.
        shape: (h, w) of the maps.

    Returns:
        The maps.
    """
    flat = np.empty((_ROWS, len(_SIDES), 2))
    flat[..., 1] = np.linspace(CROWN + 0.02, head.flat[8, 1] - 0.01, _ROWS)[:, None]
    flat[..., 0] = head.width(flat[:, :1, 1]) * _SIDES
    bare, profile = head.relief(flat, nose=False), head.nose_profile(flat)
    solid = np.dstack([flat, bare + head.nose * profile])
    pixels, near = camera.project(solid)
    hollow = np.clip(bare - head.shell(flat), -0.2, 0)  # little of the room's light reaches the eyes' sockets
    lit = _light(camera, light, solid) * (1 + 1.6 * hollow)
    values = np.dstack([pixels, near, lit, *_regions(head, flat, profile)]).astype(np.float32)

    across, down = (_DENSE * np.ptp(pixels, axis=(0, 1))).astype(int)
    samples = cv2.resize(values, (across, down), interpolation=cv2.INTER_LINEAR)
    samples = samples[:: 1 if camera.pitch > 0 else -1, :: 1 if camera.yaw < 0 else -1].reshape(-1, values.shape[-1])
    column, row = np.rint(samples[:, :2].T).astype(np.intp)
    height, width = shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    drawn = np.zeros((height * width, 6), np.float32)
    drawn[row[inside] * width + column[inside]] = np.column_stack([samples[inside, 2:], np.ones(inside.sum())])
    # Holes, and a rim of a few pixels, take the mean of what is around them.
    drawn = cv2.GaussianBlur(drawn.reshape(height, width, 6), (7, 7), 1.0)
    weight = drawn[..., 5:]
    drawn /= np.maximum(weight, 1e-6)
    drawn[weight[..., 0] == 0, :2] = -1e3, light.ambient
    return Surface(*cv2.split(drawn)[:5])


def _light(camera: Camera, light: Light, solid: np.ndarray) -> np.ndarray:
    """Return how brightly each point of a grid (rows, columns, 3) on the head is lit: matt skin with a little gloss."""
    normal = np.cross(np.gradient(solid, axis=1), np.gradient(solid, axis=0))
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    turned = normal @ camera.rotation.T
    half_way = np.add(light.towards, (0.0, 0.0, 1.0))  # between the lamp and the camera
    gloss = np.clip(turned @ (half_way / np.linalg.norm(half_way)), 0, 1) ** 24
    return light.ambient + (1 - light.ambient) * 1.25 * np.clip(turned @ light.towards, 0, 1) + 0.16 * gloss


def _regions(head: Head, flat: np.ndarray, profile: np.ndarray) -> list[np.ndarray]:
    """Return nose, blush and beard at frontal points (rows, columns, 2), where the nose stands out by `profile`."""
    x, y = flat[..., 0], flat[..., 1]
    points = head.flat
    root, tip, base = points[[27, 30, 33], 1]
    half = np.interp(y, [root, tip, base], np.array([0.11, 0.2, 0.2]) * np.ptp(points[[31, 35], 0]) / 0.38)
    nose = (np.abs(x - points[30, 0]) < half) & (y > root - 0.05) & (y < base)

    def hill(at: np.ndarray, wide: float, high: float) -> np.ndarray:
        return np.exp(-(((x - at[0]) / wide) ** 2) - ((y - at[1]) / high) ** 2)

    left, right = points[[36, 39]].mean(0) + np.array([-0.1, 0.5]), points[[42, 45]].mean(0) + np.array([0.1, 0.5])
    blush = hill(left, 0.26, 0.2) + hill(right, 0.26, 0.2) + 0.7 * profile**3
    jaw = np.clip((y - (base - 0.25) - 0.35 * (1 - np.abs(x))) / 0.35, 0, 1)  # a beard's upper edge rises to the ears
    moustache = hill((points[33] + points[51]) / 2, 0.3, 0.12)
    return [nose, blush, np.maximum(jaw, moustache)]
