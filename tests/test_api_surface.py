"""What `import facekd` gives: a name or parameter that vanishes fails here, and so does one that type checkers lose."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import facekd

SRC = Path(facekd.__file__).parents[1]

# Parameters without annotations; "*" comes before those given by name. To remove or rename one is to break programs.
FUNCTIONS = {
    "detect_files": "photos landmarker out * format markup draw settings max_faces",
    "draw": "photo faces contours confidence numbers boxes labels color",
    "evaluate": "model data * boxes split batch detector name bootstrap seed progress",
    "export": "model out * name precision batch int8_data bundle without_detector",
    "list_models": "",
    "load_model": "model threads providers engine",
    "read_pack": "path",
    "to_supervision": "faces",
    "train": "recipe * data out set unlabelled accelerator threads",
}
CLASSES = {
    "BoxTransform": "scale shift_x shift_y",
    "BundledModel": "name path",
    "Face": "box score points confidence markup face_confidence visible",
    "KDLoss": None,
    "Landmarker": "model detector threads providers box_transform color roll min_confidence engine",
    "MarkUp": "name count mirror contours inter_ocular inter_pupil names crop",
    "PhotoBatch": "photos landmarker out * format markup draw settings max_faces",
    "ShapeModel": "mean components variances variance clip procrustes",
    "Tracker": "landmarker every confidence patience smoothing",
    "YuNet": "threshold size small_faces threads thorough",
}
METHODS = {
    "BoxTransform.apply": "boxes",
    "BoxTransform.fit": "detected tight",
    "Face.__getitem__": "part",
    "Face.align": "photo size",
    "Face.convert": "markup",
    "Face.from_dict": "values markup",
    "Face.to_dict": "",
    "MarkUp.contour": "name",
    "Landmarker.__call__": "photo boxes box_type roll max_faces",
    "Landmarker.detect": "photo boxes box_type roll max_faces",
    "Landmarker.detect_batch": "photos boxes box_type max_faces",
    "Landmarker.detect_boxes": "photo",
    "Landmarker.stream": "photos boxes box_type max_faces",
    "PhotoBatch.run": "",
    "Tracker.update": "frame time",
    "YuNet.detect": "image",
}
ATTRIBUTES = ("Face.pose", "Face.eye_openness", "Face.mouth_openness", "BundledModel.card", "Landmarker.providers")
ERRORS = ("FacekdError", "InputError", "ModelError", "RecipeError", "TrainingError")
NAMES = {*FUNCTIONS, *CLASSES, *ERRORS, "errors", "__version__"}


def parameters(function: Any) -> str:
    """Return a callable's parameters as the tables above have them."""
    found = [each for each in inspect.signature(function).parameters.values() if each.name not in ("self", "cls")]
    named = [each.name for each in found if each.kind is each.KEYWORD_ONLY]
    return " ".join([each.name for each in found if each.name not in named] + (["*", *named] if named else []))


def test_no_name_vanishes_and_none_comes_unseen() -> None:
    assert set(facekd.__all__) == NAMES and dir(facekd) == sorted(NAMES)
    for name in NAMES:
        assert getattr(facekd, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Landmarkr'"):
        _ = facekd.Landmarkr
    for name in ERRORS:
        assert issubclass(getattr(facekd, name), facekd.FacekdError)
        assert getattr(facekd.errors, name) is getattr(facekd, name)


@pytest.mark.parametrize(("name", "expected"), [*FUNCTIONS.items(), *CLASSES.items(), *METHODS.items()])
def test_no_parameter_vanishes(name: str, expected: str | None) -> None:
    owner, *rest = name.split(".")
    value = getattr(getattr(facekd, owner), rest[0]) if rest else getattr(facekd, owner)
    assert callable(value) and (expected is None or parameters(value) == expected)


def test_no_attribute_vanishes() -> None:
    for name in ATTRIBUTES:
        owner, attribute = name.split(".")
        assert hasattr(getattr(facekd, owner), attribute)


@pytest.mark.slow
def test_torch_loads_only_with_its_part() -> None:
    heavy = ("torch", "timm", "lightning_fabric", "pyarrow", "pydantic", "matplotlib", "scipy", "h5py")
    code = f"""
import sys
def loaded(): return [name for name in {heavy} if name in sys.modules]
import facekd
assert "numpy" not in sys.modules, "importing facekd alone is to cost nothing"
import facekd.cli; facekd.cli.build()
from facekd import Landmarker, Tracker, YuNet, draw, train, export, evaluate, read_pack, detect_files, load_model
import numpy as np
faces = Landmarker().detect(np.zeros((64, 64, 3), np.uint8))
draw(np.zeros((64, 64, 3), np.uint8), faces)
facekd.list_models()[0].card
load_model("facekd-68")
assert not loaded(), loaded()
facekd.KDLoss
assert "torch" in loaded()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


LARGE = ("torch", "torchvision", "timm", "lightning_fabric", "pyarrow", "h5py", "onnx", "onnxruntime", "pydantic")
USER = """
from pathlib import Path

import facekd

run: Path = facekd.train("quick", data="faces.parquet", out="run", set={"student.epochs": 2})
landmarker = facekd.Landmarker(facekd.load_model(run), color="bgr")
for face in landmarker.detect("photo.jpg"):
    print(face.points.mean(), face.pose.yaw if face.pose else None, face.eye_openness, face.align("photo.jpg").shape)
picture = facekd.draw(facekd.read_pack("faces.parquet").image(0), landmarker("photo.jpg"), numbers=True)
figures = facekd.evaluate(landmarker.model, "faces.parquet", boxes="detector").to_json()
print(facekd.export(run, "student.onnx").card.name, picture.shape, figures["model"])
"""


@pytest.mark.slow
def test_type_checkers_know_every_name(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """`mypy --strict` passes on a user's script, sees a mistake in another, and no public name is Any."""
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "wrong.py").write_text('import facekd\nfacekd.Landmarker(colour="bgr")\nfacekd.draw(3, [])\n')
    lines = ["import facekd", *(f"reveal_type(facekd.{name})" for name in sorted(NAMES))]
    (tmp_path / "reveal.py").write_text("\n".join(lines) + "\n")
    # What lies behind the public names is checked by `make lint`; large libraries are left out, which saves a minute.
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nfollow_imports = silent\n"
        + "".join(f"[mypy-{name}.*]\nfollow_imports = skip\nignore_missing_imports = True\n" for name in LARGE)
    )
    options = ["--strict", f"--cache-dir={request.config.cache.mkdir('mypy')}", "--no-error-summary"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "user.py", "wrong.py", "reveal.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(SRC)},
    )
    said = done.stdout.splitlines()
    assert [line for line in said if line.startswith("user.py")] == [], done.stdout + done.stderr
    wrong = [line for line in said if line.startswith("wrong.py")]
    assert any('"colour"' in line for line in wrong) and any('"draw"' in line for line in wrong), done.stdout
    types = re.findall(r'^reveal\.py:\d+: note: Revealed type is "(.*)"$', done.stdout, re.MULTILINE)
    assert len(types) == len(NAMES)
    for name, kind in zip(sorted(NAMES), types, strict=True):
        # What to_supervision returns is known where that library is.
        assert kind.split(" -> ")[-1] != "Any" or name == "to_supervision", f"facekd.{name} is {kind}"
        assert kind != "Any"
