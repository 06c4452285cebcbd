"""Prepare: crops whose points lead back to the photo, bad photos named, one whole file or none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import layouts
from facekd.data import folder, w300
from facekd.data import prepare as preparing
from facekd.data.crop import Cropper
from facekd.data.dataset import Annotation, Item, Problem, train_or_val
from facekd.data.face import decode
from facekd.data.pack import Pack
from facekd.data.prepare import Summary, prepare
from facekd.errors import InputError
from facekd.geometry import apply
from facekd.markup import IBUG68, WFLW98
from layouts import photo, shape, write_labelled, write_photo
from processes import alive, descendants, held


def annotation(i: int = 0, **changes: object) -> Annotation:
    values: dict = {"name": f"{i}.jpg", "load": partial(photo, i), "points": shape(seed=i), "split": "train"}
    return Annotation(**values | changes)


def run(items: object, out: Path, **changes: object) -> Summary:
    arguments: dict = {"dataset": "made up", "terms": "None.", "size": 64, "jobs": 1} | changes
    return prepare(items, out, IBUG68, **arguments)  # type: ignore[arg-type]


# Crops


@settings(max_examples=40, deadline=None)
@given(
    side=st.floats(8, 900),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
    margin=st.floats(1, 4),
    size=st.integers(16, 400),
)
def test_crop_points_lead_back_to_photo_pixels(side: float, x: float, y: float, margin: float, size: int) -> None:
    width, height = 1000, 800
    points = shape(side=side, centre=(x * width, y * height))
    cropped = Cropper(IBUG68, margin, size, 90)(annotation(points=points, load=partial(photo, 0, width, height)))
    if isinstance(cropped, Problem):
        assert "outside the photo" in cropped.reason
        return
    face = cropped.face
    back = apply(face.to_photo.astype(np.float32), face.points.astype(np.float32))  # as a pack stores them
    np.testing.assert_allclose(back, points, atol=1e-3)
    assert min(size, side * margin) - 1 - 1e-6 < face.size <= min(size, side * margin) + 1e-6
    assert -0.5 - 1e-6 < face.points.min() <= face.points.max() < face.size - 0.5 + 1e-6


def test_what_is_under_a_point_stays_under_it() -> None:
    # A bright blob around the first landmark, cut out at a quarter of its size.
    points = shape(side=200, centre=(300, 250))
    y, x = np.indices((500, 600))
    blob = np.exp(-((x - points[0, 0]) ** 2 + (y - points[0, 1]) ** 2) / (2 * 12.0**2))
    image = np.repeat((255 * blob).astype(np.uint8)[..., None], 3, axis=2)
    cropped = Cropper(IBUG68, 2.0, 100, 100)(annotation(points=points, load=lambda: image))
    weight = decode(cropped.face.image, cropped.face.size)[..., 0].astype(float)
    weight[weight < 8] = 0  # JPEG's ringing
    v, u = np.indices(weight.shape)
    centroid = (u * weight).sum() / weight.sum(), (v * weight).sum() / weight.sum()
    np.testing.assert_allclose(centroid, cropped.face.points[0], atol=0.1)


def test_a_small_face_is_not_enlarged() -> None:
    cropped = Cropper(IBUG68, 2.0, 320, 90)(annotation(points=shape(side=40)))
    assert cropped.face.size == 80
    assert decode(cropped.face.image, cropped.face.size).shape == (80, 80, 3)


def test_beyond_the_photo_it_is_black() -> None:
    white = np.full((layouts.HEIGHT, layouts.WIDTH, 3), 255, np.uint8)
    cropped = Cropper(IBUG68, 2.0, 80, 95)(annotation(points=shape(side=40, centre=(20, 45)), load=lambda: white))
    image = decode(cropped.face.image, cropped.face.size)
    assert image[:, :16].max() < 20  # 20 px of the crop lie left of the photo
    assert image[:, 24:].min() > 235


def test_missing_and_occluded_points_are_counted_and_kept(tmp_path: Path) -> None:
    some = np.where(np.arange(68)[:, None] < 17, np.nan, shape())  # of which 0 and 40 are said to be occluded
    visible = ~np.isin(np.arange(68), (0, 40))
    summary = run([annotation(points=some, visible=visible), annotation(1)], tmp_path / "a.parquet")
    assert (summary.faces, summary.points, summary.missing, summary.occluded) == (2, 136, 17, 1)
    pack = Pack.open(tmp_path / "a.parquet")
    back = apply(pack.to_photo, pack.points)
    np.testing.assert_allclose(back[0], some, atol=1e-3)
    np.testing.assert_allclose(back[1], shape(seed=1), atol=1e-3)


def test_a_face_with_missing_points_is_cut_as_wide_as_the_whole(tmp_path: Path) -> None:
    for i in range(12):
        points = shape(seed=i, side=40)
        if i == 5:
            points[points[:, 1] > 45] = np.nan  # the lower half
        write_photo(tmp_path / f"{i}.png", i)
        with (tmp_path / "faces.csv").open("a") as file:
            file.write(",".join([f"{i}.png", *("" if np.isnan(v) else repr(float(v)) for v in points.ravel())]) + "\n")
    run(folder.read(tmp_path, IBUG68), tmp_path / "a.parquet")
    pack = Pack.open(tmp_path / "a.parquet")
    sides = (pack.boxes[:, 2:] - pack.boxes[:, :2]).max(axis=1) * pack.to_photo[:, 0, 0]
    assert sides[5] == pytest.approx(40, abs=2) and np.delete(sides, 5) == pytest.approx(40, abs=1e-3)
    assert np.nanmax(pack.points[5]) < pack.sizes[5]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"points": shape()[:66]}, "66 points where the mark-up has 68"),
        ({"points": np.where(np.arange(68)[:, None] == 7, np.inf, shape())}, "point 7 is not a number"),
        ({"points": np.full((68, 2), np.nan)}, "all points are missing"),
        ({"points": shape(side=3)}, "all points lie within 4 px"),
        ({"points": shape(centre=(60, 130))}, r"point \d+ lies 60 px outside the photo \(120x90 px\)"),
    ],
)
def test_bad_points_are_named(changes: dict, says: str) -> None:
    problem = Cropper(IBUG68, 2.0, 64, 90)(annotation(**changes))
    assert isinstance(problem, Problem)
    assert problem.name == "0.jpg"
    assert re.search(says, problem.reason)


def test_points_a_little_outside_are_kept_and_counted(tmp_path: Path) -> None:
    points = shape(side=40, centre=(60, 75))  # the lower end lies 5.5 px beyond the photo, which ends at 89.5
    summary = run([annotation(), annotation(1, points=points)], tmp_path / "a.parquet")
    assert (summary.faces, summary.faces_outside, summary.problems) == (2, 1, [])


# Bad photos


def bad_photos(source: Path) -> Path:
    """Make a 300W with three good faces and five bad ones."""
    layouts.w300(source)
    (source / "afw/100_1.jpg").write_bytes(b"not an image")
    whole = (source / "afw/100_2.jpg").read_bytes()
    (source / "afw/100_2.jpg").write_bytes(whole[: len(whole) // 2])
    write_labelled(source / "lfpw/trainset/image_0001.png", points=shape()[:60])
    write_labelled(source / "lfpw/trainset/image_0002.png", points=np.full((68, 2), np.nan))
    write_labelled(source / "helen/trainset/200_1.jpg", points=shape(centre=(400, 400)))
    return source


def test_bad_photos_are_listed_one_by_one_and_the_rest_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "a.parquet"
    summary = run(w300.read(bad_photos(tmp_path / "300w")), out)
    reasons = {problem.name: problem.reason for problem in summary.problems}
    assert list(reasons) == list(layouts.W300_NAMES[:5])
    assert "is no image that can be read" in reasons["afw/100_1.jpg"]
    assert "truncated" in reasons["afw/100_2.jpg"]
    assert "60 points" in reasons["lfpw/trainset/image_0001.png"]
    assert "all points are missing" in reasons["lfpw/trainset/image_0002.png"]
    assert "outside the photo" in reasons["helen/trainset/200_1.jpg"]
    assert Pack.open(out).names.tolist() == list(layouts.W300_NAMES[5:])
    assert Path(f"{out}.problems.txt").read_text().splitlines() == [str(problem) for problem in summary.problems]


def test_a_photo_too_long_to_cut_from_is_a_problem(tmp_path: Path) -> None:
    Image.new("L", (33_000, 90)).save(tmp_path / "panorama.png")
    (tmp_path / "faces.csv").write_text(",".join(["panorama.png", *map(str, shape().ravel())]))
    (item,) = folder.read(tmp_path, IBUG68)
    problem = Cropper(IBUG68, 2.0, 64, 90)(item)
    assert isinstance(problem, Problem)
    assert "33000 pixels long" in problem.reason


def test_no_problems_no_list(tmp_path: Path) -> None:
    out = tmp_path / "a.parquet"
    Path(f"{out}.problems.txt").write_text("of the run before")
    run([annotation()], out)
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_strict_stops_at_the_first_problem_and_leaves_no_file(tmp_path: Path) -> None:
    source = bad_photos(tmp_path / "300w")
    with pytest.raises(InputError, match=r"afw/100_1\.jpg: photo .* is no image that can be read"):
        run(w300.read(source), tmp_path / "a.parquet", strict=True)
    assert [path.name for path in tmp_path.iterdir()] == ["300w"]


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no usable face: 1 problems, first 0.jpg: 66 points"):
        run([annotation(points=shape()[:66])], tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "setting", [{"margin": 0.9}, {"size": 8}, {"jpeg_quality": 0}, {"jpeg_quality": 101}, {"jobs": 0}]
)
def test_settings_out_of_range_are_refused(tmp_path: Path, setting: dict) -> None:
    with pytest.raises(InputError, match="must be from"):
        run([annotation()], tmp_path / "a.parquet", **setting)


def test_a_folder_as_output_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        run([annotation()], tmp_path)


# Processes


def generate(index: int) -> Annotation:
    return annotation(index)


@pytest.mark.slow
def test_processes_give_the_same_pack_in_the_same_order(tmp_path: Path) -> None:
    items: list[Item] = [annotation(i) for i in range(20)]
    items[7] = Problem("7.jpg", "left out")
    items[3] = partial(generate, 3)  # made in the worker
    one, two = tmp_path / "1.parquet", tmp_path / "2.parquet"
    run(items, one)
    run(items, two, jobs=2)
    assert Pack.open(two).names.tolist() == [f"{i}.jpg" for i in range(20) if i != 7]
    assert Pack.open(one).meta["sha256"] == Pack.open(two).meta["sha256"]


@pytest.mark.slow
def test_few_faces_are_under_way_at_a_time(tmp_path: Path) -> None:
    taken = done = most = 0

    def items() -> Iterator[Item]:
        nonlocal taken
        for i in range(200):
            taken += 1
            yield annotation(i)

    def advance() -> None:
        nonlocal done, most
        done, most = done + 1, max(most, taken - done)

    run(items(), tmp_path / "a.parquet", jobs=2, advance=advance)
    assert done == 200
    assert most <= preparing._AHEAD * 2


def test_a_dead_worker_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a worker process died"):
        run([partial(os._exit, 3)], tmp_path / "a.parquet", jobs=2)
    assert list(tmp_path.iterdir()) == []


def test_killed_in_the_middle_leaves_no_pack(tmp_path: Path) -> None:
    script = f"""
import os, sys
sys.path[:0] = {[str(folder) for folder in Path(__file__).parents[:2]]}
from test_prepare import annotation, run
def items():
    for i in range(200):
        yield annotation(i)
    os._exit(137)  # as SIGKILL does, and on every system
run(items(), {str(tmp_path / "a.parquet")!r})
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 137
    assert not (tmp_path / "a.parquet").exists()
    run([annotation()], tmp_path / "a.parquet")
    assert len(Pack.open(tmp_path / "a.parquet")) == 1


def test_photo_missing_behind_its_labels(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg")
    line = layouts.wflw_line(shape(WFLW98), (0,) * 4, (0,) * 6, "a.jpg")
    source = layouts.wflw(tmp_path / "wflw", train=[line], test=[])
    from facekd.data import wflw

    (item,) = wflw.read(source)
    problem = Cropper(WFLW98, 2.0, 64, 90)(item)
    assert isinstance(problem, Problem)
    assert problem.reason == f"photo {source}/WFLW_images/a.jpg cannot be read: No such file or directory"


# Other processes


@pytest.mark.skipif(sys.platform == "win32", reason="no locks on this system")
@pytest.mark.slow
def test_of_two_processes_one_packs_and_the_other_leaves(tmp_path: Path) -> None:
    out = tmp_path / "a.parquet"
    command = ["prepare", "synthetic", out, "--count", 4, "--jobs", 1]
    with held("facekd", *command, at="facekd.data.writer:PackWriter.add", count=2) as process:
        with pytest.raises(InputError, match=r"another process is writing .*a\.parquet; wait until it has ended"):
            run([annotation()], out)
        assert not out.exists()
        process.release()
        assert process.finish()[0] == 0
    assert len(Pack.open(out)) == 4 and list(tmp_path.iterdir()) == [out]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are found in /proc")
@pytest.mark.slow
def test_no_worker_outlives_a_killed_prepare(tmp_path: Path) -> None:
    command = ["prepare", "synthetic", tmp_path / "a.parquet", "--count", 40, "--jobs", 2]
    with held("facekd", *command, at="facekd.data.writer:PackWriter.add") as process:
        started = descendants(process.process.pid)
        assert len(started) >= 2
        process.process.kill()
        assert alive(started) == {}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no such names")
def test_names_of_any_bytes(tmp_path: Path) -> None:
    names = ["a\nb.jpg", os.fsdecode(b"b\xff.jpg"), "<script>.jpg"]
    missing = Problem(os.fsdecode(b"c\xff.jpg"), "is no photo")
    run([*(annotation(i, name=name) for i, name in enumerate(names)), missing], tmp_path / "a.parquet")
    assert list(Pack.open(tmp_path / "a.parquet").names) == ["a\nb.jpg", "b\\udcff.jpg", "<script>.jpg"]
    assert (tmp_path / "a.parquet.problems.txt").read_text(encoding="utf-8") == "c\\udcff.jpg: is no photo\n"
    assert train_or_val(names[1]) in ("train", "val")
