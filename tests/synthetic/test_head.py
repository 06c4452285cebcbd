"""The shape model and its camera: proportions that hold for every head, projection by hand, the visible outline."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekd.markup import IBUG68
from facekd.runtime.pose import head_pose
from facekd.synthetic.camera import Camera, landmarks, sample_camera
from facekd.synthetic.head import EXPRESSION, IDENTITY, JAW, MEAN, Head, sample_head

MEAN_HEAD = Head(MEAN, nose=0.33, brow=0.05, cheek=0.06)
seeds = st.integers(0, 2**32)


def test_mean_and_symmetric_modes_are_their_own_mirror_image() -> None:
    mirror = list(IBUG68.mirror)
    for shape in (MEAN, *IDENTITY.values(), EXPRESSION["smile"], EXPRESSION["open mouth"]):
        assert np.allclose(shape, shape[mirror] * (-1, 1))
    assert np.allclose(EXPRESSION["left lid"], EXPRESSION["right lid"][mirror] * (-1, 1))


@given(seeds)
def test_every_head_is_a_face(seed: int) -> None:
    flat = sample_head(np.random.default_rng(seed)).flat
    x, y = flat.T
    assert (np.diff(x[JAW]) > 0).all()
    assert (np.diff(x[[17, 21, 22, 26]]) > 0).all()
    assert (np.diff(x[[36, 39, 27, 42, 45]]) > 0).all()
    assert (y[[37, 38, 43, 44]] < y[[41, 40, 47, 46]]).all(), "lids cross"
    assert (y[[61, 62, 63]] <= y[[67, 66, 65]] + 1e-9).all(), "inner lips cross"
    assert (y[[50, 51, 52]] < y[[61, 62, 63]]).all()
    assert (y[[67, 66, 65]] < y[[58, 57, 56]]).all()
    assert (np.diff(y[27:31]) > 0).all()
    assert y[19] < y[37]
    assert y[30] < y[33] < y[51] < y[57] < y[8]


def test_depth_puts_the_tip_of_the_nose_in_front_and_the_ears_behind() -> None:
    depth = MEAN_HEAD.relief(MEAN)
    assert depth.argmax() == 30
    assert set(depth.argsort()[:2]) == {0, 16}
    assert depth[30] - MEAN_HEAD.relief(MEAN, nose=False)[30] == pytest.approx(0.33, abs=0.01)


def test_project_by_hand() -> None:
    camera = Camera(yaw=0, pitch=0, roll=0, distance=8.0, unit=50.0, centre=(100.0, 120.0))
    x, y, z = Camera.PIVOT
    points = np.array([[x, y, z], [x + 1, y, z], [x, y + 1, z + 4]])
    pixels, near = camera.project(points)
    assert np.allclose(pixels, [[100, 120], [150, 120], [100, 120 + 2 * 50]])  # half as far away, twice as large
    assert np.allclose(near, [0, 0, 4])


def test_signs_of_the_pose() -> None:
    nose = np.array([[0.0, 0.5, 1.6]])
    turned = Camera(yaw=30, pitch=0, roll=0, distance=8.0).project(nose)[0][0]
    raised = Camera(yaw=0, pitch=20, roll=0, distance=8.0).project(nose)[0][0]
    rolled = Camera(yaw=0, pitch=0, roll=90, distance=1e9).project(np.array([[0.0, -0.5, 0.1]]))[0][0]
    assert turned[0] > 0.5
    assert turned[1] == pytest.approx(0)
    assert raised[1] < -0.4  # up, where y is smaller
    assert rolled == pytest.approx([1, 0])  # clockwise: what was up is at the right


@pytest.mark.parametrize("pose", [(20, 0, 0), (0, 15, 0), (0, -15, 0), (0, 0, 10), (-20, 12, -8)])
def test_the_runtime_reads_the_pose_that_the_camera_has(pose: tuple[float, float, float]) -> None:
    camera = Camera(*pose, distance=8.0)
    read = head_pose(camera.project(landmarks(MEAN_HEAD, camera))[0], IBUG68)
    assert read is not None
    assert (read.yaw, read.pitch, read.roll) == pytest.approx(pose, abs=6)


def test_framed_and_cropped() -> None:
    solid = landmarks(MEAN_HEAD, Camera(20, 5, 10, 8.0))
    camera = Camera(20, 5, 10, 8.0).framed(solid, side=100.0, middle=np.array([60.0, 80.0]))
    pixels, _ = camera.project(solid)
    assert np.ptp(pixels, axis=0).max() == pytest.approx(100)
    assert (pixels.min(0) + pixels.max(0)) / 2 == pytest.approx([60, 80])
    halved, _ = camera.cropped(10, 20, shrink=2).project(solid)
    assert np.allclose(2 * (halved + 0.5) - 0.5 + (10, 20), pixels)


@pytest.mark.parametrize("yaw", [-40.0, 40.0])
def test_far_jaw_slides_to_the_visible_outline_and_the_near_one_stays(yaw: float) -> None:
    camera = Camera(yaw=yaw, pitch=0, roll=0, distance=8.0)
    solid = landmarks(MEAN_HEAD, camera)
    far, near = (slice(11, 17), slice(0, 8)) if yaw > 0 else (slice(0, 6), slice(9, 17))
    assert np.allclose(solid[JAW][near, :2], MEAN[JAW][near])
    assert (np.abs(solid[JAW][far, 0]) < np.abs(MEAN[JAW][far, 0]) - 0.05).all()
    pixels, _ = camera.project(solid)
    for i in range(1, 17)[far]:
        y = solid[i, 1]
        level = np.stack([np.linspace(-1, 1, 400) * MEAN_HEAD.width(np.array(y)), np.full(400, y)], -1)
        row, _ = camera.project(np.column_stack([level, MEAN_HEAD.relief(level, nose=False)]))
        edge = row[:, 0].max() if yaw > 0 else row[:, 0].min()
        assert pixels[i, 0] == pytest.approx(edge, abs=0.02)  # head units; half the face's width is 1


def test_poses_vary_within_their_limits() -> None:
    rng = np.random.default_rng(0)
    cameras = [sample_camera(rng) for _ in range(2000)]
    pose = np.array([(c.yaw, c.pitch, c.roll) for c in cameras])
    assert (np.abs(pose).max(0) <= (45 + 1e-9, 25 + 1e-9, 25)).all()
    assert (np.abs(pose).max(0) > (40, 22, 22)).all()
    assert (np.abs(pose.mean(0)) < 1.5).all()
    assert (pose.std(0) > (15, 7, 7)).all()
