"""What the benchmarks compute, on tracks and answers made by hand."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekd.data.dataset import Annotation
from facekd.data.pack import Pack
from facekd.geometry import BoxTransform, apply, crop_matrix, tight_box
from facekd.markup import FIVE, IBUG68

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def load(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


jitter, runtime, peer, confidence, roll, detection, face_confidence, serve, missing, own_points = map(
    load,
    (
        *("jitter", "runtime", "peer", "confidence", "roll", "detection", "face_confidence", "serve", "missing"),
        "own_points",
    ),
)
bounds = load("bounds")

SHAPE = np.array([[0, 0], [100, 0], [100, 80], [0, 80], [50, 40]], np.float64)  # larger side: 100 px


def track(path: np.ndarray, raw: np.ndarray | None = None) -> dict:
    """A face that is moved by path (T, 2); its unfiltered points by `raw`."""
    index = np.arange(len(path))
    points = SHAPE + path[:, None]
    raw_points = points if raw is None else SHAPE + raw[:, None]
    return {"index": index, "time": index / 30, "points": points, "raw": raw_points, "frames": len(path), "ids": 1}


def pan(lag: float, speed: float = 1.5, frames: int = 160) -> np.ndarray:
    return np.stack([-speed * jitter.position(np.arange(frames) - lag), np.zeros(frames)], axis=-1)


def test_motion_of_a_still_is_its_shake() -> None:
    path = np.zeros((20, 2))
    path[1::2, 1] = 0.5  # half a pixel up and down
    found = jitter.measures(track(path), 0.0)
    assert found["motion"] == pytest.approx(0.5) and found["lag_ms"] is None and found["shown"] == 100


def test_motion_of_a_pan_leaves_the_pan_out() -> None:
    assert jitter.measures(track(pan(0)), 1.5)["motion"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("lag", [0.0, 1.0, 2.0])
def test_lag_behind_a_pan(lag: float) -> None:
    assert jitter.measures(track(pan(lag)), 1.5)["lag_ms"] == pytest.approx(lag * 1000 / 30, abs=4)


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_lag_behind_the_unfiltered_points(lag: int) -> None:
    raw = np.cumsum(np.random.default_rng(0).normal(0, 3, (100, 2)), axis=0)
    delayed = np.concatenate([np.repeat(raw[:1], lag, axis=0), raw[: 100 - lag]])
    assert jitter.measures(track(delayed, raw))["lag_ms"] == pytest.approx(lag * 1000 / 30, abs=0.1)


def test_pan_moves_the_picture_as_it_says() -> None:
    photo = np.zeros((20, 200, 3), np.uint8)
    photo[:, 100:] = 200
    edges = [int(np.argmax(frame[10, :, 0] > 100)) for _, frame in jitter.moved(photo, 5, 2.0)]
    assert edges == [100, 98, 96, 94, 92]


def test_a_video_without_faces_has_a_row() -> None:
    found = jitter.measures(jitter.follow(lambda frame, time: [], [(t / 30, np.zeros((2, 2, 3))) for t in range(20)]))
    assert found == {"motion": None, "lag_ms": None, "shown": 0, "ids": 0}
    rows = [{"video": "empty", "mode": "tracked"} | found]
    assert "| empty | tracked |  |  | 0 % | 0 |" in jitter.table({"command": "c", "model": "m", "rows": rows})


def test_as_many_faces_as_asked_for_from_all_over() -> None:
    assert (
        runtime.spread(list(range(689)), 400)[:4] == [0, 1, 3, 5] and len(runtime.spread(list(range(689)), 400)) == 400
    )
    assert runtime.spread([1, 2], 5) == [1, 2] and runtime.spread([], 3) == []


def test_boxes_are_mapped_as_the_own_detector_draws_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(peer.Boxed):
        def detect(self, image: np.ndarray) -> np.ndarray:
            return np.array([[15.0, 12.0, 25.0, 22.0], [500, 500, 510, 510]])  # side 10, centre (20, 17)

        def landmarks(self, image: np.ndarray, box: np.ndarray) -> np.ndarray | None:
            return None if box[0] > 100 else box.reshape(2, 2)

    monkeypatch.setattr(peer, "read", lambda path: np.zeros((2, 2, 3), np.uint8))
    given = [10.0, 10.0, 24.0, 30.0]  # side 20, centre (17, 20)
    transform = peer.to_own_box(Own(), [{"photo": "a", "box": given}] * 3)
    np.testing.assert_allclose(transform, [0.5, 3 / 20, -3 / 20])
    np.testing.assert_allclose(peer.mapped(np.array(given), transform), [15, 12, 25, 22])
    assert Own().faces("a") == 1  # of the two boxes one has landmarks


def test_a_still_and_a_moving_picture() -> None:
    photo = np.tile(np.arange(0, 200, 2, dtype=np.uint8)[None, :, None], (20, 1, 3))
    for speed in (0, 1.5):
        frames = [frame for _, frame in jitter.moved(photo, 4, speed)]
        shift = (frames[3].astype(float) - frames[0])[:, 20:80].mean() / 2  # the ramp rises by 2 per pixel
        assert abs(shift - 3 * speed) < 0.5


def test_every_point_has_a_vertex_of_the_mesh() -> None:
    assert len(peer._MESH) == len(set(peer._MESH)) == 68 and max(peer._MESH) < 468


def rows_of_two_faces() -> dict:
    """One face found with an error of 5 % of the inter-ocular distance everywhere, one not found."""
    truth = np.zeros((68, 2))
    truth[45] = [100, 0]
    faces = [Annotation(name, lambda: None, truth, "test", ("full", name)) for name in ("common", "challenge")]
    found = {"ms_per_face": 2.0, "peak_mb": 90.0, "faces_in_photos": 1, "box": None, "ms_per_photo": [20.0, 40.0]}
    first = {"points": [np.add(truth, [3, 4]).tolist(), None], **found}
    return runtime.figures([first, {"ms_per_photo": [30.0, 30.0]}], faces)


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
def test_figures_of_known_errors() -> None:
    row = rows_of_two_faces()
    assert row["nme68_full"] == pytest.approx(5) and row["nme51_common"] == pytest.approx(5)
    assert (row["ms_per_photo_median"], row["ms_per_photo_mean"]) == (25, 25)  # the shorter of two times of each photo
    assert (row["failures"], row["not_found"]) == (50, 1) and np.isnan(row["nme68_challenge"])


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
def test_table_shows_ratios_to_the_first_row() -> None:
    row = rows_of_two_faces()
    rows = [{"name": "ours", "threads": 1, **row}, {"name": "dlib 68", "threads": 1, **row, "ms_per_face": 3.0}]
    rows[1] |= {"ms_per_photo_median": 50.0, "ms_per_photo_mean": 12.5}
    result = {"command": "x", "machine": "y", "faces": 2, "missed_by_yunet": 0, "rows": rows}
    assert "| ours | 1 | 1.00 x | 1.00 x | 1.00 x | 5.00 |" in runtime.table(result)
    assert "| dlib 68 | 1 | 1.50 x | 0.50 x | 2.00 x | 5.00 |" in runtime.table(result)


def test_rank_correlation_of_known_orders() -> None:
    values = np.array([0.1, 0.5, 0.2, 0.9])
    assert confidence.rank_correlation(values, values**3) == pytest.approx(1)
    assert confidence.rank_correlation(values, -values) == pytest.approx(-1)
    # Ranks 1 2 3 4 and 2 1 3 4: 1 - 6 * (1 + 1) / (4 * 15) = 0.8
    assert confidence.rank_correlation(np.arange(4), np.array([1, 0, 2, 3])) == pytest.approx(0.8)


def test_honest_confidence_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    stated = rng.uniform(0, 1, (500, 20))
    errors = np.where(rng.uniform(0, 1, stated.shape) < stated, 0.02, 0.09)
    found = confidence.measures(errors, stated, 0.03)
    assert found["calibration_error"] < 0.02 and found["rank_correlation_points"] < -0.4
    assert [group["error"] for group in found["groups"]] == sorted((g["error"] for g in found["groups"]), reverse=True)
    assert confidence.measures(errors, 1 - stated, 0.03)["calibration_error"] > 0.4


class Faces:
    """Two faces of five points in black photos, as a pack holds them."""

    markup = FIVE
    points = np.array([[[30, 30], [70, 30], [50, 50], [35, 70], [65, 70]]] * 2, np.float32)

    def __len__(self) -> int:
        return len(self.points)

    def image(self, row: int) -> np.ndarray:
        return np.zeros((100, 100, 3), np.uint8)


class Centred:
    """Answers where an upright face has its points, 1 px off; the second pass is right."""

    size, scale = 80, 1.25

    def predict(self, images: np.ndarray) -> tuple[np.ndarray, None]:
        return self(images)[0] + [1, 0], None

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, None]:
        box = tight_box(Faces.points[0])
        return apply(crop_matrix(box, self.size, self.scale), Faces.points), None


def test_roll_rotates_the_faces_and_measures_both_passes() -> None:
    markup = replace(FIVE, inter_ocular=FIVE.inter_pupil)
    faces = Faces()
    faces.markup = markup
    upright = roll.row(Centred(), faces, 0)
    assert upright["two_passes"] == pytest.approx(0, abs=1e-6)
    assert upright["one_pass"] == pytest.approx(100 / 64, rel=1e-4)  # eyes 40 px apart, 1.6 px to the pixel
    assert roll.row(Centred(), faces, 30)["two_passes"] > 10  # the faces turn, these answers do not
    assert roll.rolled(faces) == 0
    faces.points = Faces.points @ np.array([[0.8, 0.6], [-0.6, 0.8]])  # 37 degrees
    assert roll.rolled(faces) == 100
    rows = [{"angle": 30, "one_pass": 3.456, "two_passes": 3.2, "difference": -0.256, "low": -0.3, "high": -0.2}]
    found = {"found_percent": 98.76, "failed_percent": 1.23, "nme": 3.456, "faces": 9}
    lost = {"found_percent": 0.0, "failed_percent": 0.0, "nme": None, "faces": 0}
    circle = [{"angle": angle, "time_ratio": 1.034, "any": found, "upright": lost} for angle in (0, 90)]
    record = {"command": "c", "model": "m", "faces": 2, "split": "val", "rolled_percent": {"val": 7.6}, "rows": rows}
    page = roll.page(record | {"photos": 2, "circle": circle})
    assert "| 90° | 98.8 % | 1.2 % | 3.46 | 0.0 % | 0.0 % |  |" in page and "takes 1.03 times as long" in page
    assert "8 % of the val faces" in page and "| 30° | 3.46 | 3.20 | -0.26 [-0.30, -0.20] |" in page


@given(st.floats(-360, 360), st.integers(1, 60), st.integers(1, 60))
def test_a_rotated_photo_keeps_its_content(angle: float, width: int, height: int) -> None:
    photo = np.full((height, width, 3), 200, np.uint8)
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], np.float64)
    turned, points = roll.rotated(photo, corners, angle)
    assert (points > -0.501).all() and (points < np.array(turned.shape[1::-1]) - 0.499).all()
    lengths = [np.linalg.norm(each[3] - each[0]) for each in (corners, points)]
    assert lengths[0] == pytest.approx(lengths[1], abs=1e-6)


def test_a_photo_rotated_by_a_quarter_is_exact() -> None:
    photo = np.random.default_rng(0).integers(0, 255, (20, 31, 3), np.uint8)
    turned, points = roll.rotated(photo, np.array([[0.0, 0.0], [30.0, 5.0]]), 90)
    np.testing.assert_array_equal(turned, np.rot90(photo, -1))
    np.testing.assert_allclose(points, [[19, 0], [14, 30]], atol=1e-9)


def test_face_confidence_counts_what_is_right_and_what_is_accepted() -> None:
    kinds = {kind: {"crops": 10, "right": 4, "right_accepted": 3, "wrong_refused": 6} for kind in face_confidence.CROPS}
    kinds["beside"] |= {"right": 0, "right_accepted": 0, "wrong_refused": 9}
    values = {"kinds": kinds, "precision": 0.75, "recall": 0.8, "refused": 0.9}
    page = face_confidence.page({"command": "c", "split": "train", "faces": 10, "models": {"m": values}})
    assert "| a part of the face: an eye, an ear, a cheek | 10 | 4 | 75.0 % | 6 | 100.0 % |" in page
    assert "| what lies beside the face: hair, hands, clothes | 10 | 0 |  | 10 | 90.0 % |" in page
    assert "precision 75.0 %" in page and "recall 80.0 %" in page and "90.0 % of the wrong" in page


def test_detection_compares_what_two_detectors_find() -> None:
    points = np.full((68, 2), 100.0)
    points[36], points[45], points[0], points[1] = (80, 100), (120, 100), (70, 70), (130, 130)  # eyes 40 px apart

    class Photo:
        def __init__(self) -> None:
            self.points = points

        def load(self) -> np.ndarray:
            return np.zeros((200, 200, 3), np.uint8)

    class Detects:
        def __init__(self, boxes: list[list[float]]) -> None:
            self.boxes = boxes

        def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.array(self.boxes.pop(0), float).reshape(-1, 4), np.ones(1)

    class Truth:
        """Finds the points of a box of 60 px about (100, 100) wherever it is cut."""

        size, scale, box_transform = 60, 1.0, BoxTransform()

        def __call__(self, images: np.ndarray) -> tuple[np.ndarray, None]:
            return np.array([points - 70.5]), None

    face = [70, 70, 130, 130]
    detectors = {
        "full": Detects([[face], [face], []]),
        "fast": Detects([[[78, 70, 138, 130], [0, 0, 9, 9]], [], [face]]),
    }
    result = detection.compared([Photo()] * 3, detectors, Truth())
    full, fast = result["rows"]
    assert (full["found"], full["boxes"], fast["found"], fast["boxes"]) == (2, 2, 2, 3)
    assert (result["lost"], result["won"]) == (1, 1)
    # One face is found by both; its points move with the box, by 8 px: a fifth of the eyes' distance.
    assert result["difference"][0] == pytest.approx(20, abs=0.1)
    text = detection.page({"command": "c", "split": "train", "model": "m", **result})
    assert "| fast | 2 | 3 |" in text and "lost: 1, won: 1" in text


def test_the_server_s_page_is_what_its_figures_give() -> None:
    folder = BENCHMARKS.parent / "docs" / "benchmarks"
    result = json.loads((folder / "serve.json").read_text())
    assert (folder / "serve.md").read_text() == serve.table(result)
    assert result["sigterm"]["exit_code"] == 0
    for load_ in (*result["loads"], result["overload"], result["sigterm"]):
        assert load_["lost"] == load_["wrong"] == 0 and set(load_["statuses"]) <= {"200", "503"}


def test_clients_count_what_they_see() -> None:
    """A server that answers, refuses, answers wrongly, and hangs up."""

    async def run() -> object:
        turns = iter(range(100))

        async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                try:
                    await reader.readuntil(b"\r\n\r\n")
                except asyncio.IncompleteReadError:
                    break
                turn = next(turns)
                await reader.readexactly(5)
                if turn == 3:
                    break
                body = json.dumps({"faces": [turn if turn == 2 else 0]}).encode()
                status = b"503 busy" if turn == 1 else b"200 OK"
                writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
                if turn > 8:
                    await asyncio.sleep(1)
            writer.close()

        server = await asyncio.start_server(answers, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await serve.under_load(port, [b"photo"], [[0]], 1, 0.9)

    seen = asyncio.run(run())
    assert (seen.lost, seen.refused, seen.wrong, seen.statuses[503]) == (1, 0, 1, 1)
    assert seen.statuses[200] >= 6 and len(seen.seconds) == seen.statuses[200]


def test_points_are_taken_from_training_faces_alone(tiny_pack: Pack) -> None:
    lacking, train = missing.without(tiny_pack, 0.3, seed=1), tiny_pack.splits == "train"
    gone = np.isnan(lacking.points).any(axis=2)
    assert 0.15 < gone[train].mean() < 0.4 and not gone[~train].any() and (~gone).sum(axis=1).min() >= 3
    np.testing.assert_array_equal(lacking.points[~gone], tiny_pack.points[~gone])
    assert lacking.meta["sha256"] != tiny_pack.meta["sha256"]
    assert not np.isnan(missing.without(tiny_pack, 0.0, seed=1).points).any()


def test_the_page_of_missing_points_says_what_its_figures_say() -> None:
    folder = BENCHMARKS.parent / "docs" / "benchmarks"
    record, page = json.loads((folder / "missing.json").read_text()), (folder / "missing.md").read_text()
    nme = {share: [row["nme"] for row in record["rows"] if row["missing"] == share] for share in (0.0, 0.3)}
    assert record["lost_percent"] == pytest.approx(100 * (np.mean(nme[0.3]) / np.mean(nme[0.0]) - 1), abs=0.005)
    assert record["lost_percent"] < 10 and f"{record['lost_percent']:+.2f} %" in page
    for row in record["visibility"]["rows"]:
        told = row["visibility"]
        assert told["ap_occluded"] > 5 * told["share_occluded"]
        assert f"| {row['weight']:g} | {told['ap_occluded']:.1f} | {row['nme']:.2f} [" in page


def test_the_page_of_limits_says_what_its_figures_say_and_they_are_kept() -> None:
    folder = BENCHMARKS.parent / "docs" / "benchmarks"
    result = json.loads((folder / "bounds.json").read_text())
    assert (folder / "bounds.md").read_text() == bounds.page(result)
    peaks = {row["format"]: row["peak_mb"] for row in result["photos"]}
    assert peaks["JPEG"] < 600 and peaks["PNG"] < 600 and peaks["JPEG, turned by EXIF"] < 1000
    assert all(peaks[each] < 1200 for each in peaks if each != "TIFF, not compressed")
    many, (short, long), faces = result["folder"], result["videos"], result["faces"]
    assert many["photos"] == 10_000 and many["first_processor_seconds"] < 2
    assert many["mb_at_the_end"] < 1.1 * many["mb_after_a_tenth"] and long["peak_mb"] < 1.1 * short["peak_mb"]
    assert [row["followed"] for row in faces] == [25, 50, 100]
    assert faces[2]["ms_per_frame"] < 2.5 * faces[1]["ms_per_frame"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the script reads /proc")
def test_the_page_of_kills_says_what_its_figures_say_and_nothing_was_broken() -> None:
    stops, folder = load("stops"), BENCHMARKS.parent / "docs" / "benchmarks"
    result = json.loads((folder / "stops.json").read_text())
    assert (folder / "stops.md").read_text() == stops.page(result)
    assert set(result["rows"]) == {"detect", "track", "prepare", "distill", "export", "study", "bulk"}
    for name, row in result["rows"].items():
        assert row["kills"] >= 50 and row["runs_to_the_end"] >= 10, name
        assert row["broken"] == row["different"] == row["left_over"] == [] and row["workers_left"] == 0, name


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the script reads /proc")
def test_kills_find_what_is_broken(tmp_path: Path) -> None:
    stops = load("stops")
    (tmp_path / ".half.json").write_text("{")  # temporary: not an output
    (tmp_path / "log.jsonl").write_text('{"a": 1}\n{"a"')  # added to: the last line may be cut
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8")
    assert [each.partition(":")[0] for each in sorted(stops.damaged(tmp_path))] == ["a.json", "b.jpg"]


def test_own_points_are_means_of_the_68(tiny_pack: Pack) -> None:
    points = np.random.default_rng(0).uniform(0, 100, (len(tiny_pack), 68, 2)).astype(np.float32)
    found = own_points.relabelled(replace(tiny_pack, markup=IBUG68, points=points))
    assert found.points.shape == (len(tiny_pack), 10, 2) and found.markup.count == 10
    np.testing.assert_allclose(found.points[:, 0], points[:, 19])
    np.testing.assert_allclose(found.points[:, 1], points[:, 36:42].mean(axis=1), rtol=1e-6)  # an eye's centre
    np.testing.assert_allclose(found.boxes, tight_box(found.points))


def test_own_points_have_a_row_per_start() -> None:
    rows = [
        {"photos": 20, "start": "ImageNet", "lr": 0.002, "val": {"nme_inter_ocular": 5.0}}
        | {"test": {"nme_inter_ocular": 6.0, "nme_inter_ocular_interval": [5.5, 6.5]}}
    ]
    assert "| 20 | ImageNet | 0.002 | 5.00 | 6.00 | 5.50 to 6.50 |" in own_points.page("command", rows)
