"""The statistical shape model behind soft-landmarks: principal components of the training shapes (numpy only).

A shape of N points is a vector of 2N numbers. The components V of the training shapes' covariance are directions in
which faces differ, their eigenvalues lambda say by how much. Projecting a shape on the few that explain p % of the
variance keeps pose and expression and drops what is particular: fine detail, and the annotator's noise.

    b = V^T (s - mean),  each b_i clipped to +-3 sqrt(lambda_i),  soft = mean + V b

With `procrustes`, what a similarity transform (translation, rotation, scale) can explain is set aside before and put
back after. A shape's pose is the least-squares fit of the mean to it, and the model is built on the shapes mapped back
by their poses: the tangent space at the mean, where projecting twice is projecting once.

A missing point (NaN) is filled in with what the model expects, given the points that are there: the posterior mean
under probabilistic PCA (Tipping & Bishop, 1999). To fit a model, filling in and fitting take turns until the points
settle.

Source: Cootes et al., Active Shape Models, CVIU 1995; Fard & Mahoor, arXiv 2111.07047 (no alignment in its released
code; p is printed nowhere we know of, 90 is our default).
"""

from __future__ import annotations

import math
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from facekd.errors import InputError
from facekd.files import atomic
from facekd.geometry import apply, invert, zoom
from facekd.similarity import fit_similarity

Array = np.ndarray[Any, Any]

_FILLING = 98.0  # percent of the variance whose modes say where missing points are; the rest counts as noise
_FEWEST = 3  # points, or all, that must be there to tell a face's pose
_POSES = 3  # times that the pose of a shape is found again once missing points are filled in
_ROUNDS, _SETTLED = 50, 1e-3  # of filling in while a model is fitted; of the shapes' size, by which points still move


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
            points: (n, N, 2) shapes, all in one frame: the crop's, in any unit. NaN where a point is missing.
            variance: share of the variance to keep, in percent, above 0 and up to 100.
            clip: limit of each coefficient in standard deviations, above 0; infinity for none.
            procrustes: align the shapes to their mean first (translation, rotation, scale).

        Returns:
            The fitted model.

        Raises:
            InputError: fewer than two different shapes, a point that is infinite or missing from all of them, a shape
                with too few points, or an argument out of range.
        """
        _check_percent(variance)
        if not clip > 0:
            raise InputError(f"the shape model's clip must be above 0 standard deviations (inf: no limit), got {clip}")
        points = np.asarray(points, dtype=np.float64)
        if points.ndim != 3 or points.shape[2] != 2 or points.shape[1] == 0:
            raise InputError(f"a shape model is fitted to points (shapes, N, 2), got an array {points.shape}")
        _check_shapes(points, procrustes)
        if len(points) < 2:
            raise InputError(f"a shape model needs at least two shapes, got {len(points)}")
        nowhere = np.isnan(points).any(-1).all(0)
        if nowhere.any():
            raise InputError(f"point {int(nowhere.argmax())} is missing from all shapes: take it out of the mark-up")
        given, points = points, _generalised_procrustes(points) if procrustes else points

        def fitted(shapes: Array) -> ShapeModel:
            return cls(*_principal(shapes), float(variance), float(clip), bool(procrustes))

        missing = np.isnan(points)
        if not missing.any():
            return fitted(points)
        filled = np.where(missing, np.nanmean(points, axis=0), points)
        for _ in range(_ROUNDS):
            model, before = fitted(filled), filled
            filled = model._expected(model._aligned(given)[0])
            if np.abs(filled - before).max() <= _SETTLED * np.abs(model.mean - model.mean.mean(0)).max():
                break
        return fitted(filled)

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
            points: (..., N, 2), in the frame the model was fitted in; with `procrustes` in any frame. NaN where one is
                missing.
            variance: percent to keep; None for the model's own.

        Returns:
            (..., N, 2), of the points' dtype; integers become float64. What is missing stays missing.

        Raises:
            InputError: another number of points, an infinite one, a shape with too few points, or a bad percentage.
        """
        points = self._checked(points)
        count = self.modes(variance)
        components = self.components[:, :count]
        limits = self.clip * np.sqrt(self.variances[:count])
        shapes, poses = self._aligned(points)
        vectors = (self._expected(shapes) - self.mean).reshape(*points.shape[:-2], self.mean.size)
        coefficients = np.clip(vectors @ components, -limits, limits)
        shapes = self.mean + (coefficients @ components.T).reshape(points.shape)
        if poses is not None:
            shapes = apply(poses, shapes)
        if np.isnan(points).any():
            shapes = np.where(np.isnan(points), np.nan, shapes)
        return shapes.astype(points.dtype if points.dtype.kind == "f" else np.float64)

    def filled(self, points: Array) -> Array:
        """Return shapes with their missing points where the model expects them, given those that are there.

        Args:
            points: (..., N, 2), as for `soft`; NaN where one is missing.

        Returns:
            (..., N, 2), of the points' dtype; those that are there as they are.

        Raises:
            InputError: as `soft`.
        """
        points = self._checked(points)
        shapes, poses = self._aligned(points)
        shapes = self._expected(shapes)
        if poses is not None:
            shapes = apply(poses, shapes)
        filled = np.where(np.isnan(points), shapes, points)
        return filled.astype(points.dtype if points.dtype.kind == "f" else np.float64)

    def _checked(self, points: Array) -> Array:
        points = np.asarray(points)
        if points.shape[-2:] != self.mean.shape:
            raise InputError(f"the shape model has points {self.mean.shape}, got an array {points.shape}")
        _check_shapes(points, self.procrustes)
        return points

    def _aligned(self, points: Array) -> tuple[Array, Array | None]:
        """Return points (..., N, 2) in the frame of the model, and the matrices (..., 2, 3) that lead back, if any."""
        shapes = points.astype(np.float64)
        if not self.procrustes:
            return shapes, None
        aligned, poses = _align(shapes, self.mean)
        missing = np.isnan(shapes)
        for _ in range(_POSES if missing.any() else 0):  # what is expected of the missing points tells the pose, too
            aligned, poses = _align(np.where(missing, apply(poses, self._expected(aligned)), shapes), self.mean)
            aligned = np.where(missing, np.nan, aligned)
        return aligned, poses

    def _expected(self, shapes: Array) -> Array:
        """Return shapes (..., N, 2) in the frame of the model, what is missing filled in."""
        missing = np.isnan(shapes)
        if not missing.any():
            return shapes
        count = self.modes(_FILLING)
        components, variances = self.components[:, :count], self.variances[:count]
        left = self.variances[count:].sum() / max(1, self.mean.size - count)  # variance per coordinate beside the modes
        noise = max(float(left), 1e-6 * float(variances[0]))
        there = ~missing.reshape(-1, self.mean.size)
        differences = np.where(missing, 0, shapes - self.mean).reshape(-1, self.mean.size)
        gram = np.einsum("ni,iq,ir->nqr", there, components, components, optimize=True)
        coefficients = np.linalg.solve(gram + np.diag(noise / variances), (differences @ components)[..., None])[..., 0]
        expected = self.mean + (coefficients @ components.T).reshape(shapes.shape)
        return np.where(missing, expected, shapes)

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
        # Of a name that is none, KeyError; of an archive that is damaged, all the others.
        except (
            OSError,
            EOFError,
            BadZipFile,
            KeyError,
            ValueError,
            TypeError,
            AttributeError,
            NotImplementedError,
            RuntimeError,
            zlib.error,
        ) as error:
            raise InputError(f"{path} is not a shape model that can be read ({error}): fit it again") from error
        if not _fits(values):
            raise InputError(f"{path} is not a shape model: its arrays do not fit each other; fit it again")
        return cls(**{name: value if value.ndim else value.item() for name, value in values.items()})


def distances(points: Array) -> Array:
    """Return how far each shape lies from the mean of all, both brought to one pose and size: Procrustes distances.

    Args:
        points: (n, N, 2) shapes, in any frames; NaN where a point is missing.

    Returns:
        (n,) in units of the mean shape's size; NaN for a shape with too few points to tell.

    Raises:
        InputError: a shape without extent.
    """
    points = np.asarray(points, dtype=np.float64)
    there, total = (~np.isnan(points).any(-1)).sum(1), points.shape[1]
    told = there >= min(_FEWEST, total)
    if not told.any():
        return np.full(len(points), np.nan)
    aligned = _generalised_procrustes(points[told])
    mean = _mean(aligned)
    apart = np.nan_to_num(aligned - mean) * np.sqrt(total / there[told])[:, None, None]
    found = np.full(len(points), np.nan)
    found[told] = np.linalg.norm(apart, axis=(1, 2)) / np.linalg.norm(mean)
    return found


def _fits(values: dict[str, Any]) -> bool:
    """Return whether arrays have the types, shapes and ranges of a model's; what is no array comes as bytes."""
    if not all(isinstance(value, np.ndarray) for value in values.values()):
        return False
    size, count = values["mean"].size, values["variances"].size
    shapes = {"mean": (size // 2, 2), "components": (size, count), "variances": (count,)}
    for name, value in values.items():
        kinds = "b" if name == "procrustes" else "f" if name in shapes else "fi"
        if value.shape != shapes.get(name, ()) or value.dtype.kind not in kinds:
            return False
        if name != "clip" and not np.isfinite(value).all():
            return False
    variances, variance = values["variances"], values["variance"]
    return bool(count and (variances > 0).all() and 0 < variance <= 100 and values["clip"] > 0)


def _check_percent(variance: float) -> float:
    if not 0 < variance <= 100:
        raise InputError(f"the shape model's variance is a percentage above 0 and up to 100, got {variance}")
    return variance


def _check_shapes(points: Array, procrustes: bool) -> None:
    """Refuse shapes (..., N, 2) with an infinite point, and such with too few points to place the others."""
    bad = np.isinf(points).any(axis=(-2, -1))
    if bad.any():
        raise InputError(f"shape {int(np.flatnonzero(bad)[0])} has a point that is not a number: leave it out")
    there = (~np.isnan(points).any(-1)).sum(-1)
    few = there < (min(_FEWEST, points.shape[-2]) if procrustes else 1)
    if few.any():
        index = int(np.flatnonzero(few)[0])
        raise InputError(f"shape {index} has {there.flat[index]} points that are not missing, too few: leave it out")


def _principal(points: Array) -> tuple[Array, Array, Array]:
    """Return mean (N, 2), components (2N, K) and variances (K,) of complete shapes (n, N, 2)."""
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
    return mean, components, variances


def _mean(points: Array, axis: int = 0, keepdims: bool = False) -> Array:
    """Return the mean of shapes over those that are not missing."""
    mean = np.nanmean if np.isnan(points).any() else np.mean
    return mean(points, axis=axis, keepdims=keepdims)


def _generalised_procrustes(points: Array) -> Array:
    """Align shapes (n, N, 2) to their own mean, centred on 0 with the training shapes' mean size (Gower, 1975)."""
    mean = _mean(points - _mean(points, axis=1, keepdims=True))
    size = np.linalg.norm(mean)
    for _ in range(100):  # faces need about five
        aligned, _ = _align(points, mean)
        previous, mean = mean, _mean(aligned)
        mean = mean * (size / np.linalg.norm(mean))
        if np.linalg.norm(mean - previous) <= 1e-12 * size:
            break
    return aligned


def _align(points: Array, mean: Array) -> tuple[Array, Array]:
    """Return points (..., N, 2) in the pose of the mean (N, 2), and the matrices (..., 2, 3) that lead back."""
    poses = fit_similarity(mean, points)
    reach, far = (np.nanmax(np.linalg.norm(shape, axis=-1), axis=-1) for shape in (mean, points))
    if (zoom(poses) * reach <= 1e-9 * far).any():
        raise InputError("a shape cannot be aligned to the mean shape (all its points on one spot?): leave it out")
    return apply(invert(poses), points), poses
