"""One landmark library on the faces of a JSON file, in a process and an environment of its own.

    PYTHON benchmarks/peer.py NAME faces.json out.json --threads 1 [--model MODEL] [--photos-only]

`runtime.py` starts it. It needs numpy, OpenCV and the library itself, and imports facekd for that library alone.
Every library gets the same face boxes, mapped to the boxes that its own detector would draw (by a scale and a shift,
the medians over the "fit" photos), since that is what it was trained on.
"""
# ruff: noqa: D102  (the base class says what the methods do)

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

_WARM_UP = 10

# The vertices of MediaPipe's face mesh next to the iBUG points, 17 to a line. Those of the jaw (0-16)
# lie on the edge of a 3-D mesh instead of the visible outline, and the others where the mesh has a vertex.
_MESH = [
    *(127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 75, 97, 2),
    *(326, 305, 33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380, 61, 39, 37),
    *(0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
]


class Peer(ABC):
    """A library: landmarks within a box, and photos from file to points with the library's own face detector."""

    @abstractmethod
    def landmarks(self, image: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        """Return the points (68, 2) of the face in a box of an image (H, W, 3) uint8 RGB, or None without a face."""

    @abstractmethod
    def faces(self, path: str) -> int:
        """Return how many faces a photo has, as the library's users would find them: read, detect, landmarks."""


class Boxed(Peer):
    """A library whose detector gives boxes and whose landmarks take them: given boxes are mapped to its own."""

    @abstractmethod
    def detect(self, image: np.ndarray) -> np.ndarray:
        """Return boxes (k, 4) of an image (H, W, 3) uint8 RGB."""

    def faces(self, path: str) -> int:
        image = read(path)
        return sum(self.landmarks(image, box) is not None for box in self.detect(image))


class Facekd(Peer):
    """This package; the model card holds the transform of the boxes."""

    def __init__(self, threads: int, model: str) -> None:
        from facekd.runtime.landmarker import Landmarker

        self.landmarker = Landmarker(model, threads=threads)

    def landmarks(self, image: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        return self.landmarker.detect(image, boxes=[box])[0].points

    def faces(self, path: str) -> int:
        return len(self.landmarker.detect(path))


class Dlib(Boxed):
    """dlib's HOG detector and its ensemble of regression trees, trained on 300W."""

    def __init__(self, threads: int, model: str) -> None:
        import dlib

        weights = package("face_recognition_models") / "models" / "shape_predictor_68_face_landmarks.dat"
        self.box = dlib.rectangle
        self.detector, self.predictor = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(weights))

    def detect(self, image: np.ndarray) -> np.ndarray:
        found = self.detector(image)
        return np.array([(r.left(), r.top(), r.right(), r.bottom()) for r in found], float).reshape(-1, 4)

    def landmarks(self, image: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        shape = self.predictor(image, self.box(*(round(float(value)) for value in box)))
        return np.array([(point.x, point.y) for point in shape.parts()], float)


class OpenCV(Boxed):
    """OpenCV's Facemark LBF with its Haar cascade."""

    def __init__(self, threads: int, model: str) -> None:
        weights = package("GoldenFace") / "landmark.yaml"
        self.facemark = cv2.face.createFacemarkLBF()
        self.facemark.loadModel(str(weights))
        self.cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")

    def detect(self, image: np.ndarray) -> np.ndarray:
        found = np.array(self.cascade.detectMultiScale(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)), float).reshape(-1, 4)
        return np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)

    def landmarks(self, image: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        x0, y0, x1, y1 = np.round(box).astype(int)
        found, shapes = self.facemark.fit(
            cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.array([[x0, y0, x1 - x0, y1 - y0]])
        )
        return np.asarray(shapes[0][0], float) if found else None


class MediaPipe(Peer):
    """MediaPipe's face mesh: it takes no boxes, so it gets a crop of twice the box and finds the face in it again."""

    def __init__(self, threads: int, model: str) -> None:
        import mediapipe

        self.mesh = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=1)
        self.several = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=10)

    def landmarks(self, image: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        centre, side = (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max()) * 2
        x, y = np.round(centre - side / 2).astype(int)
        side = round(side)
        crop = np.zeros((side, side, 3), np.uint8)
        part = image[max(0, y) : y + side, max(0, x) : x + side]
        top, left = max(0, -y), max(0, -x)
        crop[top : top + part.shape[0], left : left + part.shape[1]] = part
        found = self.mesh.process(crop).multi_face_landmarks
        if not found:
            return None
        vertices = np.array([(vertex.x, vertex.y) for vertex in found[0].landmark])[_MESH]
        return vertices * side - 0.5 + (x, y)

    def faces(self, path: str) -> int:
        return len(self.several.process(read(path)).multi_face_landmarks or ())


PEERS = {"facekd": Facekd, "dlib": Dlib, "opencv-lbf": OpenCV, "mediapipe": MediaPipe}


def package(name: str) -> Path:
    """Return the folder of an installed package without importing it."""
    import importlib.util

    return Path(importlib.util.find_spec(name).submodule_search_locations[0])


def peak_memory() -> float:
    """Return the most memory this process has held, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss starts at what the parent held when it started this process
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def read(path: str) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)


def to_own_box(peer: Boxed, photos: list[dict[str, Any]]) -> np.ndarray:
    """Return scale, shift x and shift y (in larger sides) that make given boxes into the peer's own."""
    rows = []
    for photo in photos:
        given = np.array(photo["box"])
        centre, side = (given[:2] + given[2:]) / 2, (given[2:] - given[:2]).max()
        for own in peer.detect(read(photo["photo"])):
            own_centre, own_side = (own[:2] + own[2:]) / 2, (own[2:] - own[:2]).max()
            if np.abs(own_centre - centre).max() < 0.3 * side and 0.4 < own_side / side < 2.5:
                rows.append([own_side / side, *((own_centre - centre) / side)])
    return np.median(rows, axis=0) if rows else np.array([1.0, 0.0, 0.0])


def mapped(box: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Return a square box moved as `to_own_box` found."""
    side = (box[2:] - box[:2]).max()
    centre = (box[:2] + box[2:]) / 2 + side * transform[1:]
    half = side * transform[0] / 2
    return np.concatenate([centre - half, centre + half])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=PEERS)
    parser.add_argument("faces", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default="facekd-68")
    parser.add_argument("--photos-only", action="store_true", help="time whole photos, no given boxes")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # holds for libraries that know no thread count, too
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    cv2.setNumThreads(options.threads)

    work = json.loads(options.faces.read_text())
    peer = PEERS[options.name](options.threads, options.model)
    result: dict[str, Any] = {} if options.photos_only else in_given_boxes(peer, work)
    counts, seconds = timed(peer.faces, [(face["photo"],) for face in work["faces"]])
    result |= {"ms_per_photo": [1e3 * each for each in seconds], "faces_in_photos": sum(counts)}
    options.out.write_text(json.dumps(result))


def in_given_boxes(peer: Peer, work: dict[str, Any]) -> dict[str, Any]:
    """Return the points found in the given boxes, the mean time, and the memory that this took."""
    transform = to_own_box(peer, work["fit"]) if isinstance(peer, Boxed) else None

    def found(face: dict[str, Any], image: np.ndarray) -> np.ndarray | None:
        box = np.array(face["box"])
        return peer.landmarks(image, box if transform is None else mapped(box, transform))

    points, seconds = timed(found, ((face, read(face["photo"])) for face in work["faces"]))
    return {
        "points": [None if each is None else np.round(each, 3).tolist() for each in points],
        "ms_per_face": 1e3 * statistics.mean(seconds),
        "peak_mb": peak_memory(),
        "box": None if transform is None else transform.tolist(),
    }


def timed(call: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> tuple[list[Any], list[float]]:
    """Return what each call returns and the seconds it takes; the first ones are done twice, to warm up."""
    results, seconds = [], []
    for index, each in enumerate(arguments):
        if index < _WARM_UP:
            call(*each)
        start = time.perf_counter()
        results.append(call(*each))
        seconds.append(time.perf_counter() - start)
    return results, seconds


if __name__ == "__main__":
    main()
