"""Inspect finds what is planted, and nothing in a clean pack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facekd.data import inspect
from facekd.data.checks import asymmetric_points
from facekd.data.inspect import findings, statistics
from facekd.data.pack import LabelledFace, Pack, PackWriter
from facekd.data.sheet import draw_labels, label_sheet, save, soft_sheet
from facekd.markup import FIVE, IBUG68
from layouts import photo, shape

COUNT = 60


def faces() -> list[LabelledFace]:
    """Return clean faces: 100 px crops, faces of 50 px, each with its own photo."""
    return [
        LabelledFace(
            photo(i, 100, 100),
            shape(seed=i, side=50, centre=(49.5, 49.5)),
            f"{i}.jpg",
            "test" if i % 3 == 0 else "train",
        )
        for i in range(COUNT)
    ]


def packed(path: Path, items: list[LabelledFace]) -> Pack:
    about = {"dataset": "made up", "margin": 2.0, "size": 100, "jpeg_quality": 92, "terms": "None."}
    with PackWriter(path / "a.parquet", IBUG68, **about) as writer:
        for item in items:
            writer.add(item)
    return Pack.open(path / "a.parquet")


def test_a_clean_pack_has_no_findings(tmp_path: Path) -> None:
    assert findings(packed(tmp_path, faces())) == []


def test_statistics(tmp_path: Path) -> None:
    items = faces()
    angle = np.radians(20)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])  # clockwise on the screen
    items[4].points = (items[4].points - 49.5) @ turn.T + 49.5
    items[5].quality = "derived"
    for i, item in enumerate(items):
        item.visible = np.arange(68) >= (34 if i < COUNT // 2 else 0)
    numbers = statistics(packed(tmp_path, items))
    assert numbers["split"] == {"test": 20, "train": 40}
    assert numbers["quality"] == {"derived": 1, "exact": 59}
    assert numbers["face_side_px"]["median"] == pytest.approx(50, abs=0.01)
    assert numbers["roll_degrees"]["max"] == pytest.approx(20, abs=1)
    assert abs(numbers["roll_degrees"]["median"]) < 1
    assert numbers["occluded_percent"] == 25


@pytest.mark.parametrize("brighter", [0, 12])
def test_the_same_photo_in_two_splits(tmp_path: Path, brighter: int) -> None:
    items = faces()
    items[33].image = np.clip(photo(7, 100, 100).astype(int) + brighter, 0, 255).astype(np.uint8)
    (finding,) = findings(packed(tmp_path, items))
    assert (finding.kind, sorted(finding.faces)) == ("duplicates across splits", [7, 33])
    assert sorted(finding.details) == ["test, pair 1", "train, pair 1"]
    assert finding.text.startswith("1 times the same photo in two splits")


def test_the_same_photo_within_a_split(tmp_path: Path) -> None:
    items = faces()
    items[8].image = items[7].image
    (finding,) = findings(packed(tmp_path, items))
    assert (finding.kind, finding.faces) == ("duplicates", (7, 8))


def test_of_many_frames_of_one_scene_each_is_paired_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect, "_BLOCK", 7)
    items = faces()
    for item in items:
        item.image = items[0].image
    across, within = findings(packed(tmp_path, items))
    for finding in (across, within):
        pairs = set(zip(finding.faces[::2], finding.faces[1::2], strict=True))
        assert set(finding.faces) == set(range(COUNT))  # nobody is left out
        assert len(pairs) == len(finding.faces) / 2 < COUNT
        assert all(i < j for i, j in pairs)


@pytest.mark.parametrize(("correlation", "found"), [(0.96, 0), (0.99, 2)])
def test_how_alike_two_photos_must_be(tmp_path: Path, correlation: float, found: int) -> None:
    x, y = np.meshgrid(np.arange(100), np.arange(100))
    one, other = np.cos(2 * np.pi * (x + 0.5) / 100), np.cos(2 * np.pi * (y + 0.5) / 100)  # of correlation 0
    mixed = correlation * one + np.sqrt(1 - correlation**2) * other
    items = faces()[:2]
    for item, wave in zip(items, (one, mixed), strict=True):
        item.image = np.repeat((128 + 80 * wave).astype(np.uint8)[..., None], 3, axis=2)
    assert sum(len(finding.faces) for finding in findings(packed(tmp_path, items))) == found


def test_tiny_faces_smallest_first(tmp_path: Path) -> None:
    items = faces()
    items[2].points = shape(side=30, centre=(49.5, 49.5))
    items[9].points = shape(side=20, centre=(49.5, 49.5))
    (finding,) = findings(packed(tmp_path, items))
    assert (finding.kind, finding.faces, finding.details) == ("tiny", (9, 2), ("20 px", "30 px"))


def test_points_outside_the_crop(tmp_path: Path) -> None:
    items = faces()
    items[3].points = items[3].points - (0, items[3].points[:, 1].min() + 1)  # the uppermost point at y = -1
    (finding,) = findings(packed(tmp_path, items))
    assert (finding.kind, finding.faces, finding.details) == ("outside", (3,), ("1 points",))


def test_left_and_right_swapped(tmp_path: Path) -> None:
    items = faces()
    items[11].points = items[11].points[list(IBUG68.mirror)]
    (finding,) = findings(packed(tmp_path, items))
    assert (finding.kind, finding.faces) == ("swapped", (11,))


def test_a_mirror_table_that_does_not_fit_is_named_by_point() -> None:
    mean = np.array([[-1.0, -1], [1, -1], [0, 0], [-0.6, 1], [0.6, 1]])
    assert asymmetric_points(mean, FIVE) == []
    mean[3, 0] += 0.5
    assert asymmetric_points(mean, FIVE) == [3, 4]


def test_drawn_points_lie_where_they_are_and_sides_have_their_colours() -> None:
    points = np.array([[10, 10], [40, 10], [25, 25], [14, 40], [36, 40]], float)
    visible = np.array([True, True, True, False, True])
    drawn = draw_labels(np.zeros((50, 50, 3), np.uint8), points, FIVE, visible).astype(int)
    left, right, middle, hidden = drawn[10, 10], drawn[10, 40], drawn[25, 25], drawn[40, 14]
    assert left[2] > left[0] + 100
    assert right[0] > right[1] + 100
    assert middle.min() > 200
    assert hidden[0] > 200 > 100 > hidden[1]
    assert not drawn[5, 25].any()


@pytest.mark.parametrize("nowhere", [False, True])
def test_faces_with_missing_points_are_on_the_sheet_of_soft_landmarks(
    nowhere: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each face lacks a point, and is drawn without it; a point that all lack has no shape model."""
    items = [face for face in faces() if face.split == "train"][:8]
    for i, face in enumerate(items):
        face.points[0 if nowhere else i] = np.nan
    drawn = []

    def watched(pack: Pack, shown: list[int], soft: np.ndarray) -> np.ndarray:
        drawn.append((shown, np.isnan(soft).any(axis=2)))
        return soft_sheet(pack, shown, soft)

    monkeypatch.setattr(inspect.sheet, "soft_sheet", watched)
    inspect.inspect(packed(tmp_path, items), tmp_path / "sheets", faces=16)
    assert (tmp_path / "sheets" / "soft.jpg").is_file() != nowhere
    for shown, missing in drawn:
        assert shown == list(range(8))
        np.testing.assert_array_equal(missing, np.eye(8, 68, dtype=bool))


def test_sheets(tmp_path: Path) -> None:
    pack = packed(tmp_path, faces()[:8])
    sheet = label_sheet(pack, [7, 0, 1, 2, 3, 4, 5], ["worst"] * 7)
    assert sheet.shape == (2 * (224 + 18 + 3), 6 * (224 + 3), 3)
    assert (sheet[245:, 227 * 1 :] == 24).all()  # one face in the second row
    pairs = soft_sheet(pack, [0, 1], pack.points[:2] + 2)
    assert pairs.shape == (245, 4 * 227, 3)
    save(tmp_path / "sheets" / "a.jpg", pairs)
    assert (tmp_path / "sheets" / "a.jpg").stat().st_size > 5000
