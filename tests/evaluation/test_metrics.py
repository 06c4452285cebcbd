import tracemalloc
from functools import partial

import numpy as np
import pytest

from facekd.errors import InputError
from facekd.evaluation import metrics
from facekd.markup import FIVE, IBUG68, Contour, MarkUp, Pair

# A face that fits in the head: eye corners (0, 0) and (8, 0), chin (4, 6). Inter-ocular 8, box 8 x 6, diagonal 10.
TRIANGLE = MarkUp(
    "triangle",
    3,
    (1, 0, 2),
    (Contour("eyes", (0, 1)), Contour("outline", (0, 1, 2), closed=True)),
    inter_ocular=((0,), (1,)),
)
FACE = np.array([[[0.0, 0.0], [8.0, 0.0], [4.0, 6.0]]])


def test_point_errors_are_euclidean() -> None:
    predicted = FACE + np.array([[3.0, 4.0], [0.0, 0.0], [0.0, -2.0]])
    assert metrics.point_errors(predicted, FACE).tolist() == [[5.0, 0.0, 2.0]]


def test_normalisers_by_hand() -> None:
    found = metrics.normalisers(FACE, TRIANGLE)
    assert list(found) == ["inter_ocular", "box_diagonal"]  # no pupils in this mark-up
    assert found["inter_ocular"].tolist() == [8.0]
    assert found["box_diagonal"].tolist() == [10.0]


@pytest.mark.parametrize(
    ("eyes", "pupils", "name", "length"),
    [
        (((0,), (1,)), ((0,), (2,)), "inter_ocular", 8.0),
        (None, ((0,), (1,)), "inter_pupil", 8.0),
        (None, None, "box_diagonal", 10.0),
    ],
)
def test_the_primary_normaliser_is_the_first_that_the_mark_up_has(
    eyes: Pair | None, pupils: Pair | None, name: str, length: float
) -> None:
    markup = MarkUp("any", 3, (1, 0, 2), inter_ocular=eyes, inter_pupil=pupils)
    assert metrics.primary_normaliser_name(markup) == name == metrics.normaliser_names(markup)[0]
    assert metrics.primary_normaliser(FACE, markup).tolist() == [length]


def test_ibug_normalisers_use_the_points_of_the_300w_protocol() -> None:
    points = np.zeros((1, 68, 2))
    points[0, 36], points[0, 45] = (10, 20), (40, 60)  # outer corners: 30 and 40 apart
    assert metrics.inter_ocular(points, IBUG68).tolist() == [50.0]
    points[0, 36:42] = (10, 20)
    points[0, 42:48] = [(12, 20), (14, 20), (16, 20), (18, 20), (20, 20), (22, 20)]  # mean (17, 20)
    assert metrics.inter_pupil(points, IBUG68).tolist() == [7.0]


def test_a_missing_normaliser_is_named() -> None:
    with pytest.raises(InputError, match=r"five5.*inter-ocular"):
        metrics.inter_ocular(np.zeros((1, 5, 2)), FIVE)
    with pytest.raises(InputError, match=r"triangle.*inter-pupil"):
        metrics.inter_pupil(FACE, TRIANGLE)


def test_nme_is_per_face() -> None:
    truth = np.concatenate([FACE, 2 * FACE])
    predicted = truth + np.array([0.0, 4.0])
    error = metrics.nme(predicted, truth, metrics.inter_ocular(truth, TRIANGLE))
    assert error.tolist() == [0.5, 0.25]


def test_failure_rate_counts_what_is_above() -> None:
    errors = np.array([0.05, 0.08, 0.09, np.inf])
    assert metrics.failure_rate(errors, 0.08) == 0.5
    assert metrics.failure_rate(errors, 0.10) == 0.25


@pytest.mark.parametrize(
    ("errors", "area"),
    [
        ([0.0], 1.0),
        ([0.1], 0.0),
        ([np.inf], 0.0),
        # Step curve: 0 up to 0.02, 1/3 up to 0.05, 2/3 up to 0.1: (0.03 / 3 + 0.05 * 2 / 3) / 0.1.
        ([0.02, 0.05, np.inf], 13 / 30),
    ],
)
def test_auc_by_hand(errors: list[float], area: float) -> None:
    assert metrics.auc(np.array(errors), 0.1) == pytest.approx(area)


def test_auc_is_the_area_under_the_ced() -> None:
    errors = np.random.default_rng(0).gamma(2.0, 0.02, 50)
    middle = (np.arange(100_000) + 0.5) / 100_000 * 0.08
    assert metrics.auc(errors, 0.08) == pytest.approx(metrics.ced(errors, middle).mean(), abs=1e-4)


def test_ced_steps_at_each_error() -> None:
    errors = np.array([0.03, np.inf, 0.01, 0.03])
    assert metrics.ced(errors, np.array([0.0, 0.01, 0.02, 0.03, 9.0])).tolist() == [0.0, 0.25, 0.25, 0.75, 0.75]


def test_bootstrap_of_two_values() -> None:
    # The mean of two draws from {0, 1} is 0, 1/2, 1 with chance 1/4, 1/2, 1/4.
    values = np.array([0.0, 1.0])
    assert metrics.bootstrap_interval(values) == (0.0, 1.0)
    assert metrics.bootstrap_interval(values, level=0.4) == (0.5, 0.5)


def test_bootstrap_matches_the_normal_interval_of_a_mean() -> None:
    values = np.random.default_rng(1).normal(5.0, 2.0, 2000)
    half = 1.96 * values.std() / np.sqrt(2000)
    low, high = metrics.bootstrap_interval(values, samples=2000)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_bootstrap_takes_other_statistics_and_failures() -> None:
    errors = np.array([0.01, 0.02, 0.03, np.inf])
    low, high = metrics.bootstrap_interval(errors, partial(metrics.failure_rate, threshold=0.08))
    assert (low, high) == (0.0, 0.75)  # three or more of four draws miss in 5 % of samples
    assert metrics.bootstrap_interval(np.full(5, np.inf), partial(metrics.auc, threshold=0.08)) == (0.0, 0.0)


def test_bootstrap_is_deterministic_and_follows_its_seed() -> None:
    values = np.random.default_rng(2).random(40)
    assert metrics.bootstrap_interval(values, seed=3) == metrics.bootstrap_interval(values, seed=3)
    assert metrics.bootstrap_interval(values, seed=3) != metrics.bootstrap_interval(values, seed=4)


def test_bootstrap_of_many_faces_is_drawn_in_parts() -> None:
    values = np.random.default_rng(4).gamma(2.0, 0.02, 5000)
    drawn = np.random.default_rng(0).integers(5000, size=(1000, 5000), dtype=np.int32)
    at_once = np.quantile(values[drawn].mean(axis=-1), [0.025, 0.975])
    tracemalloc.start()
    assert metrics.bootstrap_interval(values) == tuple(at_once)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6  # 60e6 for all at once


def test_pairing_removes_what_faces_share() -> None:
    hard = np.random.default_rng(3).gamma(2.0, 0.02, 300)
    gap = metrics.paired_difference(hard - 0.001, hard)
    assert (gap.mean, gap.low, gap.high) == pytest.approx((-0.001, -0.001, -0.001))
    assert gap.count == 300


def test_pairing_leaves_out_missed_faces() -> None:
    gap = metrics.paired_difference(np.array([0.3, np.inf, 0.2]), np.array([0.1, 0.1, np.inf]))
    assert (gap.mean, gap.count) == (pytest.approx(0.2), 1)


def test_pairing_refuses_other_faces() -> None:
    with pytest.raises(InputError, match="3 errors with 2"):
        metrics.paired_difference(np.zeros(3), np.zeros(2))
    with pytest.raises(InputError, match="no found face"):
        metrics.paired_difference(np.array([np.inf]), np.array([0.1]))


def test_contour_errors_have_the_sign_of_outwards() -> None:
    # Centre (4, 2). The chin moves straight down by 4 (outwards), the others stay; the open contour is only the eyes.
    predicted = FACE + np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 4.0]])
    errors = metrics.contour_errors(predicted, FACE, np.array([8.0]), TRIANGLE)
    assert errors["eyes"] == metrics.ContourError(0.0, 0.0)
    assert errors["outline"].distance == pytest.approx(0.5 / 3)
    assert errors["outline"].outwards == pytest.approx(0.5 / 3)
    # Eyes raised by 2: the ray from the centre to an eye is (+-4, -2) / sqrt(20), of which 4 / sqrt(20) is outwards.
    raised = FACE + np.array([[0.0, -2.0], [0.0, -2.0], [0.0, 0.0]])
    eyes = metrics.contour_errors(raised, FACE, np.array([8.0]), TRIANGLE)["eyes"]
    assert eyes.distance == pytest.approx(2 / 8)
    assert eyes.outwards == pytest.approx(4 / np.sqrt(20) / 8)
    # Everything drawn in towards the centre by a tenth is inwards.
    smaller = FACE + 0.1 * (np.array([4.0, 2.0]) - FACE)
    outline = metrics.contour_errors(smaller, FACE, np.array([8.0]), TRIANGLE)["outline"]
    assert outline.outwards == pytest.approx(-outline.distance)


def test_points_that_are_cut_out_by_the_face_are_measured_by_its_box() -> None:
    tip, truth, boxes = MarkUp("tip", 1, (0,), crop="face"), np.array([[[10.0, 10.0]]]), np.array([[0.0, 0, 30, 40]])
    assert metrics.normalisers(truth, tip, boxes) == {"box_diagonal": np.array([50.0])}
    assert metrics.primary_normaliser(FACE, TRIANGLE, boxes) == metrics.primary_normaliser(FACE, TRIANGLE)
