"""VGG Image Annotator (VIA 1 and 2): a project, or its annotations exported as JSON or CSV.

A point region is a point: the region attribute `point` (or name, label, landmark, id; or the only one there is) says
which, `face` (or group) of which face, `occluded` whether it is hidden. Without a name a photo's points are taken in
their order, face by face. A polyline or polygon of all points is a face, a rectangle its box.

Source: https://www.robots.ox.ac.uk/~vgg/software/via/. Positions are those of clicked pixels, counted from 0.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from facekd.data.dataset import Problem
from facekd.data.formats.files import holds, read_json, read_text
from facekd.data.formats.label import Format, Label, Marks, point_indices, truth
from facekd.errors import InputError
from facekd.markup import MarkUp

_NAMES = ("point", "name", "label", "landmark", "keypoint", "part", "id", "type")
_FACES = ("face", "face_id", "group", "group_id", "person")
_FLAGS = ("occluded", "hidden", "visible")


def recognise(path: Path, markup: MarkUp) -> bool:
    """Say whether a file is one of VIA's.

    Args:
        path: a JSON or CSV file.
        markup: what the points are.

    Returns:
        Whether it holds regions with shape attributes.
    """
    return holds(path, b"region_shape_attributes" if path.suffix.lower() == ".csv" else b'"shape_attributes"')


def read(files: list[Path], markup: MarkUp) -> Iterator[Label | Problem]:
    """Yield the faces of each file.

    Args:
        files: the label files.
        markup: what the points are.

    Yields:
        Faces; photos without one; a Problem for each photo whose regions are not as the format has them.

    Raises:
        InputError: a file is not as the format has it, or points have names that mean none of the mark-up's.
    """
    photos: list[tuple[Path, str, Marks | str]] = []
    for path in files:
        for photo, regions in _photos(path).items():
            try:
                photos.append((path, photo, _marks(regions, markup.count)))
            except InputError as error:
                photos.append((path, photo, str(error)))
            except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
                photos.append((path, photo, f"not as VIA writes its regions: {error!r}"))
    indices = point_indices((m[1] for *_, marks in photos if isinstance(marks, Marks) for m in marks.points), markup)
    for path, photo, marks in photos:
        where = f"{path}, {photo}"
        try:
            if isinstance(marks, str):
                raise InputError(marks)
            faces = list(marks.faces(indices, markup.count))
        except InputError as error:
            yield Problem(where, str(error))
            continue
        for face in faces or [{"points": np.empty((0, 2))}]:
            yield Label(photo, where, path.parent, **face)


Regions = list[tuple[dict[str, Any], dict[str, Any]]]  # shape attributes and region attributes of each


def _photos(path: Path) -> dict[str, Regions]:
    """Return the regions of each photo that a file names."""
    photos: dict[str, Regions] = {}
    try:
        if path.suffix.lower() == ".csv":
            for row in csv.DictReader(read_text(path).splitlines()):
                regions = photos.setdefault(row.get("filename") or row["#filename"], [])
                shape = json.loads(row["region_shape_attributes"])
                if shape:
                    regions.append((shape, json.loads(row["region_attributes"])))
            return photos
        content = read_json(path)
        for image in content.get("_via_img_metadata", content).values():
            listed = image["regions"]
            listed = list(listed.values()) if isinstance(listed, dict) else listed  # VIA 1 numbers them
            photos[str(image["filename"])] = [(r["shape_attributes"], r.get("region_attributes") or {}) for r in listed]
        return photos
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise InputError(f"label file {path} is not as VIA writes it: {error!r}") from error


def _marks(regions: Regions, count: int) -> Marks:
    """Return a photo's regions as marks."""
    marks = Marks()
    unnamed: defaultdict[str, list[tuple[float, float, bool | None]]] = defaultdict(list)  # by face
    keys = {key for shape, attributes in regions if shape["name"] == "point" for key in attributes}
    naming = next((key for key in _NAMES if key in keys), None)
    others = keys.difference(_FACES, _FLAGS)
    if naming is None and len(others) == 1:
        (naming,) = others
    for shape, attributes in regions:
        face = next((str(attributes[key]) for key in _FACES if attributes.get(key) not in (None, "")), "")
        occluded = _occluded(attributes)
        if shape["name"] == "point":
            x, y = float(shape["cx"]), float(shape["cy"])
            name = "" if naming is None else str(attributes.get(naming, ""))
            if name:
                marks.points.append((face, name, x, y, occluded))
            else:
                unnamed[face].append((x, y, occluded))
        elif shape["name"] == "rect":
            x, y, width, height = (float(shape[key]) for key in ("x", "y", "width", "height"))
            marks.boxes.append((face, x, y, x + width, y + height))
        elif shape["name"] in ("polyline", "polygon") and len(shape["all_points_x"]) == count:
            points = np.column_stack([shape["all_points_x"], shape["all_points_y"]]).astype(np.float64)
            marks.runs.append((face, points, occluded))
    if unnamed and marks.points:
        raise InputError(f"{len(unnamed)} points do not say which they are, while others of the photo do")
    for face, positions in unnamed.items():
        if len(positions) % count or (face and len(positions) != count):
            raise InputError(f"{len(positions)} points do not say which they are, and are not {count} of each face")
        several = len(positions) > count
        for place, (x, y, occluded) in enumerate(positions):
            number = f"#{place // count + 1}" if several else face
            marks.points.append((number, str(place % count), x, y, occluded))
    return marks


def _occluded(attributes: dict[str, Any]) -> bool | None:
    """Return what a region says; a checkbox is {"occluded": true} or {"yes": true}, other fields are words."""
    for key in _FLAGS:
        value = attributes.get(key)
        if isinstance(value, dict):
            value = any(truth(tick) for tick in value.values())
        if (said := truth(value)) is not None:
            return said if key != "visible" else not said
    return None


FORMAT = Format("via", (".json", ".csv"), recognise, read)
