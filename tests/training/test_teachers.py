"""How teachers are asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from facekd.data.pack import Pack
from facekd.geometry import tight_box
from facekd.losses.heatmap import heatmap_covariance
from facekd.markup import FIVE
from facekd.networks.network import Architecture, LandmarkNet
from facekd.recipes.schema import Augment, Input
from facekd.training import distributed as parallel
from facekd.training.augment import Augmenter
from facekd.training.faces import Faces
from facekd.training.teachers import MovedTeachers, OnlineTeachers, ViewedTeachers, expert_says, landmarks_of, look

MIRROR = torch.tensor(FIVE.mirror)


@pytest.fixture(scope="module")
def net() -> LandmarkNet:
    torch.manual_seed(0)
    return LandmarkNet(Architecture("mobilenetv2_035", "spatial", 5, 32)).eval().requires_grad_(False)


def test_an_expert_says_landmarks_and_the_spread_of_its_heatmaps(net: LandmarkNet) -> None:
    images = torch.rand(2, 3, 32, 32)
    said, prediction = expert_says(net)(images), net(images)
    torch.testing.assert_close(said[..., :2], prediction.landmarks)
    torch.testing.assert_close(said[..., 2:], heatmap_covariance(prediction.heatmaps))


def test_of_the_mirrored_view_an_expert_says_the_mirror_image(net: LandmarkNet) -> None:
    """For any network at all, once it looks at both."""
    images = torch.rand(3, 3, 32, 32)
    says = expert_says(net, MIRROR)
    here, there = says(images), says(images.flip(-1))[:, MIRROR]
    signs = torch.tensor([-1.0, 1, 1, -1, 1])  # x, y, xx, xy, yy
    torch.testing.assert_close(here, there * signs, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(expert_says(net)(images), here)


def test_a_network_without_heatmaps_has_no_spread() -> None:
    plain = LandmarkNet(Architecture("mobilenetv2_035", "coordinate", 5, 32)).eval()
    assert (expert_says(plain)(torch.rand(1, 3, 32, 32))[..., 2:] == 0).all()


@pytest.fixture
def faces(tiny_pack: Pack, tmp_path: Path) -> Faces:
    frames, points = tiny_pack.select("train").frames(tmp_path / "f.npy", 48)
    return Faces(frames, points, tight_box(points))


def test_a_teacher_looks_at_its_own_size(net: LandmarkNet) -> None:
    """The student's view, made smaller; a student of that size would see the same."""
    images = torch.rand(2, 3, 8, 8).repeat_interleave(8, dim=-1).repeat_interleave(8, dim=-2)  # flat tiles of 8 px
    smaller = torch.nn.functional.interpolate(images, size=(32, 32), mode="bilinear", antialias=True)
    torch.testing.assert_close(expert_says(net)(images), expert_says(net)(smaller))
    torch.testing.assert_close(landmarks_of(net)(images), net(smaller).landmarks)


def test_what_is_moved_goes_where_the_face_goes(faces: Faces) -> None:
    """A teacher that knows the labels says them of every view; a spread turns, grows and is mirrored with the face."""
    frame, rows = Input(size=32), np.array([5, 0, 17, 3, 9, 12, 20, 1])
    views = Augmenter(Augment(), frame, FIVE, seed=3)
    plain = Augmenter(None, frame, FIVE)
    everyone = np.arange(len(faces))
    labels = plain(torch.from_numpy(faces.frames[everyone]), faces.points, faces.boxes, everyone).landmarks
    covariance = torch.tensor([4e-3, 1e-3, 2e-3]).expand(*labels.shape[:2], 3)
    said = {"tough": labels.numpy(), "expert": torch.cat([labels, covariance], -1).numpy()}
    moved = MovedTeachers(said, faces, views)
    images, landmarks = views(torch.from_numpy(faces.frames[rows]), faces.points[rows], faces.boxes[rows], rows, 2)
    word = moved(images, rows, 2)
    torch.testing.assert_close(word["tough"], landmarks, rtol=0, atol=1e-5)
    torch.testing.assert_close(word["expert"][..., :2], landmarks, rtol=0, atol=1e-5)
    # By hand: a similarity of zoom z takes a covariance C to z^2 R C R'; what does not turn is its trace over z^2, and
    # its determinant over z^4.
    xx, xy, yy = word["expert"][..., 2:].unbind(-1)
    trace, determinant = xx + yy, xx * yy - xy.square()
    grown = trace / 6e-3
    assert grown.min() < 0.9 and grown.max() > 1.1
    torch.testing.assert_close(determinant, grown.square() * (4e-3 * 2e-3 - 1e-6), rtol=1e-3, atol=0)
    still = MovedTeachers(said, faces, plain)(images, rows, 0)["expert"]
    torch.testing.assert_close(still, torch.from_numpy(said["expert"][rows]), rtol=1e-3, atol=1e-6)


def test_of_a_mirrored_view_the_slant_of_a_spread_is_mirrored(faces: Faces) -> None:
    only_mirror = {name: 0 for name in Augment.model_fields if name != "mirror"}
    views = Augmenter(Augment(**only_mirror), Input(size=32), FIVE, seed=1)
    said = np.zeros((len(faces), 5, 5), np.float32)
    said[..., 2:] = [4e-3, 1e-3, 2e-3]
    rows = np.arange(len(faces))
    word = MovedTeachers({"expert": said}, faces, views)(torch.empty(0), rows, 0)["expert"]
    slants = word[..., 3]
    mirrored = slants[:, 0] < 0
    assert 0 < int(mirrored.sum()) < len(faces)
    torch.testing.assert_close(slants.abs(), torch.full_like(slants, 1e-3), rtol=1e-3, atol=0)
    torch.testing.assert_close(word[..., 2], torch.full_like(slants, 4e-3), rtol=1e-3, atol=0)


def test_what_was_written_down_is_what_is_said_online(net: LandmarkNet, faces: Faces, tmp_path: Path) -> None:
    frames, points = faces.frames, faces.points
    fabric = parallel.fabric("32", "cpu")
    augmenter = Augmenter(Augment(), Input(size=32), FIVE, seed=3)
    teachers = {"tough": landmarks_of(net), "expert": expert_says(net, MIRROR)}
    said = {}
    for name, says in teachers.items():
        look(says, faces, augmenter, 2, tmp_path / f"{name}.npy", fabric, name)
        said[name] = np.load(tmp_path / f"{name}.npy")
    rows = np.array([5, 0, 17])
    views = augmenter(torch.from_numpy(frames[rows]), points[rows], faces.boxes[rows], rows, 1)
    online = OnlineTeachers(teachers, fabric)(views.images, rows, 1)
    written = ViewedTeachers(said, torch.device("cpu"))(views.images, rows, 1)
    assert written["tough"].shape == (3, 5, 2) and written["expert"].shape == (3, 5, 5)
    for name in teachers:
        torch.testing.assert_close(written[name], online[name], rtol=1e-4, atol=1e-5)
