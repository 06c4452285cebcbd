"""The benchmark of hard faces: corruptions keep the truth, figures are those worked out by hand."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from facekd.data.pack import PackWriter
from facekd.data.synthetic import faces
from facekd.geometry import tight_box
from facekd.markup import IBUG68
from facekd.runtime.names import bundled
from facekd.synthetic.head import MEAN

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
POINTS = MEAN * 60 + [150, 140]  # outer eye corners 72 px apart


@pytest.fixture(scope="module")
def hard() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("hard_faces")


@pytest.fixture
def corruptions(hard: ModuleType) -> dict:
    return {corruption.name: corruption for corruption in hard.CORRUPTIONS}


def changed(corruption, index: int = 0) -> np.ndarray:
    """Where a photo of dim noise is another one after a corruption that leaves the points where they are."""
    photo = np.random.default_rng(1).integers(100, 116, (300, 300, 3), np.uint8)
    made, points = corruption(index, photo, POINTS)
    np.testing.assert_array_equal(points, POINTS)
    return (made != photo).any(axis=2)


def hidden(corruption, index: int = 0) -> np.ndarray:
    """Which points something is painted over."""
    column, row = np.rint(POINTS).astype(int).T
    return changed(corruption, index)[row, column]


@pytest.mark.parametrize("point", [8, 36, 45])
def test_truth_stays_where_the_photo_shows_it(corruptions: dict, point: int) -> None:
    y, x = np.mgrid[:300, :300]
    disc = np.hypot(x - POINTS[point, 0], y - POINTS[point, 1]) < 7
    photo = np.where(disc, 255, 0).astype(np.uint8)[..., None].repeat(3, axis=2)
    for name, corruption in corruptions.items():
        if corruption.kind in ("Occlusion", "Combined"):  # they hide it
            continue
        made, points = corruption(4, photo, POINTS)
        level = made.mean(axis=2) - np.median(made)
        x, y = np.meshgrid(*(np.arange(side) for side in made.shape[1::-1]))
        near = np.hypot(x - points[point, 0], y - points[point, 1]) < 20
        weight = np.where(near, level.clip(0) ** 2, 0)
        shown = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
        scale = np.hypot(*(points[45] - points[36])) / 72
        assert np.hypot(*(shown - points[point])) < max(0.35, 0.8 * scale), name


def test_a_corruption_is_the_same_each_time_and_leaves_the_photo_alone(corruptions: dict) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    before = photo.copy()
    for name, corruption in corruptions.items():
        first, again, other = (corruption(index, photo, POINTS) for index in (0, 0, 1))
        np.testing.assert_array_equal(photo, before)
        np.testing.assert_array_equal(first[0], again[0], err_msg=name)
        np.testing.assert_array_equal(first[1], again[1])
        assert np.array_equal(first[0], photo) == (name == "plain")
        if corruption.kind in ("Occlusion", "Combined") or name.startswith(("noise", "motion", "dark")):
            assert not np.array_equal(first[0], other[0]), name


def test_a_mask_hides_the_lower_face_and_sunglasses_the_eyes(corruptions: dict) -> None:
    mask, glasses = hidden(corruptions["mask over nose, mouth and chin"]), hidden(corruptions["sunglasses"])
    assert (
        mask[3:14].all() and mask[29:36].all() and mask[48:].all() and not mask[17:27].any() and not mask[36:48].any()
    )
    assert glasses[36:48].all() and not glasses[48:].any() and not glasses[3:14].any()


def test_a_block_covers_a_third_of_the_box(corruptions: dict) -> None:
    x0, y0, x1, y1 = tight_box(POINTS)
    for index in range(6):
        rows, columns = np.nonzero(changed(corruptions["block over a third"], index))
        assert (columns.min() > x0 - 1) and (columns.max() < x1 + 1) and (rows.min() > y0 - 1) and (rows.max() < y1 + 1)
        area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert area / ((x1 - x0) * (y1 - y0)) == pytest.approx(1 / 3, abs=0.015)


def test_a_hand_hides_a_sixth_to_a_half_of_the_points(corruptions: dict) -> None:
    shares = [hidden(corruptions["hand"], index).mean() for index in range(8)]
    assert min(shares) > 0.15 and max(shares) < 0.55 and len(set(shares)) > 1


def test_small_photos_have_so_many_pixels_between_the_eye_corners(corruptions: dict) -> None:
    for pixels in (48, 32, 24, 16, 12):
        small, points = corruptions[f"{pixels} px"](0, np.zeros((300, 300, 3), np.uint8), POINTS)
        assert small.shape == (round(300 * pixels / 72),) * 2 + (3,)
        assert np.hypot(*(points[45] - points[36])) == pytest.approx(pixels, rel=0.01)
    tiny = corruptions["48 px"](0, np.zeros((100, 100, 3), np.uint8), POINTS / 3)
    assert tiny[0].shape == (100, 100, 3) and tiny[1] == pytest.approx(POINTS / 3)  # it is smaller already


def test_the_side_of_the_box_does_not_depend_on_roll(hard: ModuleType) -> None:
    side = 60 * np.sqrt(2 * (1.64 + 0.345))  # of MEAN: two head units wide, from the brows to the chin
    for angle in np.radians([0, 30, 137, 180]):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        assert hard.box_side(POINTS @ turn.T) == pytest.approx(side, rel=1e-3)
    wide = POINTS * [2, 1]
    assert hard.box_side(wide) == pytest.approx(np.sqrt(2) * side, rel=1e-3)


def test_figures_of_known_errors(hard: ModuleType) -> None:
    truth = np.array([MEAN * 100] * 4)  # inter-ocular distance 120, side 199.25: 10 % is an error of 12.55
    errors = np.array([0.0, 12.5, 12.6, 30.0])
    predicted = truth + np.stack([errors, 0 * errors], axis=-1)[:, None]
    found = hard.figures(predicted, truth, np.array([0.9, 0.8, 0.7, 0.1]))
    assert found["nme_inter_ocular"] == pytest.approx(100 * errors.mean() / 120, abs=1e-3)
    assert found["nme_box"] == pytest.approx(100 * errors.mean() / 199.25, abs=1e-2)
    assert (found["above_10"], found["rows_above_10"], found["rank_correlation"]) == (50, [2, 3], -1)
    assert found["confidence"] == pytest.approx(0.625) and found["above_10_interval"] == [0, 100]
    blind = hard.figures(predicted, truth, np.full(4, np.nan))
    assert blind["confidence"] is None and hard.cells_of(blind).endswith("|  | ")


def test_the_most_turned_are_so_to_either_side(hard: ModuleType) -> None:
    angles = np.array([3.0, -40.0, 10.0, 25.0])
    assert hard.most(angles, 2).tolist() == [1, 3] and hard.least(angles, 2) == "from 25°"


def test_synthetic_faces_have_the_yaw_of_their_group(hard: ModuleType) -> None:
    points = [hard.synthetic(index, 30, 60)[1] for index in range(4)]
    found = [hard.head_pose(each, IBUG68).yaw for each in points]
    assert np.sign(found).tolist() == [1, -1, 1, -1] and all(20 < abs(yaw) < 70 for yaw in found)


def test_changes_count_faces_that_are_right_now_and_wrong_now(hard: ModuleType) -> None:
    rows = [{"rows_above_10": above} for above in ([1, 2, 3, 4], [3, 9, 10], [])]
    assert hard.change(rows[1], rows[0]) == "-25 % (3 right, 2 wrong)"
    assert hard.change(rows[1], rows[2]) == "(0 right, 3 wrong)"
    earlier = {"models": ["net"], "rows": [{"name": "plain", "faces": 9, "models": {"net": rows[0]}}]}
    later = {
        "models": ["net"],
        "rows": [{"name": "plain", "faces": faces, "models": {"net": rows[1]}} for faces in (9, 8)],
    }
    found, references = hard.compared(later, earlier)
    assert references == ["net (earlier)"] and found[0]["models"] == {"net (earlier)": rows[0], "net": rows[1]}
    assert found[1]["models"] == {"net": rows[1]}  # other faces: not to be compared


@pytest.mark.slow
def test_a_run_beside_an_earlier_one(hard: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = tmp_path / "pack.parquet"
    about = {"dataset": "synthetic", "margin": 2.0, "size": 128, "jpeg_quality": 90, "terms": "none"}
    with PackWriter(pack, IBUG68, **about) as writer:
        for face in faces(19, seed=3, size=128):  # two of them for validation
            writer.add(face)
    some = [corruption for corruption in hard.CORRUPTIONS if corruption.name in ("plain", "roll 90°", "24 px")]
    for name, value in (("SYNTHETIC", 1), ("LEARNED", 2), ("TURNED", 1.0), ("CORRUPTIONS", some)):
        monkeypatch.setattr(hard, name, value)
    network = tmp_path / "lite.onnx"
    for suffix in (".onnx", ".json"):
        network.with_suffix(suffix).write_bytes(bundled()["facekd-68-lite"].with_suffix(suffix).read_bytes())

    def run(*words: str) -> dict:
        monkeypatch.setattr(sys, "argv", ["hard_faces.py", str(pack), *words])
        hard.main()
        return json.loads((Path(words[words.index("--out") + 1]) / "hard-faces.json").read_text())

    first, second = tmp_path / "first", tmp_path / "second"
    words = ("--model", "facekd-68-lite", "--out", str(first), "--rotated", str(pack), "--sheets", str(tmp_path / "s"))
    figures = run(*words)
    assert len(list((tmp_path / "s").iterdir())) == len(figures["rows"])
    rotated = [row for row in figures["rows"] if row["kind"] == "Rotated"]
    assert sum(row["faces"] for row in rotated) == 2
    run("--model", str(network), "--out", str(second), "--against", str(first / "hard-faces.json"))
    page = (second / "hard-faces.md").read_text()
    assert f"| facekd-68-lite | {network} | {network} against facekd-68-lite |" in page
    changes = [line.rsplit("|", 2)[1] for line in page.splitlines() if line.startswith(("| Roll", "| Resol", "| Syn"))]
    assert len(changes) == 5 and all(change.endswith("(0 right, 0 wrong) ") for change in changes)
    assert "NaN" not in (second / "hard-faces.json").read_text()
