"""Figures on faces whose labels lack points, worked out by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import layouts
from facekd.data import cofw, synthetic
from facekd.data.face import LabelledFace
from facekd.data.pack import Pack, PackWriter
from facekd.data.prepare import prepare
from facekd.errors import InputError
from facekd.evaluation import faces, metrics, report, tables
from facekd.evaluation.protocol import Result, evaluate
from facekd.evaluation.visibility import average_precision, visibility_figures
from facekd.markup import COFW29, IBUG68, MarkUp
from facekd.runtime.output import NetworkOutput
from tiny_faces import POINTS, TRIANGLE, Oracle

NAN = [np.nan, np.nan]
# Of four faces the second lacks its chin, the third an eye, which the inter-ocular distance is measured at.
LABELS = np.stack([POINTS, [*POINTS[:2], NAN], [NAN, *POINTS[1:]], POINTS])
VISIBLE = np.array([[True, True, False], [True, False, False], [False, True, True], [True, True, True]])


@dataclass
class Seer(Oracle):
    """Answers as the faces would with all points, 0.32 px per face's number too far right; knows what is visible."""

    levels: np.ndarray | None = None

    def __call__(self, images: np.ndarray) -> NetworkOutput:
        rows = [round((int(image[32, 32, 0]) - 40) / 40) for image in images]
        whole = Oracle(_Whole(self.pack), (0.32, 0.64, 0.96, 1.28))
        return NetworkOutput(whole(images)[0], None, None if self.levels is None else self.levels[rows])


class _Whole:
    def __init__(self, pack: Pack) -> None:
        self.boxes, self.points, self.markup = pack.boxes, np.repeat(POINTS[None], len(pack), 0), pack.markup


@pytest.fixture
def partial_pack(tmp_path: Path) -> Pack:
    with PackWriter(
        tmp_path / "p.parquet", TRIANGLE, dataset="tiny", margin=3.0, size=96, jpeg_quality=95, terms="Made up."
    ) as writer:
        for i, (points, visible) in enumerate(zip(LABELS, VISIBLE, strict=True)):
            image = np.full((96, 96, 3), 40 + 40 * i, np.uint8)
            box = np.array([30, 40, 62, 64.0])
            writer.add(LabelledFace(image, points, f"{i}.jpg", "test", ("full",), visible=visible, box=box))
    return Pack.open(tmp_path / "p.parquet")


@pytest.fixture
def result(partial_pack: Pack) -> Result:
    levels = np.array([[0.9, 0.8, 0.1], [0.9, 0.3, 0.2], [0.9] * 3, [0.95, 0.2, 0.9]], np.float32)
    return evaluate(Seer(partial_pack, levels=levels), partial_pack)


def test_missing_points_are_out_of_every_figure(result: Result) -> None:
    np.testing.assert_allclose(result.errors, [0.01, 0.02, 0.04], atol=2e-5)  # 0.32 px of 32 px are 1 %
    full = result.subsets["full"]
    assert (full["count"], full["missed"], result.left_out) == (3, 0, 1)
    assert full["nme_inter_ocular"] == pytest.approx(7 / 3, abs=2e-3)
    assert list(result.pack.names) == ["0.jpg", "1.jpg", "3.jpg"]
    assert result.occlusion is not None
    # The chin of the second face is missing, not occluded.
    assert (result.occlusion["visible"]["points"], result.occlusion["occluded"]["points"]) == (6, 2)
    assert result.occlusion["occluded"]["nme_inter_ocular"] == pytest.approx(1.5, abs=2e-3)
    contours = metrics.contour_errors(result.predicted, result.pack.points, np.full(3, 32.0), TRIANGLE)
    assert contours["outline"].distance == pytest.approx((3 * 0.01 + 2 * 0.02 + 3 * 0.04) / 8, abs=2e-5)


def test_the_occluded_are_found_with_this_average_precision(result: Result) -> None:
    """By falling probability of being occluded: 0.9 yes, 0.8 no (the last face's), 0.7 yes; of five visible ones."""
    assert result.visibility is not None
    assert (result.visibility["points"], result.visibility["share_occluded"]) == (8, 25.0)
    assert result.visibility["ap_occluded"] == pytest.approx(100 * (1 + 2 / 3) / 2, abs=1e-3)
    assert "AP of occluded points" in str(tables.rows(result.to_json()))
    assert "left out" in tables.caption(result.to_json())


def test_reports_and_drawings_of_partial_faces(result: Result, tmp_path: Path) -> None:
    page = report.write(tmp_path / "report", [result]).read_text()
    assert "AP of occluded points" in page and "left out" in page and "nan" not in page.lower()
    drawn = faces.draw(result, 1)
    white = (drawn > 240).all(-1)
    assert white.any() and (white.sum() < (faces.draw(result, 0) > 240).all(-1).sum())


def test_nothing_left_to_measure_is_refused(partial_pack: Pack) -> None:
    with pytest.raises(InputError, match=r"inter_ocular.*nothing can be measured"):
        evaluate(Seer(partial_pack), partial_pack.select(indices=[2]))


def test_no_visibility_without_flags_or_output(partial_pack: Pack) -> None:
    assert evaluate(Seer(partial_pack), partial_pack).visibility is None


def test_figures_of_complete_faces_are_bit_for_bit_the_plain_ones() -> None:
    rng = np.random.default_rng(0)
    truth, predicted, distance = (
        rng.uniform(0, 99, (50, 68, 2)),
        rng.uniform(0, 99, (50, 68, 2)),
        rng.uniform(9, 20, 50),
    )
    plain = np.hypot(*np.moveaxis(predicted - truth, -1, 0)).mean(axis=-1) / distance
    assert np.array_equal(metrics.nme(predicted, truth, distance), plain)
    low, high = truth.min(axis=1), truth.max(axis=1)
    assert np.array_equal(metrics.box_diagonal(truth), np.hypot(*(high - low).T))


def test_the_diagonal_of_a_partial_face_is_that_of_the_whole() -> None:
    truth = np.repeat([[*POINTS, [46.0, 50.0]]], 5, 0) + np.arange(5)[:, None, None]
    truth[1, 2] = np.nan
    assert metrics.box_diagonal(truth) == pytest.approx([40.0] * 5)


@pytest.mark.parametrize(
    ("scores", "positive", "expected"),
    [
        ([3, 2, 1], [True, False, True], (1 + 2 / 3) / 2),
        ([1, 2, 3], [True, False, False], 1 / 3),
        ([1, 1, 1, 1], [True, False, False, True], 0.5),  # no knowledge: the share of positives
        ([2, 2, 1, 0], [True, False, True, False], (0.5 + 2 / 3) / 2),
        ([1, 2], [True, True], None),
        ([1, 2], [False, False], None),
    ],
)
def test_average_precision_by_hand(scores: list[float], positive: list[bool], expected: float | None) -> None:
    found = average_precision(np.array(scores, float), np.array(positive))
    assert found == (None if expected is None else pytest.approx(expected))


def test_missed_faces_and_missing_points_are_out_of_visibility() -> None:
    predicted = np.array([[0.1, 0.9], [np.nan, np.nan], [0.8, 0.2]])
    visible = np.array([[False, True], [False, False], [True, False]])
    there = np.array([[True, True], [True, True], [True, False]])
    assert visibility_figures(predicted, visible, there) == {
        "points": 3,
        "share_occluded": 33.3333,
        "ap_occluded": 100.0,
    }


@dataclass
class CofwSeer:
    """Gives the mean shape of the pack, and for each point the visibility that it is told."""

    pack: Pack
    levels: np.ndarray
    size: int = 32
    scale: float = 1.25
    box_transform: None = None

    @property
    def markup(self) -> MarkUp:
        return self.pack.markup

    def __call__(self, images: np.ndarray) -> NetworkOutput:
        return NetworkOutput(
            np.full((len(images), 29, 2), 16, np.float32), None, np.repeat(self.levels[None], len(images), 0)
        )


def test_flags_of_cofws_files_have_an_average_precision(tmp_path: Path) -> None:
    """Every fourth of the 29 points is hidden: 8. The network ranks them first, but for one which it ranks last."""
    hidden = np.arange(29) % 4 == 0
    photo = np.full((90, 80, 3), 90, np.uint8)
    source = layouts.cofw(tmp_path / "cofw", [photo], [photo], layouts.shape(COFW29), hidden.astype(float))
    prepare(cofw.read(source), tmp_path / "p.parquet", COFW29, dataset="cofw", terms="Made up.", jobs=1)
    pack = Pack.open(tmp_path / "p.parquet").select("test")
    levels = np.where(hidden, 0.2, 0.8).astype(np.float32)
    levels[0] = 1.0
    result = evaluate(CofwSeer(pack, levels), pack)
    assert result.visibility is not None and result.visibility["points"] == 29
    assert result.visibility["ap_occluded"] == pytest.approx(100 * (7 + 8 / 29) / 8, abs=1e-3)


def test_rendered_faces_know_what_their_occluders_hide(tmp_path: Path) -> None:
    with PackWriter(
        tmp_path / "p.parquet", IBUG68, dataset="synthetic", margin=1, size=128, jpeg_quality=90, terms="Made up."
    ) as writer:
        for face in synthetic.faces(20, size=96):
            writer.add(face)
    visible = Pack.open(tmp_path / "p.parquet").visible
    assert visible is not None and 0.01 < (~visible).mean() < 0.2
    figures = visibility_figures(np.where(visible, 0.9, 0.1), visible, np.ones_like(visible))
    assert figures is not None and figures["ap_occluded"] == 100.0
