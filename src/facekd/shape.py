"""The statistical shape model behind soft-landmarks: principal components of the training shapes (numpy only).

A shape of N points is a vector of 2N numbers. The components V of the training shapes' covariance are directions in
which faces differ, their eigenvalues lambda say by how much. Projecting a shape on the few that explain p % of the
variance keeps pose and expression and drops what is particular: fine detail, and the annotator's noise.

    b = V^T (s - mean),  each b_i clipped to +-3 sqrt(lambda_i),  soft = mean + V b

With `procrustes`, what a similarity transform (translation, rotation, scale) can explain is set aside before and put
back after. A shape's pose is the least-squares fit of the mean to it, and the model is built on the shapes mapped back
by their poses: the tangent space at the mean, where projecting twice is projecting once.

Source: Cootes et al., Active Shape Models, CVIU 1995; Fard & Mahoor, arXiv 2111.07047 (no alignment in its released
code; p is printed nowhere we know of, 90 is our default).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from facekd.errors import InputError
from facekd.files import atomic
from facekd.geometry import apply, fit_similarity, invert, zoom

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class ShapeModel:
    """A mean shape and the directions, most important first, in which shapes of its training set differ from it.

    Attributes:
        mean: (N, 2), in the frame of the training shapes.
        components: (2N, K) orthonormal columns; every direction in which the training shapes differ at all.
        variances: (K,) variance of the training shapes along each component, falling.
        variance: share of the variance, in percent, that `soft` keeps when it is not told otherwise.
        clip: limit of each coefficient in standard deviations; infinity for none.
        procrustes: whether shapes are aligned to the mean first.
    """

    mean: Array
    components: Array
    variances: Array
    variance: float = 90.0  # ours: see the module's docstring
    clip: float = 3.0  # released code
    procrustes: bool = False  # released code

    @classmethod
    def fit(cls, points: Array, variance: float = 90.0, clip: float = 3.0, procrustes: bool = False) -> ShapeModel:
        """Fit the model; all components are kept, so that `soft` can be asked for any other percentage later.

        Args:
            points: (n, N, 2) shapes, all in one frame: the crop's, in any unit.
            variance: share of the variance to keep, in percent, above 0 and up to 100.
            clip: limit of each coefficient in standard deviations, above 0; infinity for none.
            procrustes: align the shapes to their mean first (translation, rotation, scale).

        Returns:
            The fitted model.

        Raises:
            InputError: fewer than two different shapes, a point that is not a number, or an argument out of range.
        """
        _check_percent(variance)
        if not clip > 0:
            raise InputError(f"the shape model's clip must be above 0 standard deviations (inf: no limit), got {clip}")
        points = np.asarray(points, dtype=np.float64)
        if points.ndim != 3 or points.shape[2] != 2 or points.shape[1] == 0:
            raise InputError(f"a shape model is fitted to points (shapes, N, 2), got an array {points.shape}")
        _check_finite(points)
        if len(points) < 2:
            raise InputError(f"a shape model needs at least two shapes, got {len(points)}")
        if procrustes:
            points = _generalised_procrustes(points)
        mean = points.mean(0)
        vectors = (points - mean).reshape(len(points), -1)
        variances, components = np.linalg.eigh(vectors.T @ vectors / (len(points) - 1))
        variances, components = variances[::-1], components[:, ::-1]
        if variances[0] <= np.finfo(np.float64).eps * np.square(points).mean():
            raise InputError(f"all {len(points)} shapes are the same, so there is nothing to model")
        kept = int((variances > 1e-12 * variances[0]).sum())  # the rest is rounding
        variances, components = variances[:kept], components[:, :kept]
        # An eigenvector's sign is arbitrary; this choice gives the same file on every machine.
        components = components * np.sign(components[np.abs(components).argmax(0), np.arange(kept)])
        return cls(mean, components, variances, float(variance), float(clip), bool(procrustes))

    @property
    def explained(self) -> Array:
        """Percent of the variance that the first 1, 2, ... K components explain together, (K,)."""
        total: Array = np.cumsum(self.variances)
        return 100 * total / total[-1]

    def modes(self, variance: float | None = None) -> int:
        """Return how many components it takes to explain a share of the variance.

        Args:
            variance: in percent; None for the model's own.

        Returns:
            The count, at least 1.

        Raises:
            InputError: a percentage that is not above 0 and up to 100.
        """
        percent = _check_percent(self.variance if variance is None else variance)
        return min(int(np.searchsorted(self.explained, percent - 1e-9)) + 1, len(self.variances))

    def soft(self, points: Array, variance: float | None = None) -> Array:
        """Return the soft-landmarks of shapes.

        Args:
            points: (..., N, 2), in the frame the model was fitted in; with `procrustes` in any frame.
            variance: percent to keep; None for the model's own.

        Returns:
            (..., N, 2), of the points' dtype; integers become float64.

        Raises:
            InputError: another number of points, a point that is not a number, or a bad percentage.
        """
        points = np.asarray(points)
        if points.shape[-2:] != self.mean.shape:
            raise InputError(f"the shape model has points {self.mean.shape}, got an array {points.shape}")
        _check_finite(points)
        count = self.modes(variance)
        components = self.components[:, :count]
        limits = self.clip * np.sqrt(self.variances[:count])
        shapes = points.astype(np.float64)
        if self.procrustes:
            shapes, poses = _align(shapes, self.mean)
        vectors = (shapes - self.mean).reshape(*points.shape[:-2], self.mean.size)
        coefficients = np.clip(vectors @ components, -limits, limits)
        shapes = self.mean + (coefficients @ components.T).reshape(points.shape)
        if self.procrustes:
            shapes = apply(poses, shapes)
        return shapes.astype(points.dtype if points.dtype.kind == "f" else np.float64)

    def along(self, mode: int, deviations: float) -> Array:
        """Return the mean shape moved along one component.

        Args:
            mode: index of the component, from 0.
            deviations: how far, in standard deviations.

        Returns:
            (N, 2), in the frame of the training shapes.
        """
        step = deviations * math.sqrt(self.variances[mode]) * self.components[:, mode]
        return self.mean + step.reshape(self.mean.shape)

    def save(self, path: str | Path) -> None:
        """Write the model to a file, whole or not at all.

        Args:
            path: the .npz file.
        """
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> ShapeModel:
        """Read what `save` wrote.

        Args:
            path: the .npz file.

        Returns:
            The model.

        Raises:
            InputError: no such file, or not a shape model.
        """
        try:
            with np.load(path) as file:
                values = {name: file[name] for name in cls.__dataclass_fields__}
            return cls(**{name: value if value.ndim else value.item() for name, value in values.items()})
        except (OSError, EOFError, BadZipFile, KeyError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is not a shape model that can be read ({error}): fit it again") from error


def distances(points: Array) -> Array:
    """Return how far each shape lies from the mean of all, both brought to one pose and size: Procrustes distances.

    Args:
        points: (n, N, 2) shapes, in any frames.

    Returns:
        (n,) in units of the mean shape's size.

    Raises:
        InputError: a shape without extent.
    """
    aligned = _generalised_procrustes(np.asarray(points, dtype=np.float64))
    mean = aligned.mean(0)
    return np.linalg.norm(aligned - mean, axis=(1, 2)) / np.linalg.norm(mean)


def _check_percent(variance: float) -> float:
    if not 0 < variance <= 100:
        raise InputError(f"the shape model's variance is a percentage above 0 and up to 100, got {variance}")
    return variance


def _check_finite(points: Array) -> None:
    bad = ~np.isfinite(points).all(axis=(-2, -1))
    if bad.any():
        raise InputError(f"shape {int(np.flatnonzero(bad)[0])} has a point that is not a number: leave it out")


def _generalised_procrustes(points: Array) -> Array:
    """Align shapes (n, N, 2) to their own mean, centred on 0 with the training shapes' mean size (Gower, 1975)."""
    mean = (points - points.mean(1, keepdims=True)).mean(0)
    size = np.linalg.norm(mean)
    for _ in range(100):  # faces need about five
        aligned, _ = _align(points, mean)
        previous, mean = mean, aligned.mean(0)
        mean = mean * (size / np.linalg.norm(mean))
        if np.linalg.norm(mean - previous) <= 1e-12 * size:
            break
    return aligned


def _align(points: Array, mean: Array) -> tuple[Array, Array]:
    """Return points (..., N, 2) in the pose of the mean (N, 2), and the matrices (..., 2, 3) that lead back."""
    poses = fit_similarity(mean, points)
    reach, far = (np.linalg.norm(shape, axis=-1).max(axis=-1) for shape in (mean, points))
    if (zoom(poses) * reach <= 1e-9 * far).any():
        raise InputError("a shape cannot be aligned to the mean shape (all its points on one spot?): leave it out")
    return apply(invert(poses), points), poses
