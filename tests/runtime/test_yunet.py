"""YuNet's network against OpenCV's own reading of the published file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

import facekd
from facekd.errors import ModelError
from facekd.images import read_image
from facekd.runtime import yunet
from facekd.runtime.yunet import YuNetNetwork, decode, without_repeats

SAMPLE = Path(facekd.__file__).parent / "weights" / "sample.jpg"
ORIGINAL = Path(__file__).parents[1] / "weights" / "face_detection_yunet_2023mar.onnx"


@pytest.fixture(scope="module")
def network() -> YuNetNetwork:
    return YuNetNetwork(threads=1)


def scenes() -> list[np.ndarray]:
    """The sample whole, cut, and shrunk; its faces on noise; two without any."""
    sample, rng = read_image(SAMPLE), np.random.default_rng(0)
    noise = rng.integers(0, 256, (333, 470, 3), np.uint8)
    pasted = noise.copy()
    pasted[20:300, 100:420] = cv2.resize(sample[:320, :320], (320, 280))
    shrunk = [cv2.resize(sample, size, interpolation=cv2.INTER_AREA) for size in [(320, 213), (150, 100), (701, 499)]]
    return [sample, sample[:320, :640], sample[17:400, 31:333], *shrunk, pasted, noise, np.zeros((64, 96, 3), np.uint8)]


def by_opencv(image: np.ndarray, threshold: float) -> np.ndarray:
    """Return (k, 5) boxes and scores of OpenCV's detector, best first."""
    size = image.shape[1::-1]
    rows = cv2.FaceDetectorYN.create(str(ORIGINAL), "", size, threshold, yunet.OVERLAP).detect(image[..., ::-1].copy())
    found = np.zeros((0, 15), np.float32) if rows[1] is None else rows[1]
    return np.column_stack([found[:, :2], found[:, :2] + found[:, 2:4], found[:, 14]])


def test_maps_are_those_of_the_published_graph(network: YuNetNetwork) -> None:
    published = onnxruntime.InferenceSession(str(ORIGINAL), providers=["CPUExecutionProvider"])
    images = np.stack([read_image(SAMPLE)[:640, left : left + 640] for left in (0, 320)])
    for image, maps in zip(images, network.maps(images), strict=True):
        bgr = np.ascontiguousarray(image[None, ..., ::-1].transpose(0, 3, 1, 2), np.float32)
        names = [node.name for node in published.get_outputs()]
        found = dict(zip(names, published.run(names, {"input": bgr}), strict=True))
        levels = [[found[f"{head}_{stride}"][0] for head in ("cls", "obj", "bbox", "kps")] for stride in (8, 16, 32)]
        expected = np.concatenate([np.concatenate(level, axis=1) for level in levels]).T
        np.testing.assert_allclose(maps, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("threshold", [0.6, 0.15])
def test_faces_are_those_of_opencv(network: YuNetNetwork, threshold: float) -> None:
    counts = []
    for image in scenes():
        (found,), expected = network(image[None], threshold), by_opencv(image, threshold)
        assert found.dtype == np.float32 and found.shape == expected.shape
        np.testing.assert_allclose(found[:, :4], expected[:, :4], atol=0.01)
        np.testing.assert_allclose(found[:, 4], expected[:, 4], atol=1e-4)
        counts.append(len(found))
    assert counts[:2] == [6, 2] if threshold == 0.6 else sum(counts) > 20


def test_a_batch_gives_what_singles_give(network: YuNetNetwork) -> None:
    images = np.stack([read_image(SAMPLE)[:320, left : left + 320] for left in (0, 200, 640)])
    for together, image in zip(network(images, 0.6), images, strict=True):
        np.testing.assert_allclose(together, network(image[None], 0.6)[0], atol=1e-3)


def test_an_anchor_becomes_a_box() -> None:
    # 64 x 96 pixels: 8 x 12 anchors of stride 8, 4 x 6 of stride 16, 2 x 3 of stride 32.
    maps = np.zeros((16, 96 + 24 + 6), np.float32)
    maps[:2, 96 + 6 + 2] = 0.9, 0.4  # stride 16, second row, third column
    maps[2:6, 96 + 6 + 2] = 0.5, -0.25, np.log(2), np.log(3)
    (row,) = decode(maps, 96, 0.5)
    centre, sides = np.array([2.5 * 16, 0.75 * 16]), np.array([32, 48])
    np.testing.assert_allclose(row, [*(centre - sides / 2), *(centre + sides / 2), 0.6], rtol=1e-5)
    assert decode(maps, 96, 0.61).shape == (0, 5)
    maps[4, 96 + 6 + 2] = 200  # its exponential is no float32
    assert decode(maps, 96, 0.5).shape == (0, 5)


def test_repeats_are_dropped() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [25, 0, 35, 10]], np.float32)
    # The last overlaps with the third by a third, which is more than 0.3.
    assert without_repeats(boxes, np.array([0.7, 0.9, 0.8, 0.6])).tolist() == [1, 2]
    assert without_repeats(boxes, np.array([0.7, 0.6, 0.8, 0.9])).tolist() == [3, 0]
    assert without_repeats(boxes[:0], np.zeros(0)).tolist() == []


def test_damaged_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yunet, "_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="damaged"):
        facekd.YuNet()


def test_missing_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yunet, "YUNET", "no-such-file.onnx")
    with pytest.raises(ModelError, match="missing; `pip install --force-reinstall facekd`"):
        yunet.yunet_weights()


def test_no_threads_are_refused() -> None:
    with pytest.raises(ModelError, match="threads must be 1 or more, got 0"):
        facekd.YuNet(threads=0)
