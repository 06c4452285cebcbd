"""Kinds of files that come from elsewhere: photos, videos, labels, YAML."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import mutators
import numpy as np
import yaml
from fuzzing import Kind
from PIL import Image

import label_files
import layouts
from facekd import markup as markups
from facekd.data import cofw, folder, unlabelled, w300, wflw
from facekd.data.prepare import prepare
from facekd.drawing import draw
from facekd.images import read_image
from facekd.markup import COFW29, FIVE, IBUG68, WFLW98, MarkUp
from facekd.pts import read_pts
from facekd.recipes import load as recipes
from facekd.recipes.resolve import resolve
from facekd.runtime.face import Face
from facekd.runtime.video import Video
from facekd.study import config

TEXT = (mutators.text,)
JSON = (mutators.json_values, mutators.json_values, mutators.text)
YAML = (mutators.yaml_values, mutators.yaml_values, mutators.text)
_FRAMES = 10_000  # of a video: one that claims more is no more than that


def _save(name: str, mode: str = "RGB", **options: Any) -> None:
    picture = Image.fromarray(layouts.photo(3, 61, 47))
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 257)
    else:
        picture = picture.convert(mode)
    picture.save(name, **options)


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


def _photos() -> tuple[Callable[[], object], ...]:
    plain = [
        (f"photo.{ending}", {}) for ending in ("jpg", "png", "bmp", "gif", "webp", "tif", "ppm", "tga", "ico", "jp2")
    ]
    return tuple(
        partial(_save, name, **options)
        for name, options in [
            *plain,
            ("photo.jpg", {"progressive": True, "exif": _exif()}),
            ("photo.jpg", {"mode": "CMYK"}),
            ("photo.jpg", {"mode": "L", "subsampling": 0}),
            ("photo.png", {"mode": "P"}),
            ("photo.png", {"mode": "LA"}),
            ("photo.png", {"mode": "I;16"}),
            ("photo.png", {"mode": "1"}),
            ("photo.tif", {"mode": "RGB", "compression": "tiff_lzw"}),
            ("photo.tif", {"mode": "I;16"}),
            ("photo.webp", {"lossless": True}),
        ]
    )


def _read_photo() -> None:
    (path,) = Path().iterdir()
    read_image(path.read_bytes())
    read_image(path, color="bgr")


def _film(name: str, code: str) -> None:
    writer = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*code), 25, (48, 32))
    for seed in range(6):
        writer.write(layouts.photo(seed, 48, 32))
    writer.release()


def _read_video() -> None:
    (path,) = Path().iterdir()
    for _ in itertools.islice(Video(path), _FRAMES):
        pass


@cache
def _labelled(several: bool) -> tuple[list[label_files.Labelled], dict[str, bytes]]:
    """Return faces, and the bytes of their photos, which are rendered once."""
    faces = label_files.faces(photos=3)
    if not several:
        faces = faces[:-1]
    photos = {}
    for name in {face.photo for face in faces}:
        out = io.BytesIO()
        Image.fromarray(label_files.render(3, int(name.split(".")[0]), label_files.SIZE).image).save(out, "jpeg")
        photos[name] = out.getvalue()
    return faces, photos


def _labels(name: str) -> None:
    writer = label_files.WRITERS[name]
    faces, photos = _labelled(writer.several)
    for photo, content in photos.items():
        Path(photo).write_bytes(content)
    writer.write(Path(), faces)


def _prepare(items: Callable[[], Any], markup: MarkUp) -> None:
    prepare(items(), Path("out/pack.parquet"), markup, dataset="x", terms="", size=64, jobs=1)


def _read_pts() -> None:
    for path in Path().glob("*.pts"):
        read_pts(path)
    _prepare(lambda: folder.read(Path(), FIVE), FIVE)


def _make_boxes() -> None:
    layouts.write_photo(Path("a.png"))
    Path("boxes.csv").write_text("file,x0,y0,x1,y1,tags\na.png,1,2.5,60,70,\nb.png,3,4,50,60,dark\n", encoding="utf-8")


_LABEL_FILES: dict[str, dict[str, tuple[mutators.Mutator, ...]]] = {
    "csv": {".csv": (mutators.csv_cells, mutators.text)},
    "coco": {".json": JSON},
    "dlib": {".xml": TEXT},
    "labelme": {".json": JSON},
    "cvat": {".xml": TEXT},
    "via": {".json": JSON},
    "yolo-pose": {".txt": TEXT},
    "wflw": {".txt": TEXT},
}


def _make_wflw() -> None:
    points = layouts.shape(WFLW98)
    lines = [layouts.wflw_line(points, (30, 20, 90, 70), (0,) * 6, f"a/{i}.jpg") for i in range(2)]
    layouts.wflw(Path(), lines[:1], lines[1:])
    for i in range(2):
        layouts.write_photo(Path(f"WFLW_images/a/{i}.jpg"))


def _make_cofw() -> None:
    points, hidden = layouts.shape(COFW29), np.arange(29) % 7 == 0
    layouts.cofw(Path(), [layouts.photo(0)], [layouts.photo(1)[..., 0]], points, hidden)


def _make_recipe(name: str) -> None:
    text = Path(recipes.__file__).with_name(f"{name}.yaml").read_text(encoding="utf-8")
    Path("recipe.yaml").write_text(text, encoding="utf-8")


_SETTINGS = """student.epochs=20
student.lr=1e-3
student.loss={name: kd, beta: 0.5}
student.teachers=[tough]
input.size=64
seed=3
evaluation.boxes=[truth]
precision=bf16
student.init=none
"""


def _make_setting(line: str) -> None:
    Path("set.txt").write_text(line, encoding="utf-8")


def _read_setting() -> None:
    resolve(recipes.load("quick", [Path("set.txt").read_text(encoding="utf-8", errors="replace")]))


def _make_study() -> None:
    from tiny_run import write_study

    write_study(Path(), seeds=[0, 1], reference="teacher")


def _make_markup(markup: MarkUp) -> None:
    Path("own.yaml").write_text(yaml.safe_dump(markup.to_dict() | {"name": "own"}), encoding="utf-8")


def _read_markup() -> None:
    markup = markups.get("own.yaml")
    points = np.random.default_rng(0).uniform(0, 60, (markup.count, 2))
    draw(np.zeros((64, 64, 3), np.uint8), [Face(np.array([0, 0, 60, 60.0]), 1.0, points, None, markup)])
    markups.convertible(markup, FIVE)
    MarkUp.from_dict(markup.to_dict())


FILE_KINDS = [
    Kind("photos", _photos(), _read_photo, {"": ()}, share=4),
    Kind("videos", (partial(_film, "a.mp4", "mp4v"), partial(_film, "a.avi", "MJPG")), _read_video, {"": ()}),
    Kind("labels pts", (partial(_labels, "pts"),), _read_pts, {".pts": TEXT}),
    *(
        Kind(
            f"labels {name}",
            (partial(_labels, name),),
            partial(_prepare, partial(folder.read, Path(), FIVE), FIVE),
            damage,
        )
        for name, damage in _LABEL_FILES.items()
    ),
    Kind(
        "boxes",
        (_make_boxes,),
        partial(_prepare, partial(unlabelled.read, Path(), Path("boxes.csv")), IBUG68),
        {".csv": (mutators.csv_cells, mutators.text)},
    ),
    Kind(
        "labels 300W",
        (lambda: layouts.w300(Path()),),
        partial(_prepare, partial(w300.read, Path()), IBUG68),
        {".pts": TEXT},
    ),
    Kind("labels WFLW", (_make_wflw,), partial(_prepare, partial(wflw.read, Path()), WFLW98), {".txt": TEXT}),
    Kind("labels COFW", (_make_cofw,), partial(_prepare, partial(cofw.read, Path()), COFW29), {".mat": ()}),
    Kind(
        "recipes",
        tuple(partial(_make_recipe, name) for name in recipes.bundled()),
        lambda: resolve(recipes.load("recipe.yaml")),
        {".yaml": YAML},
        share=2,
    ),
    Kind(
        "--set",
        tuple(partial(_make_setting, line) for line in _SETTINGS.splitlines()),
        _read_setting,
        {".txt": TEXT},
        share=2,
    ),
    Kind("studies", (_make_study,), lambda: config.entries(config.load("study.yaml")), {"study.yaml": YAML}),
    Kind(
        "mark-ups",
        tuple(partial(_make_markup, markup) for markup in (FIVE, IBUG68)),
        _read_markup,
        {".yaml": YAML},
        share=2,
    ),
]
