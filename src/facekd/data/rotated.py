"""Rotated faces as a dataset: `facekd prepare rotated PACK OUT`. `facekd.synthetic.rotate` turns them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from facekd.data.dataset import Annotation, Dataset, Item, Problem
from facekd.data.pack import Pack
from facekd.errors import InputError
from facekd.markup import IBUG68
from facekd.synthetic.fit import fit_head
from facekd.synthetic.rotate import SolidFace, rotate

SUBSET = "rotated"  # names these faces among others, for stages that leave them out
_TURN = (15.0, 60.0)  # degrees of yaw that are added, away from the camera
_PITCH = 30.0  # degrees of pitch that are added at most, up or down
_LARGEST_YAW, _LARGEST_PITCH = 65.0, 35.0  # of a rotated face: beyond, too little of it is in the photo
_SMALLEST_TURN = 10.0  # degrees of yaw; a face that cannot be turned by as much is turned enough
_FRONTAL = 8.0  # degrees of yaw below which a face may be turned either way
_LARGEST_ERROR = 0.065  # of a fit, in inter-ocular distances: one face in a hundred of 300W has more


def sample_turn(rng: np.random.Generator, yaw: float, pitch: float) -> tuple[float, float] | None:
    """Draw by how much a face is turned: further away from the camera than it is, and up or down.

    Args:
        rng: source of the randomness.
        yaw: of the face in its photo, degrees.
        pitch: of the face in its photo, degrees.

    Returns:
        Degrees of yaw and of pitch to add; None if the face is turned so far that nothing is left to add.
    """
    side = np.sign(yaw) if abs(yaw) > _FRONTAL else rng.choice((-1.0, 1.0))
    room = _LARGEST_YAW - side * yaw
    if room < _SMALLEST_TURN:
        return None
    most = min(_TURN[1], room)
    turn = rng.uniform(min(_TURN[0], most), most)
    target = np.clip(pitch + rng.triangular(-_PITCH, 0, _PITCH), -_LARGEST_PITCH, _LARGEST_PITCH)
    return float(side * turn), float(np.clip(target - pitch, -_PITCH, _PITCH))


def pose(source: Path, row: int, seed: int, number: int) -> Annotation | Problem:
    """Rotate one face of a pack.

    Args:
        source: the pack.
        row: of the face in it.
        seed: names a dataset, 0 or more.
        number: which of the face's poses, 0 or more.

    Returns:
        The face as a dataset's reader yields it, its crop being the photo.
    """
    pack = _pack(source)
    name = str(pack.names[row])
    face = _solid(source, row)
    if isinstance(face, str):
        return Problem(name, face)
    camera = face.fit.camera
    turn = sample_turn(np.random.default_rng((seed, row, number)), camera.yaw, camera.pitch)
    if turn is None:
        return Problem(name, f"its yaw is {camera.yaw:.0f} degrees already")
    try:
        photo = pack.image(row)
    except InputError as error:
        return Problem(name, str(error))
    image, points = rotate(photo, face, *turn)
    name = f"{name} yaw{turn[0]:+.0f} pitch{turn[1]:+.0f}"
    return Annotation(name, lambda: image, points.astype(np.float32), str(pack.splits[row]), (SUBSET,), "derived")


@lru_cache(1)
def _pack(source: Path) -> Pack:
    """One for each of `prepare`'s processes."""
    return Pack.open(source)


@lru_cache(1)
def _solid(source: Path, row: int) -> SolidFace | str:
    """Return a face of a pack in space, or why there is none; its poses come one after another."""
    points = _pack(source).points[row]
    if np.isnan(points).any():
        return "some of its points are missing"
    fit = fit_head(points)
    if fit is None:
        return "its points show no pose"
    if fit.error > _LARGEST_ERROR:
        return f"the head model misses its points by {100 * fit.error:.1f} % of the inter-ocular distance"
    return SolidFace.of(points, fit)


def read(source: Path, count: int, seed: int) -> Iterator[Item]:
    """Yield the training and validation faces of a pack in new poses, each about as often; test faces never.

    Args:
        source: the pack, of mark-up ibug68.
        count: how many poses in all.
        seed: the same one gives the same poses.

    Yields:
        A picklable function per pose that rotates the face and returns its `Annotation`.

    Raises:
        InputError: there is no such pack, or it has no face to rotate.
    """
    pack = Pack.open(source)
    if pack.markup.name != IBUG68.name:
        raise InputError(f"{source} has mark-up {pack.markup.name}; only faces with {IBUG68.name} can be rotated")
    rows = np.flatnonzero(pack.splits != "test")
    if not len(rows):
        raise InputError(f"{source} has test faces only, and these are never rotated")
    times = np.full(len(rows), count // len(rows))
    times[np.random.default_rng(seed).permutation(len(rows))[: count % len(rows)]] += 1
    for row, poses in zip(rows, times, strict=True):
        for number in range(poses):
            yield partial(pose, source, int(row), seed, number)


DATASET = Dataset("rotated", read, IBUG68, "Photos whose faces facekd rotated; the photos' terms hold.", packed=True)
