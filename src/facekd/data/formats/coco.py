"""COCO keypoints: one JSON with images, annotations and categories. v = 0 is a missing point, v = 1 an occluded one.

Source: https://cocodataset.org/#format-data (keypoint detection). Keypoints are pixel indices, from 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from facekd.data.dataset import Problem
from facekd.data.formats.files import holds, read_json
from facekd.data.formats.label import Format, Label, photo_size, plain, split_of
from facekd.errors import InputError
from facekd.markup import MarkUp


def recognise(path: Path, markup: MarkUp) -> bool:
    """Say whether a file holds COCO keypoints.

    Args:
        path: a JSON file.
        markup: what the points are.

    Returns:
        Whether it has images, and annotations with keypoints.
    """
    if not (holds(path, b'"keypoints"') and holds(path, b'"annotations"')):
        return False
    try:
        content = read_json(path)
    except InputError:
        return True  # broken, and to be named
    return isinstance(content, dict) and {"images", "annotations"} <= set(content)


def read(files: list[Path], markup: MarkUp) -> Iterator[Label | Problem]:
    """Yield the faces of each file, image by image as the file lists them.

    Args:
        files: the label files.
        markup: what the points are; its `names`, if it has any, choose among the category's keypoints.

    Yields:
        Faces; images without one; a Problem for each annotation that is not as the format has it.

    Raises:
        InputError: a file is not as the format has it.
    """
    for path in files:
        content = read_json(path)
        try:
            images = {image["id"]: image for image in content["images"]}
            columns, others = _categories(content.get("categories", ()), markup)
            faces: dict[Any, list[dict[str, Any]]] = {key: [] for key in images}
            lost: list[dict[str, Any]] = []
            for annotation in content["annotations"]:
                if annotation.get("category_id") in others:
                    continue
                (faces[annotation["image_id"]] if annotation["image_id"] in images else lost).append(annotation)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"label file {path} is not as COCO's format has it: {error!r}") from error
        for annotation in lost:
            yield Problem(f"{path}, annotation {annotation.get('id')}", "its image_id is not among the images")
        for key, image in images.items():
            yield from _image(path, split_of(path, files), image, faces[key], columns)


def _categories(categories: list[dict[str, Any]], markup: MarkUp) -> tuple[dict[Any, list[int]], set[Any]]:
    """Return for each category that has the mark-up's points where they stand, and which categories have others.

    Raises:
        InputError: there are categories with keypoints, but none with those of the mark-up.
    """
    columns: dict[Any, list[int]] = {}
    wrong: dict[Any, InputError] = {}
    for category in categories:
        if keypoints := category.get("keypoints"):
            try:
                columns[category["id"]] = _columns(keypoints, markup)
            except InputError as error:
                wrong[category["id"]] = error
    if wrong and not columns:
        raise next(iter(wrong.values()))
    return columns, set(wrong)


def _columns(keypoints: list[str], markup: MarkUp) -> list[int]:
    """Return where each of the mark-up's points stands among a category's keypoints."""
    places = {plain(str(name)): place for place, name in enumerate(keypoints)}
    missing = [name for name in markup.names if plain(name) not in places]
    if markup.names and len(missing) < markup.count:
        if missing:
            raise InputError(f"the labels have no keypoint '{missing[0]}', which mark-up '{markup.name}' names")
        return [places[plain(name)] for name in markup.names]
    if len(keypoints) != markup.count:
        raise InputError(f"the labels have {len(keypoints)} keypoints where mark-up '{markup.name}' has {markup.count}")
    return list(range(markup.count))


def _image(
    path: Path, split: str, image: dict[str, Any], faces: list[dict[str, Any]], columns: dict[Any, list[int]]
) -> Iterator[Label | Problem]:
    """Yield the faces of an image; if it has none, the label that says so."""
    size = photo_size(image.get("width"), image.get("height"))
    photo, labelled = str(image.get("file_name", "")), False
    for face in faces:
        where = f"{path}, annotation {face.get('id')}"
        keypoints = face.get("keypoints") or []
        if face.get("iscrowd") or (isinstance(keypoints, list) and not any(keypoints)):
            continue  # a crowd, or a face whose points nobody labelled
        labelled = True
        try:
            table = np.array(keypoints, np.float64).reshape(-1, 3)
            box = np.array(face["bbox"], np.float64).reshape(4) @ _TO_CORNERS if face.get("bbox") else None
        except (TypeError, ValueError, OverflowError):
            yield Problem(where, f"{photo}: expected keypoints x, y, v, ... and bbox x, y, width, height")
            continue
        wanted = columns.get(face.get("category_id"))
        if wanted is not None and len(table) > max(wanted):
            table = table[wanted]
        flags = table[:, 2]
        points = np.where(flags[:, None] > 0, table[:, :2], np.nan)
        yield Label(photo, where, path.parent, points, flags == 2, box, split, size=size)
    if not labelled:
        yield Label(photo, str(path), path.parent, np.empty((0, 2)), size=size)


_TO_CORNERS = np.array([[1.0, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]])  # x, y, w, h -> x0, y0, x1, y1

FORMAT = Format("coco", (".json",), recognise, read)
