"""dlib's imglab: one XML with images, boxes and their named parts. A part that is not there is a missing point.

Source: https://github.com/davisking/dlib/tree/master/tools/imglab. Pixels are counted from 0, in the stored photo.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from facekd.data.dataset import Problem
from facekd.data.formats.files import holds, read_xml
from facekd.data.formats.label import Format, Label, point_indices, split_of
from facekd.markup import MarkUp


def recognise(path: Path, markup: MarkUp) -> bool:
    """Say whether a file is one of imglab's.

    Args:
        path: an XML file.
        markup: what the points are.

    Returns:
        Whether it holds a data set with images.
    """
    return holds(path, b"<dataset") and holds(path, b"<images")


def read(files: list[Path], markup: MarkUp) -> Iterator[Label | Problem]:
    """Yield the faces of each file; boxes that imglab is told to ignore are none.

    Args:
        files: the label files.
        markup: what the points are.

    Yields:
        Faces with their boxes; images without one; a Problem for each box that is not as the format has it.

    Raises:
        InputError: a file is no XML, or its parts have names that mean no point.
    """
    roots = [read_xml(path) for path in files]
    indices = point_indices((part.get("name", "") for root in roots for part in root.iter("part")), markup)
    for path, root in zip(files, roots, strict=True):
        for image in root.iter("image"):
            photo, faces = image.get("file", ""), 0
            for number, box in enumerate(image.iter("box"), 1):
                if box.get("ignore") == "1" or box.find("part") is None:
                    continue
                faces += 1
                where, points = f"{path}, {photo}, box {number}", np.full((markup.count, 2), np.nan)
                try:
                    for part in box.iter("part"):
                        points[indices[part.get("name", "")]] = float(part.attrib["x"]), float(part.attrib["y"])
                    left, top, width, height = (float(box.attrib[key]) for key in ("left", "top", "width", "height"))
                except (KeyError, ValueError) as error:
                    yield Problem(where, f"expected numbers in left, top, width, height and each part's x, y ({error})")
                    continue
                corners = np.array([left, top, left + width - 1, top + height - 1])
                yield Label(photo, where, path.parent, points, box=corners, split=split_of(path, files))
            if not faces:
                yield Label(photo, str(path), path.parent, np.empty((0, 2)))


FORMAT = Format("dlib", (".xml",), recognise, read, stored_pixels=True)
