"""A program frozen with PyInstaller, as apps for desktops are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import facekd
from facekd.runtime.names import bundled

SAMPLE = next(iter(bundled().values())).with_name("sample.jpg")
# What an environment for an app does not have: PyInstaller takes along all that some function of facekd imports.
NOT_IN_APPS = (
    *(
        "torch",
        "torchvision",
        "timm",
        "lightning_fabric",
        "matplotlib",
        "tensorboard",
        "pandas",
        "pyarrow",
        "onnx",
        "ray",
    ),
    *("fastapi", "pydantic", "h5py", "safetensors", "ai_edge_litert", "IPython", "starlette", "uvicorn", "anyio"),
    *("pytest", "setuptools", "jinja2", "huggingface_hub", "fsspec", "supervision", "ml_dtypes"),
)
APP = """
import json, sys
import facekd

faces = facekd.Landmarker("facekd-68-lite", engine="onnx").detect(sys.argv[1])
print(json.dumps([face.points.tolist() for face in faces]))
print(facekd.__file__, file=sys.stderr)
"""


@pytest.mark.slow
def test_a_frozen_app_finds_the_same_landmarks(tmp_path: Path) -> None:
    pytest.importorskip("PyInstaller")
    script = tmp_path / "app.py"
    script.write_text(APP)
    hooks = Path(facekd.__file__).parent / "__pyinstaller"  # an installed facekd names it by its entry point
    command = [sys.executable, "-m", "PyInstaller", "--log-level=ERROR", f"--additional-hooks-dir={hooks}"]
    command += [f"--exclude-module={name}" for name in NOT_IN_APPS]
    environment = os.environ | {"PYINSTALLER_CONFIG_DIR": str(tmp_path / "cache")}
    subprocess.run([*command, "app.py"], cwd=tmp_path, env=environment, check=True)

    app = tmp_path / "dist" / "app"
    found = subprocess.run([str(app / "app"), str(SAMPLE)], capture_output=True, text=True, check=True, cwd=tmp_path)
    faces = facekd.Landmarker("facekd-68-lite", engine="onnx").detect(SAMPLE)
    assert str(app) in found.stderr
    points = json.loads(found.stdout)
    assert len(faces) == len(points) > 0
    for face, frozen in zip(faces, points, strict=True):
        assert abs(face.points - frozen).max() < 1e-3
