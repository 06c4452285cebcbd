"""Synthetic faces as a whole: deterministic, labelled in order, with landmarks that lie on what is drawn."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import cv2
import numpy as np
import pytest

from facekd.markup import IBUG68
from facekd.runtime.pose import head_pose
from facekd.synthetic import SyntheticFace, render
from facekd.synthetic.camera import Camera, landmarks
from facekd.synthetic.canvas import Canvas, coverage
from facekd.synthetic.head import JAW, MEAN, Head
from facekd.synthetic.look import sample_look
from facekd.synthetic.occluders import paint_glasses
from facekd.synthetic.paint import FacePainter
from facekd.synthetic.skin import Light

SIZE = 192
LAMP = Light(np.array([0.0, -0.6, 0.8]), 0.6, np.ones(3))


@pytest.fixture(scope="module")
def drawn() -> list[SyntheticFace]:
    return [render(11, index, SIZE) for index in range(48)]


def upright(face: SyntheticFace) -> np.ndarray:
    """Return the points (68, 2) with the head's roll undone."""
    roll = np.radians(face.pose[2])
    return face.points @ np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])


def painter_of(yaw: float, size: int = SIZE) -> FacePainter:
    head = Head(MEAN, nose=0.36, brow=0.05, cheek=0.06)
    camera = Camera(yaw=yaw, pitch=0, roll=0, distance=8.0)
    solid = landmarks(head, camera)
    camera = camera.framed(solid, 0.55 * size, np.full(2, size / 2))
    return FacePainter(head, camera, LAMP, sample_look(np.random.default_rng(1)), solid, (size, size))


def test_a_face_depends_on_seed_and_index_alone(drawn: list[SyntheticFace]) -> None:
    again = render(11, 37, SIZE)
    assert np.array_equal(again.image, drawn[37].image)
    assert np.array_equal(again.points, drawn[37].points)
    assert np.array_equal(again.visible, drawn[37].visible)
    assert not np.array_equal(again.points, render(12, 37, SIZE).points)
    assert len({face.points.tobytes() for face in drawn}) == len(drawn)


def test_a_face_is_the_same_in_another_process(drawn: list[SyntheticFace]) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        there = pool.submit(render, 11, 5, SIZE).result()
    assert np.array_equal(there.image, drawn[5].image)
    assert np.array_equal(there.points, drawn[5].points)


def test_a_face_is_the_same_at_another_size(drawn: list[SyntheticFace]) -> None:
    large = render(11, 3, 2 * SIZE)
    assert np.allclose((large.points + 0.5) / 2 - 0.5, drawn[3].points, atol=1e-3)
    shrunk = cv2.resize(large.image, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(float)
    assert np.corrcoef(shrunk.ravel(), drawn[3].image.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("angle", ["yaw", "pitch", "roll"])
def test_the_pose_has_the_signs_of_the_runtimes(drawn: list[SyntheticFace], angle: str) -> None:
    """The runtime fits one generic head to heads that differ: its angles scatter, but a flipped sign would show."""
    made = np.array([face.pose[("yaw", "pitch", "roll").index(angle)] for face in drawn])
    fitted = np.array([getattr(head_pose(face.points, IBUG68), angle) for face in drawn])
    assert np.corrcoef(fitted, made)[0, 1] > 0.8
    assert abs(np.median(fitted - made)) < 6


def test_a_seed_gives_the_faces_that_it_always_gave() -> None:
    face = render(11, 1, SIZE)
    assert face.pose == pytest.approx((-43.08, -7.22, -13.44), abs=0.01)  # to the left, down
    places = [[90.98, 154.60], [68.33, 118.65], [64.77, 93.86], [92.73, 89.11]]
    assert face.points[[8, 30, 36, 45]] == pytest.approx(np.array(places), abs=0.02)


def test_types_and_points_inside_the_image(drawn: list[SyntheticFace]) -> None:
    for face in drawn:
        assert face.image.shape == (SIZE, SIZE, 3)
        assert face.image.dtype == np.uint8
        assert face.points.shape == (68, 2)
        assert face.points.dtype == np.float32
        assert face.visible.shape == (68,)
        assert face.visible.dtype == bool
        assert (face.points >= 0).all()
        assert (face.points <= SIZE - 1).all()


def test_order_under_every_pose(drawn: list[SyntheticFace]) -> None:
    for face in drawn:
        x, y = upright(face).T
        assert x[0] < x[8] + 1e-3 < x[16] + 2e-3
        assert (np.diff(x[[36, 39, 42, 45]]) > 0).all()
        assert (np.diff(x[17:27]) > -1).all()  # at the far outline brow points may lie above each other
        assert x[31] < x[35]
        assert x[48] < x[51] < x[54]
        assert (np.diff(y[27:31]) > 0).all()
        assert y[8] == y.max()
        assert y[51] < y[57]
        if abs(face.pose[0]) < 15:
            assert (np.diff(x[2:15]) > 0).all()  # beside the ears it is upright
            assert (np.diff(y[:8]) > 0).all()
            assert (np.diff(y[9:17]) < 0).all()


@pytest.mark.parametrize("yaw", [-40.0, -15.0, 0.0, 30.0])
def test_jaw_landmarks_lie_on_the_edge_of_the_skin(yaw: float) -> None:
    painter = painter_of(yaw)
    skin = coverage((SIZE, SIZE), painter.outline()).astype(np.float32) / 255
    at = cv2.remap(skin, *painter.points[JAW].astype(np.float32).T[:, None], cv2.INTER_LINEAR)[0]
    assert (np.abs(at - 0.5) < 0.3).all()  # 0 or 1 a pixel away


def test_landmarks_lie_on_edges(drawn: list[SyntheticFace]) -> None:
    """On eyes, lips and jaw the image changes more at the landmarks than 4 pixels beside them, and than on a cheek."""
    strength = dict.fromkeys(("here", "left", "right", "above", "below", "cheek"), 0.0)
    moves = {"here": (0, 0), "left": (-4, 0), "right": (4, 0), "above": (0, -4), "below": (0, 4)}
    for face in drawn:
        grey = cv2.GaussianBlur(cv2.cvtColor(face.image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
        edges = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)) / grey.std()
        named = np.flatnonzero(face.visible & ((np.arange(68) < 17) | (np.arange(68) >= 36)))
        for name, move in moves.items():
            column, row = np.clip(np.rint(face.points[named] + move), 0, SIZE - 1).astype(int).T
            strength[name] += edges[row, column].mean()
        column, row = np.rint(face.points[[2, 14]] * 0.4 + face.points[[31, 35]] * 0.6).astype(int).T
        strength["cheek"] += edges[row, column].mean()
    others = {name: strength["here"] / value for name, value in strength.items() if name != "here"}
    assert min(others.values()) > 1.25, others


def test_eyes_lips_and_brows_differ_from_skin() -> None:
    image = np.full((256, 256, 3), 128, np.uint8)
    painter = painter_of(0.0, 256)
    painter.paint(image, np.random.default_rng(0))
    p = painter.points

    def colour(*where: int) -> np.ndarray:
        x, y = np.rint(p[list(where)].mean(0)).astype(int)
        return image[y - 1 : y + 2, x - 1 : x + 2].mean((0, 1))

    forehead = image[int(p[19, 1] - 14), int((p[21, 0] + p[22, 0]) / 2)].astype(float)
    pupils = colour(36, 39), colour(42, 45)
    lips = colour(57, 66), colour(51, 62)
    for pupil in pupils:
        assert pupil.mean() < 0.5 * forehead.mean()
    for lip in lips:
        assert lip[0] / lip[1] > 1.15 * forehead[0] / forehead[1]  # redder
    for brow in (19, 24):
        x, y = np.rint(p[brow]).astype(int)
        assert image[y + 2, x].mean() < 0.8 * image[y - 4, x].mean()  # the landmark is the brow's upper edge


def test_mean_shape_explains_little(drawn: list[SyntheticFace]) -> None:
    points = np.stack([face.points for face in drawn])
    low, high = points.min(1, keepdims=True), points.max(1, keepdims=True)
    sides = (high - low).max(2, keepdims=True)
    assert sides.max() / sides.min() > 1.3
    boxed = (points - (low + high) / 2) / sides
    error = np.linalg.norm(boxed - boxed.mean(0), axis=2).mean(1)
    eyes = np.linalg.norm(boxed[:, 36] - boxed[:, 45], axis=1)
    assert 100 * np.mean(error / eyes) > 10  # NME in percent of knowing nothing but the box


def test_a_turned_head_hides_landmarks_of_its_far_side() -> None:
    assert painter_of(0.0).visible().all()
    for yaw, far in (
        (42.0, {*range(22, 27), *range(32, 36), *range(42, 48)}),
        (-42.0, {*range(17, 22), *range(31, 35), *range(36, 42)}),
    ):
        hidden = set(np.flatnonzero(~painter_of(yaw).visible()))
        assert hidden
        assert hidden <= far


@pytest.mark.parametrize("dark", [True, False])
def test_only_dark_glasses_hide_eyes(dark: bool) -> None:
    painter = painter_of(0.0)
    canvas = Canvas(np.zeros((SIZE, SIZE, 3), np.uint8), np.zeros((SIZE, SIZE), np.uint8))
    paint_glasses(np.random.default_rng(2), canvas, painter.head, painter.camera, dark)
    column, row = np.rint(painter.points).astype(int).T
    assert canvas.hidden is not None
    hidden = canvas.hidden[row, column] > 127
    assert hidden[36:48].all() == dark
    assert not hidden[48:].any()
    assert not hidden[JAW].any()


def test_visible_is_false_for_a_share_of_landmarks(drawn: list[SyntheticFace]) -> None:
    hidden = np.mean([~face.visible for face in drawn], axis=1)
    assert 0.01 < hidden.mean() < 0.15
    assert (hidden == 0).any()
    assert (hidden > 0.1).any()


def test_a_given_yaw_turns_the_same_head() -> None:
    drawn, turned = render(2, 7, SIZE), render(2, 7, SIZE, yaw=-55.0)
    assert turned.pose == (-55.0, *drawn.pose[1:]) and np.array_equal(
        render(2, 7, SIZE, yaw=drawn.pose[0]).image, drawn.image
    )
    left, right = (np.ptp(turned.points[list(eye), 0]) for eye in (range(36, 42), range(42, 48)))
    assert left < right  # it looks to the image's left, so that its eye there is the far one


def test_a_given_tone_changes_the_skin_and_nothing_else() -> None:
    dark, light = render(2, 7, SIZE, tone=0.0), render(2, 7, SIZE, tone=1.0)
    assert np.array_equal(dark.points, light.points) and np.array_equal(dark.visible, light.visible)
    assert dark.pose == light.pose == render(2, 7, SIZE).pose
    left, top = dark.points.min(axis=0).astype(int)
    right, bottom = dark.points.max(axis=0).astype(int)
    faces = [face.image[top:bottom, left:right].astype(float) for face in (dark, light)]
    assert faces[1].mean() - faces[0].mean() > 40
    assert np.abs(dark.image[:8].astype(float) - light.image[:8]).max() <= 8  # above the head: JPEG at most


@pytest.mark.parametrize("index", range(6))
def test_a_tone_leaves_hair_and_eyes_as_they_are(index: int) -> None:
    dark, light = (sample_look(np.random.default_rng(index), tone) for tone in (0.0, 1.0))
    for name in ("hair", "iris", "hairline", "freckles", "beard", "length"):
        assert np.array_equal(getattr(dark, name), getattr(light, name)), name
    assert (light.skin > dark.skin).all()
