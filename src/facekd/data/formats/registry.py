"""The formats of label files that `facekd prepare folder` reads, by name, and which of them a folder holds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from facekd.data.formats import coco, cvat, dlib, labelme, pts, table, via, wflw, yolo_pose
from facekd.data.formats.label import Format
from facekd.errors import InputError, nearest
from facekd.markup import MarkUp

FORMATS = {
    module.FORMAT.name: module.FORMAT for module in (pts, table, coco, dlib, labelme, cvat, via, yolo_pose, wflw)
}
AUTO = "auto"


def find(paths: Iterable[Path], markup: MarkUp, name: str = AUTO) -> tuple[Format, list[Path]]:
    """Find the label files of a folder, and their format.

    Args:
        paths: all files below the folder, in an order that is always the same.
        markup: what the points are.
        name: of the format; "auto": the one that there is.

    Returns:
        The format, and its files; others, such as a readme.csv without points, are left out.

    Raises:
        InputError: there is no such format; no file is in it; or, of "auto", files are in several formats.
    """
    if name != AUTO and name not in FORMATS:
        raise InputError(f"no label format '{name}'; {nearest(name, [AUTO, *FORMATS])}")
    tried = list(FORMATS.values()) if name == AUTO else [FORMATS[name]]
    listed = list(paths)
    found = {
        each.name: [path for path in listed if path.suffix.lower() in each.suffixes and each.recognise(path, markup)]
        for each in tried
    }
    present = {key: files for key, files in found.items() if files}
    if not present:
        candidates = [(each, path) for each in tried for path in listed if path.suffix.lower() in each.suffixes]
        if len(candidates) == 1:  # the only one it can be says what is wrong with it
            ((only, path),) = candidates
            next(only.read([path], markup), None)
        kinds = ", ".join(f"{each.name} ({' '.join(each.suffixes)})" for each in tried)
        raise InputError(f"found no labels of {markup.count} points in {kinds}")
    if len(present) > 1:
        what = ", ".join(
            f"{key} ({files[0].name}{', ...' if len(files) > 1 else ''})" for key, files in present.items()
        )
        raise InputError(f"found labels in several formats: {what}; choose one with --format")
    ((key, files),) = present.items()
    return FORMATS[key], files
