"""CVAT for images: one XML whose images hold skeletons, points or boxes, with "occluded" and "outside" (missing).

A face is a skeleton; or a points shape with all points in order; or single points by name that share a `group_id`.
Source: https://docs.cvat.ai/docs/manual/advanced/xml_format/ (version 1.1). Positions count from the photo's corner:
the first pixel's centre is 0.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facekd.data.dataset import Problem
from facekd.data.formats.files import holds, read_xml
from facekd.data.formats.label import Format, Label, Marks, photo_size, point_indices, split_of, split_word, truth
from facekd.errors import InputError
from facekd.markup import MarkUp

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_ORIGIN = 0.5


def recognise(path: Path, markup: MarkUp) -> bool:
    """Say whether a file is one of CVAT's.

    Args:
        path: an XML file.
        markup: what the points are.

    Returns:
        Whether it holds annotations of images or of a video.
    """
    return holds(path, b"<annotations") and (holds(path, b"<image") or holds(path, b"<track"))


def read(files: list[Path], markup: MarkUp) -> Iterator[Label | Problem]:
    """Yield the faces of each file.

    Args:
        files: the label files.
        markup: what the points are.

    Yields:
        Faces; images without one; a Problem for each image whose shapes are not as the format has them.

    Raises:
        InputError: a file is no XML or of a video, or points have names that mean none of the mark-up's.
    """
    images: list[tuple[Path, Element, Marks | str]] = []
    for path in files:
        root = read_xml(path)
        if root.find("track") is not None:
            raise InputError(f"label file {path} is 'CVAT for video'; export it as 'CVAT for images' instead")
        for image in root.iter("image"):
            try:
                images.append((path, image, _marks(image, markup.count)))
            except (KeyError, ValueError) as error:
                images.append((path, image, f"not as CVAT writes its shapes: {error!r}"))
    indices = point_indices((m[1] for *_, marks in images if isinstance(marks, Marks) for m in marks.points), markup)
    for path, image, marks in images:
        photo = image.get("name", "")
        where = f"{path}, {photo}"
        try:
            if isinstance(marks, str):
                raise InputError(marks)
            faces = list(marks.faces(indices, markup.count))
        except InputError as error:
            yield Problem(where, str(error))
            continue
        split = split_word(image.get("subset", "")) or split_of(path, files)
        size = photo_size(image.get("width"), image.get("height"))
        for face in faces or [{"points": np.empty((0, 2))}]:
            yield Label(photo, where, path.parent, split=split, size=size, origin=_ORIGIN, **face)


def _marks(image: Element, count: int) -> Marks:
    """Return an image's shapes as marks; polygons, masks and the like are something else's."""
    marks = Marks()
    for number, skeleton in enumerate(image.iter("skeleton"), 1):
        face = skeleton.get("group_id") or f"skeleton {number}"
        for point in skeleton.iter("points"):
            if not truth(point.get("outside")):
                ((x, y),) = _positions(point)
                marks.points.append((face, point.get("label", ""), x, y, truth(point.get("occluded"))))
    for shape in image.findall("points"):
        positions, occluded = _positions(shape), truth(shape.get("occluded"))
        if len(positions) == count and count > 1:
            marks.runs.append((shape.get("group_id", ""), np.array(positions), occluded))
        elif len(positions) == 1:
            marks.points.append((shape.get("group_id", ""), shape.get("label", ""), *positions[0], occluded))
        else:
            raise ValueError(f"points '{shape.get('label')}' has {len(positions)} points, the mark-up {count}")
    for box in image.findall("box"):
        x0, y0, x1, y1 = (float(box.attrib[key]) - _ORIGIN for key in ("xtl", "ytl", "xbr", "ybr"))
        marks.boxes.append((box.get("group_id", ""), x0, y0, x1, y1))
    return marks


def _positions(shape: Element) -> list[tuple[float, float]]:
    """Return the positions of a shape: "x,y;x,y"."""
    pairs = (pair.split(",") for pair in shape.attrib["points"].split(";"))
    return [(float(x) - _ORIGIN, float(y) - _ORIGIN) for x, y in pairs]


FORMAT = Format("cvat", (".xml",), recognise, read)
