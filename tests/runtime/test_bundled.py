"""The models that come with the package, on the sample picture with its six faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import facekd
from facekd.geometry import iou, square, tight_box
from facekd.images import read_image
from facekd.markup import FIVE, convertible
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.names import DEFAULT, bundled
from facekd.runtime.yunet import yunet_weights

SAMPLE = Path(facekd.__file__).parent / "weights" / "sample.jpg"


@pytest.fixture(scope="module", params=list(bundled()))
def landmarker(request: pytest.FixtureRequest) -> Landmarker:
    return Landmarker(request.param, threads=1)


def test_the_default_is_there_and_the_detector_is_no_landmark_model() -> None:
    assert set(bundled()) == {DEFAULT, "facekd-68-lite"}
    assert yunet_weights().parent == bundled()[DEFAULT].parent
    licence = yunet_weights().with_name("YUNET_LICENSE.txt").read_text()
    assert "MIT License" in licence and "Shiqi Yu" in licence


def test_the_card_says_what_one_needs_to_know(landmarker: Landmarker) -> None:
    card = landmarker.model.card
    assert card.figures and card.data and all(data["terms"] for data in card.data)
    _, confidence, _ = landmarker.model(np.zeros((1, card.size, card.size, 3), np.uint8))
    assert card.box_transform is not None and (confidence is None) == (card.confidence is None)


def test_six_faces_whose_points_lie_where_they_belong(landmarker: Landmarker) -> None:
    faces = landmarker.detect(SAMPLE)
    assert len(faces) == 6
    for face in faces:
        overlap = iou(square(tight_box(face.points)), landmarker.box_transform.apply(face.box))
        assert overlap > 0.6 and abs(face.pose.roll) < 25
        if convertible(face.markup, FIVE):
            left_eye, right_eye, nose, left_mouth, right_mouth = face.convert(FIVE).points
            assert left_eye[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
            assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


def test_a_batch_gives_what_singles_give(landmarker: Landmarker) -> None:
    photo = read_image(SAMPLE)
    photos = [photo, photo[:320, :320], photo[320:, 320:], photo[:320]]
    for faces, alone in zip(landmarker.detect_batch(photos), map(landmarker.detect, photos), strict=True):
        singles = [landmarker.detect(photos[0], boxes=[face.box])[0] for face in faces] if len(faces) == 6 else alone
        for one, other in zip(faces, singles, strict=True):
            np.testing.assert_allclose(one.points, other.points, atol=1e-3)
            np.testing.assert_allclose(one.confidence, other.confidence, atol=1e-4)


def test_points_follow_the_face(landmarker: Landmarker) -> None:
    """Where the photo is moved and scaled, so are the points."""
    photo = read_image(SAMPLE)[:320, :320]
    box = landmarker.detect(photo)[0].box
    moved = np.zeros((400, 420, 3), np.uint8)
    moved[50:370, 70:390] = photo
    here = landmarker.detect(photo, boxes=[box])[0].points
    there = landmarker.detect(moved, boxes=[box + np.float32([70, 50, 70, 50])])[0].points
    np.testing.assert_allclose(there - [70, 50], here, atol=0.05)
    twice = photo.repeat(2, axis=0).repeat(2, axis=1)
    larger = landmarker.detect(twice, boxes=[(box + 0.5) * 2 - 0.5])[0].points
    assert np.abs((larger + 0.5) / 2 - 0.5 - here).mean() < 0.5
