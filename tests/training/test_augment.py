"""Views: landmarks stay on what they mark, and a view is the same wherever it comes up."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facekd.geometry import apply, crop_matrix, normalise, tight_box, to_pixels, warp
from facekd.markup import FIVE, IBUG68, MarkUp
from facekd.recipes.groups import Augment, Input
from facekd.training.augment import Augmenter, _line

TWO = MarkUp("two", 2, (0, 1))  # two points, without mirror pairs
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
        "low_resolution": 0.6,
        "motion_blur": 0.5,
        "jpeg": 0.5,
        "low_contrast": 0.6,
    }.items():
        changed = look(**{name: value})
        moved = (changed - plain).abs().flatten(1).max(1).values > 0.02
        assert moved.float().mean() > 0.3, name
        if name in ("blur", "cutout", "noise", "low_resolution", "motion_blur", "jpeg", "low_contrast"):
            assert moved.float().mean() < 0.8, name
    for name in ("blur", "low_resolution", "motion_blur"):
        assert look(**{name: 1}).std() < 0.8 * plain.std(), name


def test_detail_is_lost_and_nothing_moves() -> None:
    """Of low resolution and motion blur the mean stays, and a blob's centre of mass where it was."""
    frames, points, boxes = make_faces(30)
    settings = Augment(rotation=0, scale=0, shift=0, mirror=False, **STILL)
    plain = Augmenter(settings, FRAME, IBUG68)(frames, points, boxes, np.arange(30)).images
    for name in ("low_resolution", "motion_blur"):
        lost = Augmenter(settings.model_copy(update={name: 1.0}), FRAME, IBUG68)(frames, points, boxes, np.arange(30))
        np.testing.assert_allclose(lost.images.mean((1, 2, 3)), plain.mean((1, 2, 3)), rtol=0.03)
        np.testing.assert_allclose(centre_of_mass(lost.images), centre_of_mass(plain), atol=0.25)


@pytest.mark.parametrize("size", [96, 192])
def test_low_resolution_is_that_of_the_photo_whatever_the_frame_is(size: int) -> None:
    """Stripes a 20th of the face wide fade in views of fewer than some 30 pixels, down to 20; sizes are log-uniform."""
    stripes = np.zeros((1, 480, 480, 3), np.uint8)
    stripes[:, :, np.arange(480) // 20 % 2 == 1] = 255
    points = np.array([[[40.0, 40], [440, 440]]], np.float32)
    settings = Augment(rotation=0, scale=0, shift=0, mirror=False, low_resolution=1, **STILL)
    augmenter = Augmenter(settings, Input(size=size, scale=1.0), TWO)
    frames, count = torch.from_numpy(stripes).expand(200, -1, -1, -1), 200
    views = augmenter(frames, points.repeat(count, 0), tight_box(points).repeat(count, 0), np.arange(count)).images
    contrast = views[:, 0, size // 4 : -size // 4, size // 4 : -size // 4].std((1, 2)) / 0.5
    assert contrast.min() < 0.25 and contrast.max() > 0.8
    lost = float((contrast < 0.5).float().mean())
    assert lost == pytest.approx(np.log(30 / 20) / np.log(size / 20), abs=0.15)


def test_noise_of_small_photos_is_enlarged_with_them() -> None:
    """Grain of a photo of few pixels is coarse: neighbours in the view are alike, unlike in that of the frame."""
    frames = torch.full((64, 160, 160, 3), 128, dtype=torch.uint8)
    points = np.tile(np.array([[[30.0, 30], [130, 130]]], np.float32), (64, 1, 1))
    still = Augment(rotation=0, scale=0, shift=0, mirror=False, **STILL | {"noise": 0.2})

    def alike(settings: Augment) -> float:
        augmenter = Augmenter(settings, FRAME, TWO)
        grain = augmenter(frames, points, tight_box(points), np.arange(64)).images - 128 / 255
        return float((grain[..., 1:] * grain[..., :-1]).mean() / grain.square().mean())

    assert abs(alike(still)) < 0.05 and alike(still.model_copy(update={"low_resolution": 1.0})) > 0.2


def test_low_contrast_leaves_a_tenth_at_the_least_dark_pale_or_between() -> None:
    frames = torch.zeros((200, 160, 160, 3), dtype=torch.uint8)
    frames[:, :, 80:] = 255
    points = np.tile(np.array([[[30.0, 30], [130, 130]]], np.float32), (200, 1, 1))
    settings = Augment(rotation=0, scale=0, shift=0, mirror=False, low_contrast=1, **STILL)
    views = Augmenter(settings, FRAME, TWO)(frames, points, tight_box(points), np.arange(200)).images
    low, high = views.amin((1, 2, 3)), views.amax((1, 2, 3))
    assert low.min() < 0.1 and high.max() > 0.9 and low.min() >= 0 and high.max() <= 1
    gain = high - low
    assert 0.0999 < gain.min() < 0.12 and gain.max() > 0.9
    assert gain.log().mean() == pytest.approx(np.log(0.1) / 2, abs=0.15)  # uniform in its logarithm


def test_jpeg_keeps_blocks_of_eight_pixels() -> None:
    """At quality 5 to 50 a soft gradient turns into blocks: jumps between blocks are larger than steps inside them."""
    frames = torch.arange(160, dtype=torch.uint8).view(1, 1, 160, 1).expand(64, 160, 160, 3).contiguous()
    points = np.tile(np.array([[[0.0, 0], [159, 159]]], np.float32), (64, 1, 1))
    settings = Augment(rotation=0, scale=0, shift=0, mirror=False, jpeg=1, **STILL)
    augmenter = Augmenter(settings, Input(size=160, scale=1.0), TWO)
    views = augmenter(frames, points, tight_box(points), np.arange(64)).images
    steps = views.diff(dim=-1).abs().mean((0, 1, 2))
    jumps = torch.arange(1, len(steps) + 1) % 8 == 0
    assert steps[jumps].mean() > 3 * steps[~jumps].mean()


def test_kernels_of_motion_blur() -> None:
    """Worked out by hand: no way is one pixel; two pixels along a row reach one pixel to each side."""
    still = _line(0.0, 0.7)
    assert still[1, 1] == pytest.approx(1) and still.sum() == pytest.approx(1)
    along = _line(2.0, 0.0)
    # Nine steps from -1 to 1: each pixel's share falls linearly with its distance from the step, so that the middle one
    # gets 1 + 2 (0.75 + 0.5 + 0.25) = 4 of 9, its neighbours 1 + 0.75 + 0.5 + 0.25 = 2.5.
    np.testing.assert_allclose(along[2], [0, 2.5 / 9, 4 / 9, 2.5 / 9, 0], atol=1e-6)
    assert along.sum() == pytest.approx(1)
    np.testing.assert_allclose(_line(2.0, np.pi / 2), along.T, atol=1e-6)


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


DRAWS = 4000


def draw_matrices(**settings: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the similarities (n, 2, 3) of many views of a face whose box is 80 px wide about (80, 80); and mirrors."""
    still = dict.fromkeys(Augment.model_fields, 0)
    views = Augmenter(Augment(**still | settings), FRAME, IBUG68, seed=1)
    boxes = np.tile([40.0, 40, 120, 120], (DRAWS, 1))
    return views._matrices(boxes, views._draws(np.arange(DRAWS), 0))


def check_uniform(values: np.ndarray, limit: float) -> None:
    """Check that values are uniform in +- limit: their extremes, and the standard deviation limit / sqrt(3)."""
    assert np.abs(values).max() <= limit
    assert values.max() > 0.99 * limit and values.min() < -0.99 * limit
    assert abs(values.std() - limit / 3**0.5) < 0.03 * limit and abs(values.mean()) < 0.04 * limit


def test_rotations_scales_and_shifts_are_uniform_up_to_what_is_set() -> None:
    matrices, _ = draw_matrices(rotation=30)
    check_uniform(np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0])), 30)
    plain = FRAME.size / (80 * FRAME.scale)
    matrices, _ = draw_matrices(scale=0.2)
    check_uniform(np.log(matrices[:, 0, 0] / plain), 0.2)
    matrices, _ = draw_matrices(shift=0.05)
    middle = (matrices @ np.array([80, 80, 1.0]) - (FRAME.size - 1) / 2) / FRAME.size
    check_uniform(middle[:, 0], 0.05)
    check_uniform(middle[:, 1], 0.05)
    assert abs(np.corrcoef(middle.T)[0, 1]) < 0.06


def test_half_of_the_views_are_mirrored_or_none() -> None:
    for mirror, share in ((True, 0.5), (False, 0.0)):
        matrices, mirrored = draw_matrices(mirror=mirror)
        assert abs(mirrored.mean() - share) < 0.03 * (share > 0) + 1e-9
        np.testing.assert_array_equal(np.linalg.det(matrices[:, :, :2]) < 0, mirrored)


def look_at(colour: tuple[int, int, int], count: int = 1000, **settings: float) -> torch.Tensor:
    """Return many views (n, 3, S, S) of a frame of one colour that vary in these settings alone."""
    still = dict.fromkeys(Augment.model_fields, 0)
    frame = Input(size=32, scale=1.0)
    frames = torch.tensor(colour, dtype=torch.uint8).expand(count, 64, 64, 3)
    boxes = np.tile([20.0, 20, 44, 44], (count, 1))
    points = np.full((count, 68, 2), 32, np.float32)
    return Augmenter(Augment(**still | settings), frame, IBUG68, seed=1)(frames, points, boxes, np.arange(count)).images


def test_colours_vary_by_what_is_set() -> None:
    """Levels 0.2, 0.4, 0.6: each setting is read back from what it does to them."""
    colour = (51, 102, 153)
    plain = torch.tensor([0.2, 0.4, 0.6])
    brightness = look_at(colour, brightness=0.1)[:, :, 16, 16]
    check_uniform((brightness - plain)[:, 1].numpy(), 0.1 + 1e-6)
    torch.testing.assert_close(brightness - brightness[:, :1], (plain - 0.2).expand_as(brightness), rtol=0, atol=1e-5)
    contrast = look_at(colour, contrast=0.3)[:, :, 16, 16]  # about mid-grey, which stays
    check_uniform(((contrast[:, 2] - contrast[:, 0]) / 0.4).log().numpy(), 0.3 + 1e-5)
    torch.testing.assert_close((contrast[:, 1] - 0.5) * 3, contrast[:, 0] - 0.5, rtol=0, atol=1e-4)
    tint = look_at(colour, tint=0.2)[:, :, 16, 16]
    for channel in range(3):
        check_uniform((tint[:, channel] / plain[channel]).log().numpy(), 0.2 + 1e-5)
    assert np.abs(np.corrcoef(tint.T) - np.eye(3)).max() < 0.1
    grey = 0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6
    saturation = look_at(colour, saturation=0.5)[:, :, 16, 16]
    check_uniform((1 - (saturation[:, 2] - grey) / (0.6 - grey)).numpy(), 0.5 + 1e-5)
    luma = saturation @ torch.tensor([0.299, 0.587, 0.114])
    torch.testing.assert_close(luma, torch.full_like(luma, grey), rtol=0, atol=1e-5)


def test_noise_is_on_half_of_the_views_and_up_to_what_is_set() -> None:
    noise = look_at((128, 128, 128), noise=0.1).std(dim=(1, 2, 3)).numpy()
    noisy = noise[noise > 1e-4]
    assert abs(len(noisy) / len(noise) - 0.5) < 0.05
    assert 0.095 < noisy.max() < 0.105 and abs(noisy.mean() - 0.05) < 0.004


def test_cutouts_are_rectangles_of_a_tenth_to_a_half_of_the_frame_in_one_shade() -> None:
    images = look_at((255, 255, 255), cutout=0.3).numpy()
    holes = images[:, 0] < 0.999
    hit = holes.any((1, 2))
    assert abs(hit.mean() - 0.3) < 0.05
    widths, shades = holes.any(1).sum(-1)[hit], []
    for image, hole in zip(images[hit], holes[hit], strict=True):
        assert hole.sum() == hole.any(0).sum() * hole.any(1).sum()  # a rectangle
        shades.append(image[:, hole].mean())
        assert np.ptp(image[:, hole]) == 0
    assert widths.max() == 16 and 0.2 * 32 < widths.mean() < 0.3 * 32  # those at the frame's edge are cut off
    assert min(shades) < 0.05 and max(shades) > 0.95


def test_another_seed_has_other_views() -> None:
    frames, points, boxes = make_faces()
    first, same, other = (
        Augmenter(Augment(), FRAME, IBUG68, seed=seed)(frames, points, boxes, np.arange(6)) for seed in (4, 4, 5)
    )
    torch.testing.assert_close(first.images, same.images, rtol=0, atol=0)
    assert (first.landmarks - other.landmarks).abs().amax((1, 2)).min() > 1e-3


def test_a_mirrored_view_swaps_what_is_visible_and_what_is_missing() -> None:
    frames, points, boxes = make_faces(40)
    visible = np.random.default_rng(1).random((40, 68)) < 0.5
    points[:, 17] = np.nan  # an end of a brow
    kept = visible.copy()
    augmenter = Augmenter(Augment(rotation=0, scale=0, shift=0, mirror=True, **STILL), FRAME, IBUG68)
    views = augmenter(frames, points, boxes, np.arange(40), visible=visible)
    mirrored = views.landmarks[:, 17].isfinite().all(-1).numpy()
    assert 10 < mirrored.sum() < 30
    expected = np.where(mirrored[:, None], kept[:, list(IBUG68.mirror)], kept)
    np.testing.assert_array_equal(views.visible.numpy(), expected)
    np.testing.assert_array_equal(visible, kept)  # the caller's own stays as it is
    missing = views.landmarks.isnan().any(-1).numpy()
    assert missing[mirrored][:, IBUG68.mirror[17]].all() and missing.sum() == 40


def test_cut_out_hides_points() -> None:
    """On white faces the cut-out is what is not white."""
    frames, points, boxes = torch.full((60, 160, 160, 3), 255, dtype=torch.uint8), *make_faces(60)[1:]
    augmenter = Augmenter(Augment(**(STILL | {"cutout": 1}), rotation=20, mirror=False), FRAME, IBUG68)
    views = augmenter(frames, points, boxes, np.arange(60), visible=np.ones((60, 68), bool))
    at = to_pixels(views.landmarks, FRAME.size).round().long()
    inside = ((at >= 0) & (at < FRAME.size)).all(-1)
    at = at.clamp(0, FRAME.size - 1)
    colour = views.images[torch.arange(60)[:, None], 0, at[..., 1], at[..., 0]]
    shade_is_white = views.images.flatten(1).min(1).values > 0.98
    told = inside & ~shade_is_white[:, None]
    assert (~views.visible).sum() > 200
    # What is cut out is of one shade below white; beyond the frame's edge nothing is.
    hidden = torch.tensor([[c < 0.98 for c in row] for row in colour])
    border = views.images[:, 0] < 0.98
    assert ((views.visible == ~hidden) | ~told).float().mean() > 0.995, border.sum()
    assert views.visible[~inside].all()


@pytest.mark.parametrize(
    ("spread", "log_side", "x", "y"),
    [
        (None, 0.1, 0.05, 0.05),
        ((0.03, 0.02, 0.02), 0.1, 0.05, 0.05),  # less than the settings say: as they say
        ((0.15, 0.3, 0.02), 0.3, 0.4, 0.05),  # two standard deviations; of x, in sides of the crop: 2 * 0.3 / 1.5
    ],
)
def test_views_vary_as_much_as_a_detectors_boxes(
    spread: tuple[float, float, float] | None, log_side: float, x: float, y: float
) -> None:
    settings, boxes = Augment(rotation=0, scale=0.1, shift=0.05, mirror=False), np.tile([40.0, 40, 100, 100], (4000, 1))
    corners = torch.tensor([[40.0, 40.0], [100.0, 100.0]]).expand(4000, 2, 2)
    seen = (
        Augmenter(settings, FRAME, MarkUp("corners", 2, (0, 1)), spread=spread)
        .warp_points(corners, boxes, np.arange(4000))
        .numpy()
    )
    side, centre = (seen[:, 1] - seen[:, 0])[:, 0] * FRAME.scale, seen.mean(axis=1)
    assert np.abs(np.log(side)).max() == pytest.approx(log_side, rel=0.02)
    np.testing.assert_allclose(np.abs(centre).max(axis=0), [x, y], rtol=0.02)
