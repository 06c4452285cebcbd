"""Augmented views of faces, batched on the training device.

One similarity warp (rotation, scale, translation, mirror) takes the stored crop to the network's input, so that pixels
are resampled once; colour jitter, blur, noise and cut-out follow. A view is a function of (seed, face, view) alone, so
that teachers, student and a resumed run see the same one.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facekd.cores import usable_cores
from facekd.errors import InputError
from facekd.geometry import centre_and_side, normalise, to_pixels
from facekd.markup import MarkUp
from facekd.recipes.groups import Augment, Input
from facekd.training.eyes import close_eyes, eyes_of
from facekd.training.occlusion import occlude, occluders
from facekd.training.sampling import uniform

_NOISE_FIELDS = 16  # noise fields are drawn once; a view takes one of them, shifted
# Of eyes that are closed: how far at least; where the lids meet, from the lower (0) to the upper one; share of one eye.
_LEAST_CLOSED, _MEETING, _WINKS = 0.5, (0.05, 0.35), 0.1
# A detector's boxes count where they vary clearly more than the settings say: how much more, and how many standard
# deviations uniform scales and shifts reach to then.
_CLEARLY, _WIDE = 1.5, 2.0
_LEAST_SIDE = 20  # pixels of a view of low resolution: its eyes are some ten pixels apart
_LONGEST_BLUR = 0.2  # of the frame's side
_LEAST_CONTRAST = 0.1
_JPEG_QUALITY = 5, 50
_DRAWS = 48  # random numbers of a view; later ones are added behind, so that views stay what they were
_BLUR = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16  # binomial, about a Gaussian of 1 px


class Views(NamedTuple):
    """A batch of views.

    Attributes:
        images: (B, 3, S, S) RGB in [0, 1].
        landmarks: (B, N, 2), normalised: in [-0.5, 0.5] inside the frame, beyond where a view pushes them out of it;
            NaN where a point is missing.
        visible: (B, N) bool, False where a point is occluded, also by cut-out, or missing; None: not known.
    """

    images: Tensor
    landmarks: Tensor
    visible: Tensor | None = None


class Augmenter:
    """Makes views of stored frames.

    Args:
        settings: how much views vary; None: not at all, as in evaluation.
        frame: size of the network's input, and the crop's side over the box's.
        markup: gives the mirror pairs; without any no view is mirrored.
        seed: of the views; with face and view it decides everything random.
        device: where the work is done.
        spread: standard deviations of the box that a face detector says, about the true one: log of its side, x and y
            in sides. Where that is clearly more than the settings say, views vary as much. None: as the settings say.

    Raises:
        InputError: eyes are to be closed, and the mark-up has no lids.
    """

    def __init__(
        self,
        settings: Augment | None,
        frame: Input,
        markup: MarkUp,
        seed: int = 0,
        device: torch.device | str = "cpu",
        spread: tuple[float, float, float] | None = None,
    ) -> None:
        self.settings, self.frame, self.seed, self.spread = settings, frame, seed, spread
        self.device = torch.device(device)
        self.mirror, self._mirrors = torch.tensor(markup.mirror, device=self.device), markup.mirrors
        self._eyes = eyes_of(markup) if settings and settings.close_eyes else []
        if settings and settings.close_eyes and not self._eyes:
            raise InputError(
                f"close_eyes needs lids, and '{markup.name}' has no closed contour 'left eye' or 'right eye' of "
                "corner, upper lid, corner, lower lid; leave close_eyes out"
            )
        self._occluders = occluders(markup)
        axis = torch.arange(frame.size, dtype=torch.float32, device=self.device)
        self._grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).reshape(1, -1, 2)
        generator = torch.Generator().manual_seed(seed)
        fields = torch.randn(_NOISE_FIELDS, 3, frame.size, frame.size, generator=generator)
        fields = fields.to(self.device).contiguous(memory_format=torch.channels_last)
        self._noise = fields if settings and settings.noise else None

    def __call__(
        self,
        frames: Tensor,
        points: np.ndarray,
        boxes: np.ndarray,
        faces: np.ndarray,
        view: int | np.ndarray = 0,
        visible: np.ndarray | None = None,
    ) -> Views:
        """Make one view of each face.

        Args:
            frames: (B, P, P, 3) uint8 RGB.
            points: (B, N, 2), pixels of the frames; NaN where one is missing.
            boxes: (B, 4) face boxes, pixels of the frames.
            faces: (B,) numbers that identify the faces, the same in every batch.
            view: which view, one number or (B,).
            visible: (B, N) bool, which points are; None: not known.

        Returns:
            Images, normalised landmarks and which of them are visible, on the device.
        """
        draw = self._draws(faces, view)
        if self._eyes:
            frames, points = self._close_eyes(frames, points, faces, view)
        frames, covered = self._occlude(frames, points, faces, view)
        matrix, mirrored = self._matrices(boxes, draw)
        images = self._warp(frames, matrix)
        landmarks = self._warp_points(torch.from_numpy(points), matrix, mirrored)
        images = self._colour(images, draw) if self.settings else images / 255
        images = images.permute(0, 3, 1, 2)  # channels-last in memory, as convolutions are fastest
        seen = None
        if visible is not None:
            seen = self._swap_pairs(torch.tensor(visible & ~covered, device=self.device), mirrored)
        if self.settings:
            detail = uniform(self.seed, faces, view, draws=_DRAWS)[:, 34:46].T
            images = self._lose_detail(images, detail[:9])
            images, hidden = self._degrade(images, draw)
            images = self._lose_contrast(images, detail[9:])
            seen = None if seen is None else seen & ~self._within(hidden, landmarks)
        return Views(images, landmarks, seen)

    def warp_points(self, points: Tensor, boxes: np.ndarray, faces: np.ndarray, view: int | np.ndarray = 0) -> Tensor:
        """Warp points as a call warps the frame, without its pixels.

        Args:
            points: (B, N, ..., 2), pixels of the frames.
            boxes: (B, 4) face boxes, pixels of the frames.
            faces: (B,) numbers that identify the faces.
            view: which view, one number or (B,).

        Returns:
            (B, N, ..., 2), normalised, on the device.
        """
        return self._warp_points(points, *self._matrices(boxes, self._draws(faces, view)))

    def _warp_points(self, points: Tensor, matrix: np.ndarray, mirrored: np.ndarray) -> Tensor:
        """Map points (B, N, ..., 2)."""
        forward = self._tensor(matrix)
        flat = points.to(self.device, torch.float32).flatten(1, -2)
        landmarks = (flat @ forward[:, :, :2].mT + forward[:, None, :, 2]).view(points.shape)
        return normalise(self._swap_pairs(landmarks, mirrored), self.frame.size)

    def _swap_pairs(self, values: Tensor, mirrored: np.ndarray) -> Tensor:
        """Swap, in place, the mirror pairs of points (B, N, ...) in mirrored views: a left eye becomes a right one."""
        flip = torch.from_numpy(mirrored).to(self.device)
        values[flip] = values[flip][:, self.mirror]
        return values

    def _within(self, boxes: np.ndarray, landmarks: Tensor) -> Tensor:
        """Return (B, N) which landmarks lie in their view's box (B, 4) of pixels x0, y0, x1, y1, its ends left out."""
        low, high = self._tensor(boxes)[:, None].split(2, dim=-1)
        points = to_pixels(landmarks, self.frame.size)
        return ((points >= low - 0.5) & (points < high - 0.5)).all(-1)

    def _draws(self, faces: np.ndarray, view: int | np.ndarray) -> Iterator[np.ndarray]:
        """Yield (B,) uniform numbers in [0, 1), one after the other; every view takes them in the same order."""
        return iter(uniform(self.seed, faces, view, draws=_DRAWS).T)

    def _close_eyes(
        self, frames: Tensor, points: np.ndarray, faces: np.ndarray, view: int | np.ndarray
    ) -> tuple[Tensor, np.ndarray]:
        """Close the eyes of some faces, with the 29th to 32nd of their random numbers: those of others stay."""
        assert self.settings is not None
        chosen, degree, place, single = uniform(self.seed, faces, view, draws=_DRAWS)[:, 28:32].T
        rows = np.flatnonzero(chosen < self.settings.close_eyes)
        if len(rows):
            frames, points = frames.clone(), points.copy()
            pixels = frames.numpy()
            for i in rows:
                eyes = self._eyes
                if single[i] < _WINKS:  # one eye; the rest of the same number says which
                    eyes = [eyes[int(len(eyes) * single[i] / _WINKS)]]
                closed = min(1.0, _LEAST_CLOSED + (1 - _LEAST_CLOSED) * 2 * degree[i])  # half of them wholly
                meeting = _MEETING[0] + (_MEETING[1] - _MEETING[0]) * place[i]
                pixels[i], points[i] = close_eyes(pixels[i], points[i], eyes, closed, meeting)
        return frames, points

    def _occlude(
        self, frames: Tensor, points: np.ndarray, faces: np.ndarray, view: int | np.ndarray
    ) -> tuple[Tensor, np.ndarray]:
        """Cover some faces, with the 33rd and 34th of their random numbers; return which points (B, N) are hidden."""
        hidden = np.zeros(points.shape[:2], bool)
        if not self.settings or not self.settings.occlusion:
            return frames, hidden
        chosen, which = uniform(self.seed, faces, view, draws=_DRAWS)[:, 32:34].T
        rows = np.flatnonzero(chosen < self.settings.occlusion)
        if len(rows):
            frames = frames.clone()
            pixels = frames.numpy()
            for i in rows:
                random = np.random.default_rng(int(which[i] * 2**53))
                pixels[i], hidden[i] = occlude(pixels[i], points[i], self._occluders, random)
        return frames, hidden

    def _matrices(self, boxes: np.ndarray, draw: Iterator[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return the similarities (B, 2, 3) from stored frame to input, and which of them (B,) mirror."""
        centre, side = centre_and_side(boxes)
        size = self.frame.size
        zoom = size / (np.maximum(side, 1e-6) * self.frame.scale)
        angle, shift, mirrored = np.zeros(len(boxes)), np.zeros((len(boxes), 2)), np.zeros(len(boxes), bool)
        if s := self.settings:
            angle = np.radians(s.rotation) * _both_ways(next(draw))
            log_side, x, y = self.spread or (0.0, 0.0, 0.0)
            zoom = zoom * np.exp(_widened(s.scale, log_side) * _both_ways(next(draw)))
            furthest = np.array(
                [_widened(s.shift, value / self.frame.scale) for value in (x, y)]
            )  # in sides of the crop
            shift = size * furthest * np.stack([_both_ways(next(draw)), _both_ways(next(draw))], axis=-1)
            mirrored = next(draw) < (0.5 if s.mirror and self._mirrors else 0)
        sign = np.where(mirrored, -1.0, 1.0)
        cos, sin = np.cos(angle) * zoom, np.sin(angle) * zoom
        linear = np.stack([np.stack([cos * sign, -sin], -1), np.stack([sin * sign, cos], -1)], -2)
        offset = (size - 1) / 2 + shift - (linear @ centre[..., None])[..., 0]
        return np.concatenate([linear, offset[..., None]], axis=-1), mirrored

    def _warp(self, frames: Tensor, matrix: np.ndarray) -> Tensor:
        """Sample frames (B, P, P, 3) uint8 by matrices to the input: (B, S, S, 3) in 0..255, black outside."""
        size = self.frame.size
        if self.device.type == "cpu":  # OpenCV's integer warp takes a fifth of grid_sample's time
            warped = np.empty((len(matrix), size, size, 3), np.uint8)

            def one(i: int) -> None:
                cv2.warpAffine(pixels[i], matrix[i], (size, size), warped[i], flags=cv2.INTER_LINEAR)

            pixels = frames.numpy()
            list(_threads().map(one, range(len(matrix))))
            return torch.from_numpy(warped).float()
        return self._sample(frames, matrix)

    def _sample(self, frames: Tensor, matrix: np.ndarray) -> Tensor:
        """Do what `_warp` does by grid_sample, on any device."""
        size = self.frame.size
        linear = np.linalg.inv(matrix[:, :, :2])
        back = np.concatenate([linear, -(linear @ matrix[:, :, 2:])], axis=-1)
        # grid_sample's coordinates run over [-1, 1] from edge to edge of the frame.
        back = back * (2 / frames.shape[1])
        back[:, :, 2] += 1 / frames.shape[1] - 1
        inverse = self._tensor(back)
        grid = (self._grid @ inverse[:, :, :2].mT + inverse[:, None, :, 2]).view(-1, size, size, 2)
        pixels = frames.to(self.device).permute(0, 3, 1, 2).float()
        return F.grid_sample(pixels, grid, align_corners=False).permute(0, 2, 3, 1).contiguous()

    def _colour(self, images: Tensor, draw: Iterator[np.ndarray]) -> Tensor:
        """Apply the colour jitter as one matrix per view: (B, S, S, 3) in 0..255 to about [0, 1]."""
        s = self.settings
        assert s is not None
        bias = s.brightness * _both_ways(next(draw))
        gain = np.exp(s.contrast * _both_ways(next(draw)))
        grey = s.saturation * _both_ways(next(draw))
        tint = np.exp(s.tint * np.stack([_both_ways(next(draw)) for _ in range(3)], axis=-1))
        luma = np.broadcast_to(np.array([0.299, 0.587, 0.114]), (3, 3))  # ITU-R BT.601
        mix = np.eye(3) * (1 - grey)[:, None, None] + luma * grey[:, None, None]
        matrix = mix * (gain[:, None] * tint)[:, :, None]
        offset = 0.5 * (1 - gain) + bias  # contrast turns about mid-grey
        flat = torch.baddbmm(self._tensor(offset)[:, None, None], images.flatten(1, 2), self._tensor(matrix / 255).mT)
        return flat.view_as(images)

    def _lose_detail(self, images: Tensor, random: np.ndarray) -> Tensor:
        """Make some views (B, 3, S, S) what moving cameras, few pixels and JPEG make of them, by numbers (9, B)."""
        s, size = self.settings, self.frame.size
        assert s is not None
        moved, length, angle, small, scale, level, field, compressed, quality = random
        for i in np.flatnonzero(moved < s.motion_blur):
            kernel = self._tensor(_line(_LONGEST_BLUR * size * length[i], np.pi * angle[i]))
            reach = kernel.shape[-1] // 2
            padded = F.pad(images[i : i + 1], (reach, reach, reach, reach), mode="replicate")
            images[i] = F.conv2d(padded, kernel.expand(3, 1, -1, -1), groups=3)[0]
        for i in np.flatnonzero((small < s.low_resolution) | (compressed < s.jpeg)):
            photo = images[i : i + 1]
            if small[i] < s.low_resolution:
                side = round(size * min(1, _LEAST_SIDE / size) ** scale[i])
                photo = F.interpolate(photo, (side, side), mode="bilinear", antialias=True)
                if self._noise is not None:  # of the photo's own pixels
                    grain = self._noise[int(field[i] * _NOISE_FIELDS), :, :side, :side]
                    photo = photo + s.noise * max(0.0, 2 * float(level[i]) - 1) * grain
            if compressed[i] < s.jpeg:
                low, high = _JPEG_QUALITY
                photo = _jpeg(photo[0], round(low + (high - low) * float(quality[i])))[None]
            images[i] = F.interpolate(photo, (size, size), mode="bilinear")[0]
        return images

    def _lose_contrast(self, images: Tensor, random: np.ndarray) -> Tensor:
        """Take contrast from some views (B, 3, S, S) in [0, 1], which become dark, pale or grey, by numbers (3, B)."""
        assert self.settings is not None
        chosen, low, shade = random
        for i in np.flatnonzero(chosen < self.settings.low_contrast):
            gain = _LEAST_CONTRAST ** float(low[i])
            images[i].mul_(gain).add_((1 - gain) * float(shade[i]))
        return images

    def _degrade(self, images: Tensor, draw: Iterator[np.ndarray]) -> tuple[Tensor, np.ndarray]:
        """Apply blur, noise and cut-out, each to some of the views (B, 3, S, S); return the cut boxes (B, 4), too."""
        s, size = self.settings, self.frame.size
        assert s is not None
        chosen = np.flatnonzero(next(draw) < s.blur)
        if len(chosen):
            rows = torch.from_numpy(chosen).to(self.device)
            kernel = torch.outer(_BLUR, _BLUR).expand(3, 1, 5, 5).to(self.device)
            images[rows] = F.conv2d(F.pad(images[rows], (2, 2, 2, 2), mode="replicate"), kernel, groups=3)
        level = s.noise * np.maximum(0, _both_ways(next(draw)))  # none on half of the views
        which, shift = next(draw), next(draw)
        if self._noise is not None:
            for i in np.flatnonzero(level):
                field = self._noise[int(which[i] * _NOISE_FIELDS)].roll(int(shift[i] * size), dims=-1)
                images[i].add_(field, alpha=float(level[i]))
        hit = next(draw) < s.cutout
        centre = np.stack([next(draw), next(draw)], -1) * size
        half = (0.05 + 0.2 * np.stack([next(draw), next(draw)], -1)) * size  # a tenth to a half of the frame wide
        shade = next(draw)
        low, high = np.clip(centre - half, 0, size).astype(int), np.clip(centre + half, 0, size).astype(int)
        for i in np.flatnonzero(hit):
            images[i, :, low[i, 1] : high[i, 1], low[i, 0] : high[i, 0]] = float(shade[i])
        return images.clamp_(0, 1), np.concatenate([low, high], axis=1) * hit[:, None]

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.device, torch.float32)


def _both_ways(u: np.ndarray) -> np.ndarray:
    """Map uniform numbers from [0, 1) to [-1, 1)."""
    return 2 * u - 1


def _widened(reach: float, deviation: float) -> float:
    """Return how far uniform values reach, so that they hold what varies by a standard deviation."""
    return reach if deviation < _CLEARLY * reach / 3**0.5 else _WIDE * deviation


def _line(length: float, angle: float) -> np.ndarray:
    """Return a kernel (k, k) of sum 1 that blurs along a line of some pixels, k odd; angle in radians."""
    reach = int(np.ceil(length / 2)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    steps = np.linspace(-length / 2, length / 2, 4 * reach + 1)
    for x, y in zip(reach + steps * np.cos(angle), reach + steps * np.sin(angle), strict=True):
        left, top = int(np.floor(x)), int(np.floor(y))  # shared out over the four pixels around
        right, below = x - left, y - top
        kernel[top, left] += (1 - right) * (1 - below)
        kernel[top, left + 1] += right * (1 - below)
        kernel[top + 1, left] += (1 - right) * below
        kernel[top + 1, left + 1] += right * below
    return kernel / kernel.sum()


def _jpeg(image: Tensor, quality: int) -> Tensor:
    """Return an image (3, H, W) in [0, 1] as JPEG keeps it."""
    pixels = (image.permute(1, 2, 0).clamp(0, 1) * 255).round().to("cpu", torch.uint8)
    _, data = cv2.imencode(".jpg", pixels.numpy()[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1].copy()
    return torch.from_numpy(decoded).to(image.device).permute(2, 0, 1) / 255


@cache
def _threads() -> ThreadPoolExecutor:
    """Return the threads for warps; OpenCV releases the interpreter lock meanwhile."""
    return ThreadPoolExecutor(min(8, usable_cores()), thread_name_prefix="warp")
