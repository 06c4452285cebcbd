"""A mark-up of one point from photos to detection, on the picture that comes with the package: six faces."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

import facekd
from facekd.data.dataset import Annotation
from facekd.data.prepare import prepare
from facekd.errors import ModelError
from facekd.exporters.onnx import SAMPLE
from facekd.images import read_image
from facekd.markup import MarkUp
from facekd.run_folder import BOX_TRANSFORM
from facekd.runtime.card import ModelCard
from facekd.runtime.landmarker import Landmarker
from tiny_run import STAGE, recipe

TIP = MarkUp("nose tip", 1, (0,), crop="face")


@pytest.mark.slow
def test_one_point_is_learnt_and_found_in_photos(tmp_path: Path) -> None:
    faces = Landmarker("facekd-68", threads=1).detect(SAMPLE)
    tips = np.array([face.points[30] for face in faces])
    items = [
        Annotation(f"{split}{i}.jpg", partial(read_image, SAMPLE), tip[None], split)
        for split in ("train", "val", "test")
        for i, tip in enumerate(tips)
    ]
    prepare(items, tmp_path / "tips.parquet", TIP, dataset="sample", terms="None.", size=96, jobs=1)
    stage = STAGE | {"head": "spatial", "epochs": 40, "batch": 6, "lr": 3e-3}
    (tmp_path / "tip.yaml").write_text(recipe({"student": stage}, input={"size": 64, "scale": 1.2}).to_yaml())
    run = facekd.train(tmp_path / "tip.yaml", data=tmp_path / "tips.parquet", out=tmp_path / "run", accelerator="cpu")
    figures = facekd.evaluate(run, tmp_path / "tips.parquet", boxes="detector", bootstrap=100).subsets["full"]
    assert figures["missed"] == 0 and figures["nme_box_diagonal"] < 5

    written = facekd.export(run, tmp_path / "tip.onnx")
    assert written.card.markup == TIP and written.card.box_transform is not None
    found = np.array([face.points[0] for face in Landmarker(written.path, threads=1).detect(SAMPLE)])
    side = np.median([face.box[2] - face.box[0] for face in faces])
    assert len(found) == 6
    assert (np.linalg.norm(found[:, None] - tips, axis=-1).min(axis=0) < 0.2 * side).all()


def test_a_network_whose_faces_no_detector_finds_is_exported_for_given_boxes_alone(
    run_folder: Path, tmp_path: Path
) -> None:
    from facekd.networks.checkpoint import load, save

    file = run_folder / "student" / "model.safetensors"
    net, metadata = load(file)
    metadata.box_transform = None
    save(net, metadata, file)
    with pytest.raises(ModelError, match=r"does not say how a face detector's boxes become.*\(without_detector\)"):
        facekd.export(run_folder, tmp_path / "a.onnx")
    (run_folder / BOX_TRANSFORM).write_text('{"faces": 600, "found": 150, "transform": null}')
    with pytest.raises(ModelError, match=r"on only 25 % of the training faces.*crop: face.*\(without_detector\)"):
        facekd.export(run_folder, tmp_path / "a.onnx")
    with pytest.raises(ModelError, match="leave bundle out"):
        facekd.export(run_folder, tmp_path / "a.onnx", bundle=tmp_path / "app", without_detector=True)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    written = facekd.export(run_folder, tmp_path / "a.onnx", without_detector=True)
    assert ModelCard.load(written.path).box_transform is None
    with pytest.raises(ModelError, match=r"a\.onnx does not say"):
        facekd.export(written.path, tmp_path / "a.tflite")
