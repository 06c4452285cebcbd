"""Labels that look wrong: what a pack's points say by themselves, face by face, without a look at the photos."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from facekd.data.marks import unset
from facekd.data.mean_shape import Fits, complex_points, fit_mean, fitted
from facekd.data.pack import Pack
from facekd.geometry import apply, centre_and_side
from facekd.markup import MarkUp

# Chosen on the 3,770 faces of 300W: none of them is named, and at most 9 with only 4, 5, 6, 10 or 17 of their points.
_FAR = 6.0  # robust standard deviations of the distance to the mean shape
_FAR_AT_LEAST = 0.25  # of that distance, which is 0 to 1: in a pack of nearly equal faces small ones are no doubt
_OFF = 7.0  # robust standard deviations of how far a point is from where the others of its face say
_OFF_AT_LEAST = 0.15  # of the face's side
_ENOUGH = 10  # faces, to tell what is usual
_APART = 0.08  # of the face's side: points that lie nearer, such as those of eyelids, meet in good labels, too
_ALWAYS = 0.9  # of the faces: what meets on so many was never set apart
_SAME = 0.02  # pixels of the stored crop: one place, after the rounding of the crop's transform
_SWAPPED = 0.7  # of the distance: how much nearer a face must be to the mean shape once its sides change names
_SWAPPED_AT_LEAST = 0.2  # of that distance before
_PAIR_SWAPPED = 0.1  # of the squared distances: how much better points must fit once a pair has changed places
_PAIR_APART = 0.1  # of the face's side
_TURNED = 45.0  # degrees from upright
_ASYMMETRIC = 0.1  # of the face's side: a mean face is symmetric to a few hundredths
_MANY = 50  # faces, from which on turned heads average out


@dataclass(frozen=True)
class Finding:
    """One kind of doubt about some faces.

    Attributes:
        kind: a short name.
        text: one sentence: what, and what to do.
        faces: indices in the pack, the worst first.
        details: what to say beside each face.
    """

    kind: str
    text: str
    faces: tuple[int, ...] = ()
    details: tuple[str, ...] = ()


def label_findings(pack: Pack) -> list[Finding]:
    """Return what about a pack's labels a person should look at.

    Args:
        pack: the faces.

    Returns:
        One finding per kind of doubt; empty if there is none.
    """
    fits = fit_mean(pack.points)
    found: list[Finding | None] = [_unset_marks(pack), _repeated(pack)]
    if pack.markup.count > 2:  # any two shapes of two points are the same
        found += _swapped(pack, fits) if pack.markup.mirrors else []
        named = {face for finding in found if finding for face in finding.faces}  # what is wrong there is said
        rest = np.array([face not in named for face in range(len(pack))])
        found.append(off := _off(pack, fits, rest))
        rest[list(off.faces if off else ())] = False
        found += [_far(pack, fits, rest), _stored_pixels(pack, fits)]
        found += [_mirror_table(pack, fits)] if pack.markup.mirrors else []
    return [finding for finding in found if finding]


def _unset_marks(pack: Pack) -> Finding | None:
    """Find marks at 0,0 or -1,-1 of the photo; an old pack may hold some."""
    counts = np.array([unset(apply(m, p), 0.1).sum() for m, p in zip(pack.to_photo, pack.points, strict=True)])
    faces = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    text = f"{len(faces)} face(s) with points at 0,0 or -1,-1 of their photo, as marks that were not set; fix those"
    return _finding("marks not set", text, faces, [f"{counts[i]} points" for i in faces])


def _repeated(pack: Pack) -> Finding | None:
    """Find two points of a face in one place that are not known to meet."""
    _, sides = centre_and_side(pack.boxes)
    pairs: dict[int, tuple[int, int]] = {}
    for i, j in combinations(range(pack.markup.count), 2):
        distance = np.abs(pack.points[:, i] - pack.points[:, j]).max(axis=1)
        same = distance < _SAME
        if not same.any():
            continue
        apart = distance / sides
        if np.nanmedian(apart) > _APART or np.mean(same) > _ALWAYS:
            pairs |= {int(face): (i, j) for face in np.flatnonzero(same) if face not in pairs}
    faces = np.array(sorted(pairs), int)
    text = f"{len(faces)} face(s) with two points in one place; set the one that was forgotten"
    return _finding("repeated", text, faces, ["points {} and {}".format(*pairs[int(i)]) for i in faces])


def _far(pack: Pack, fits: Fits, among: np.ndarray) -> Finding | None:
    """Find faces whose shape is unlike all others: labels of another face, or points in another order."""
    limit = max(_usual(fits.distance, _FAR), _FAR_AT_LEAST)
    distance = np.where(among & fits.told, fits.distance, 0)
    faces = np.argsort(-distance, kind="stable")[: np.count_nonzero(distance > limit)]
    text = f"{len(faces)} face(s) far from the mean shape, perhaps with points in another order or of another face"
    return _finding("far from the mean shape", text, faces, [f"distance {fits.distance[i]:.2f}" for i in faces])


def _off(pack: Pack, fits: Fits, among: np.ndarray) -> Finding | None:
    """Find single points that lie elsewhere than the others of their face say.

    A point is predicted by the mean shape fitted to the others of its face. Of a face whose points are several times as
    far from that as usual, the one without which the rest fits best is named.
    """
    if pack.markup.count < 4 or len(pack) < _ENOUGH:
        return None
    z, mean = complex_points(pack.points), complex_points(fits.mean)
    there, (_, sides) = ~np.isnan(z), centre_and_side(pack.boxes)
    misses, rest = np.zeros(z.shape), np.full(z.shape, np.inf)
    for i in range(pack.markup.count):
        others = there & (np.arange(pack.markup.count) != i)
        predicted = fitted(mean, z, others)[0]
        error = np.abs(z - predicted) / sides[:, None]
        misses[:, i] = np.where(there[:, i], error[:, i], 0)
        rest[:, i] = np.where(there[:, i], np.where(others, error, 0).max(axis=1), np.inf)
    point = rest.argmin(axis=1)
    limits = np.array([max(_usual(misses[there[:, i], i], _OFF), _OFF_AT_LEAST) for i in range(pack.markup.count)])
    miss = misses[np.arange(len(z)), point]
    wrong = among & fits.told & (miss > np.maximum(limits[point], 2 * rest.min(axis=1)))
    faces = np.flatnonzero(wrong)[np.argsort(-miss[wrong], kind="stable")]
    text = f"{len(faces)} face(s) with a point far from where the others say; look whether it is where it belongs"
    return _finding("points off", text, faces, [f"point {point[i]}" for i in faces])


def _usual(values: np.ndarray, deviations: float) -> float:
    """Return the median and so many robust standard deviations above it; without enough values infinity."""
    if len(values) < 3:
        return float("inf")
    median = np.median(values)
    return float(median + deviations * 1.4826 * np.median(np.abs(values - median)))


def _swapped(pack: Pack, fits: Fits) -> list[Finding | None]:
    """Find faces whose labels fit the others better once left and right change names: all points, or some pairs."""
    z, mean, mirror = complex_points(pack.points), complex_points(fits.mean), list(pack.markup.mirror)
    _, _, other = fitted(mean, z[:, mirror], ~np.isnan(z[:, mirror]))
    better = (other < _SWAPPED * fits.distance) & (fits.distance > _SWAPPED_AT_LEAST)
    whole = np.flatnonzero(better & fits.told)
    text = f"{len(whole)} face(s) with left and right swapped in their labels; fix those"
    found = _finding("swapped", text, whole, ["swapped"] * len(whole))
    pairs: dict[int, tuple[int, int]] = {}
    side = np.ptp(fits.mean, axis=0).max()
    for i, j in enumerate(mirror):
        if i >= j or np.linalg.norm(fits.mean[i] - fits.mean[j]) < _PAIR_APART * side:
            continue
        # Fitted to the others: with few points the pair itself would turn the mean shape round.
        used = ~np.isnan(z) & ~np.isin(np.arange(len(mirror)), (i, j))
        predicted = fitted(mean, z, used)[0]
        kept = np.abs(z[:, i] - predicted[:, i]) ** 2 + np.abs(z[:, j] - predicted[:, j]) ** 2
        crossed = np.abs(z[:, i] - predicted[:, j]) ** 2 + np.abs(z[:, j] - predicted[:, i]) ** 2
        better = (crossed < _PAIR_SWAPPED * kept) & fits.told
        pairs |= {int(face): (i, j) for face in np.flatnonzero(better) if face not in pairs and face not in whole}
    faces = np.array(sorted(pairs), int)
    text = f"{len(faces)} face(s) with some points of left and right swapped; fix those"
    details = ["points {} and {}".format(*pairs[int(i)]) for i in faces]
    return [found, _finding("pairs swapped", text, faces, details)]


def _mirror_table(pack: Pack, fits: Fits) -> Finding | None:
    """Find points that do not lie where their mirror partners say, on the mean face: the mark-up's table is wrong."""
    if len(pack) < _MANY:
        return None
    wrong = asymmetric_points(fits.mean, pack.markup)
    text = f"the mark-up's mirror does not fit the mean face at points {wrong}; fix its table"
    return Finding("mirror", text) if wrong else None


def asymmetric_points(mean: np.ndarray, markup: MarkUp) -> list[int]:
    """Return the points of a mean shape that lie far from their partners' mirror image.

    Args:
        mean: (N, 2), upright and centred.
        markup: what the points are.

    Returns:
        Indices of the points.
    """
    mirrored = mean[list(markup.mirror)] * (-1, 1)
    side = np.ptp(mean, axis=0).max()
    return [int(i) for i in np.flatnonzero(np.linalg.norm(mirrored - mean, axis=1) > _ASYMMETRIC * side)]


# By how much EXIF's orientations turn the stored pixels, clockwise, where they do not mirror them.
_QUARTERS = {3: 180.0, 6: 90.0, 8: 270.0}


def _stored_pixels(pack: Pack, fits: Fits) -> Finding | None:
    """Find photos that were turned upright while their labels were not: those lie, as one sees them, on the side.

    Had a label been made on the upright photo, its face would mostly be upright there. If it was made on the stored
    pixels, the face is upright once it is turned as EXIF says.
    """
    angles = np.array([_QUARTERS.get(int(code), 0.0) for code in pack.orientations])
    lying = np.abs(_wrapped(fits.roll)) > _TURNED
    faces = np.flatnonzero((angles > 0) & lying & (np.abs(_wrapped(fits.roll + angles)) < _TURNED))
    if len(faces) <= np.count_nonzero(angles) / 2:  # some people do lie down
        return None
    text = (
        f"{len(faces)} face(s) labelled on stored pixels, it seems, not on the upright photo; prepare --stored-pixels"
    )
    return _finding("stored pixels", text, faces, [f"roll {_wrapped(fits.roll)[i]:.0f} degrees" for i in faces])


def _wrapped(degrees: np.ndarray) -> np.ndarray:
    return (degrees + 180) % 360 - 180


def _finding(kind: str, text: str, faces: np.ndarray, details: list[str]) -> Finding | None:
    return Finding(kind, text, tuple(map(int, faces)), tuple(details)) if len(faces) else None
