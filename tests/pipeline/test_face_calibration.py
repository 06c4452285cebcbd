"""Fitting confidence in faces as a whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import facekd
from facekd.data.face import LabelledFace
from facekd.data.pack import Pack, PackWriter
from facekd.geometry import square, tight_box
from facekd.images import read_image
from facekd.markup import IBUG68
from facekd.pipeline.face_calibration import LabelledCrops, fit_face_calibration
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.model import OnnxModel

SAMPLE = Path(facekd.__file__).parent / "weights" / "sample.jpg"


class Fixed:
    """A network whose answer for a crop is always the same."""

    size, scale, markup, box_transform = 64, 1.25, IBUG68, None

    def __init__(self, confidence: float | None) -> None:
        self.confidence = confidence

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        points = np.full((len(images), 68, 2), 32, np.float32)
        return points, None if self.confidence is None else np.full(points.shape[:2], self.confidence, np.float32)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """The six faces of the sample picture, labelled by the bundled network."""
    path, photo = tmp_path_factory.mktemp("pack") / "faces.parquet", read_image(SAMPLE)
    with PackWriter(path, IBUG68, dataset="sample", margin=2.2, size=200, jpeg_quality=95, terms="Made up.") as writer:
        for index, face in enumerate(Landmarker("facekd-68-lite", threads=1).detect(photo)):
            x0, y0, x1, _ = np.round(square(tight_box(face.points), 2.4)).astype(int)
            side = x1 - x0
            padded = np.pad(photo, ((300, 300), (300, 300), (0, 0)))[y0 + 300 :, x0 + 300 :][:side, :side]
            points = face.points.astype(np.float64) - [x0, y0]
            writer.add(LabelledFace(image=padded, points=points, name=f"{index}.jpg", split="val"))
    return Pack.open(path)


def test_the_bundled_network_tells_right_from_wrong(faces: Pack) -> None:
    model = OnnxModel("facekd-68-lite", threads=1)
    fitted = fit_face_calibration(model, faces)
    card = model.card.face_calibration
    assert fitted is not None and card is not None
    assert fitted.middle == pytest.approx(card.middle, abs=0.12)  # that of 120 faces of another set
    assert fitted == fit_face_calibration(model, faces) and fitted != fit_face_calibration(model, faces, seed=1)
    assert fitted.apply(np.array([0.8])) > 0.95 and fitted.apply(np.array([0.15])) < 0.05


class Unsure:
    """The bundled network; on black images it has the points of `truth` a little off, and little confidence."""

    def __init__(self, truth: np.ndarray) -> None:
        self.known, self.truth = OnnxModel("facekd-68-lite", threads=1), truth
        self.size, self.scale, self.markup = self.known.size, self.known.scale, self.known.markup
        self.box_transform = self.known.box_transform

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        if images.any():
            return self.known(images)
        return self.truth[: len(images)].astype(np.float32) + 0.5, np.full((len(images), 68), 0.3, np.float32)


def test_right_landmarks_of_hard_views_are_trusted_and_wrong_ones_are_not(faces: Pack) -> None:
    truth = np.repeat(faces.points[:1].astype(np.float64), 60, axis=0) * 112 / faces.sizes[0]
    views = LabelledCrops(np.zeros((60, 112, 112, 3), np.uint8), truth)
    plain, hard = (fit_face_calibration(Unsure(truth), faces, seen) for seen in (None, views))
    wrong = fit_face_calibration(Unsure(truth), faces, views._replace(points=truth + 30))
    assert plain is not None and hard is not None and wrong is not None
    level = np.array([0.3])
    assert plain.apply(level) < 0.5 < hard.apply(level) and wrong.apply(level) < plain.apply(level)
    missing = truth.copy()
    missing[:, IBUG68.inter_ocular[0]] = np.nan  # their error is not known: as if they were not there
    assert fit_face_calibration(Unsure(truth), faces, views._replace(points=missing)) == plain


def test_nothing_is_fitted_without_confidence_or_without_both_kinds(faces: Pack) -> None:
    assert fit_face_calibration(Fixed(None), faces) is None
    assert fit_face_calibration(Fixed(0.5), faces) is None  # all wrong: every point in the middle
    assert fit_face_calibration(Fixed(0.5), faces.select(indices=[0])) is None


def test_a_network_file_keeps_it(tmp_path: Path) -> None:
    from facekd.networks.checkpoint import load, save
    from facekd.runtime.face_confidence import FaceCalibration
    from tiny_student import write_student

    net, metadata = load(write_student(tmp_path / "run") / "student" / "model.safetensors")
    calibration = FaceCalibration(middle=0.4, slope=9.0)
    save(net, replace(metadata, face_calibration=calibration), tmp_path / "net.safetensors")
    assert load(tmp_path / "net.safetensors")[1].face_calibration == calibration
