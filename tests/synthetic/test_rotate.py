"""Rotated faces: no turn changes nothing; turned landmarks are those of the head seen at that pose; mirror images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facekd.markup import IBUG68
from facekd.synthetic import render
from facekd.synthetic.camera import Camera, landmarks
from facekd.synthetic.fit import fit_head
from facekd.synthetic.head import MEAN, Head, sample_head
from facekd.synthetic.rotate import Field, SolidFace, rotate

seeds = st.integers(0, 2**32)


def solid(points: np.ndarray) -> SolidFace:
    fit = fit_head(points)
    assert fit is not None
    return SolidFace.of(points, fit)


def posed(head: Head, yaw: float, pitch: float) -> np.ndarray:
    """Landmarks of a head within a square of 200 px, in the middle of 400 px."""
    camera = Camera(yaw, pitch, roll=4.0, distance=9.0)
    points = landmarks(head, camera)
    return camera.framed(points, 200.0, np.array([200.0, 200.0])).project(points)[0]


@given(seeds, st.floats(-30, 30), st.floats(-15, 15))
@settings(max_examples=10, deadline=None)
def test_the_fit_finds_head_and_pose(seed: int, yaw: float, pitch: float) -> None:
    fit = fit_head(posed(sample_head(np.random.default_rng(seed)), yaw, pitch))
    assert fit is not None
    assert fit.error < 0.03
    assert (fit.camera.yaw, fit.camera.pitch) == pytest.approx((yaw, pitch), abs=10)
    assert fit.camera.roll == pytest.approx(4, abs=4)


def test_points_in_one_spot_show_no_pose() -> None:
    assert fit_head(np.full((68, 2), 7.0)) is None


def test_a_field_goes_through_its_values_and_fades() -> None:
    points, values = np.array([[0.0, 0.0], [10.0, 0.0]]), np.array([[1.0, -2.0], [0.0, 3.0]])
    field = Field(points, values, reach=3.0)
    assert np.allclose(field(points), values, atol=0.01)
    assert np.abs(field(np.array([[100.0, 100.0]]))).max() < 1e-6


@given(seeds, st.floats(-25, 25))
@settings(max_examples=5, deadline=None)
def test_no_turn_changes_nothing(seed: int, yaw: float) -> None:
    rng = np.random.default_rng(seed)
    labels = posed(sample_head(rng), yaw, 5.0) + rng.normal(0, 2.0, (68, 2))  # which the model does not meet
    photo = render(3, 1, 400).image
    image, points = rotate(photo, solid(labels), 0.0, 0.0)
    assert np.allclose(points, labels, atol=1e-6)
    assert np.abs(image.astype(int) - photo).mean() < 0.5
    assert np.percentile(np.abs(image.astype(int) - photo), 99) <= 4


@given(seeds, st.floats(-15, 15), st.sampled_from([(30.0, 0.0), (50.0, 0.0), (25.0, 15.0), (20.0, -15.0)]))
@settings(max_examples=12, deadline=None)
def test_turned_landmarks_are_those_of_the_turned_head(seed: int, yaw: float, turn: tuple[float, float]) -> None:
    head = sample_head(np.random.default_rng(seed))
    side = 1.0 if yaw >= 0 else -1.0
    after = yaw + side * turn[0], 3.0 + turn[1]
    _, points = solid(posed(head, yaw, 3.0)).turned(side * turn[0], turn[1])
    expected = posed(head, *after)
    facing = posed(head, 0.0, 0.0)  # whose inter-ocular distance does not shrink
    errors = np.linalg.norm(points - expected, axis=1) / np.linalg.norm(facing[45] - facing[36])
    assert errors.mean() < 0.05


def test_far_side_of_the_jaw_lies_on_the_outline_of_the_turned_face() -> None:
    head = Head(MEAN, nose=0.33, brow=0.05, cheek=0.06)
    face = solid(posed(head, 0.0, 0.0))
    camera, points = face.turned(45.0, 0.0)
    mesh = camera.project(face.mesh)[0]
    cheek = slice(3, 8)  # of the landmarks on the image's right: those from the cheek bone down to the jaw
    for x, y in points[16 - np.arange(cheek.start, cheek.stop)]:
        level = mesh[np.abs(mesh[..., 1] - y) < 2.0]
        assert x == pytest.approx(level[:, 0].max(), abs=6.0)  # of 200


def test_a_mirrored_face_turned_the_other_way_is_the_mirror_image() -> None:
    photo = render(3, 1, 256)
    face = solid(photo.points)
    mirrored = (photo.points * (-1, 1) + (255, 0))[list(IBUG68.mirror)]
    image, points = rotate(photo.image, face, 35.0, -10.0)
    other, seen = rotate(np.ascontiguousarray(photo.image[:, ::-1]), solid(mirrored), -35.0, -10.0)
    assert np.allclose((seen * (-1, 1) + (255, 0))[list(IBUG68.mirror)], points, atol=0.5)
    assert np.abs(other[:, ::-1].astype(int) - image).mean() < 2.0


def test_a_turned_face_keeps_its_place_and_leaves_no_holes() -> None:
    photo = render(3, 1, 256)
    white = np.full_like(photo.image, 255)
    image, points = rotate(white, solid(photo.points), 50.0, 10.0)
    assert (image == 255).all()
    box = np.concatenate([photo.points.min(0), photo.points.max(0)])
    turned = np.concatenate([points.min(0), points.max(0)])
    assert np.allclose(box[:2] + box[2:], turned[:2] + turned[2:], atol=1e-3)
    assert (box[2:] - box[:2]).max() == pytest.approx((turned[2:] - turned[:2]).max(), abs=1e-3)


def test_lift_undoes_project() -> None:
    camera = replace(Camera(20, -10, 15, 8.0), unit=50.0, centre=(30.0, 40.0))
    points = np.random.default_rng(0).normal(size=(5, 3))
    assert np.allclose(camera.lift(*camera.project(points)), points)
