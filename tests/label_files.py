"""The same faces written in every format of label files, by the rules of each format and not by this package's code."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
from PIL import Image

from facekd.synthetic import render

SIZE = 192


@dataclass
class Labelled:
    """A face as a test wants it labelled: five points, the first pixel's centre being (0, 0); NaN: missing."""

    photo: str
    points: np.ndarray
    occluded: np.ndarray
    box: np.ndarray


def faces(missing: bool = True, photos: int = 4) -> list[Labelled]:
    """Eye corners, nose and mouth corners of synthetic faces, two on the last photo; one missing, two occluded."""
    made = []
    for i in range(photos + 1):
        # Two decimals: what every format can hold.
        points = render(3, i, SIZE).points[[36, 45, 30, 48, 54]].round(2).astype(np.float64)
        occluded = np.zeros(5, bool)
        if missing and i == 1:
            points[2] = np.nan
        if missing and i in (1, 2):
            occluded[4] = True
        low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
        box = np.concatenate([np.floor(low) - 5, np.ceil(high) + 5])
        made.append(Labelled(f"{min(i, photos - 1)}.jpg", points, occluded, box))
    return made


def write_photos(folder: Path, made: Sequence[Labelled]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in {face.photo for face in made}:
        Image.fromarray(render(3, int(name.split(".")[0]), SIZE).image).save(folder / name)


def by_photo(made: Sequence[Labelled]) -> dict[str, list[Labelled]]:
    photos: defaultdict[str, list[Labelled]] = defaultdict(list)
    for face in made:
        photos[face.photo].append(face)
    return photos


def write_pts(folder: Path, made: Sequence[Labelled]) -> None:
    for face in made:  # one face per photo
        lines = [f"{x + 1} {y + 1}" for x, y in face.points.tolist()]
        text = "\n".join(["version: 1", f"n_points: {len(lines)}", "{", *lines, "}"])
        (folder / face.photo).with_suffix(".pts").write_text(text)


def write_csv(folder: Path, made: Sequence[Labelled]) -> None:
    columns = [f"{axis}{i}" for i in range(5) for axis in "xy"]
    flags = [f"visible{i}" for i in range(5)]
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["image", *columns, *flags, "box_x0", "box_y0", "box_x1", "box_y1"])
    for face in made:
        numbers = ["" if np.isnan(value) else value for value in face.points.ravel().tolist()]
        rows.writerow([face.photo, *numbers, *(1 - face.occluded.astype(int)), *face.box])
    (folder / "faces.csv").write_text(text.getvalue())


def write_coco(folder: Path, made: Sequence[Labelled]) -> None:
    names = list(by_photo(made))
    images = [{"id": i + 7, "file_name": name, "width": SIZE, "height": SIZE} for i, name in enumerate(names)]
    annotations = []
    for i, face in enumerate(made):
        gone = np.isnan(face.points).any(axis=1)
        flags = np.where(gone, 0, np.where(face.occluded, 1, 2))
        keypoints = np.column_stack([np.nan_to_num(face.points), flags]).ravel().tolist()
        x0, y0, x1, y1 = face.box.tolist()
        annotation = {"id": i, "image_id": names.index(face.photo) + 7, "category_id": 1, "iscrowd": 0}
        annotations.append(annotation | {"keypoints": keypoints, "bbox": [x0, y0, x1 - x0, y1 - y0]})
    categories = [{"id": 1, "name": "face", "keypoints": [f"p{i}" for i in range(5)]}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "labels.json").write_text(json.dumps(content))


def write_dlib(folder: Path, made: Sequence[Labelled]) -> None:
    lines = ["<?xml version='1.0' encoding='UTF-8'?>", "<dataset><name>faces</name><images>"]
    for photo, several in by_photo(made).items():
        lines.append(f"<image file={quoteattr(photo)}>")
        for face in several:
            x0, y0, x1, y1 = face.box.tolist()
            lines.append(f"<box top='{y0:g}' left='{x0:g}' width='{x1 - x0 + 1:g}' height='{y1 - y0 + 1:g}'>")
            lines += [
                f"<part name='{i:02d}' x='{x}' y='{y}'/>"
                for i, (x, y) in enumerate(face.points.tolist())
                if not np.isnan(x)
            ]
            lines.append("</box>")
        lines.append("</image>")
    (folder / "faces.xml").write_text("\n".join([*lines, "</images></dataset>"]))


def write_labelme(folder: Path, made: Sequence[Labelled]) -> None:
    for photo, several in by_photo(made).items():
        shapes = []
        for k, face in enumerate(several):
            group = {"group_id": k if len(several) > 1 else None, "description": ""}
            for i, (x, y) in enumerate((face.points + 0.5).tolist()):
                if not np.isnan(x):
                    flags = {"occluded": True} if face.occluded[i] else {}
                    shape = {"label": str(i), "points": [[x, y]], "shape_type": "point", "flags": flags}
                    shapes.append(shape | group)
            corners = (face.box + 0.5).reshape(2, 2).tolist()
            shapes.append({"label": "face", "points": corners, "shape_type": "rectangle", "flags": {}} | group)
        content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": photo, "imageData": None}
        (folder / photo).with_suffix(".json").write_text(
            json.dumps(content | {"imageHeight": SIZE, "imageWidth": SIZE})
        )


def write_cvat(folder: Path, made: Sequence[Labelled]) -> None:
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations><version>1.1</version>"]
    for number, (photo, several) in enumerate(by_photo(made).items()):
        lines.append(f'<image id="{number}" name={quoteattr(photo)} width="{SIZE}" height="{SIZE}">')
        for k, face in enumerate(several):
            lines.append(f'<skeleton label="face" source="manual" z_order="0" group_id="{k + 1}">')
            for i, (x, y) in enumerate((face.points + 0.5).tolist()):
                outside = np.isnan(x)
                where = "0.00,0.00" if outside else f"{x},{y}"
                lines.append(
                    f'<points label="{i + 1}" source="manual" outside="{outside:d}" occluded="{face.occluded[i]:d}"'
                    f' points="{where}"></points>'
                )
            x0, y0, x1, y1 = (face.box + 0.5).tolist()
            lines.append("</skeleton>")
            lines.append(
                f'<box label="face" occluded="0" xtl="{x0}" ytl="{y0}" xbr="{x1}" ybr="{y1}" group_id="{k + 1}"/>'
            )
        lines.append("</image>")
    (folder / "annotations.xml").write_text("\n".join([*lines, "</annotations>"]))


def write_via(folder: Path, made: Sequence[Labelled]) -> None:
    content = {}
    for photo, several in by_photo(made).items():
        regions = []
        for k, face in enumerate(several):
            for i, (x, y) in enumerate(face.points.tolist()):
                if not np.isnan(x):
                    attributes = {"point": str(i), "face": str(k)} | ({"occluded": "yes"} if face.occluded[i] else {})
                    shape = {"name": "point", "cx": x, "cy": y}
                    regions.append({"shape_attributes": shape, "region_attributes": attributes})
            x0, y0, x1, y1 = face.box.tolist()
            shape = {"name": "rect", "x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}
            regions.append({"shape_attributes": shape, "region_attributes": {"face": str(k)}})
        content[f"{photo}1234"] = {"filename": photo, "size": 1234, "regions": regions, "file_attributes": {}}
    (folder / "via.json").write_text(json.dumps({"_via_settings": {}, "_via_img_metadata": content}))


def write_yolo_pose(folder: Path, made: Sequence[Labelled]) -> None:
    for photo, several in by_photo(made).items():
        lines = []
        for face in several:
            x0, y0, x1, y1 = ((face.box + 0.5) / SIZE).tolist()
            gone = np.isnan(face.points).any(axis=1)
            flags = np.where(gone, 0, np.where(face.occluded, 1, 2))
            points = np.where(gone[:, None], 0, (face.points + 0.5) / SIZE)
            numbers = [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, *np.column_stack([points, flags]).ravel()]
            lines.append(" ".join(["0", *(f"{number:.8g}" for number in numbers)]))
        (folder / photo).with_suffix(".txt").write_text("\n".join(lines) + "\n")


def write_wflw(folder: Path, made: Sequence[Labelled]) -> None:
    lines = [
        " ".join([*map(str, face.points.ravel()), *map(str, face.box), *["0"] * 6, face.photo]) + "\n" for face in made
    ]
    (folder / "list_5pt_rect_attr.txt").write_text("".join(lines))


@dataclass(frozen=True)
class Writer:
    """How a format is written, and what it cannot hold."""

    write: Callable[[Path, Sequence[Labelled]], None]
    occlusion: bool = True
    boxes: bool = True
    several: bool = True


WRITERS = {
    "pts": Writer(write_pts, occlusion=False, boxes=False, several=False),
    "csv": Writer(write_csv),
    "coco": Writer(write_coco),
    "dlib": Writer(write_dlib, occlusion=False),
    "labelme": Writer(write_labelme),
    "cvat": Writer(write_cvat),
    "via": Writer(write_via),
    "yolo-pose": Writer(write_yolo_pose),
    "wflw": Writer(write_wflw, occlusion=False),
}
