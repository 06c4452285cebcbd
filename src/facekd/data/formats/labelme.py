"""labelme: a JSON per photo, whose shapes are single points by name, or a line through all points of a face.

The points of a face share a `group_id`; a photo's only face needs none. A rectangle of the same group is its box. A
point with the flag "occluded" is occluded, one that is not there missing.

Source: https://github.com/wkentaro/labelme. Positions count from the photo's corner: the first pixel's centre is 0.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from facekd.data.dataset import Problem
from facekd.data.formats.files import holds, read_json
from facekd.data.formats.label import Format, Label, Marks, photo_size, point_indices, truth
from facekd.errors import InputError
from facekd.markup import MarkUp

_ORIGIN = 0.5


def recognise(path: Path, markup: MarkUp) -> bool:
    """Say whether a file is one of labelme's.

    Args:
        path: a JSON file.
        markup: what the points are.

    Returns:
        Whether it holds shapes and the path of an image.
    """
    return holds(path, b'"shapes"') and holds(path, b'"imagePath"')


def read(files: list[Path], markup: MarkUp) -> Iterator[Label | Problem]:
    """Yield the faces of each file.

    Args:
        files: the label files.
        markup: what the points are.

    Yields:
        Faces; photos without one; a Problem for each file that is not as the format has it.

    Raises:
        InputError: points have names that mean none of the mark-up's.
    """
    photos: list[tuple[Path, Marks, dict[str, Any]] | Problem] = []
    for path in files:
        try:
            content = read_json(path)
            photos.append((path, _marks(content["shapes"], markup.count), content))
        except InputError as error:
            photos.append(Problem(str(path), str(error)))
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError, IndexError) as error:
            photos.append(Problem(str(path), f"not as labelme writes its files: {error!r}"))
    indices = point_indices((m[1] for p in photos if not isinstance(p, Problem) for m in p[1].points), markup)
    for photo in photos:
        if isinstance(photo, Problem):
            yield photo
            continue
        path, marks, content = photo
        size = photo_size(content.get("imageWidth"), content.get("imageHeight"))
        name = str(content.get("imagePath") or path.stem)
        try:
            faces = list(marks.faces(indices, markup.count))
        except InputError as error:
            yield Problem(str(path), str(error))
            continue
        for face in faces or [{"points": np.empty((0, 2))}]:
            yield Label(name, str(path), path.parent, size=size, origin=_ORIGIN, **face)


def _marks(shapes: list[dict[str, Any]], count: int) -> Marks:
    """Return a file's shapes as marks; those that are no points, lines or rectangles are something else's."""
    marks = Marks()
    for shape in shapes:
        face = "" if shape.get("group_id") is None else str(shape["group_id"])
        points = np.array(shape["points"], np.float64).reshape(-1, 2) - _ORIGIN
        flags = {str(key).lower(): truth(value) for key, value in (shape.get("flags") or {}).items()}
        occluded = flags.get("occluded", flags.get("hidden"))
        if shape.get("shape_type") == "point":
            marks.points.append((face, str(shape["label"]), *points[0].tolist(), occluded))
        elif shape.get("shape_type") == "rectangle":
            marks.boxes.append((face, *points.min(axis=0).tolist(), *points.max(axis=0).tolist()))
        elif len(points) == count and shape.get("shape_type") in ("linestrip", "polygon", "points", "line"):
            marks.runs.append((face, points, occluded))
    return marks


FORMAT = Format("labelme", (".json",), recognise, read)
