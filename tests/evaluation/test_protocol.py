import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facekd.data.face import LabelledFace
from facekd.data.pack import Pack, PackWriter
from facekd.errors import InputError, ModelError
from facekd.evaluation.protocol import evaluate
from facekd.geometry import BoxTransform, square, tight_box
from facekd.markup import FIVE, IBUG68, WFLW98, MarkUp
from tiny_faces import POINTS, TRIANGLE, Detects, Oracle, write_pack

# 0.32 px of an inter-ocular distance of 32 px is 1 %: errors of 1, 2, 3 and 9 %.
PIXELS = (0.32, 0.64, 0.96, 2.88)
NEAR = (0.32, 0.64, 0.96, 2.24)  # 1, 2, 3 and 7 %: so near that no face is cut again
TRUE_BOX = square(tight_box(POINTS))  # 30, 36, 62, 68
FAR_BOX = np.array([0.0, 0.0, 20.0, 20.0])


def detections(*boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.array(boxes, np.float32).reshape(-1, 4), np.linspace(0.9, 0.5, len(boxes))


def test_truth_boxes_give_the_figures_computed_by_hand(pack: Pack) -> None:
    result = evaluate(Oracle(pack, PIXELS), pack, model="oracle", batch=3)
    assert list(result.subsets) == ["full", "common", "challenge"]
    full, common, challenge = result.subsets.values()
    assert (full["count"], common["count"], challenge["count"]) == (4, 3, 1)
    assert (full["missed"], result.normaliser) == (0, "inter_ocular")
    close = {"abs": 2e-3}
    assert full["nme_inter_ocular"] == pytest.approx(15 / 4, **close)
    assert full["nme_box_diagonal"] == pytest.approx(15 / 4 * 32 / 40, **close)
    assert full["nme_inter_pupil"] is None  # the triangle has no pupils
    assert common["nme_inter_ocular"] == pytest.approx(2.0, **close)
    assert (full["fr_8"], full["fr_10"], common["fr_8"], challenge["fr_8"]) == (25.0, 0.0, 0.0, 100.0)
    assert full["auc_10"] == pytest.approx((90 + 80 + 70 + 10) / 4, abs=0.02)
    assert full["auc_8"] == pytest.approx(100 * (7 + 6 + 5 + 0) / 8 / 4, abs=0.02)
    low, high = full["nme_inter_ocular_interval"]
    assert 1.0 <= low < 15 / 4 < high <= 9.0
    assert challenge["nme_inter_ocular_interval"] == pytest.approx([9.0, 9.0], **close)


def test_points_and_errors_stay_for_the_report(pack: Pack) -> None:
    result = evaluate(Oracle(pack, PIXELS, confident=True), pack)
    np.testing.assert_allclose(result.errors, [0.01, 0.02, 0.03, 0.09], atol=2e-5)
    np.testing.assert_allclose(result.predicted[3], np.add(POINTS, [2.88, 0.0]), atol=1e-3)
    assert result.confidence is not None and (result.confidence == 0.5).all()


def test_json_is_plain_and_holds_no_nan(pack: Pack) -> None:
    result = evaluate(
        Oracle(pack, box_transform=BoxTransform()), pack, "detector", Detects(lambda image: detections()), model="blind"
    )
    written = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert written["model"] == "blind"
    assert written["boxes"] == "detector"
    assert (written["dataset"], written["split"], written["markup"]) == ("tiny", "test", "triangle")
    full = written["subsets"]["full"]
    assert (full["count"], full["missed"]) == (4, 4)
    assert full["nme_inter_ocular"] is None and full["nme_inter_ocular_interval"] is None
    assert (full["fr_10"], full["auc_10"]) == (100.0, 0.0)


def test_figures_name_the_dataset_of_the_faces_that_were_measured(pack: Pack) -> None:
    """Where training faces of others were merged with it, it is still the test set that it was."""
    merged = replace(pack, meta=pack.meta | {"dataset": "tiny + more", "evaluation_dataset": "tiny"})
    everything = replace(merged, splits=np.array(["train", "test", "test", "test"], object))
    found = [evaluate(Oracle(each), each).to_json()["dataset"] for each in (pack, merged, everything)]
    assert found == ["tiny", "tiny", "tiny + more"]


def test_full_is_there_even_when_the_pack_names_no_subset(tmp_path: Path) -> None:
    with PackWriter(
        tmp_path / "p.parquet", TRIANGLE, dataset="tiny", margin=3.0, size=96, jpeg_quality=95, terms="Made up."
    ) as writer:
        writer.add(LabelledFace(np.full((96, 96, 3), 40, np.uint8), POINTS, "a.jpg", split="val"))
    pack = Pack.open(tmp_path / "p.parquet")
    assert list(evaluate(Oracle(pack), pack).subsets) == ["full"]


def test_occlusion_splits_the_points(tmp_path: Path) -> None:
    visible = np.array([[True, True, False]] * 2 + [[True] * 3] * 2)
    pack = write_pack(tmp_path / "p.parquet", TRIANGLE, POINTS, visible)
    occlusion = evaluate(Oracle(pack, PIXELS), pack).occlusion
    assert occlusion is not None
    assert (occlusion["visible"]["count"], occlusion["visible"]["points"]) == (4, 10)
    assert (occlusion["occluded"]["count"], occlusion["occluded"]["points"]) == (2, 2)
    assert occlusion["visible"]["nme_inter_ocular"] == pytest.approx(15 / 4, abs=2e-3)
    assert occlusion["occluded"]["nme_inter_ocular"] == pytest.approx(1.5, abs=2e-3)


def test_the_detector_box_goes_through_the_models_transform(pack: Pack) -> None:
    # The detector's box is twice as large and 8 px (1/8 of its side) higher than the tight square.
    detected = square(TRUE_BOX, 2.0) - [0, 8, 0, 8]
    oracle = Oracle(pack, NEAR, box_transform=BoxTransform(scale=0.5, shift_y=0.125))
    result = evaluate(oracle, pack, "detector", Detects(lambda image: detections(detected)))
    assert result.subsets["full"]["missed"] == 0
    assert result.subsets["full"]["nme_inter_ocular"] == pytest.approx(13 / 4, abs=2e-3)


def test_of_two_faces_the_one_on_the_truth_counts(pack: Pack) -> None:
    oracle = Oracle(pack, NEAR, box_transform=BoxTransform())
    result = evaluate(oracle, pack, "detector", Detects(lambda image: detections(FAR_BOX, TRUE_BOX)))
    assert result.subsets["full"]["missed"] == 0
    assert result.subsets["full"]["nme_inter_ocular"] == pytest.approx(13 / 4, abs=2e-3)


@pytest.mark.parametrize("found_on_last", [detections(), detections(FAR_BOX)], ids=["no face", "another face"])
def test_a_missed_face_fails_but_stays_out_of_the_mean(
    pack: Pack, found_on_last: tuple[np.ndarray, np.ndarray]
) -> None:
    def detect(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return found_on_last if image[0, 0, 0] > 140 else detections(TRUE_BOX)

    result = evaluate(Oracle(pack, PIXELS, box_transform=BoxTransform()), pack, "detector", Detects(detect))
    full = result.subsets["full"]
    assert (full["count"], full["missed"]) == (4, 1)
    assert full["nme_inter_ocular"] == pytest.approx(2.0, abs=2e-3)
    assert (full["fr_8"], full["fr_10"]) == (25.0, 25.0)
    assert full["auc_10"] == pytest.approx((90 + 80 + 70) / 4, abs=0.02)
    assert np.isinf(result.errors[3]) and np.isnan(result.predicted[3]).all()


def test_a_box_that_holds_the_landmarks_centre_is_the_face_s(pack: Pack) -> None:
    """The centre lies 16 px from the edges of the true square."""
    for shift, missed in ((15, 0), (17, 4)):
        box = np.add(TRUE_BOX, [shift, 0, shift, 0])
        oracle = Oracle(pack, box_transform=BoxTransform())
        result = evaluate(oracle, pack, "detector", Detects(lambda image, box=box: detections(box)))
        assert result.subsets["full"]["missed"] == missed


class Blobs:
    """Finds the red, green and blue spot in a frame: needs the crop and the way back to be right."""

    size, scale, markup, box_transform = 128, 2.0, TRIANGLE, BoxTransform()

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, None]:
        y, x = np.mgrid[: self.size, : self.size]
        others = images.sum(axis=-1, keepdims=True, dtype=np.float64) - images
        weight = np.clip(images - others, 0, None)[..., None]
        place = np.stack([x, y], axis=-1)[None, :, :, None]
        return (weight * place).sum(axis=(1, 2)) / weight.sum(axis=(1, 2)), None


def spots(folder: Path) -> Pack:
    """Write a pack of one face: a red, a green and a blue spot."""
    image = np.zeros((96, 96, 3), np.uint8)
    for channel, (x, y) in enumerate(POINTS.astype(int)):
        image[y - 3 : y + 4, x - 3 : x + 4, channel] = 255
    with PackWriter(
        folder / "p.parquet", TRIANGLE, dataset="spots", margin=3.0, size=96, jpeg_quality=100, terms="Made up."
    ) as writer:
        writer.add(LabelledFace(image, POINTS, "spots.jpg", split="test"))
    return Pack.open(folder / "p.parquet")


@pytest.mark.parametrize("boxes", ["truth", "detector"])
def test_points_seen_in_the_frame_land_on_the_photo(tmp_path: Path, boxes: str) -> None:
    pack = spots(tmp_path)
    shifted = np.add(TRUE_BOX, [5, -3, 5, -3])
    result = evaluate(Blobs(), pack, boxes, Detects(lambda image: detections(shifted)))
    np.testing.assert_allclose(result.predicted[0], POINTS, atol=0.2)  # JPEG smears colour; half a pixel would show


class Shy(Blobs):
    """Finds the spots 3 px too far to the right of the frame unless they fill the box that it is cut by."""

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, None]:
        points, _ = super().__call__(images)
        fills = np.abs(np.ptp(points, axis=1).max(axis=1) * self.scale / self.size - 1) < 0.05
        points[~fills, :, 0] += 3
        return points, None


def test_a_face_whose_detected_box_was_off_is_cut_again(tmp_path: Path) -> None:
    pack, large = spots(tmp_path), square(TRUE_BOX, 1.3)
    found = evaluate(Shy(), pack, "detector", Detects(lambda image: detections(large))).predicted[0]
    np.testing.assert_allclose(found, POINTS, atol=0.2)  # 3 px of the frame are 2 of the photo


class Fixed:
    """Answers with the same points for every frame."""

    size, scale, box_transform = 64, 1.25, None

    def __init__(self, markup: MarkUp, points: np.ndarray) -> None:
        self.markup, self.points = markup, points

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.repeat(self.points[None], len(images), axis=0), np.ones((len(images), self.markup.count))


def test_a_model_of_98_points_is_converted_for_a_pack_of_68(tmp_path: Path) -> None:
    truth = np.random.default_rng(0).uniform(30, 60, (68, 2)).astype(np.float32)
    pack = write_pack(tmp_path / "p.parquet", IBUG68, truth)
    result = evaluate(Fixed(WFLW98, np.zeros((98, 2), np.float32)), pack)
    assert result.converted_from == "wflw98"
    assert result.predicted.shape == (4, 68, 2)
    assert result.confidence is None  # it belongs to the 98


def test_mark_ups_without_a_way_are_refused(pack: Pack) -> None:
    with pytest.raises(InputError, match=r"5 points \(five5\).*tiny.parquet has 3 \(triangle\)"):
        evaluate(Fixed(FIVE, np.zeros((5, 2))), pack)
    other = MarkUp("triangle", 2, (1, 0))
    with pytest.raises(InputError, match=r"2 points \(triangle\)"):
        evaluate(Fixed(other, np.zeros((2, 2))), pack)


def test_bad_predictions_are_refused_with_the_face(pack: Pack) -> None:
    with pytest.raises(ModelError, match=r"'broken' gave points that are not numbers for face0.jpg"):
        evaluate(Fixed(TRIANGLE, np.full((3, 2), np.nan)), pack, model="broken")
    with pytest.raises(ModelError, match=r"gave points \(4, 2, 2\) for 4 faces"):
        evaluate(Fixed(TRIANGLE, np.zeros((2, 2))), pack)


def test_bad_arguments_are_refused(pack: Pack) -> None:
    with pytest.raises(InputError, match=r"'detectr'; did you mean 'detector'"):
        evaluate(Oracle(pack), pack, "detectr")
    with pytest.raises(InputError, match="needs a detector"):
        evaluate(Oracle(pack, box_transform=BoxTransform()), pack, "detector")
    with pytest.raises(ModelError, match="no transform for detector boxes"):
        evaluate(Oracle(pack), pack, "detector", Detects(lambda image: detections()))
    with pytest.raises(InputError, match="no face"):
        evaluate(Oracle(pack), pack.select("train"))


def test_a_label_without_extent_is_named(tmp_path: Path) -> None:
    points = POINTS.copy()
    points[1] = points[0]
    pack = write_pack(tmp_path / "p.parquet", TRIANGLE, points)
    with pytest.raises(InputError, match=r"face0.jpg.*inter_ocular zero"):
        evaluate(Oracle(pack), pack)


def test_progress_counts_every_face(pack: Pack) -> None:
    seen: list[int] = []
    evaluate(Oracle(pack), pack, batch=3, progress=seen.append)
    assert seen == [3, 1]
