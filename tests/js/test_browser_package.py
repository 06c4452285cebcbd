"""The browser package `js/`: it finds in Chromium what Python finds in the same pixels, and its files are in step."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import facekd
from facekd.geometry import crop_faces, crop_matrix, warp
from facekd.images import read_image
from facekd.markup import IBUG68
from facekd.runtime import pose
from facekd.runtime.cuts import face_chip, thumbnail
from facekd.runtime.detector import shrink
from facekd.runtime.enhance import enhance_crops, enhance_photo
from facekd.runtime.face import Face
from facekd.runtime.model import load

ROOT = Path(__file__).resolve().parents[2]
JS = ROOT / "js"
SAMPLE = ROOT / "src" / "facekd" / "weights" / "sample.jpg"
PACKAGE = json.loads((JS / "package.json").read_text(encoding="utf-8"))
SCALES = (1.5, 0.75, 0.5, 0.4, 1 / 3, 0.23)  # of `shrink`: enlarged, sampled, averaged, and both
FRAMES, RATE = 16, 25


def test_version_and_licence_are_the_python_packages() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert PACKAGE["version"] == facekd.__version__
    assert f'license = "{PACKAGE["license"]}"' in project


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((JS / "package-lock.json").read_text(encoding="utf-8"))
    assert lock["version"] == PACKAGE["version"]
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert packages and all("resolved" not in each and each["integrity"] for each in packages.values())


@pytest.fixture(scope="module")
def package() -> Path:
    """The package, built; tests that ask for it are skipped where it cannot be, or has no browser to run in."""
    pytest.importorskip("ai_edge_litert")
    for program, remedy in (("npm", "install Node.js 20 or later"), ("chromium", "apt-get install chromium")):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} here: {remedy}")
    if not (JS / "node_modules").is_dir():
        pytest.skip("no js/node_modules here: cd js && npm ci")
    subprocess.run(["npm", "run", "--silent", "build"], cwd=JS, check=True, timeout=120)
    return JS


@pytest.fixture(scope="module")
def landmarker() -> facekd.Landmarker:
    """What runs the same network as the browser."""
    pytest.importorskip("ai_edge_litert")
    return facekd.Landmarker(load("facekd-68-lite", threads=1, engine="litert"), threads=1)


@pytest.mark.slow
def test_chromium_finds_what_python_finds(package: Path, landmarker: facekd.Landmarker, tmp_path: Path) -> None:
    photo = read_image(SAMPLE)
    height, width = photo.shape[:2]
    rolled = crop_matrix(np.array([0, 0, width, height]), 640, rotation=40.0)
    photos = {
        "sample": photo,
        "left": np.rot90(photo, 1)[:640],  # found by the search for rolled faces
        "upside-down": np.rot90(photo, 2),
        "right": np.rot90(photo, 3)[:360],
        "rolled": warp(photo, rolled, 640),  # found by the network's second pass
    }
    hard = {"pale": _pale(photo), "noisy": _noisy(photo), "blurred": cv2.GaussianBlur(photo, (0, 0), 5)}
    expected = {
        "keys": list(landmarker.detect(photo)[0].to_dict()),
        "photos": [
            _photo(landmarker, tmp_path, name, photo, enhanced=name in hard) for name, photo in (photos | hard).items()
        ],
        "frames": _frames(landmarker, tmp_path, photo),
        "networks": [_network(name, photo) for name in ("tiny", "tiny-batch4", "tiny-points")],
        "pixels": _pixels(tmp_path, photo) | {"enhance": _enhanced(tmp_path, photo)},
        "poses": _poses(),
    }
    shown = _vitest(["npm", "test", "--silent"], package, tmp_path, expected)
    assert "skipped" not in shown


@pytest.mark.slow
def test_chromium_finds_the_points_of_portraits(
    package: Path, landmarker: facekd.Landmarker, tmp_path: Path, shared_data: Path
) -> None:
    paths = sorted((shared_data / "portraits").glob("*.jpg"))
    assert len(paths) == 25
    expected = {
        "keys": list(landmarker.detect(paths[0])[0].to_dict()),
        "photos": [_photo(landmarker, tmp_path, path.stem, read_image(path)) for path in paths],
    }
    command = ["npx", "vitest", "run", "test/browser.test.ts", "-t", "as Python.* finds faces"]
    assert "1 passed" in _vitest(command, package, tmp_path, expected)


def _vitest(command: list[str], package: Path, folder: Path, expected: dict[str, Any]) -> str:
    """Hand over what is expected and run the package's tests; returns what they print."""
    (folder / "expected.json").write_text(json.dumps(expected))
    environment = os.environ | {"FACEKD_EXPECTED": str(folder), "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=package, env=environment, capture_output=True, text=True, timeout=300)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    return done.stdout


def _photo(
    landmarker: facekd.Landmarker, folder: Path, name: str, photo: np.ndarray, enhanced: bool = False
) -> dict[str, Any]:
    """Write a photo as PNG, so that both see the same pixels; returns what Python finds in it."""
    _write(folder / f"{name}.png", photo)
    faces = landmarker.detect(photo)
    boxes, _ = landmarker.detect_boxes(photo)
    given = landmarker.detect(photo, boxes=boxes)
    assert faces and len(given) == len(boxes), name
    return {
        "file": f"{name}.png",
        "faces": [_face(face) for face in faces],
        "boxes": boxes.tolist(),
        "given": [_face(face) for face in given],
        "enhanced": enhanced,
    }


def _face(face: Face) -> dict[str, Any]:
    angles = face.pose
    assert angles and face.confidence is not None and face.eye_openness
    return {
        "box": face.box.tolist(),
        "score": float(face.score),
        "points": face.points.tolist(),
        "confidence": face.confidence.tolist(),
        "faceConfidence": face.face_confidence,
        "pose": {"yaw": angles.yaw, "pitch": angles.pitch, "roll": angles.roll},
        "eyeOpenness": face.eye_openness._asdict(),
        "mouthOpenness": face.mouth_openness,
    }


def _network(name: str, photo: np.ndarray) -> dict[str, Any]:
    """Return what a float network of the tests finds in some boxes."""
    landmarker = facekd.Landmarker(ROOT / "tests" / "weights" / f"{name}.tflite", threads=1)
    boxes = [[40 * index, 30 * index, 40 * index + 90, 30 * index + 90] for index in range(6)]
    faces = landmarker.detect(photo, boxes, box_type="landmarks")
    confidence = [None if face.confidence is None else face.confidence.tolist() for face in faces]
    found = [{"points": face.points.tolist(), "confidence": each} for face, each in zip(faces, confidence, strict=True)]
    return {"file": f"{name}.tflite", "boxes": boxes, "faces": found}


def _frames(landmarker: facekd.Landmarker, folder: Path, photo: np.ndarray) -> list[dict[str, Any]]:
    """A view that pans over the photo, then jumps; returns what the tracker finds in each frame."""
    tracker, frames = facekd.Tracker(landmarker), []
    for index in range(FRAMES):
        left = 6 * index if index < FRAMES - 4 else 400
        frame, file = np.ascontiguousarray(photo[:400, left : left + 480]), f"frame{index:02}.png"
        _write(folder / file, frame)
        tracked = tracker.update(frame, index / RATE)
        found = [{"id": each.id, "points": each.face.points.tolist(), "raw": each.raw.tolist()} for each in tracked]
        frames.append({"file": file, "time": index / RATE, "tracked": found})
    assert len({face["id"] for frame in frames for face in frame["tracked"]}) > 1
    return frames


def _pixels(folder: Path, photo: np.ndarray) -> dict[str, Any]:
    """Write an image's pixels, and what Python makes of them; returns what the files hold."""
    photo.tofile(folder / "photo.rgb")
    height, width = photo.shape[:2]
    cases: dict[str, Any] = {"file": "photo.rgb", "size": [width, height], "shrink": [], "warp": []}
    for index, scale in enumerate(SCALES):
        image, step = shrink(photo, scale)
        image.tofile(folder / f"shrunk{index}.rgb")
        size = [image.shape[1], image.shape[0]]
        cases["shrink"].append({"file": f"shrunk{index}.rgb", "scale": scale, "size": size, "step": step.tolist()})
    boxes = np.array([[100, 80, 190, 170], [-60, -40, 300, 320], [700, 300, 1000, 700], [400.3, 200.8, 430, 231]])
    for index, (box, roll) in enumerate(zip(boxes, (0, 30, -15, 90), strict=True)):
        crops = crop_faces(photo, box[None], 112, 1.2, roll)
        crops.images.tofile(folder / f"crop{index}.rgb")
        cases["warp"].append({"file": f"crop{index}.rgb", "size": 112, "matrix": crops.matrices[0].ravel().tolist()})
    thumbnail(photo).astype(np.uint8).tofile(folder / "thumbnail.rgb")
    face_chip(photo, boxes[0], 20.0).tofile(folder / "chip.f32")
    return cases | {"thumbnail": "thumbnail.rgb", "chip": {"file": "chip.f32", "box": boxes[0].tolist(), "roll": 20.0}}


def _pale(photo: np.ndarray) -> np.ndarray:
    return np.rint(200 + 0.15 * (photo - 128.0)).astype(np.uint8)


def _noisy(photo: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(3).normal(0, 40, photo.shape)
    return np.clip(photo + noise, 0, 255).astype(np.uint8)


def _enhanced(folder: Path, photo: np.ndarray) -> list[dict[str, Any]]:
    """Write photos and crops of faces as they are and enhanced; returns what the files hold."""
    blurred = cv2.GaussianBlur(photo, (0, 0), 5)
    changed = {"as-it-is": photo, "pale": _pale(photo), "noisy": _noisy(photo), "blurred": blurred, "black": 0 * photo}
    changed["pale-noisy"] = _pale(_noisy(photo))
    box, cases = np.array([[60, 50, 210, 200]]), []
    for name, image in changed.items():
        small = image[100:260, 40:280]
        views = {"photo": (small, enhance_photo(small))}
        for size in (112, 240):
            crops = crop_faces(image, box, size, 1.2).images
            views[f"crop{size}"] = crops[0], enhance_crops(crops)[0]
        for view, (before, after) in views.items():
            file = f"{name}-{view}"
            before.tofile(folder / f"{file}.before.rgb")
            after.tofile(folder / f"{file}.after.rgb")
            cases.append({"file": file, "size": [before.shape[1], before.shape[0]], "is_crop": view != "photo"})
    return cases


def _poses() -> list[dict[str, Any]]:
    """The generic head turned this way and that, seen from a little distance, and disturbed; returns the poses."""
    rng, cases = np.random.default_rng(0), []
    for _ in range(60):
        yaw, pitch, roll = rng.uniform(-1, 1, 3) * [60, 30, 180]
        head = pose._MODEL @ _rotation(yaw, pitch, roll).T + [0, 0, rng.uniform(400, 1000)]
        points = np.repeat((head[:, :2] / head[:, 2:]).mean(axis=0)[None], IBUG68.count, axis=0)
        points[pose._INDICES] = head[:, :2] / head[:, 2:]
        points = (points + rng.normal(0, 0.003, points.shape) * np.ptp(points)) * 500
        found = pose.head_pose(points, IBUG68)
        assert found
        angles = {"yaw": found.yaw, "pitch": found.pitch, "roll": found.roll}
        cases.append({"points": points.tolist(), "pose": angles})
    return cases


def _rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Return the matrix that turns about y, then x, then z; degrees."""
    (p, q, r), (s, t, u) = np.cos(np.radians([yaw, pitch, roll])), np.sin(np.radians([yaw, pitch, roll]))
    about_y, about_x = np.array([[p, 0, -s], [0, 1, 0], [s, 0, p]]), np.array([[1, 0, 0], [0, q, t], [0, -t, q]])
    return np.array([[r, -u, 0], [u, r, 0], [0, 0, 1]]) @ about_x @ about_y


def _write(path: Path, image: np.ndarray) -> None:
    assert cv2.imwrite(str(path), image[..., ::-1])
