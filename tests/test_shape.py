"""The shape model on shapes whose components are known, and properties that hold for any shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekd.errors import InputError
from facekd.shape import ShapeModel, distances

# A square, and two orthonormal ways for it to change: it grows wider, its top leans to the right.
SQUARE = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
WIDER = np.array([[-1.0, 0], [1, 0], [1, 0], [-1, 0]]) / 2
LEANS = np.array([[1.0, 0], [1, 0], [0, 0], [0, 0]]) / np.sqrt(2)


def two_modes(**settings: object) -> ShapeModel:
    """Four shapes with b = (+-3, 0), (0, +-1): variances 2 * 9 / 3 = 6 and 2 * 1 / 3, that is 90 % and 10 %."""
    moves = np.array([3 * WIDER, -3 * WIDER, LEANS, -LEANS])
    return ShapeModel.fit(SQUARE + moves, **settings)  # type: ignore[arg-type]


def random_shapes(count: int = 60, points: int = 7, spread: float = 0.1) -> np.ndarray:
    """Noise around one shape: full rank, so that all directions are modes."""
    generator = np.random.default_rng(0)
    return generator.normal(size=(points, 2)) + spread * generator.normal(size=(count, points, 2))


def similarity(points: np.ndarray, scale: float, degrees: float, shift: tuple[float, float]) -> np.ndarray:
    """Scale, rotate, then shift points (..., N, 2)."""
    angle = np.radians(degrees)
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ matrix.T + shift


similarities = st.tuples(
    st.floats(0.1, 10), st.floats(-180, 180), st.tuples(st.floats(-100, 100), st.floats(-100, 100))
)


def test_two_known_modes_are_found() -> None:
    model = two_modes()
    assert model.mean == pytest.approx(SQUARE)
    assert model.variances == pytest.approx([6, 2 / 3])
    assert model.explained == pytest.approx([90, 100])
    assert np.abs(model.components.T @ np.stack([WIDER.ravel(), LEANS.ravel()], 1)) == pytest.approx(np.eye(2))


def test_modes_are_as_many_as_the_percentage_needs() -> None:
    model = two_modes(variance=89.9)
    assert [model.modes(p) for p in (None, 1, 90, 90.1, 100)] == [1, 1, 1, 2, 2]


def test_soft_landmarks_drop_the_small_mode_and_what_is_no_mode() -> None:
    model = two_modes(variance=90)
    shape = SQUARE + 2 * WIDER + 0.5 * LEANS + np.array([0, 0.7])  # no training shape was shifted down
    assert model.soft(shape) == pytest.approx(SQUARE + 2 * WIDER)
    assert model.soft(shape, variance=100) == pytest.approx(SQUARE + 2 * WIDER + 0.5 * LEANS)


def test_coefficients_are_clipped_at_three_standard_deviations() -> None:
    far = SQUARE - 20 * WIDER
    assert two_modes().soft(far) == pytest.approx(SQUARE - 3 * np.sqrt(6) * WIDER)
    assert two_modes(clip=1).soft(far) == pytest.approx(SQUARE - np.sqrt(6) * WIDER)
    assert two_modes(clip=np.inf).soft(far) == pytest.approx(far)


def test_along_moves_by_standard_deviations() -> None:
    model = two_modes()
    assert np.abs(model.along(0, 2) - SQUARE) == pytest.approx(2 * np.sqrt(6) * np.abs(WIDER))
    assert model.along(1, 0) == pytest.approx(SQUARE)


@pytest.mark.parametrize("procrustes", [False, True])
@pytest.mark.parametrize("variance", [50, 90, 99])
def test_projecting_twice_is_projecting_once(procrustes: bool, variance: float) -> None:
    """Also where coefficients are clipped: the shapes asked for vary twice as much as those learned."""
    model = ShapeModel.fit(random_shapes(), procrustes=procrustes)
    once = model.soft(random_shapes(spread=0.2), variance)
    assert model.soft(once, variance) == pytest.approx(once, abs=1e-9)


@pytest.mark.parametrize("procrustes", [False, True])
def test_all_of_the_variance_and_no_clipping_changes_nothing(procrustes: bool) -> None:
    model = ShapeModel.fit(random_shapes(), variance=100, clip=np.inf, procrustes=procrustes)
    other = random_shapes(spread=0.3)
    assert model.soft(other) == pytest.approx(other, abs=1e-9)
    # a similarity has four degrees of freedom, which alignment takes out of the 2N
    assert len(model.variances) == (10 if procrustes else 14)


@pytest.mark.parametrize("variance", [30, 80, 95])
def test_soft_landmarks_lie_in_the_span_and_closest_there(variance: float) -> None:
    model, shapes = ShapeModel.fit(random_shapes(), clip=np.inf), random_shapes(spread=0.2)
    kept = model.components[:, : model.modes(variance)]
    change = (model.soft(shapes, variance) - model.mean).reshape(len(shapes), -1)
    left = (shapes - model.soft(shapes, variance)).reshape(len(shapes), -1)
    assert change @ kept @ kept.T == pytest.approx(change, abs=1e-9)
    assert left @ kept == pytest.approx(0, abs=1e-9)


def test_explained_variance_is_what_soft_keeps() -> None:
    shapes = random_shapes(500)
    model = ShapeModel.fit(shapes, clip=np.inf)
    for count in (1, 3, 8):
        soft = model.soft(shapes, variance=float(model.explained[count - 1]))
        share = np.square(soft - model.mean).sum() / np.square(shapes - model.mean).sum()
        assert 100 * share == pytest.approx(model.explained[count - 1])


@given(similarities)
def test_procrustes_soft_landmarks_move_with_the_face(move: tuple[float, float, tuple[float, float]]) -> None:
    model, shape = ShapeModel.fit(random_shapes(), procrustes=True), random_shapes(1, spread=0.2)
    moved = similarity(model.soft(shape), *move)
    assert model.soft(similarity(shape, *move)) == pytest.approx(moved, abs=1e-6)
    assert np.abs(moved - similarity(shape, *move)).max() > 1e-3  # and soft is not simply hard


def test_procrustes_models_do_not_see_the_pose_of_the_training_shapes() -> None:
    """And without alignment pose takes most of the variance, so the same percentage keeps fewer modes."""
    generator = np.random.default_rng(1)
    shapes = random_shapes(100, spread=0.05)
    posed = np.stack(
        [
            similarity(s, generator.uniform(0.5, 2), generator.uniform(-60, 60), tuple(generator.normal(size=2)))
            for s in shapes
        ]
    )
    still, moved = ShapeModel.fit(shapes, procrustes=True), ShapeModel.fit(posed, procrustes=True)
    relative = [model.variances / np.square(model.mean).sum() for model in (still, moved)]
    assert relative[0] == pytest.approx(relative[1], rel=1e-6)
    assert moved.modes(99) > ShapeModel.fit(posed).modes(99)


def test_batches_and_types() -> None:
    """Any leading axes; the type of the input; a batch gives what its shapes give one by one."""
    model, shapes = ShapeModel.fit(random_shapes()), random_shapes(6).astype(np.float32)
    soft = model.soft(shapes)
    assert soft.dtype == np.float32 and soft.shape == shapes.shape
    assert model.soft(shapes.reshape(2, 3, 7, 2)).reshape(soft.shape) == pytest.approx(soft)
    assert model.soft(shapes[4]) == pytest.approx(soft[4])
    assert model.soft(np.zeros((7, 2), dtype=np.int64)).dtype == np.float64


@pytest.mark.parametrize("procrustes", [False, True])
def test_saved_models_come_back_the_same(tmp_path: Path, procrustes: bool) -> None:
    model = ShapeModel.fit(random_shapes(), variance=85, clip=2.5, procrustes=procrustes)
    model.save(tmp_path / "shape.npz")
    loaded = ShapeModel.load(tmp_path / "shape.npz")
    shapes = random_shapes(spread=0.2)
    assert (loaded.variance, loaded.clip, loaded.procrustes) == (85.0, 2.5, procrustes)
    assert np.array_equal(loaded.soft(shapes), model.soft(shapes))
    assert [path.name for path in tmp_path.iterdir()] == ["shape.npz"]


def test_files_that_are_no_shape_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", mean=SQUARE)
    np.save(tmp_path / "array.npy", SQUARE)
    for name in ("text.npz", "other.npz", "array.npy", "missing.npz"):
        with pytest.raises(InputError, match=name):
            ShapeModel.load(tmp_path / name)


def test_shapes_that_cannot_be_used_are_named() -> None:
    shapes = random_shapes()
    broken = shapes.copy()
    broken[17, 3, 0] = np.inf
    spot = shapes.copy()
    spot[2] = [3.0, 4.0]
    cases = [
        (lambda: ShapeModel.fit(broken), "shape 17 "),
        (lambda: ShapeModel.fit(shapes[:1]), "two shapes, got 1"),
        (lambda: ShapeModel.fit(np.repeat(shapes[:1], 5, 0)), "all 5 shapes are the same"),
        (lambda: ShapeModel.fit(shapes[0]), r"\(7, 2\)"),
        (lambda: ShapeModel.fit(shapes[..., :1]), r"\(60, 7, 1\)"),
        (lambda: ShapeModel.fit(shapes, variance=0), "got 0"),
        (lambda: ShapeModel.fit(shapes, variance=101), "up to 100"),
        (lambda: ShapeModel.fit(shapes, clip=0), "above 0"),
        (lambda: ShapeModel.fit(shapes, clip=np.nan), "above 0"),
        (lambda: ShapeModel.fit(spot, procrustes=True), "cannot be aligned"),
        (lambda: ShapeModel.fit(shapes).soft(shapes[:, :6]), r"\(7, 2\).*\(60, 6, 2\)"),
        (lambda: ShapeModel.fit(shapes).soft(broken), "shape 17 "),
        (lambda: ShapeModel.fit(shapes).soft(shapes, variance=-1), "got -1"),
    ]
    for call, message in cases:
        with pytest.raises(InputError, match=message):
            call()


@given(similarities)
def test_distances_from_the_mean_shape(move: tuple[float, float, tuple[float, float]]) -> None:
    """Growing wider by e * WIDER is, past the change of size, e / sqrt(2) away from a square of size sqrt(8)."""
    e = 0.01
    shapes = np.array([SQUARE, SQUARE + e * WIDER, SQUARE - e * WIDER])
    moved = np.array([shapes[0], similarity(shapes[1], *move), shapes[2]])
    np.testing.assert_allclose(distances(moved), [0, e / 4, e / 4], rtol=0.01, atol=2e-5)


def faces_with_missing(share: float, seed: int = 0, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Shapes of three modes and a little noise; and the same with points missing at random, four left at least."""
    rng = np.random.default_rng(seed)
    mean, ways = rng.normal(size=(12, 2)), rng.normal(size=(3, 12, 2))
    shapes = mean + np.einsum("nk,kij->nij", rng.normal(size=(count, 3)) * [0.15, 0.1, 0.06], ways)
    shapes += 0.003 * rng.normal(size=shapes.shape)
    missing = rng.random(shapes.shape[:2]) < share
    missing[missing.sum(1) > 8] = False
    return shapes, np.where(missing[..., None], np.nan, shapes)


@pytest.mark.parametrize("procrustes", [False, True])
def test_missing_points_are_where_the_others_say(procrustes: bool) -> None:
    shapes, partial = faces_with_missing(0.3)
    if procrustes:
        moves = np.random.default_rng(1).uniform(-1, 1, (len(shapes), 4)) * [0, 90, 5, 5] + [2, 0, 0, 0]
        shapes, partial = (
            np.stack([similarity(s, k, a, (x, y)) for s, (k, a, x, y) in zip(each, moves, strict=True)])
            for each in (shapes, partial)
        )
    missing = np.isnan(partial).any(-1)
    model = ShapeModel.fit(partial, procrustes=procrustes)
    filled = model.filled(partial)
    assert np.array_equal(filled[~missing], shapes[~missing])  # what is there stays as it is
    off = np.linalg.norm(filled - shapes, axis=-1)[missing]
    whole = ShapeModel.fit(shapes, procrustes=procrustes)
    usual = np.sqrt(whole.variances.sum() / 12)  # of a point: what filling in the mean shape would be off by
    assert np.median(off) < (0.2 if procrustes else 0.1) * usual
    assert model.explained[:3] == pytest.approx(whole.explained[:3], rel=0.02)
    soft = model.soft(partial)
    assert np.array_equal(np.isnan(soft).any(-1), missing)
    assert np.abs(soft - whole.soft(shapes))[~missing].mean() < 0.1 * usual


def test_a_missing_point_by_hand() -> None:
    """One mode moves both points alike by 1, -1: the second is where the first says."""
    base, way = np.array([[0.0, 0], [2, 0]]), np.array([[0.0, 1], [0, 1]])
    model = ShapeModel.fit(np.stack([base + way, base - way]), variance=100)
    assert model.filled(np.array([[0, 0.5], [np.nan, np.nan]])) == pytest.approx(base + 0.5 * way, abs=1e-5)


@given(st.integers(0, 10**6), st.booleans())
def test_complete_shapes_are_left_as_they_are_by_filling(seed: int, procrustes: bool) -> None:
    shapes = random_shapes() + seed % 7
    model = ShapeModel.fit(shapes, procrustes=procrustes)
    assert np.array_equal(model.filled(shapes), shapes)


def test_shapes_with_too_few_points_are_named() -> None:
    shapes = random_shapes()
    nowhere, few, none = shapes.copy(), shapes.copy(), shapes.copy()
    nowhere[:, 2], few[5, 2:], none[9] = np.nan, np.nan, np.nan
    with pytest.raises(InputError, match="point 2 is missing from all shapes"):
        ShapeModel.fit(nowhere)
    ShapeModel.fit(few)  # in the crop's frame two points say something
    with pytest.raises(InputError, match="shape 5 has 2 points"):
        ShapeModel.fit(few, procrustes=True)
    with pytest.raises(InputError, match="shape 9 has 0 points"):
        ShapeModel.fit(shapes).soft(none)


def test_distances_of_partial_shapes() -> None:
    shapes = random_shapes(spread=0.05)
    shapes[7] += np.linspace(0, 2, 14).reshape(7, 2) ** 2
    partial = shapes.copy()
    partial[::3, 1], partial[7, 0], partial[4, 2:] = np.nan, np.nan, np.nan
    found = distances(partial)
    assert np.isnan(found[4]) and np.isfinite(np.delete(found, 4)).all()
    assert found[7] == np.nanmax(found) == pytest.approx(distances(shapes)[7], rel=0.3)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("mean", np.zeros(())),
        ("mean", np.zeros((4, 2))),
        ("mean", np.full((5, 2), np.nan)),
        ("components", np.zeros((10, 0))),
        ("components", np.zeros((10, 3), np.int64)),
        ("variances", np.zeros(0)),
        ("variances", -np.ones(3)),
        ("variance", np.float64(0)),
        ("variance", np.zeros((2,))),
        ("clip", np.array("x")),
        ("procrustes", np.float64(1)),
    ],
)
def test_arrays_that_are_no_shape_model_are_one_sentence(tmp_path: Path, name: str, array: np.ndarray) -> None:
    path = tmp_path / "shape.npz"
    ShapeModel.fit(np.random.default_rng(0).normal(0, 1, (4, 5, 2))).save(path)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **(arrays | {name: array}))
    with pytest.raises(InputError, match="is not a shape model"):
        ShapeModel.load(path)


def test_whole_percentages_are_read_back(tmp_path: Path) -> None:
    ShapeModel.fit(np.random.default_rng(0).normal(0, 1, (4, 5, 2)), variance=80, clip=np.inf).save(tmp_path / "s.npz")
    assert ShapeModel.load(tmp_path / "s.npz").variance == 80
