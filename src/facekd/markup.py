"""What the points of a face are: names, mirror pairs, contours, normalisers, and conversions between mark-ups."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from facekd.documents import MAX_POINTS, Fields, is_group, is_index, parse_yaml, read_text
from facekd.errors import InputError, nearest

Pair = tuple[tuple[int, ...], tuple[int, ...]]
CROPS = ("points", "face")


@dataclass(frozen=True)
class Contour:
    """A polyline through points of a mark-up, for drawing and for errors by part of the face.

    Attributes:
        name: such as "left eye"; left is the image's left.
        points: indices of the points in drawing order, from 0.
        closed: whether the last point is joined to the first.
    """

    name: str
    points: tuple[int, ...]
    closed: bool = False


@dataclass(frozen=True)
class MarkUp:
    """What N points mean.

    Attributes:
        name: how recipes, packs and model cards refer to it.
        count: N.
        mirror: a permutation of 0..N-1 that undoes itself; point i of a mirrored photo is point mirror[i] of the photo.
        contours: polylines for drawing.
        inter_ocular: the outer eye corners, as two groups of points; the distance of their means normalises errors.
        inter_pupil: the same for the pupils.
        names: what label files call the points, in their order; empty where those number them.
        crop: what faces are cut out by: "points", their tight box; or "face", the box of the whole face, for points too
            few or too near to each other to say where the face is.

    Raises:
        InputError: indices out of range, `mirror` is not a permutation that undoes itself, `names` are not one for
            each point, or `crop` is unknown or asks for the box of a single point.
    """

    name: str
    count: int
    mirror: tuple[int, ...]
    contours: tuple[Contour, ...] = ()
    inter_ocular: Pair | None = None
    inter_pupil: Pair | None = None
    names: tuple[str, ...] = ()
    crop: str = "points"

    def __post_init__(self) -> None:
        everything = range(self.count)
        if sorted(self.mirror) != list(everything) or any(self.mirror[self.mirror[i]] != i for i in everything):
            raise InputError(f"mark-up '{self.name}': mirror must list 0..{self.count - 1} once each, in pairs; fix it")
        named = [contour.points for contour in self.contours]
        named += [group for pair in (self.inter_ocular, self.inter_pupil) if pair for group in pair]
        wrong = sorted({i for group in named for i in group if i not in everything})
        if wrong:
            raise InputError(f"mark-up '{self.name}' has {self.count} points but names {wrong}; count from 0")
        if self.names and len(set(self.names)) != self.count:
            raise InputError(f"mark-up '{self.name}': names must be {self.count} different ones, one for each point")
        if self.crop not in CROPS:
            raise InputError(f"mark-up '{self.name}': crop '{self.crop}'; {nearest(str(self.crop), CROPS)}")
        if self.count == 1 and self.crop == "points":
            raise InputError(f"mark-up '{self.name}': a single point has no box to be cut out by; give it crop: face")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON or YAML; `from_dict` reads them back.

        Returns:
            The attributes by name; `names` and `crop` only where they are not the default.
        """
        values = asdict(self)
        defaults = {"names": (), "crop": "points"}
        return {key: value for key, value in values.items() if key not in defaults or value != defaults[key]}

    def contour(self, name: str) -> Contour:
        """Find a part of the face.

        Args:
            name: such as "left eye"; left is the image's left.

        Returns:
            Its contour.

        Raises:
            InputError: no contour has that name.
        """
        for contour in self.contours:
            if contour.name == name:
                return contour
        names = [contour.name for contour in self.contours]
        raise InputError(f"mark-up '{self.name}' has no part '{name}'; {nearest(str(name), names)}")

    @property
    def mirrors(self) -> bool:
        """Whether it says what points become in a mirrored photo; without pairs nobody can know."""
        return self.mirror != tuple(range(self.count))

    @classmethod
    def from_dict(cls, values: Any, where: str = "mark-up") -> MarkUp:
        """Read what `to_dict` wrote, or a user's YAML, where mirror may list only the pairs [[0, 16], [1, 15], ...].

        Args:
            values: the attributes by name; name and count are needed.
            where: names the file in messages.

        Returns:
            The mark-up.

        Raises:
            InputError: a key is missing, unknown or of the wrong kind.
        """
        fields = Fields(values, where, advice="give name, count, mirror, contours")
        allowed = tuple(cls.__dataclass_fields__)
        for key in fields.values:
            if key not in allowed:
                raise InputError(f"{where}: unknown key '{key}'; {nearest(key, allowed)}")
        name, count = fields.text("name"), fields.integer("count", 1, MAX_POINTS)
        contours = []
        for each in fields.list("contours", is_group, "groups of name and points", 1000, ()):
            contour = fields.inner(each, "contours")
            contours.append(Contour(contour.text("name"), contour.indices("points", count), contour.boolean("closed")))
        names = fields.list("names", lambda value: isinstance(value, str | int), "texts", count, ())
        pairs = {key: _pair(fields, key, count) for key in ("inter_ocular", "inter_pupil")}
        mirror, crop = _mirror(fields, count), fields.text("crop", "face" if count == 1 else "points")
        return cls(name, count, mirror, tuple(contours), **pairs, names=tuple(map(str, names)), crop=crop)


def _permutation(count: int, pairs: Iterable[Iterable[int]]) -> tuple[int, ...]:
    """Return the permutation that swaps the given pairs and keeps every other point."""
    mirror = list(range(count))
    for left, right in pairs:
        mirror[left], mirror[right] = right, left
    return tuple(mirror)


def _mirror(fields: Fields, count: int) -> tuple[int, ...]:
    """Read what each point is in a mirrored photo: all of them, pairs, or nothing, where nobody knows."""
    given = fields.values.get("mirror")
    if not isinstance(given, list | tuple) or not any(isinstance(item, list | tuple) for item in given):
        return fields.indices("mirror", count, ()) or tuple(range(count))

    def is_pair(value: Any) -> bool:
        return isinstance(value, list | tuple) and len(value) == 2 and all(is_index(item, count) for item in value)

    return _permutation(count, fields.list("mirror", is_pair, f"pairs of 0 to {count - 1}", count))


def _pair(fields: Fields, key: str, count: int) -> Pair | None:
    """Read two groups of points; a single number stands for a group of one."""

    def are_points(value: Any) -> bool:
        points = value if isinstance(value, list | tuple) else [value]
        return len(points) > 0 and all(is_index(item, count) for item in points)

    groups = fields.list(key, are_points, f"groups of points from 0 to {count - 1}", 2, None)
    if groups is None:
        return None
    if len(groups) != 2:
        fields.refuse(key, "two groups of points")
    first, second = (tuple(group) if isinstance(group, list | tuple) else (group,) for group in groups)
    if set(first) == set(second):  # their distance, which errors are divided by, would be 0
        fields.refuse(key, "two groups of different points")
    return first, second


def _run(name: str, first: int, last: int, closed: bool = False) -> Contour:
    return Contour(name, tuple(range(first, last + 1)), closed)


# iBUG 68: https://ibug.doc.ic.ac.uk/resources/300-W/ (there counted from 1). "left" is the image's left.
IBUG68 = MarkUp(
    "ibug68",
    68,
    _permutation(
        68,
        [(i, 16 - i) for i in range(8)]
        + [(17 + i, 26 - i) for i in range(5)]
        + [(31, 35), (32, 34)]
        + [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
        + [(48, 54), (49, 53), (50, 52), (55, 59), (56, 58)]
        + [(60, 64), (61, 63), (65, 67)],
    ),
    (
        _run("jaw", 0, 16),
        _run("left brow", 17, 21),
        _run("right brow", 22, 26),
        _run("nose bridge", 27, 30),
        _run("nose base", 31, 35),
        _run("left eye", 36, 41, closed=True),
        _run("right eye", 42, 47, closed=True),
        _run("outer lips", 48, 59, closed=True),
        _run("inner lips", 60, 67, closed=True),
    ),
    inter_ocular=((36,), (45,)),
    inter_pupil=(tuple(range(36, 42)), tuple(range(42, 48))),
)

# WFLW 98: https://wywu.github.io/projects/LAB/WFLW.html
WFLW98 = MarkUp(
    "wflw98",
    98,
    _permutation(
        98,
        [(i, 32 - i) for i in range(16)]
        + [(33 + i, 46 - i) for i in range(5)]
        + [(38 + i, 50 - i) for i in range(4)]
        + [(55, 59), (56, 58)]
        + [(60, 72), (61, 71), (62, 70), (63, 69), (64, 68), (65, 75), (66, 74), (67, 73)]
        + [(76, 82), (77, 81), (78, 80), (87, 83), (86, 84)]
        + [(88, 92), (89, 91), (95, 93), (96, 97)],
    ),
    (
        _run("jaw", 0, 32),
        _run("left brow", 33, 41, closed=True),
        Contour("right brow", (42, 43, 44, 45, 46, 47, 48, 49, 50), closed=True),
        _run("nose bridge", 51, 54),
        _run("nose base", 55, 59),
        _run("left eye", 60, 67, closed=True),
        _run("right eye", 68, 75, closed=True),
        _run("outer lips", 76, 87, closed=True),
        _run("inner lips", 88, 95, closed=True),
        _run("left pupil", 96, 96),
        _run("right pupil", 97, 97),
    ),
    inter_ocular=((60,), (72,)),
    inter_pupil=((96,), (97,)),
)

# COFW 29: Burgos-Artizzu et al., "Robust face landmark estimation under occlusion", ICCV 2013.
COFW29 = MarkUp(
    "cofw29",
    29,
    _permutation(
        29,
        [(0, 1), (2, 3), (4, 6), (5, 7), (8, 9), (10, 11), (12, 14), (13, 15), (16, 17), (18, 19), (22, 23)],
    ),
    (
        Contour("left brow", (0, 4, 2, 5), closed=True),
        Contour("right brow", (1, 6, 3, 7), closed=True),
        Contour("left eye", (8, 12, 10, 13), closed=True),
        Contour("right eye", (9, 14, 11, 15), closed=True),
        Contour("left pupil", (16,)),
        Contour("right pupil", (17,)),
        Contour("nose", (18, 20, 19, 21), closed=True),
        Contour("upper lip", (22, 24, 23, 25), closed=True),
        Contour("lower lip", (22, 26, 23, 27), closed=True),
        Contour("chin", (28,)),
    ),
    inter_ocular=((8,), (9,)),
    inter_pupil=((16,), (17,)),
)

# Eye centres, nose tip, mouth corners: what face recognition aligns by.
FIVE = MarkUp(
    "five5",
    5,
    (1, 0, 2, 4, 3),
    (
        Contour("left eye", (0,)),
        Contour("right eye", (1,)),
        Contour("nose", (2,)),
        Contour("mouth", (3, 4)),
    ),
    inter_pupil=((0,), (1,)),
)

MARKUPS = {markup.name: markup for markup in (IBUG68, WFLW98, COFW29, FIVE)}


def get(name: str | Path) -> MarkUp:
    """Return a mark-up by its name, or read one from a YAML file.

    Args:
        name: ibug68, wflw98, cofw29, five5, or a .yaml file with the keys of `MarkUp` (mirror also as pairs).

    Returns:
        The mark-up.

    Raises:
        InputError: no such name or file, or the file does not describe a mark-up.
    """
    if str(name) in MARKUPS:
        return MARKUPS[str(name)]
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"no mark-up '{name}'; {nearest(str(name), MARKUPS)}, or a .yaml file of your own")
    own = MarkUp.from_dict(parse_yaml(read_text(path, "mark-up"), f"mark-up {path}"), f"mark-up {path}")
    if own.name in MARKUPS and own != MARKUPS[own.name]:
        raise InputError(f"mark-up {path}: '{own.name}' is another mark-up's name; give it one of its own")
    return own


# Each target point is the mean of a group of source points.
_IBUG_FROM_WFLW: list[tuple[int, ...]] = [
    (i,)
    for i in (
        *range(0, 33, 2),  # every second jaw point
        *range(33, 38),  # upper edges of the brows
        *range(42, 47),
        *range(51, 60),  # nose
        *(60, 61, 63, 64, 65, 67),  # eyes: without the points above and below the pupil
        *(68, 69, 71, 72, 73, 75),
        *range(76, 96),  # lips
    )
]
_FIVE_FROM_IBUG: list[tuple[int, ...]] = [tuple(range(36, 42)), tuple(range(42, 48)), (30,), (48,), (54,)]
_FIVE_FROM_COFW: list[tuple[int, ...]] = [(16,), (17,), (20,), (22,), (23,)]
_STEPS: dict[tuple[str, str], list[tuple[int, ...]]] = {
    ("wflw98", "ibug68"): _IBUG_FROM_WFLW,
    ("ibug68", "five5"): _FIVE_FROM_IBUG,
    ("cofw29", "five5"): _FIVE_FROM_COFW,
}


@cache
def _conversion(source: str, target: str, count: int) -> np.ndarray | None:
    """Return the (target N, source N) matrix of a conversion, through a mark-up between them if need be."""
    if source == target:
        return np.eye(count)
    if (source, target) in _STEPS:
        groups = _STEPS[source, target]
        matrix = np.zeros((len(groups), count))
        for row, group in enumerate(groups):
            matrix[row, list(group)] = 1 / len(group)
        return matrix
    for first, between in _STEPS:
        if first == source and (rest := _conversion(between, target, MARKUPS[between].count)) is not None:
            return rest @ _conversion(source, between, count)
    return None


def conversion(source: MarkUp, target: MarkUp) -> np.ndarray | None:
    """Return how `convert` computes one mark-up's points from another's.

    Args:
        source: what the points are, M of them.
        target: what they should become, N of them.

    Returns:
        (N, M) weights, each row adding up to 1; None where there is no way.
    """
    return _conversion(source.name, target.name, source.count)


def convertible(source: MarkUp, target: MarkUp) -> bool:
    """Return whether `convert` knows the way from one mark-up to another.

    Args:
        source: what the points are.
        target: what they should become.

    Returns:
        Whether there is a way.
    """
    return conversion(source, target) is not None


def convert(points: np.ndarray, source: MarkUp, target: MarkUp) -> np.ndarray:
    """Convert points from one mark-up to another: 98 -> 68 -> 5, or 29 -> 5.

    Args:
        points: (..., n, 2).
        source: what they are, n points.
        target: what they should become, m points.

    Returns:
        (..., m, 2) of the same dtype.

    Raises:
        InputError: there is no conversion, or `points` do not have the source's count.
    """
    if points.shape[-2:] != (source.count, 2):
        raise InputError(f"mark-up '{source.name}' has {source.count} points (x, y), got an array {points.shape}")
    matrix = _conversion(source.name, target.name, source.count)
    if matrix is None:
        ways = ", ".join(f"{a} to {b}" for a, b in _STEPS)
        raise InputError(f"points of '{source.name}' cannot become '{target.name}'; known conversions: {ways}")
    return (matrix @ points.astype(np.float64)).astype(points.dtype)
