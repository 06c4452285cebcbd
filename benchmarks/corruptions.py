"""What makes a face hard, done to photos whose landmarks are known: roll, occlusion, blur, noise, low resolution.

`CORRUPTIONS` is the list; `hard_faces.py` measures networks with it. A corruption takes a source of randomness, a photo
(H, W, 3) uint8 RGB and the 68 iBUG points (68, 2) of its face, and returns another photo with its points. None shares
code with the augmentation of training.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
from roll import rotated

from facekd.geometry import tight_box
from facekd.markup import IBUG68
from facekd.runtime.roll import roll_angle
from facekd.synthetic.camera import Camera
from facekd.synthetic.canvas import Canvas, ellipse, spline
from facekd.synthetic.look import sample_look
from facekd.synthetic.occluders import paint_hand
from facekd.synthetic.scene import background
from facekd.synthetic.skin import Light

SEED = 68
# Distance of the outer eye corners of a face that looks into the camera, over the geometric mean side of its upright
# box: the mean of 300W's validation faces within 15 degrees of yaw (0.632, standard deviation 0.048).
OCULAR = 0.63
_EYE_CORNERS = 1.2  # their distance in head units of `facekd.synthetic.head`
_MASKS = np.array([[120, 175, 205], [235, 235, 230], [30, 30, 34], [150, 60, 70]])  # surgical, white, black, red
_COVERED = 1 / 3  # of the tight box, by a block
_HIDDEN, _TRIES = (1 / 6, 1 / 2), 50  # share of the points, by a hand; how often one is drawn for that

Made = tuple[np.ndarray, np.ndarray]  # photo and points
Change = Callable[[np.random.Generator, np.ndarray, np.ndarray], Made]


@dataclass(frozen=True)
class Corruption:
    """One thing that is done to every face.

    Attributes:
        kind: of corruption: the heading it stands under.
        name: what it is, once.
        change: does it.
    """

    kind: str
    name: str
    change: Change

    def __call__(self, index: int, photo: np.ndarray, points: np.ndarray) -> Made:
        """Corrupt a face; the same each time.

        Args:
            index: the face's number; with the name it decides everything random.
            photo: (H, W, 3) uint8 RGB; it is not changed.
            points: (68, 2) pixels.

        Returns:
            Another photo, and the points in it.
        """
        rng = np.random.default_rng((SEED, zlib.crc32(self.name.encode()), index))
        return self.change(rng, photo.copy(), points.astype(np.float64))


def upright(points: np.ndarray) -> np.ndarray:
    """Turn faces upright about the origin.

    Args:
        points: (..., 68, 2).

    Returns:
        (..., 68, 2).
    """
    turn = np.radians(roll_angle(points, IBUG68))
    cos, sin = np.cos(turn)[..., None], np.sin(turn)[..., None]
    x, y = points[..., 0], points[..., 1]
    return np.stack([cos * x + sin * y, cos * y - sin * x], axis=-1)


def box_side(points: np.ndarray) -> np.ndarray:
    """Compute the geometric mean side of the tight box of a face that is turned upright.

    Args:
        points: (..., 68, 2).

    Returns:
        (...) in the unit of the points.
    """
    side: np.ndarray = np.sqrt(np.ptp(upright(points), axis=-2).prod(axis=-1))
    return side


def _ocular(points: np.ndarray) -> float:
    """Return the inter-ocular distance that the face would have if it looked into the camera, pixels."""
    return OCULAR * float(box_side(points))


def _roll(rng: np.random.Generator, photo: np.ndarray, points: np.ndarray, angle: float) -> Made:
    return rotated(photo, points, angle * rng.choice([-1, 1]))


def _mask(rng: np.random.Generator, photo: np.ndarray, points: np.ndarray) -> Made:
    """A cloth from the bridge of the nose to below the chin, with folds and loops about the ears."""
    unit, colour = _ocular(points), _MASKS[rng.integers(len(_MASKS))] + rng.uniform(-15, 15)
    edge = np.concatenate([points[2:15], points[[28, 30, 31, 35]]])
    hull = cv2.convexHull(np.float32(edge))[:, 0].astype(np.float64)
    middle = points[[28, 8]].mean(axis=0)
    outline = spline(middle + 1.05 * (hull - middle), 6, closed=True)
    canvas = Canvas(photo)
    for near, far in ((2, 0), (14, 16)):
        canvas.stroke(np.linspace(points[near], points[far], 5), 0.8 * colour, 0.03 * unit)
    canvas.fill(outline, np.clip(colour, 0, 255), soft=0.01 * unit)
    for share in (0.35, 0.55, 0.75):
        ends = [points[28] + share * (points[side] - points[28]) for side in (4, 8, 12)]
        canvas.stroke(spline(np.array(ends), 8), 0.82 * colour, 0.025 * unit)
    return photo, points


def _sunglasses(rng: np.random.Generator, photo: np.ndarray, points: np.ndarray) -> Made:
    """Dark lenses over both eyes and a part of the brows, with a bridge, arms and a reflection."""
    unit, tone, canvas = _ocular(points), rng.uniform(0, 40, 3), Canvas(photo)
    turn = np.radians(float(roll_angle(points, IBUG68)))
    along, down = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    height, rims = rng.uniform(0.2, 0.27) * unit, []
    for eye, ear in ((slice(36, 42), 0), (slice(42, 48), 16)):
        corners = points[eye] @ along
        width = np.ptp(corners)  # half of it: foreshortened as the eye is
        centre = points[eye].mean(axis=0) + 0.04 * unit * down
        outer = centre + np.sign((points[ear] - centre) @ along) * width * along
        canvas.stroke(np.linspace(outer, points[ear], 5), tone, 0.05 * unit)
        lens = ellipse(centre, width * along, height * down, 32)
        canvas.fill(lens, tone, 0.97)
        shine = ellipse(centre - 0.35 * height * down, 0.5 * width * along, 0.3 * height * down)
        canvas.fill(shine, tone + 90, 0.35, 0.03 * unit)
        rims.append(centre)
    canvas.stroke(np.linspace(*rims, 5), tone, 0.05 * unit)
    return photo, points


def _block(rng: np.random.Generator, photo: np.ndarray, points: np.ndarray) -> Made:
    """A rectangle over a third of the tight box: grey, noise, or a texture."""
    box = tight_box(points)
    size = box[2:] - box[:2]
    width = rng.uniform(0.45, 0.75)
    share = np.array([width, _COVERED / width])
    corner = box[:2] + rng.random(2) * (1 - share) * size
    (left, top), (right, bottom) = np.rint([corner, corner + share * size]).astype(int).clip(0)
    part = photo[top:bottom, left:right]
    high, wide = part.shape[:2]
    kind = rng.integers(3)
    if kind == 0:
        part[:] = rng.integers(40, 215)
    elif kind == 1:
        part[:] = cv2.resize(rng.integers(0, 256, (24, 24, 3), np.uint8), (wide, high), interpolation=cv2.INTER_NEAREST)
    else:
        part[:] = background(rng, max(high, wide, 64))[:high, :wide]
    return photo, points


def _hand(rng: np.random.Generator, photo: np.ndarray, points: np.ndarray) -> Made:
    """A drawn hand, of the face's own colour, that hides a sixth to a half of the points."""
    unit, turn = _ocular(points) / _EYE_CORNERS, float(roll_angle(points, IBUG68))
    down = np.array([-np.sin(np.radians(turn)), np.cos(np.radians(turn))])
    x, y = points[36:48].mean(axis=0) + Camera.PIVOT[1] * unit * down
    camera = Camera(0.0, 0.0, turn, distance=10.0, unit=unit, centre=(float(x), float(y)))
    last = np.array(photo.shape[1::-1]) - 1
    column, row = np.rint((points[[2, 14]] + points[[31, 35]]) / 2).astype(int).clip(0, last).T  # cheeks
    look = replace(sample_look(rng), skin=photo[row, column].mean(axis=0))
    light = Light(np.array([0.0, 0.0, 1.0]), 1.0, np.ones(3))
    column, row = np.rint(points).astype(int).clip(0, last).T
    covered = photo
    for _ in range(_TRIES):
        covered, hidden = photo.copy(), np.zeros(photo.shape[:2], np.uint8)
        paint_hand(rng, Canvas(covered, hidden), camera, light, look)
        if _HIDDEN[0] <= (hidden[row, column] > 127).mean() <= _HIDDEN[1]:
            break
    return covered, points


def _blur(rng: np.random.Generator, photo: np.ndarray, points: np.ndarray, sigma: float) -> Made:
    return cv2.GaussianBlur(photo, (0, 0), sigma * _ocular(points)), points


def _motion(rng: np.random.Generator, photo: np.ndarray, points: np.ndarray, length: float) -> Made:
    """Blur along a line; its middle stays where it was, so that the points do."""
    reach = length * _ocular(points) / 2
    side, turn = 2 * int(np.ceil(reach)) + 1, rng.uniform(0, np.pi)
    kernel = np.zeros((side, side), np.float32)
    steps = np.linspace(-reach, reach, 8 * side)[:, None] * [np.sin(turn), np.cos(turn)]
    np.add.at(kernel, tuple(np.rint(steps + side // 2).astype(int).T), 1)
    return cv2.filter2D(photo, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE), points


def _small(rng: np.random.Generator, photo: np.ndarray, points: np.ndarray, pixels: float) -> Made:
    """A smaller photo, averaged by area, with so many pixels between the outer eye corners; never a larger one."""
    scale = min(1.0, pixels / np.hypot(*(points[45] - points[36])))
    sizes = np.array(photo.shape[1::-1])
    new = np.rint(sizes * scale).astype(int)
    small = cv2.resize(photo, (int(new[0]), int(new[1])), interpolation=cv2.INTER_AREA)
    return small, (points + 0.5) * (new / sizes) - 0.5


def _noise(rng: np.random.Generator, photo: np.ndarray, points: np.ndarray, deviation: float) -> Made:
    photo, points = _small(rng, photo, points, 64)
    noisy = photo + deviation * rng.standard_normal(photo.shape, np.float32)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8), points


def _jpeg(rng: np.random.Generator, photo: np.ndarray, points: np.ndarray, quality: int) -> Made:
    photo, points = _small(rng, photo, points, 32)
    _, file = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1].copy(), points


def _dark(rng: np.random.Generator, photo: np.ndarray, points: np.ndarray, light: float) -> Made:
    """A share of the light, with gamma 2.2, and the noise of three levels that a sensor has then."""
    dark = 255 * light ** (1 / 2.2) * (photo / 255) + 3 * rng.standard_normal(photo.shape, np.float32)
    return np.clip(np.rint(dark), 0, 255).astype(np.uint8), points


def _fog(rng: np.random.Generator, photo: np.ndarray, points: np.ndarray, contrast: float) -> Made:
    return np.rint(150 + contrast * (photo - 150.0)).astype(np.uint8), points


def _combined(rng: np.random.Generator, photo: np.ndarray, points: np.ndarray) -> Made:
    """An occluder, any roll, and a small photo: real faces are hard in more than one way."""
    change = (_mask, _sunglasses, _block, _hand)[rng.integers(4)]
    photo, points = rotated(*change(rng, photo, points), rng.uniform(-180, 180))
    return _small(rng, photo, points, 24)


CORRUPTIONS = (
    Corruption("Plain", "plain", lambda rng, photo, points: (photo, points)),
    *(Corruption("Roll", f"roll {angle}°", partial(_roll, angle=angle)) for angle in range(30, 181, 30)),
    Corruption("Occlusion", "mask over nose, mouth and chin", _mask),
    Corruption("Occlusion", "sunglasses", _sunglasses),
    Corruption("Occlusion", "block over a third", _block),
    Corruption("Occlusion", "hand", _hand),
    *(Corruption("Blur", f"Gaussian blur {sigma:g}", partial(_blur, sigma=sigma)) for sigma in (0.04, 0.08)),
    Corruption("Blur", "motion blur 0.3", partial(_motion, length=0.3)),
    *(Corruption("Resolution", f"{pixels} px", partial(_small, pixels=pixels)) for pixels in (48, 32, 24, 16, 12)),
    Corruption("Image quality", "noise 50", partial(_noise, deviation=50)),
    Corruption("Image quality", "JPEG 8", partial(_jpeg, quality=8)),
    Corruption("Image quality", "dark", partial(_dark, light=0.01)),
    Corruption("Image quality", "low contrast", partial(_fog, contrast=0.12)),
    Corruption("Combined", "an occluder, any roll, 24 px", _combined),
)
