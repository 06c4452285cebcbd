"""Views: landmarks stay on what they mark, and a view is the same wherever it comes up."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facekd.geometry import apply, crop_matrix, normalise, tight_box, to_pixels, warp
from facekd.markup import FIVE, IBUG68, MarkUp
from facekd.recipes.schema import Augment, Input
from facekd.training.augment import Augmenter

STILL = {"brightness": 0, "contrast": 0, "saturation": 0, "tint": 0, "blur": 0, "noise": 0, "cutout": 0}
FRAME = Input(size=96, scale=1.5)


def make_faces(count: int = 6) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Frames with a white blob at point 36, and points around it."""
    rng = np.random.default_rng(0)
    frames = np.zeros((count, 160, 160, 3), np.uint8)
    points = rng.uniform(50, 110, (count, 68, 2)).astype(np.float32)
    y, x = np.indices((160, 160))
    for frame, face in zip(frames, points, strict=True):
        blob = 255 * np.exp(-((x - face[36, 0]) ** 2 + (y - face[36, 1]) ** 2) / 18)
        frame[:] = blob[..., None]
    return torch.from_numpy(frames), points, tight_box(points)


def centre_of_mass(images: torch.Tensor) -> np.ndarray:
    mass = images[:, 0].numpy()
    y, x = np.indices(mass.shape[1:])
    total = mass.sum((1, 2))
    return np.stack([(mass * x).sum((1, 2)) / total, (mass * y).sum((1, 2)) / total], axis=-1)


@pytest.mark.parametrize("view", range(5))
def test_landmarks_follow_the_pixels(view: int) -> None:
    frames, points, boxes = make_faces()
    augmenter = Augmenter(Augment(rotation=90, scale=0.2, shift=0.03, mirror=False, **STILL), FRAME, IBUG68, seed=view)
    views = augmenter(frames, points, boxes, np.arange(6), view)
    marked = to_pixels(views.landmarks, FRAME.size)[:, 36].numpy()
    np.testing.assert_allclose(centre_of_mass(views.images), marked, atol=0.15)


def test_a_mirrored_view_swaps_the_pairs() -> None:
    frames, points, boxes = make_faces(40)
    views = Augmenter(Augment(rotation=0, scale=0, shift=0, mirror=True, **STILL), FRAME, IBUG68)(
        frames, points, boxes, np.arange(40)
    )
    at = to_pixels(views.landmarks, FRAME.size).numpy()
    mass = centre_of_mass(views.images)
    plain = np.abs(at[:, 36] - mass).max(-1) < 0.15
    mirrored = np.abs(at[:, IBUG68.mirror[36]] - mass).max(-1) < 0.15
    assert (plain ^ mirrored).all() and 10 < mirrored.sum() < 30


def test_without_settings_it_is_the_crop_that_inference_makes() -> None:
    frames, points, boxes = make_faces()
    views = Augmenter(None, FRAME, IBUG68)(frames, points, boxes, np.arange(6))
    for i in range(6):
        matrix = crop_matrix(boxes[i], FRAME.size, FRAME.scale)
        expected = warp(frames[i].numpy(), matrix, FRAME.size)
        assert np.abs(views.images[i].permute(1, 2, 0).numpy() * 255 - expected).max() < 1.5
        np.testing.assert_allclose(to_pixels(views.landmarks[i], FRAME.size), apply(matrix, points[i]), atol=1e-3)


def test_a_view_is_the_same_in_any_batch() -> None:
    frames, points, boxes = make_faces()
    augmenter = Augmenter(Augment(), FRAME, IBUG68, seed=4)
    together = augmenter(frames, points, boxes, np.arange(6), 3)
    for i in range(6):
        alone = augmenter(frames[i : i + 1], points[i : i + 1], boxes[i : i + 1], np.array([i]), 3)
        torch.testing.assert_close(alone.images[0], together.images[i], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.landmarks[0], together.landmarks[i], atol=1e-6, rtol=0)
    other = augmenter(frames, points, boxes, np.arange(6), 4)
    assert not torch.allclose(other.landmarks, together.landmarks, atol=1e-3)


def test_both_warps_agree() -> None:
    """OpenCV's, used on a CPU, and grid_sample, used elsewhere, show the same to about a grey level."""
    frames, _, boxes = make_faces()
    augmenter = Augmenter(Augment(mirror=True, **STILL), FRAME, IBUG68)
    matrix, _ = augmenter._matrices(boxes, augmenter._draws(np.arange(6), 0))
    expected = augmenter._warp(frames, matrix)
    got = augmenter._sample(frames, matrix)
    assert (got - expected).abs().max() < 6 and (got - expected).abs().mean() < 0.2


def test_every_kind_of_degradation_shows() -> None:
    frames = torch.randint(60, 200, (40, 160, 160, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    points = np.random.default_rng(0).uniform(50, 110, (40, 68, 2)).astype(np.float32)
    still = Augment(rotation=0, scale=0, shift=0, mirror=False, **STILL)

    def look(**settings: float) -> torch.Tensor:
        changed = still.model_copy(update=settings)
        return Augmenter(changed, FRAME, IBUG68)(frames, points, tight_box(points), np.arange(40)).images

    plain = look()
    assert float(plain.min()) >= 0 and float(plain.max()) <= 1
    for name, value in {
        "brightness": 0.3,
        "contrast": 0.5,
        "saturation": 1,
        "tint": 0.3,
        "noise": 0.1,
        "blur": 0.5,
        "cutout": 0.5,
    }.items():
        changed = look(**{name: value})
        moved = (changed - plain).abs().flatten(1).max(1).values > 0.02
        assert moved.float().mean() > 0.3, name
        if name in ("blur", "cutout", "noise"):
            assert moved.float().mean() < 0.8, name
    assert look(blur=1).std() < 0.8 * plain.std()


def test_normalised_coordinates() -> None:
    """The frame's edges are at +-0.5, its middle at 0 (paper: targets)."""
    points = torch.tensor([[-0.5, -0.5], [111.5, 111.5], [223.5, 223.5]])
    torch.testing.assert_close(normalise(points, 224), torch.tensor([[-0.5, -0.5], [0, 0], [0.5, 0.5]]))
    torch.testing.assert_close(to_pixels(normalise(points, 224), 224), points)


def test_without_mirror_pairs_no_view_is_mirrored() -> None:
    """Nobody knows which point of a mirrored face is which."""
    for markup, some in ((FIVE, True), (MarkUp("own", 5, tuple(range(5)), ()), False)):
        views = Augmenter(Augment(), Input(size=32), markup)
        boxes, faces = np.tile([0.0, 0, 10, 10], (40, 1)), np.arange(40)
        assert views._matrices(boxes, views._draws(faces, 0))[1].any() == some
