"""Inspect: what a pack holds, and what in it a person should look at."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from facekd.data.pack import Pack
from facekd.geometry import centre_and_side
from facekd.markup import MarkUp

# Correlation of two 16x16 grey thumbnails above which they show the same photo: on 300W every pair above 0.97 does,
# re-compressed, brightened or with a caption; different photos start below 0.95.
_SAME_PHOTO = 0.98
_BLOCK = 512  # faces compared with all others at a time, so that memory grows with the pack and not with its square
_TINY = 32.0  # pixels of face; below, an eye is four pixels wide
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


def statistics(pack: Pack) -> dict[str, Any]:
    """Return plain numbers on a pack: faces per split, subset, quality; face size, roll, occlusion."""
    _, sides = centre_and_side(pack.boxes)
    roll, unlike = _roll_and_unlikeness(pack.points)
    result: dict[str, Any] = {
        "faces": len(pack),
        "points": pack.markup.count,
        "split": _count(pack.splits),
        "subset": _count([name for names in pack.subsets for name in names]),
        "quality": _count(pack.quality),
        "stored_side_px": _quantiles(pack.sizes),
        "face_side_px": _quantiles(sides),
        "roll_degrees": _quantiles(roll),
        "distance_to_mean_shape": _quantiles(unlike),
    }
    if pack.visible is not None:
        result["occluded_percent"] = round(100 * float(1 - pack.visible.mean()), 2)
    return result


def findings(pack: Pack) -> list[Finding]:
    """Return what a person should look at, empty if nothing: every check of this module. Decodes every photo once."""
    found = [_tiny(pack), _outside(pack), _swapped(pack), _mirror_table(pack), *_duplicates(pack)]
    return [finding for finding in found if finding]


def _count(values: Any) -> dict[str, int]:
    return {str(name): count for name, count in sorted(Counter(values).items())}


def _quantiles(values: np.ndarray) -> dict[str, float]:
    names = ("min", "p5", "median", "p95", "max")
    return {n: round(float(q), 3) for n, q in zip(names, np.percentile(values, (0, 5, 50, 95, 100)), strict=True)}


def _tiny(pack: Pack) -> Finding | None:
    _, sides = centre_and_side(pack.boxes)
    faces = np.flatnonzero(sides < _TINY)
    faces = faces[np.argsort(sides[faces])]
    text = f"{len(faces)} face(s) smaller than {_TINY:.0f} px, a blurred input for any network"
    return Finding("tiny", text, tuple(faces), tuple(f"{sides[i]:.0f} px" for i in faces)) if len(faces) else None


def _outside(pack: Pack) -> Finding | None:
    low, high = pack.points < -0.5, pack.points > pack.sizes[:, None, None] - 0.5
    counts = (low | high).any(axis=2).sum(axis=1)
    faces = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    text = f"{len(faces)} face(s) with points outside their crop; prepare with a larger --margin"
    return Finding("outside", text, tuple(faces), tuple(f"{counts[i]} points" for i in faces)) if len(faces) else None


def _shapes(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return shapes (n, N) as centred complex vectors of length 1, and their full Procrustes mean (N,).

    The mean is the leading eigenvector of sum z z*, and |<z, mean>| does not feel rotation (Kent, 1994).
    """
    z = points[..., 0].astype(np.float64) + 1j * points[..., 1]
    z -= z.mean(axis=1, keepdims=True)
    z /= np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    return z, np.linalg.eigh(z.T @ z.conj())[1][:, -1]


def _upright(mean: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Turn the mean, whose rotation is free, as most of the shapes are."""
    turn = (z @ mean.conj()).sum()
    return mean * turn / abs(turn)


def _unlike(z: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the Procrustes distance (n,) of shapes to the mean: 0 the same, 1 nothing in common."""
    return np.sqrt(np.maximum(1 - np.abs(z @ mean.conj()) ** 2, 0))


def _roll_and_unlikeness(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each face's rotation against the mean shape in degrees, clockwise, and its distance to that shape."""
    z, mean = _shapes(points)
    return np.degrees(np.angle(z @ _upright(mean, z).conj())), _unlike(z, mean)


def _swapped(pack: Pack) -> Finding | None:
    """Find faces whose labels fit the others better once left and right change names."""
    z, mean = _shapes(pack.points)
    distance, other = _unlike(z, mean), _unlike(z[:, list(pack.markup.mirror)], mean)
    faces = np.flatnonzero(other < distance)
    text = f"{len(faces)} face(s) with left and right swapped in their labels; mend those"
    return Finding("swapped", text, tuple(faces), ("swapped",) * len(faces)) if len(faces) else None


def _mirror_table(pack: Pack) -> Finding | None:
    """Find points that do not lie where their mirror partners say, on the mean face: the mark-up's table is wrong."""
    if len(pack) < _MANY:
        return None
    z, mean = _shapes(pack.points)
    wrong = asymmetric_points(_upright(mean, z), pack.markup)
    text = f"the mark-up's mirror does not fit the mean face at points {wrong}; mend its table"
    return Finding("mirror", text) if wrong else None


def asymmetric_points(mean: np.ndarray, markup: MarkUp) -> list[int]:
    """Return the points of an upright mean shape (N,), complex, that lie far from their partners' mirror image."""
    mirrored = -mean.conj()[list(markup.mirror)]
    side = max(np.ptp(mean.real), np.ptp(mean.imag))
    return [int(i) for i in np.flatnonzero(np.abs(mirrored - mean) > _ASYMMETRIC * side)]


def _duplicates(pack: Pack) -> list[Finding]:
    """Find the same photo twice, in two splits and within one, by thumbnails: each face with the one most like it."""
    thumbnails = np.concatenate([[_thumbnail(image) for image in batch] for batch in pack.images()])
    across: dict[tuple[int, int], float] = {}
    within: dict[tuple[int, int], float] = {}
    for start in range(0, len(pack), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(pack)))
        likeness = thumbnails[block] @ thumbnails.T
        likeness[block - start, block] = -1  # no face is its own partner
        same_split = pack.splits[block, None] == pack.splits
        for pairs, allowed in ((across, ~same_split), (within, same_split)):
            partners = np.where(allowed, likeness, -1)
            best = partners.argmax(axis=1)
            for i, j, alike in zip(block.tolist(), best.tolist(), partners.max(axis=1).tolist(), strict=True):
                if alike > _SAME_PHOTO:
                    pairs[min(i, j), max(i, j)] = alike
    where = "in two splits, so that figures on them flatter"
    return [
        *_pairs(pack, "duplicates across splits", where, across),
        *_pairs(pack, "duplicates", "within one split", within),
    ]


def _pairs(pack: Pack, kind: str, where: str, pairs: dict[tuple[int, int], float]) -> list[Finding]:
    """Return a finding of pairs (face, face) and their likeness, the most alike first; none without pairs."""
    faces = tuple(face for pair in sorted(pairs, key=lambda pair: -pairs[pair]) for face in pair)
    details = tuple(f"{pack.splits[face]}, pair {k // 2 + 1}" for k, face in enumerate(faces))
    return [Finding(kind, f"{len(pairs)} times the same photo {where}", faces, details)] if pairs else []


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """Return a grey 16x16 thumbnail without its mean, as a vector of length 1."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    vector = cv2.resize(grey, (16, 16), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    vector -= vector.mean()
    return vector / max(float(np.linalg.norm(vector)), 1e-6)
