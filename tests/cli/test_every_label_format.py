"""Every label format as a person uses it: prepare, inspect; of two of them on to fine-tuning, export and detection."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facekd.cli import main
from facekd.data.formats import registry
from facekd.data.pack import Pack
from facekd.geometry import apply, centre_and_side, tight_box
from label_files import WRITERS, faces, write_photos

MARKUP = "{name: corners and nose, count: 5, mirror: [[0, 1], [3, 4]], inter_ocular: [0, 1]}\n"
TO_THE_END = ("pts", "coco")  # without and with occlusion, beside which packs of all formats are alike
PHOTOS = 13  # 0.jpg is the test set, the last one validates; between them are the 11 faces to train on
FINETUNE = ("precision=32", "input.size=64", "input.scale=1.5", "student.epochs=1", "student.lr=1e-5")


@pytest.fixture
def facekd(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs a command, which has to succeed, and returns what it prints."""

    def call(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["facekd", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        assert not left.value.code, printed.err
        return printed.out

    return call


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.FORMATS)
def test_from_label_files_to_landmarks_in_a_photo(name: str, facekd: Callable[..., str], tmp_path: Path) -> None:
    photos, pack, run = tmp_path / "photos", tmp_path / "mine.parquet", tmp_path / "run"
    several = WRITERS[name].several  # the last photo has two faces
    made = faces(photos=PHOTOS)[: PHOTOS + several]
    write_photos(photos, made)
    WRITERS[name].write(photos, made)
    (tmp_path / "mine.yaml").write_text(MARKUP)
    (tmp_path / "test.txt").write_text(made[0].photo)
    (tmp_path / "val.txt").write_text(made[-1].photo)

    lists = "--test-list", tmp_path / "test.txt", "--val-list", tmp_path / "val.txt"
    facekd("prepare", "folder", photos, pack, "--markup", tmp_path / "mine.yaml", *lists, "--size", 160, "--jobs", 1)
    packed = Pack.open(pack)
    names = [*(face.photo for face in made[:PHOTOS]), *[f"{made[-1].photo}#2"] * several]
    assert sorted(map(str, packed.names)) == sorted(names)
    for i, of in enumerate(packed.names):
        face = made[names.index(str(of))]
        np.testing.assert_allclose(apply(packed.to_photo[i], packed.points[i]), face.points, atol=1e-3)
        if WRITERS[name].occlusion:
            assert packed.visible is not None
            np.testing.assert_array_equal(packed.visible[i], ~face.occluded & ~np.isnan(face.points).any(axis=1))

    facekd("inspect", pack, "--faces", 4)
    seen = json.loads((tmp_path / "mine.inspect" / "inspect.json").read_text())
    assert seen["split"] == {"test": 1, "train": PHOTOS - 2, "val": 1 + several} and seen["missing_percent"] > 1

    if name not in TO_THE_END:
        return
    changes = [word for change in FINETUNE for word in ("--set", change)]
    facekd("distill", "finetune", "--data", pack, "--out", run, "--accelerator", "cpu", *changes)
    facekd("export", run, tmp_path / "mine.onnx")
    (photo,) = json.loads(facekd("detect", tmp_path / "mine.onnx", photos / made[0].photo, "--threads", 1))
    (found,) = photo["faces"]
    _, side = centre_and_side(tight_box(made[0].points))
    off = np.linalg.norm(np.array(found["points"]) - made[0].points, axis=1) / side
    assert off.max() < 0.15  # as near as the bundled network's points are on drawn faces
