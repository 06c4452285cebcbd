"""Property tests of the transform between photo and frame."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekd import geometry
from facekd.errors import InputError
from facekd.geometry import BoxTransform

numbers = st.floats(-500, 500)
sides = st.floats(4, 800)


@st.composite
def boxes(draw: st.DrawFn) -> np.ndarray:
    x, y = draw(numbers), draw(numbers)
    return np.array([x, y, x + draw(sides), y + draw(sides)])


@given(boxes(), st.integers(16, 512), st.floats(1, 3), st.floats(-180, 180))
def test_a_crop_and_back_is_where_it_was(box: np.ndarray, size: int, scale: float, rotation: float) -> None:
    points = np.random.default_rng(0).uniform(-600, 1400, (68, 2))
    matrix = geometry.crop_matrix(box, size, scale, rotation)
    there = geometry.apply(matrix, points)
    np.testing.assert_allclose(geometry.apply(geometry.invert(matrix), there), points, atol=1e-6)


@given(boxes(), st.integers(16, 512), st.floats(1, 3))
def test_the_square_box_fills_the_frame(box: np.ndarray, size: int, scale: float) -> None:
    x0, y0, x1, y1 = geometry.square(box, scale)
    corners = geometry.apply(geometry.crop_matrix(box, size, scale), np.array([[x0, y0], [x1, y1]]))
    np.testing.assert_allclose(corners, [[-0.5, -0.5], [size - 0.5, size - 0.5]], atol=1e-6)


@given(boxes(), st.floats(-180, 180))
def test_rotation_keeps_lengths_and_the_centre(box: np.ndarray, rotation: float) -> None:
    matrix = geometry.crop_matrix(box, 128, 1.2, rotation)
    centre, side = geometry.centre_and_side(box)
    np.testing.assert_allclose(geometry.apply(matrix, centre[None])[0], [63.5, 63.5], atol=1e-6)
    np.testing.assert_allclose(geometry.zoom(matrix), 128 / (1.2 * side))


@given(st.integers(0, 2**31), st.floats(-180, 180), st.floats(1, 2))
def test_an_upright_box_holds_rotated_points_as_the_tight_one_holds_upright_ones(
    seed: int, roll: float, scale: float
) -> None:
    upright = np.random.default_rng(seed).uniform(0, 300, (20, 2))
    whole = np.array([0, 0, 300.0, 300])
    rotated = geometry.apply(geometry.crop_matrix(whole, 300, rotation=roll), upright)
    matrix = geometry.crop_matrix(geometry.upright_box(rotated, roll), 128, scale, -roll)
    wanted = geometry.apply(geometry.crop_matrix(geometry.tight_box(upright), 128, scale), upright)
    np.testing.assert_allclose(geometry.apply(matrix, rotated), wanted, atol=1e-6)


def test_rotation_turns_clockwise_on_the_screen() -> None:
    matrix = geometry.crop_matrix(np.array([0, 0, 100, 100.0]), 100, rotation=90)
    right_of_centre = geometry.apply(matrix, np.array([[70.0, 50]]))[0]
    np.testing.assert_allclose(right_of_centre, [49.5, 69.5], atol=1e-6)  # now below it


def test_batches_are_what_singles_are() -> None:
    rng = np.random.default_rng(1)
    many = np.sort(rng.uniform(0, 300, (5, 2, 2)), axis=1).reshape(5, 4)
    points = rng.uniform(0, 300, (5, 7, 2))
    together = geometry.apply(geometry.crop_matrix(many, 64, 1.3), points)
    apart = [geometry.apply(geometry.crop_matrix(b, 64, 1.3), p) for b, p in zip(many, points, strict=True)]
    np.testing.assert_allclose(together, apart)


def test_tight_box_and_square() -> None:
    points = np.array([[1, 2], [5, 4], [3, 10.0]])
    np.testing.assert_array_equal(geometry.tight_box(points), [1, 2, 5, 10])
    np.testing.assert_array_equal(geometry.square(np.array([1, 2, 5, 10]), 1.5), [-3, 0, 9, 12])


def test_boxes_are_rounded_by_their_size() -> None:
    # Sides of 400 and 801.2: steps of 1 (2^-0.36 -> 2^0) and 2 (2^0.65 -> 2^1); of 12: 2^-5.
    rounded = geometry.snap(np.array([[10.3, 20.4, 410.2, 60], [0.0, 0, 801.2, 100], [5.005, 5, 17.005, 9]]))
    centres, sides = geometry.centre_and_side(rounded)
    np.testing.assert_array_equal(sides, [400, 802, 12])
    np.testing.assert_array_equal(centres, [[210, 40], [400, 50], [11, 7]])


@given(boxes(), st.floats(-1e-4, 1e-4))
def test_rounded_boxes_are_nearly_those_given_and_stay_as_they_are(box: np.ndarray, little: float) -> None:
    once, (centre, side) = geometry.snap(box), geometry.centre_and_side(box)
    moved = np.abs(geometry.centre_and_side(once)[0] - centre).max()
    assert moved <= side / 512 * 2**0.5 / 2 + 1e-9
    assert abs(geometry.centre_and_side(once)[1] / side - 1) <= 2**0.5 / 1024 + 1e-9
    np.testing.assert_array_equal(geometry.snap(once + little * np.ptp(once) / 1e4), once)


@pytest.mark.parametrize("scale", [1.7, 1.0, 0.45, 0.2])
def test_warp_puts_pixels_where_the_matrix_says(scale: float) -> None:
    """A blob's centre of mass lands on the mapped point, whether the photo grows or shrinks."""
    image = np.zeros((400, 500, 3), np.uint8)
    cv2.circle(image, (260, 180), 40, (255, 255, 255), -1, cv2.LINE_AA)
    matrix = geometry.crop_matrix(np.array([160, 80, 360, 280.0]), round(200 * scale), rotation=20)
    frame = geometry.warp(image, matrix, round(200 * scale))[..., 0].astype(float)
    y, x = np.indices(frame.shape)
    centre = [(x * frame).sum() / frame.sum(), (y * frame).sum() / frame.sum()]
    np.testing.assert_allclose(centre, geometry.apply(matrix, np.array([[260.0, 180]]))[0], atol=0.1)


def test_warp_does_not_alias_when_it_shrinks() -> None:
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    frame = geometry.warp(stripes, geometry.crop_matrix(np.array([-0.5, -0.5, 511.5, 511.5]), 64), 64)
    assert frame.std() < 3 and abs(float(frame.mean()) - 127.5) < 3


@given(st.integers(90, 130), st.integers(90, 130), st.floats(0.02, 0.6), st.floats(0, 40))
def test_warp_keeps_a_slope_wherever_and_however_much_it_shrinks(w: int, h: int, scale: float, left: float) -> None:
    """Up to the photo's edge, whose sides need not be multiples of anything."""
    x, y = np.meshgrid(np.arange(w), np.arange(h))
    image = np.stack([x, y, x + y], axis=-1).astype(np.uint8)
    size = max(4, round(60 * scale))
    matrix = geometry.crop_matrix(np.array([left - 0.5, 19.5, left + 59.5, 79.5]), size)
    frame = geometry.warp(image, matrix, size).astype(float)
    at = geometry.apply(geometry.invert(matrix), np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1))
    reach = 1.5 / geometry.zoom(matrix)  # of a frame pixel with what it is averaged from
    inside = (at[..., 0] > reach) & (at[..., 0] < w - 1 - reach) & (at[..., 1] > reach) & (at[..., 1] < h - 1 - reach)
    assert np.abs(frame[..., :2] - at)[inside].max(initial=0) < 1.2  # grey values are whole numbers


def test_a_photo_smaller_than_a_pixel_of_the_frame_is_no_error() -> None:
    image = np.full((3, 40, 3), 255, np.uint8)
    frame = geometry.warp(image, geometry.crop_matrix(np.array([-200, -200, 240, 240.0]), 16), 16)
    assert frame.shape == (16, 16, 3)


def test_warp_is_black_outside_the_photo() -> None:
    image = np.full((50, 50, 3), 255, np.uint8)
    assert not geometry.warp(image, geometry.crop_matrix(np.array([100, 100, 150, 150.0]), 32), 32).any()
    assert not geometry.warp(image, geometry.crop_matrix(np.array([1000, 0, 3000, 2000.0]), 32), 32).any()


def test_iou() -> None:
    a = np.array([0, 0, 10, 10.0])
    np.testing.assert_allclose(
        geometry.iou(a, np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10]])), [1, 1 / 3, 0]
    )
    assert geometry.iou(np.zeros(4), np.zeros(4)) == 0


@given(boxes(), st.floats(0.5, 1.5), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3))
def test_box_transform_is_recovered(box: np.ndarray, scale: float, x: float, y: float) -> None:
    true = BoxTransform(scale, x, y)
    detected = np.stack([box, box + 7, box * 1.5])
    fitted = BoxTransform.fit(detected, true.apply(detected))
    np.testing.assert_allclose([fitted.scale, fitted.shift_x, fitted.shift_y], [scale, x, y], atol=1e-6)
    np.testing.assert_allclose(fitted.residuals(detected, true.apply(detected)), 0, atol=1e-6)
    assert BoxTransform.from_dict(fitted.to_dict()) == fitted


@pytest.mark.parametrize("values", [(0,), (-1,), (np.nan,), (np.inf,), (1, np.nan), (1, 0, np.inf)], ids=str)
def test_a_box_transform_that_makes_no_box_is_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=r"^a box transform needs a scale above 0 and finite shifts, got "):
        BoxTransform(*values)


def test_composed_transforms_do_one_after_the_other() -> None:
    points = np.array([[3.0, 4], [10, -2]])
    inner = geometry.crop_matrix(np.array([[0.0, 0, 10, 10], [5, 5, 9, 9]]), 32, 1.2, np.array([0.0, 30]))
    outer = geometry.crop_matrix(np.array([[2.0, 3, 20, 21], [1, 1, 8, 8]]), 64, 1.0, np.array([90.0, -10]))
    one_after_the_other = geometry.apply(outer, geometry.apply(inner, np.stack([points, points])))
    np.testing.assert_allclose(
        geometry.apply(geometry.compose(outer, inner), np.stack([points, points])), one_after_the_other
    )


def test_crops_lead_back_to_the_photo() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (90, 120, 3), np.uint8)
    boxes = np.array([[10, 20, 50, 70.0], [60, 5, 100, 40]])
    crops = geometry.crop_faces(image, boxes, 64, 1.25, np.array([0, 30.0]))
    matrices = geometry.crop_matrix(boxes, 64, 1.25, np.array([0, 30.0]))
    for k in range(2):
        np.testing.assert_array_equal(crops.images[k], geometry.warp(image, matrices[k], 64))
    points = rng.uniform(0, 90, (2, 5, 2))
    np.testing.assert_allclose(crops.to_photo(geometry.apply(matrices, points)), points, atol=1e-9)
    none = geometry.crop_faces(image, np.zeros((0, 4)), 64)
    assert none.images.shape == (0, 64, 64, 3) and none.to_photo(np.zeros((0, 5, 2))).shape == (0, 5, 2)
