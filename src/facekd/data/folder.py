"""Your own photos: a folder with photos and label files, at any depth, in one of the formats of `formats`.

Which split a photo is in is said, first things first, by lists of names, by the label file, by a folder `train`, `val`
or `test` that it lies in; of those left, one in ten validates, unless there is a validation set of one's own. All faces
of a photo, and all of a group, go the same way.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from facekd.data.dataset import NO_LABEL, NO_PHOTO, Annotation, Dataset, Problem, train_or_val
from facekd.data.formats import registry
from facekd.data.formats.files import read_text
from facekd.data.formats.label import Label, split_word
from facekd.data.marks import unset
from facekd.data.mean_shape import FEWEST, whole_boxes
from facekd.data.photos import Header, Photos, read_header
from facekd.errors import InputError
from facekd.images import read_image
from facekd.markup import MarkUp

_FAR = 1e5  # pixels; three times the longest side of a photo that is read
_MARK = 0.01  # pixels: a coordinate as written is the same as another


@dataclass(frozen=True)
class Options:
    """How a folder is read.

    Attributes:
        format: of the label files; "auto" finds out.
        stored_pixels: whether labels count in the stored pixels of photos that EXIF turns; None: as the format does.
        val_list: a text file with a photo's name per line, relative to the folder; they validate.
        test_list: the same; they are the test set.
        missing: positions that mean that a point was not labelled, as the label files write them, such as (0, 0).
    """

    format: str = registry.AUTO
    stored_pixels: bool | None = None
    val_list: Path | None = None
    test_list: Path | None = None
    missing: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class _Face:
    """A label whose photo is found; `name` is the photo's, `split` what is said of it."""

    label: Label
    photo: Path
    name: str
    header: Header | None
    split: str


def read(source: Path, markup: MarkUp, options: Options | None = None) -> Iterator[Annotation | Problem]:
    """Yield the faces of a folder in the order of its label files.

    Args:
        source: the data set's folder.
        markup: what the points are.
        options: how it is read; None for the defaults.

    Yields:
        Faces; a Problem for each label that cannot be read, has no photo, or holds marks that were not set; and for
        each photo that no label file names.

    Raises:
        InputError: the folder holds no labels, or in several formats; the label files contradict each other.
    """
    options, photos = options or Options(), Photos(source)
    lists = {Path(path).resolve() for path in (options.val_list, options.test_list) if path}
    label_format, files = registry.find(
        (path for path in photos.files if path.resolve() not in lists), markup, options.format
    )
    listed, problems = _listed(photos, options)
    stored = label_format.stored_pixels if options.stored_pixels is None else options.stored_pixels
    faces: list[_Face] = []
    named: set[str] = set()
    for item in label_format.read(files, markup):
        if isinstance(item, Problem):
            problems.append(item)
            continue
        try:
            photo = photos.find(item.photo, item.folder)
        except InputError as error:
            if len(item.points):
                problems.append(Problem(item.where, str(error), NO_PHOTO))
            continue
        name = photos.name_of(photo)
        named.add(name)
        if not len(item.points):
            continue
        split = listed.get(name) or item.split or (_split_of_folders(name) if photo.is_relative_to(source) else "")
        try:
            header = read_header(photo)
            label = _in_pixels(item, header, stored, options.missing)
            _check_count(label.points, markup)
            faces.append(_Face(label, photo, name, header, split))
        except InputError as error:
            problems.append(Problem(item.where, f"{name}: {error}"))
    annotations = list(_annotations(faces, stored))
    yield from (replace(problem, name=problem.name.removeprefix(f"{source}{os.sep}")) for problem in problems)
    yield from (
        Problem(name, "no label that can be used names it", NO_LABEL) for name in photos.photos if name not in named
    )
    yield from annotations


def _listed(photos: Photos, options: Options) -> tuple[dict[str, str], list[Problem]]:
    """Return the split of each photo in the lists of names, and names that are no photo's."""
    found: dict[str, str] = {}
    problems = []
    for split, path in (("val", options.val_list), ("test", options.test_list)):
        if path is None:
            continue
        for number, line in enumerate(read_text(Path(path)).splitlines(), 1):
            if not line.strip():
                continue
            try:
                name = photos.name_of(photos.find(line, photos.source))
            except InputError as error:
                problems.append(Problem(f"{Path(path).name}, line {number}", str(error)))
                continue
            if found.setdefault(name, split) != split:
                raise InputError(f"photo {name} is in both lists, of validation and of testing; take it off one")
    return found, problems


def _split_of_folders(name: str) -> str:
    """Return the split that one of the folders of a photo is called after; "test" if there are several."""
    splits = {split_word(part) for part in name.split("/")[:-1] if re.fullmatch(r"[A-Za-z]+\d*", part)}  # val2017
    return next((split for split in ("test", "val", "train") if split in splits), "")


def _in_pixels(label: Label, header: Header | None, stored: bool, missing: Sequence[tuple[float, float]]) -> Label:
    """Return a label in pixels of its photo, without marks that mean missing points.

    Raises:
        InputError: the label was made on a photo of another size, or holds marks that were not set.
    """
    if header is not None:
        _check_size(label, header, stored)
    points, box = label.points.astype(np.float64), label.box
    if label.shares:
        if header is None:
            raise InputError("its size cannot be read")
        size = np.array(header.size if stored else header.upright)
        points = points * size - 0.5
        box = None if box is None else box * np.tile(size, 2) - 0.5
    points[np.isnan(points).any(axis=1)] = np.nan
    written = points + label.origin
    for position in missing:
        points[np.abs(written - position).max(axis=1) < _MARK] = np.nan
    if len(far := np.flatnonzero((np.abs(points) > _FAR).any(axis=1))):
        raise InputError(f"point {far[0]} is at {points[far[0], 0]:g},{points[far[0], 1]:g}, where no photo reaches")
    corner = np.flatnonzero(unset(points + label.origin))
    if len(corner):
        x, y = (points + label.origin)[corner[0]].round().astype(int)
        which = f"point {corner[0]}" + (f" and {len(corner) - 1} more" if len(corner) > 1 else "")
        means = f"set them, or prepare with --missing={x},{y} if that means missing"
        raise InputError(f"{which} at {x},{y}, as marks that were not set; {means}")
    return replace(label, points=points, box=None if box is None or not np.isfinite(box).all() else box)


def _check_count(points: np.ndarray, markup: MarkUp) -> None:
    """Raise InputError if so many points are missing that those left do not say how large the others' box is."""
    there = int((~np.isnan(points).any(axis=1)).sum())
    if markup.crop == "points" and 0 < there < FEWEST <= len(points):
        raise InputError(f"only {there} of its {len(points)} points are there, too few to tell where the others are")


def _check_size(label: Label, header: Header, stored: bool) -> None:
    """Raise InputError if a label was made on a photo of another size."""
    read, other = (header.size, header.upright) if stored else (header.upright, header.size)
    if label.size is None or label.size == read:
        return
    was, has = (f"{width}x{height}" for width, height in (label.size, read))
    if label.size == other:
        fix = "--upright" if stored else "--stored-pixels"
        raise InputError(f"labelled at {was}, but {has} with its EXIF {'not ' if stored else ''}applied; try {fix}")
    raise InputError(f"labelled at {was}, but the photo has {has}")


def _annotations(faces: list[_Face], stored: bool) -> Iterator[Annotation]:
    """Yield the faces with their splits, and with visibility if that of some points differs from that of others."""
    splits = _splits(faces)
    told = [face.label for face in faces if face.label.visible is not None]
    seen = [label.visible[~np.isnan(label.points).any(axis=1)] for label in told if label.visible is not None]
    occluded = any(not flags.all() for flags in seen) and any(flags.any() for flags in seen)
    boxes = _whole_boxes([face.label.points for face in faces])
    count: Counter[str] = Counter()
    for face, split, box in zip(faces, splits, boxes, strict=True):
        count[face.name] += 1
        label, number = face.label, count[face.name]
        visible = np.ones(len(label.points), bool) if label.visible is None else label.visible
        subsets = () if split == "train" else label.subsets if split == "val" else ("full", *label.subsets)
        yield Annotation(
            name=face.name if number == 1 else f"{face.name}#{number}",
            load=partial(read_image, face.photo, apply_exif=not stored),
            points=label.points,
            split=split,
            subsets=tuple(dict.fromkeys(subsets)),
            visible=visible & ~np.isnan(label.points).any(axis=1) if occluded else None,
            box=label.box,
            tight_box=box,
            orientation=1 if stored or face.header is None else face.header.orientation,
        )


def _whole_boxes(points: list[np.ndarray]) -> list[np.ndarray | None]:
    """Return the tight box of each face that has missing points, had it all; None for the others."""
    alike = len({len(each) for each in points}) == 1  # else some will be refused
    missing = [bool(np.isnan(each).any() and not np.isnan(each).all()) for each in points]
    if not alike or not any(missing):
        return [None] * len(points)
    some = [place for place, each in enumerate(points) if not np.isnan(each).all()]
    boxes = dict(zip(some, whole_boxes(np.array([points[place] for place in some])), strict=True))
    return [boxes[place] if lacks else None for place, lacks in enumerate(missing)]


def _splits(faces: list[_Face]) -> list[str]:
    """Return each face's split: one for all faces that share a photo or a group, directly or through others.

    Raises:
        InputError: what is said of some that belong together differs.
    """
    together = _connected([[f"photo {face.name}", *_groups(face)] for face in faces])
    said: defaultdict[str, dict[str, str]] = defaultdict(dict)  # of each set: split -> a face's photo that says so
    keys: defaultdict[str, set[str]] = defaultdict(set)
    for face, root in zip(faces, together, strict=True):
        said[root].setdefault(face.split, face.name)
        keys[root].update(_groups(face) or [face.name])
    own_validation = any("val" in splits for splits in said.values())
    decided = {}
    for root, splits in said.items():
        splits.pop("", None)
        if len(splits) > 1:
            (one, a), (other, b) = list(splits.items())[:2]
            raise InputError(f"{a} is in split {one}, {b} in {other}, but they share a photo or a group")
        split = next(iter(splits), "train")
        if split == "train" and not own_validation:
            split = train_or_val(min(keys[root]))
        decided[root] = split
    return [decided[root] for root in together]


def _groups(face: _Face) -> list[str]:
    return [f"group {face.label.group}"] if face.label.group else []


def _connected(sets: Iterable[list[str]]) -> list[str]:
    """Return for each set of words one that stands for all that are connected with it (union-find)."""
    parent: dict[str, str] = {}

    def root(word: str) -> str:
        while parent.setdefault(word, word) != word:
            parent[word] = parent[parent[word]]
            word = parent[word]
        return word

    listed = list(sets)
    for first, *others in listed:
        for other in others:
            parent[root(other)] = root(first)
    return [root(first) for first, *_ in listed]


DATASET = Dataset("folder", read, None, "Your own photos: you know the terms.")
