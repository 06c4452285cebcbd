"""Kinds of files that facekd itself writes and reads again, and what the server receives."""

from __future__ import annotations

import json
import tarfile
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import containers
import mutators
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from file_kinds import JSON, YAML, _photos
from fuzzing import Kind
from network_kinds import BACKBONE, Finder
from PIL import Image

from facekd import api, results
from facekd.bulk.actor import PartWriter, WorkerSettings, encode_part
from facekd.bulk.run import BulkRun
from facekd.data.inspect import findings, statistics
from facekd.data.pack import Pack
from facekd.drawing import draw
from facekd.evaluation import protocol
from facekd.pipeline import stages
from facekd.pipeline.distill import distill
from facekd.recipes import load as recipes
from facekd.run_folder import read_results
from facekd.runtime.batch import PhotoBatch
from facekd.runtime.landmarker import Landmarker
from facekd.shape import ShapeModel
from facekd.study import config, runner
from layouts import photo
from serving import Served, serving
from tiny_faces import POINTS, TRIANGLE
from tiny_faces import write_pack as write_triangles
from tiny_model import write_model
from tiny_run import BASE, STAGE, write_pack

_SMALL = STAGE | {"backbone": BACKBONE, "loss": "l2", "epochs": 1, "batch": 24}
_RECIPE = BASE | {"stages": {"student": _SMALL}, "evaluation": {"bootstrap": 100, "boxes": ["truth"]}}


class _Centre:
    """Finds the points of every face in the middle of its crop."""

    size, scale, box_transform = 32, 1.25, None

    def __init__(self, pack: Pack) -> None:
        self.markup = pack.markup

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, None]:
        return np.full((len(images), self.markup.count, 2), 15.5, np.float32), None


def _make_pack() -> None:
    visible = np.ones((4, 3), bool)
    visible[1, 2] = False
    points = POINTS.copy()
    points[2] = np.nan
    write_triangles(Path("pack.parquet"), TRIANGLE, points, visible)


def _read_pack() -> None:
    pack = Pack.open("pack.parquet").readable()
    protocol.evaluate(_Centre(pack), pack, bootstrap=10).to_json()
    statistics(pack)
    findings(pack)
    pack.frames(Path("frames.npy"), 32)


def _batch() -> PhotoBatch:
    landmarker = Landmarker(write_model(Path("tiny.onnx")), Finder(), threads=1)
    return PhotoBatch(["photos"], landmarker, "out", draw=draw)


def _photo_files() -> None:
    Path("photos").mkdir()
    for seed, name in enumerate("abc"):
        Image.fromarray(photo(seed, 60, 60)).save(f"photos/{name}.png")


def _make_results() -> None:
    import os

    _photo_files()
    for path in Path("photos").iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    list(_batch().run())


def _read_results() -> None:
    for result in _batch().run():
        json.dumps(result.record, allow_nan=False)


_BULK = WorkerSettings("src", "out", "tiny.onnx")


def _make_bulk() -> None:
    write_model(Path("tiny.onnx"))
    _photo_files()
    Path("photos").rename("src")
    content = Path("src/a.png").read_bytes()
    table = pa.table({"image": pa.array([content, content], pa.binary()), "name": ["x", "y"]})
    pq.write_table(table, "src/table.parquet")
    with tarfile.open("src/more.tar", "w") as archive:
        archive.add("src/b.png", "b.png")
    _process(BulkRun(_BULK, workers=1))


def _process(run: BulkRun) -> None:
    """Process the parts of a run as Ray's actors do, in this process."""
    for number, part in run.parts.items():
        row = {"number": np.array([number]), "part": np.array([encode_part(part)])}
        PartWriter(replace(run.settings))(row)


def _read_bulk() -> None:
    _process(BulkRun(_BULK, workers=1))
    for result in results.read("out"):
        for face in result.faces:
            json.dumps(face.to_dict(), allow_nan=False)


def _write_recipe() -> None:
    Path("tiny.yaml").write_text(yaml.safe_dump(_RECIPE, sort_keys=False))


def _distilled() -> None:
    distill(recipes.load("tiny.yaml"), Pack.open("tiny.parquet"), "run", "cpu")


def _without_cache(folder: str) -> None:
    import shutil

    for path in (*Path(folder).rglob("cache"), *Path(folder).rglob("tensorboard"), *Path(folder).rglob("report")):
        shutil.rmtree(path)


def _make_run(measured: bool = True) -> None:
    write_pack(Path("tiny.parquet"))
    _write_recipe()
    _distilled()
    _without_cache("run")
    if not measured:
        Path("run/evaluation.json").unlink()


def _make_unmeasured_run() -> None:
    _make_run(measured=False)


def _make_longer_run() -> None:
    _make_run()
    longer = _RECIPE | {"stages": {"student": _SMALL | {"epochs": 2}}}
    Path("tiny.yaml").write_text(yaml.safe_dump(longer, sort_keys=False))


def _read_run() -> None:
    if (path := Path("run/evaluation.json")).is_file():
        read_results(path.parent)
        api._figures(path.parent)
    _distilled()
    api.load_model("run")


def _make_stopped_run() -> None:
    """Leave a run whose network is trained, and not yet written."""
    write_pack(Path("tiny.parquet"))
    _write_recipe()
    with mock.patch.object(stages, "save", side_effect=KeyboardInterrupt):
        try:
            _distilled()
        except KeyboardInterrupt:
            _without_cache("run")


def _make_study() -> None:
    write_pack(Path("tiny.parquet"))
    _write_recipe()
    rows = [{"name": "a"}, {"name": "b", "set": {"student.lr": 1e30, "student.clip_grad": 0}}]
    study = {"name": "s", "recipe": "tiny.yaml", "rows": rows, "reference": "a"}
    Path("study.yaml").write_text(yaml.safe_dump(study))
    _read_study()
    _without_cache("study")


def _read_study() -> None:
    runner.run(config.load("study.yaml"), Pack.open("tiny.parquet"), "study", accelerator="cpu")


def _make_shape() -> None:
    ShapeModel.fit(np.random.default_rng(0).normal(0, 1, (20, 5, 2))).save("shape.npz")


def _read_shape() -> None:
    model = ShapeModel.load("shape.npz")
    model.soft(np.random.default_rng(1).normal(0, 1, (3, 5, 2)))
    model.along(0, 1.0)


_OPEN = ExitStack()  # for as long as the process is there


@cache
def _server() -> Served:
    write_model(model := Path.cwd().parent / "served.onnx")
    return _OPEN.enter_context(serving(models=(str(model),), workers=1))


_FORM = "multipart/form-data; boundary=xyz"


def _make_body(kind: str, content: bytes) -> None:
    Path("body.bin").write_bytes(content)
    Path("type.txt").write_text(kind)
    Path("query.txt").write_text("max_faces=3&min_score=0.5")


def _make_upload() -> None:
    _photos()[0]()
    _make_body("image/jpeg", Path("photo.jpg").read_bytes())
    Path("photo.jpg").unlink()


def _make_form() -> None:
    _photos()[0]()
    head = (
        b'--xyz\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    )
    _make_body(_FORM, head + Path("photo.jpg").read_bytes() + b"\r\n--xyz--\r\n")
    Path("photo.jpg").unlink()


def _read_upload() -> None:
    import httpx

    texts = [Path(name).read_text(encoding="utf-8", errors="replace") for name in ("type.txt", "query.txt")]
    kind, query = ("".join(sign for sign in text if " " <= sign < "\x7f") for text in texts)
    server = _server()
    for path in ("/v1/faces", "/v1/faces:batch"):
        answer = server.post(
            Path("body.bin").read_bytes(), f"{path}?{httpx.QueryParams(query)}", headers={"content-type": kind.strip()}
        )
        if answer.status_code >= 500:
            raise AssertionError(f"{answer.status_code} {answer.text}")
        answer.json()


PARQUET: Any = (containers.parquet,) * 3
_RUN_FILES = {
    "pack.json": JSON,
    "summary.json": JSON,
    "box_transform.json": JSON,
    "evaluation.json": JSON,
    "log.jsonl": (mutators.json_lines,),
    "run/recipe.yaml": YAML,
}
RUN_KINDS = [
    Kind("packs", (_make_pack,), _read_pack, {".parquet": PARQUET}, share=2),
    Kind("results logs", (_make_results,), _read_results, {"facekd.jsonl": (mutators.json_lines,) * 3}),
    Kind(
        "bulk files",
        (_make_bulk,),
        _read_bulk,
        {
            "_facekd.json": JSON,
            "_parts.jsonl": (mutators.json_lines,) * 2,
            ".parquet": PARQUET,
            ".tar": (),
        },
    ),
    Kind("run folders", (_make_run, _make_unmeasured_run, _make_longer_run), _read_run, _RUN_FILES, share=0.15),
    Kind("checkpoints", (_make_stopped_run,), _distilled, {".pt": (containers.checkpoint,) * 2}, share=0.15),
    Kind("shape models", (_make_shape,), _read_shape, {".npz": (containers.npz,)}),
    Kind(
        "study figures",
        (_make_study,),
        _read_study,
        {".json": JSON, ".jsonl": (mutators.json_lines,), "error.txt": (mutators.text,)},
        share=0.15,
    ),
    Kind(
        "uploads",
        (_make_upload, _make_form),
        _read_upload,
        {".bin": (), "type.txt": (mutators.text,), "query.txt": (mutators.text,)},
    ),
]
