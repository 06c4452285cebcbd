"""Inspect: what a pack holds, and what in it a person should look at."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facekd.data import sheet
from facekd.data.checks import Finding, fit_mean, label_findings
from facekd.data.pack import Pack
from facekd.files import claim_folder, write_text
from facekd.geometry import centre_and_side
from facekd.shape import ShapeModel

# Correlation of two 16x16 grey thumbnails above which they show the same photo: on 300W every pair above 0.97 does,
# re-compressed, brightened or with a caption; different photos start below 0.95.
_SAME_PHOTO = 0.98
_BLOCK = 512  # faces compared with all others at a time, so that memory grows with the pack and not with its square
_TINY = 32.0  # pixels of face; below, an eye is four pixels wide


def inspect(
    pack: Pack, folder: str | Path, faces: int = 36, variance: float = 90.0
) -> tuple[dict[str, Any], list[Finding]]:
    """Count a pack's faces, look for problems, and write contact sheets and inspect.json.

    Args:
        pack: the faces.
        folder: where the sheets go.
        faces: at most so many on a sheet.
        variance: percent of the variance that the pictured soft-landmarks keep.

    Returns:
        What `statistics` and `findings` say.
    """
    with claim_folder(folder):
        return _inspect(pack.readable(), Path(folder), faces, variance)


def _inspect(pack: Pack, folder: Path, faces: int, variance: float) -> tuple[dict[str, Any], list[Finding]]:
    numbers, found = statistics(pack), findings(pack)
    for name, indices in _groups(pack).items():
        sheet.save(folder / f"{name}.jpg", sheet.label_sheet(pack, _spread(indices, faces)))
    for finding in found:
        if finding.faces:
            picture = sheet.label_sheet(pack, finding.faces[:faces], finding.details)
            sheet.save(folder / f"{_file_name(finding.kind)}.jpg", picture)
    missing, is_train = np.isnan(pack.points).any(axis=2), pack.splits == "train"
    train = np.flatnonzero(is_train & ~missing.all(axis=1)).tolist()
    if len(train) > 1 and not missing[train].all(axis=0).any():  # of a point without labels no model knows
        shown = _spread(train, max(1, faces // 2))
        sheet.save(folder / "soft.jpg", sheet.soft_sheet(pack, shown, _soft(pack, train, shown, variance)))
    listed = [{"kind": f.kind, "text": f.text, "faces": [str(pack.names[i]) for i in f.faces]} for f in found]
    write_text(folder / "inspect.json", json.dumps(numbers | {"findings": listed}, indent=1))
    return numbers, found


def statistics(pack: Pack) -> dict[str, Any]:
    """Return plain numbers on a pack: faces per split, subset, quality; face size, roll, occlusion.

    Args:
        pack: the faces.

    Returns:
        Values that JSON takes, by name; distributions as min, p5, median, p95 and max.
    """
    _, sides = centre_and_side(pack.boxes)
    fits, missing = fit_mean(pack.points), np.isnan(pack.points).any(axis=2)
    result: dict[str, Any] = {
        "faces": len(pack),
        "points": pack.markup.count,
        "split": _count(pack.splits),
        "subset": _count([name for names in pack.subsets[pack.splits == "test"] for name in names]),
        "quality": _count(pack.quality),
        "stored_side_px": _quantiles(pack.sizes),
        "face_side_px": _quantiles(sides),
        "roll_degrees": _quantiles(fits.roll),
        "distance_to_mean_shape": _quantiles(fits.distance),
    }
    if missing.any():
        result["missing_percent"] = round(100 * float(missing.mean()), 2)
    if pack.visible is not None:
        result["occluded_percent"] = round(100 * float(1 - pack.visible[~missing].mean()), 2)
    return result


def findings(pack: Pack) -> list[Finding]:
    """Return what a person should look at: every check of this module. Decodes every photo once.

    Args:
        pack: the faces.

    Returns:
        One finding per kind of doubt; empty if there is none.
    """
    found = [_tiny(pack), _outside(pack), *label_findings(pack), *_duplicates(pack)]
    return [finding for finding in found if finding]


def _groups(pack: Pack) -> dict[str, list[int]]:
    """Return the faces of each sheet: training, validation, each subset, derived labels."""
    groups: dict[str, list[int]] = {}
    for i in range(len(pack)):
        split = str(pack.splits[i])
        names = [f"{split}-{subset}" for subset in pack.subsets[i]]
        names += [split] if split != "test" or not names else []
        for name in names + (["derived"] if pack.quality[i] == "derived" else []):
            groups.setdefault(_file_name(name), []).append(i)
    return groups


def _file_name(text: str) -> str:
    return re.sub(r"[^\w-]+", "-", text)


def _spread(indices: list[int], count: int) -> list[int]:
    """Return up to `count` of the indices, evenly spread."""
    return indices if len(indices) <= count else [indices[k * len(indices) // count] for k in range(count)]


def _soft(pack: Pack, train: list[int], shown: list[int], variance: float) -> np.ndarray:
    """Return the soft-landmarks (len(shown), N, 2) of some faces, of a shape model fitted to the faces of `train`."""
    sides = pack.sizes[:, None, None]  # shapes are compared in units of the crop
    model = ShapeModel.fit((pack.points / sides)[train], variance=variance)
    return model.soft(pack.points[shown] / sides[shown]) * sides[shown]


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
