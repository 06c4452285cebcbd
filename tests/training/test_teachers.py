"""How teachers are asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from facekd.data.pack import Pack
from facekd.geometry import tight_box
from facekd.losses.heatmap import heatmap_covariance
from facekd.losses.objective import TeacherKey
from facekd.markup import FIVE
from facekd.networks.architecture import Architecture
from facekd.networks.network import LandmarkNet
from facekd.recipes.groups import Augment, Input
from facekd.training import distributed
from facekd.training import teachers as teachers_module
from facekd.training.augment import Augmenter
from facekd.training.faces import Faces
from facekd.training.teachers import (
    CachedTeachers,
    OnlineTeachers,
    WarpedTeachers,
    predict_landmarks,
    predict_moments,
    store_predictions,
)

MIRROR = torch.tensor(FIVE.mirror)
TOUGH, EXPERT = TeacherKey("tough", "landmarks"), TeacherKey("expert", "moments")


@pytest.fixture(scope="module")
def net() -> LandmarkNet:
    torch.manual_seed(0)
    return LandmarkNet(Architecture("mobilenetv2_035", "spatial", 5, 32)).eval().requires_grad_(False)


def test_moments_are_landmarks_and_the_covariance_of_heatmaps(net: LandmarkNet) -> None:
    images = torch.rand(2, 3, 32, 32)
    said, prediction = predict_moments(net)(images), net(images)
    torch.testing.assert_close(said[..., :2], prediction.landmarks)
    torch.testing.assert_close(said[..., 2:], heatmap_covariance(prediction.heatmaps))


def test_of_the_mirrored_view_a_teacher_predicts_the_mirror_image(net: LandmarkNet) -> None:
    """For any network at all, once it looks at both."""
    images = torch.rand(3, 3, 32, 32)
    says = predict_moments(net, MIRROR)
    here, there = says(images), says(images.flip(-1))[:, MIRROR]
    signs = torch.tensor([-1.0, 1, 1, -1, 1])  # x, y, xx, xy, yy
    torch.testing.assert_close(here, there * signs, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(predict_moments(net)(images), here)


def test_a_network_without_heatmaps_has_covariance_0() -> None:
    plain = LandmarkNet(Architecture("mobilenetv2_035", "coordinate", 5, 32)).eval()
    assert (predict_moments(plain)(torch.rand(1, 3, 32, 32))[..., 2:] == 0).all()


@pytest.fixture
def faces(tiny_pack: Pack, tmp_path: Path) -> Faces:
    frames, points = tiny_pack.select("train").frames(tmp_path / "f.npy", 48)
    return Faces(frames, points, tight_box(points))


def test_a_teacher_sees_views_at_its_own_size(net: LandmarkNet) -> None:
    """The student's view, made smaller; a student of that size would see the same."""
    images = torch.rand(2, 3, 8, 8).repeat_interleave(8, dim=-1).repeat_interleave(8, dim=-2)  # flat tiles of 8 px
    smaller = torch.nn.functional.interpolate(images, size=(32, 32), mode="bilinear", antialias=True)
    torch.testing.assert_close(predict_moments(net)(images), predict_moments(net)(smaller))
    torch.testing.assert_close(predict_landmarks(net)(images), net(smaller).landmarks)


def test_warped_predictions_go_where_the_face_goes(faces: Faces) -> None:
    """A teacher that knows the labels predicts them for every view; a covariance turns and grows with the face."""
    frame, rows = Input(size=32), np.array([5, 0, 17, 3, 9, 12, 20, 1])
    views = Augmenter(Augment(), frame, FIVE, seed=3)
    plain = Augmenter(None, frame, FIVE)
    everyone = np.arange(len(faces))
    labels = plain(torch.from_numpy(faces.frames[everyone]), faces.points, faces.boxes, everyone).landmarks
    covariance = torch.tensor([4e-3, 1e-3, 2e-3]).expand(*labels.shape[:2], 3)
    said = {TOUGH: labels.numpy(), EXPERT: torch.cat([labels, covariance], -1).numpy()}
    moved = WarpedTeachers(said, faces, views)
    images, landmarks, _ = views(torch.from_numpy(faces.frames[rows]), faces.points[rows], faces.boxes[rows], rows, 2)
    word = moved(images, rows, 2)
    torch.testing.assert_close(word[TOUGH], landmarks, rtol=0, atol=1e-5)
    torch.testing.assert_close(word[EXPERT][..., :2], landmarks, rtol=0, atol=1e-5)
    # By hand: a similarity of zoom z takes a covariance C to z^2 R C R'; what does not turn is its trace over z^2, and
    # its determinant over z^4.
    xx, xy, yy = word[EXPERT][..., 2:].unbind(-1)
    trace, determinant = xx + yy, xx * yy - xy.square()
    grown = trace / 6e-3
    assert grown.min() < 0.9 and grown.max() > 1.1
    torch.testing.assert_close(determinant, grown.square() * (4e-3 * 2e-3 - 1e-6), rtol=1e-3, atol=0)
    still = WarpedTeachers(said, faces, plain)(images, rows, 0)[EXPERT]
    torch.testing.assert_close(still, torch.from_numpy(said[EXPERT][rows]), rtol=1e-3, atol=1e-6)


def test_of_a_mirrored_view_the_slant_of_a_covariance_is_mirrored(faces: Faces) -> None:
    only_mirror = {name: 0 for name in Augment.model_fields if name != "mirror"}
    views = Augmenter(Augment(**only_mirror), Input(size=32), FIVE, seed=1)
    said = np.zeros((len(faces), 5, 5), np.float32)
    said[..., 2:] = [4e-3, 1e-3, 2e-3]
    rows = np.arange(len(faces))
    word = WarpedTeachers({EXPERT: said}, faces, views)(torch.empty(0), rows, 0)[EXPERT]
    slants = word[..., 3]
    mirrored = slants[:, 0] < 0
    assert 0 < int(mirrored.sum()) < len(faces)
    torch.testing.assert_close(slants.abs(), torch.full_like(slants, 1e-3), rtol=1e-3, atol=0)
    torch.testing.assert_close(word[..., 2], torch.full_like(slants, 4e-3), rtol=1e-3, atol=0)


def test_stored_predictions_are_those_made_online(net: LandmarkNet, faces: Faces, tmp_path: Path) -> None:
    frames, points = faces.frames, faces.points
    fabric = distributed.fabric("32", "cpu")
    augmenter = Augmenter(Augment(), Input(size=32), FIVE, seed=3)
    teachers = {TOUGH: predict_landmarks(net), EXPERT: predict_moments(net, MIRROR)}
    said = {}
    for key, says in teachers.items():
        path = tmp_path / f"{key.name}.npy"
        store_predictions(says, faces, augmenter, 2, path, fabric, key.name)
        said[key] = np.load(path)
    rows = np.array([5, 0, 17])
    views = augmenter(torch.from_numpy(frames[rows]), points[rows], faces.boxes[rows], rows, 1)
    online = OnlineTeachers(teachers, fabric)(views.images, rows, 1)
    written = CachedTeachers(said, torch.device("cpu"))(views.images, rows, 1)
    assert written[TOUGH].shape == (3, 5, 2) and written[EXPERT].shape == (3, 5, 5)
    for key in teachers:
        torch.testing.assert_close(written[key], online[key], rtol=1e-4, atol=1e-5)


def test_online_teachers_are_asked_for_the_very_views_and_learn_nothing(net: LandmarkNet) -> None:
    """Two forms of one teacher, and another teacher, at once; each has its own key."""
    fabric, images = distributed.fabric("32", "cpu"), torch.rand(2, 3, 32, 32)
    learner = torch.nn.Parameter(torch.ones(()))
    functions = {
        TOUGH: predict_landmarks(net),
        TeacherKey("tough", "moments"): predict_moments(net),
        TeacherKey("other", "landmarks"): lambda views: learner * views[:, :2, :5, 0].mT.to(torch.bfloat16),
    }
    found = OnlineTeachers(functions, fabric)(images, np.array([7, 3]), np.array([0, 9]))
    assert list(found) == list(functions)
    torch.testing.assert_close(found[TOUGH], net(images).landmarks)
    torch.testing.assert_close(found[TeacherKey("tough", "moments")][..., :2], net(images).landmarks)
    other = found[TeacherKey("other", "landmarks")]
    assert other.dtype == torch.float32 and not other.requires_grad
    torch.testing.assert_close(other, images[:, :2, :5, 0].mT, rtol=1e-2, atol=0)


def test_a_cached_prediction_is_that_of_the_view_and_the_face() -> None:
    """Of view v and face f it is 100 v + f here; faces of one batch may be seen in different views."""
    known = (100 * np.arange(3)[:, None] + np.arange(8))[..., None, None] + np.zeros((3, 8, 5, 2), np.float32)
    both = {TOUGH: known.astype(np.float32), EXPERT: np.zeros((3, 8, 5, 5), np.float32)}
    found = CachedTeachers(both, torch.device("cpu"))(torch.empty(0), np.array([5, 0, 5]), np.array([2, 1, 0]))
    assert found[TOUGH][:, 0, 0].tolist() == [205, 100, 5]
    assert found[TOUGH].shape == (3, 5, 2) and found[EXPERT].shape == (3, 5, 5)


def test_predictions_are_stored_once_for_every_view_of_every_face(
    faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches that do not divide the faces; what lies there is not predicted again."""
    monkeypatch.setattr(teachers_module, "_BATCH", 7)
    fabric, path = distributed.fabric("32", "cpu"), tmp_path / "t.npy"
    augmenter, asked = Augmenter(Augment(), Input(size=32), FIVE, seed=3), []

    def predict(images: torch.Tensor) -> torch.Tensor:
        asked.append(len(images))
        return images[:, :2, :5, 16].mT  # of each view something else

    store_predictions(predict, faces, augmenter, 2, path, fabric, "tough")
    assert asked == [7, 7, 7, 3] * 2
    stored, rows = np.load(path), np.arange(24)
    assert stored.shape == (2, 24, 5, 2) and stored.dtype == np.float32
    for view in range(2):
        views = augmenter(torch.from_numpy(faces.frames[rows]), faces.points, faces.boxes, rows, view)
        np.testing.assert_allclose(stored[view], views.images[:, :2, :5, 16].mT, atol=1e-6)
    assert np.abs(stored[0] - stored[1]).max() > 0.01
    store_predictions(predict, faces, augmenter, 2, path, fabric, "tough")
    assert len(asked) == 8
