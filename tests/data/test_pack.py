"""The pack: what is written comes back, whole or not at all, and frames are the crops at another size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from facekd.data.face import decode
from facekd.data.pack import LabelledFace, Pack, PackWriter
from facekd.errors import InputError
from facekd.markup import FIVE, IBUG68
from layouts import photo, shape


def writer(path: Path, **changes: object) -> PackWriter:
    about: dict = {"dataset": "made up", "margin": 2.0, "size": 80, "jpeg_quality": 92, "terms": "None."} | changes
    return PackWriter(path, IBUG68, **about)


def face(i: int, **changes: object) -> LabelledFace:
    side = 80 - i % 3
    test = i % 5 == 4
    values: dict = {
        "image": photo(i, side, side),
        "points": shape(seed=i, centre=(40, 40)),
        "name": f"folder/{i}.jpg",
        "split": "test" if test else "train",
        "subsets": ("full", "pose") if test else (),
        "photo_box": np.array([1.0, 2, 3, 4]) if i % 2 else None,
        "to_photo": np.array([[2, 0, i], [0, 2, -i]]),
    }
    return LabelledFace(**values | changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.parquet"
    with writer(path) as pack:
        for i in range(300):  # three row groups
            pack.add(face(i))
    return path


def test_what_is_written_comes_back(path: Path) -> None:
    pack = Pack.open(path)
    assert len(pack) == 300
    assert pack.markup == IBUG68
    assert pack.meta["counts"] == {
        "faces": 300,
        "split": {"test": 60, "train": 240},
        "subset": {"full": 60, "pose": 60},
        "quality": {"exact": 300},
    }
    expected = face(134)
    np.testing.assert_allclose(pack.points[134], expected.points, atol=1e-5)
    np.testing.assert_allclose(pack.boxes[134], [*expected.points.min(0), *expected.points.max(0)], atol=1e-5)
    np.testing.assert_array_equal(pack.to_photo[134], expected.to_photo)
    assert (pack.names[134], pack.splits[134], pack.subsets[134]) == ("folder/134.jpg", "test", ("full", "pose"))
    assert pack.sizes[:3].tolist() == [80, 79, 78]
    assert pack.visible is None
    np.testing.assert_array_equal(pack.photo_boxes[1], [1, 2, 3, 4])
    assert np.isnan(pack.photo_boxes[0]).all()


def test_images_are_the_crops(path: Path) -> None:
    pack = Pack.open(path)
    streamed = [image for batch in pack.images(batch=77) for image in batch]
    assert len(streamed) == 300
    for i in (0, 127, 128, 299):
        np.testing.assert_array_equal(streamed[i], pack.image(i))
        assert np.abs(streamed[i].astype(int) - face(i).image).mean() < 4  # JPEG


def test_rows_lie_in_groups_that_stream(path: Path) -> None:
    metadata = pq.ParquetFile(path).metadata
    assert [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)] == [128, 128, 44]


def test_visible_is_kept(tmp_path: Path) -> None:
    visible = np.arange(68) % 3 > 0
    with writer(tmp_path / "v.parquet") as pack:
        pack.add(face(0, visible=visible))
    np.testing.assert_array_equal(Pack.open(tmp_path / "v.parquet").visible, [visible])


def test_missing_points_are_nan_and_do_not_count_in_the_box(tmp_path: Path) -> None:
    points = shape(centre=(40, 40))
    points[3], points[5, 1] = np.nan, np.nan  # half a point is none
    points[7] = 2, 3
    with writer(tmp_path / "m.parquet") as pack:
        pack.add(face(0, points=points, visible=np.arange(68) != 9))
        pack.add(face(1))
    opened = Pack.open(tmp_path / "m.parquet")
    assert np.flatnonzero(np.isnan(opened.points[0]).all(axis=1)).tolist() == [3, 5]
    assert np.isnan(opened.points[0]).sum() == 4 and not np.isnan(opened.points[1]).any()
    there = np.delete(points, [3, 5], axis=0)
    np.testing.assert_allclose(opened.boxes[0], [2, 3, *there.max(0)], atol=1e-5)


def test_a_missing_point_is_not_visible(tmp_path: Path) -> None:
    points = np.where(np.arange(68)[:, None] == 3, np.nan, shape(centre=(40, 40)))
    with writer(tmp_path / "m.parquet") as pack:
        pack.add(face(0, points=points, visible=np.arange(68) != 9))
    assert np.flatnonzero(~Pack.open(tmp_path / "m.parquet").visible[0]).tolist() == [3, 9]


def test_select_narrows_and_shares_the_file(path: Path) -> None:
    pack = Pack.open(path)
    test = pack.select("test", "pose")
    assert len(test) == 60
    assert test.names[1] == "folder/9.jpg"
    again = test.select(indices=[3, 1])
    assert again.names.tolist() == ["folder/19.jpg", "folder/9.jpg"]
    np.testing.assert_array_equal(again.image(0), pack.image(19))


def test_select_of_nothing_names_what_there_is(path: Path) -> None:
    with pytest.raises(InputError, match=r"no face with split val.*'train': 240"):
        Pack.open(path).select("val")


def test_encoded_faces_are_stored_as_they_are(tmp_path: Path) -> None:
    encoded = face(1).encoded(70)
    with writer(tmp_path / "e.parquet") as pack:
        pack.add(encoded)
    opened = Pack.open(tmp_path / "e.parquet")
    np.testing.assert_array_equal(opened.image(0), decode(encoded.image, encoded.size))
    assert opened.sizes[0] == 79


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"points": np.zeros((67, 2))}, r"needs 68 points, .* got an array \(67, 2\)"),
        ({"points": np.full((68, 2), np.nan)}, "68 of them NaN"),
        ({"points": np.full((68, 2), np.inf)}, "needs 68 points, finite or"),
        ({"split": "dev"}, "no pack holds split 'dev'"),
        ({"quality": "bad"}, "quality 'bad'"),
        ({"image": b"jpeg"}, "0 px"),
    ],
)
def test_a_wrong_face_is_refused_by_name_and_leaves_no_file(tmp_path: Path, changes: dict, says: str) -> None:
    with pytest.raises(InputError, match=f"folder/0.jpg: .*{says}"), writer(tmp_path / "w.parquet") as pack:
        pack.add(face(0, **changes))
    assert list(tmp_path.iterdir()) == []


def test_an_error_keeps_the_pack_that_was_there(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(RuntimeError), writer(path) as pack:
        pack.add(face(0))
        raise RuntimeError
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_what_is_not_a_pack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no pack at"):
        Pack.open(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(InputError, match="is not a pack"):
        Pack.open(tmp_path / "text.parquet")


def test_another_parquet_file_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa

    pq.write_table(pa.table({"image": [b""], "x": [1]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="is not a pack"):
        Pack.open(tmp_path / "other.parquet")


def test_a_newer_version_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facekd.data.pack_file.VERSION", 0)
    with pytest.raises(InputError, match="version 1, above 0"):
        Pack.open(path)


def test_the_same_faces_give_the_same_digest(tmp_path: Path, path: Path) -> None:
    other = tmp_path / "b.parquet"
    with writer(other) as pack:
        for i in range(300):
            pack.add(face(i, name="another" if i == 299 else f"folder/{i}.jpg"))
    first, second = Pack.open(path).meta["sha256"], Pack.open(other).meta["sha256"]
    assert first != second
    with writer(other) as pack:
        for i in range(300):
            pack.add(face(i))
    assert Pack.open(other).meta["sha256"] == first


def test_frames_are_the_crops_resized_and_points_go_with_them(tmp_path: Path) -> None:
    # A white square of 10 px around (39.5, 19.5): its centre must stay under the point at every size.
    image = np.zeros((80, 80, 3), np.uint8)
    image[15:25, 35:45] = 255
    with PackWriter(tmp_path / "f.parquet", FIVE, dataset="", margin=2, size=80, jpeg_quality=100, terms="") as pack:
        pack.add(LabelledFace(image, np.array([[39.5, 19.5], [0, 0], [79, 79], [5, 5], [6, 6]]), "a"))
    opened = Pack.open(tmp_path / "f.parquet")
    for px in (32, 80, 112):
        frames, points = opened.frames(tmp_path / f"{px}.npy", px)
        assert frames.shape == (1, px, px, 3)
        assert frames.dtype == np.uint8
        assert isinstance(frames, np.memmap)
        weight = frames[0, ..., 0].astype(float)
        y, x = np.indices(weight.shape)
        np.testing.assert_allclose(
            [(x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum()], points[0, 0], atol=0.05
        )


def test_frames_are_used_again_only_when_they_match(path: Path) -> None:
    pack, map_ = Pack.open(path), path.with_suffix(".npy")
    frames, _ = pack.frames(map_, 16)
    stamp = map_.stat().st_mtime_ns
    pack.frames(map_, 16)
    assert map_.stat().st_mtime_ns == stamp  # untouched
    test, _ = pack.select("test").frames(map_, 16)
    np.testing.assert_array_equal(test, frames[4::5])
    assert pack.frames(map_, 8)[0].shape == (300, 8, 8, 3)


def test_frames_without_their_stamp_are_made_anew(path: Path) -> None:
    pack, map_ = Pack.open(path), path.with_suffix(".npy")
    np.save(map_, np.zeros((300, 16, 16, 3), np.uint8))  # for example from a run killed between map and stamp
    assert pack.frames(map_, 16)[0].any()
