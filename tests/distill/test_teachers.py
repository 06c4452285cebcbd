"""How teachers are asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from facekd.data.pack import Pack
from facekd.distill import parallel
from facekd.distill.augment import Augmenter
from facekd.distill.networks import Architecture, LandmarkNet
from facekd.distill.objective import spread
from facekd.distill.recipe import Augment, Input
from facekd.distill.teachers import OnlineTeachers, ViewedTeachers, expert_says, landmarks_of, look
from facekd.distill.train import Faces
from facekd.geometry import tight_box
from facekd.markup import FIVE

MIRROR = torch.tensor(FIVE.mirror)


@pytest.fixture(scope="module")
def net() -> LandmarkNet:
    torch.manual_seed(0)
    return LandmarkNet(Architecture("mobilenetv2_035", "spatial", 5, 32)).eval().requires_grad_(False)


def test_an_expert_says_landmarks_and_the_spread_of_its_heatmaps(net: LandmarkNet) -> None:
    images = torch.rand(2, 3, 32, 32)
    said, prediction = expert_says(net)(images), net(images)
    torch.testing.assert_close(said[..., :2], prediction.landmarks)
    torch.testing.assert_close(said[..., 2:], spread(prediction.heatmaps))


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


def test_what_was_written_down_is_what_is_said_online(net: LandmarkNet, tiny_pack: Pack, tmp_path: Path) -> None:
    train = tiny_pack.select("train")
    frames, points = train.frames(tmp_path / "f.npy", 48)
    faces = Faces(frames, points, tight_box(points))
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
