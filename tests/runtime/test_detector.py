"""YuNet."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from facekd.images import read_image
from facekd.runtime.detector import YuNet, shrink


def test_nothing_in_noise_and_tiny_images() -> None:
    yunet = YuNet()
    for shape in [(1, 1, 3), (1, 400, 3), (7, 2, 3), (64, 64, 3)]:
        boxes, scores = yunet.detect(np.full(shape, 128, np.uint8))
        assert boxes.shape == (0, 4) and scores.shape == (0,)


class Answers:
    """A network that sees what it is told to in images of a size: x, y, width, height in their pixels."""

    def __init__(self, boxes: dict[tuple[int, int], list[list[float]]]) -> None:
        self.boxes = boxes

    def __call__(self, images: np.ndarray, threshold: float) -> list[np.ndarray]:
        found = []
        for image in images:
            seen = self.boxes.pop(image.shape[1::-1], [])
            rows = [[x, y, x + width, y + height, 0.9] for x, y, width, height in seen]
            found.append(np.array(rows, np.float32).reshape(-1, 5))
        return found


def test_boxes_are_mapped_by_the_edges_of_pixels() -> None:
    yunet = YuNet(size=320)
    yunet._network = Answers({(320, 160): [[-0.5, -0.5, 320, 160]]})  # the whole photo, (0, 0) the first pixel's centre
    boxes, _ = yunet.detect(np.zeros((640, 1280, 3), np.uint8))
    np.testing.assert_allclose(boxes, [[-0.5, -0.5, 1279.5, 639.5]], atol=1e-3)


def test_whole_blocks_are_averaged() -> None:
    image = np.random.default_rng(0).integers(0, 256, (7, 11, 3), np.uint8)
    small, step = shrink(image, 1 / 3)  # 11 / 3 and 7 / 3 pixels become 4 and 2; whole blocks are 3 and 2
    blocks = image[:6, :9].reshape(2, 3, 3, 3, 3).mean(axis=(1, 3))
    assert small.shape == (2, 4, 3)
    np.testing.assert_allclose(small[:, [0, 3]], blocks[:, [0, 2]], atol=0.51)  # the outer ones; between them bilinear
    np.testing.assert_allclose(step, [9 / 4, 3])


@pytest.mark.parametrize("scale", [1.5, 1.0, 0.7, 0.4, 0.25, 0.13, 0.0625])
def test_shrinking_leaves_things_where_they_are(scale: float) -> None:
    image = np.zeros((480, 701, 3), np.uint8)
    image[296:328, 400:464] = 255  # about (431.5, 311.5)
    small, step = shrink(image, scale)
    assert small.shape[1] == round(701 * scale) and small.shape[0] == round(480 * scale)
    weights = small[..., 0].astype(float)
    centre = np.array([weights.sum(axis=0) @ np.arange(small.shape[1]), weights.sum(axis=1) @ np.arange(len(small))])
    np.testing.assert_allclose((centre / weights.sum() + 0.5) * step - 0.5, [431.5, 311.5], atol=0.6)


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ([500, 500, 700, 650], False),  # part of the large face, as large as faces that the shrunk photo shows
        ([805, 500, 850, 560], True),  # as large, but beside it
        ([500, 500, 530, 535], True),  # in front of it, and too small for the shrunk photo
        ([300, 830, 330, 852], False),  # at the tile's lower edge: the next tile holds it whole, if it is one
        ([100, 700, 250, 852], True),  # there, too, but too large for the next tile
        ([0, 20, 30, 50], True),  # at the photo's edge
    ],
)
def test_parts_of_a_large_face_are_no_small_faces(box: list[float], kept: bool) -> None:
    # A photo of 853 x 2560 at a size of 1280 is shrunk to a half; tiles of 853 px are enlarged to 1280.
    large = np.array([400, 400, 800, 830])
    whole, part = (large + 0.5) / 2 - 0.5, (np.array(box) + 0.5) * 1280 / 853 - 0.5
    seen = [[*corners[:2], *(corners[2:] - corners[:2])] for corners in (whole, part)]
    yunet = YuNet(small_faces=True)
    yunet._network = Answers({(426, 1280): [seen[0]], (1280, 1280): [seen[1]]})
    boxes, _ = yunet.detect(np.zeros((2560, 853, 3), np.uint8))
    np.testing.assert_allclose(boxes, [large, box] if kept else [large], atol=1)


def portrait(shared_data: Path) -> np.ndarray:
    """A photo of 640 x 640 with one face of about 170 x 240 px."""
    return read_image(shared_data / "portraits" / "portrait_00.jpg")


@pytest.mark.parametrize("size", [20, 60, 640, 2000])
def test_faces_of_all_sizes(shared_data: Path, size: int) -> None:
    face = portrait(shared_data)[120:400, 180:420]  # the face fills it
    scale = size / 280
    face = cv2.resize(face, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    photo = np.full((max(480, face.shape[0]), max(640, face.shape[1]), 3), 90, np.uint8)
    photo[: face.shape[0], : face.shape[1]] = face
    boxes, scores = YuNet().detect(photo)
    assert len(boxes) == 1 and scores[0] > 0.6
    np.testing.assert_allclose(boxes[0] / scale, [34, 16, 206, 255], atol=25)


def test_small_face_in_a_large_photo_needs_tiles(shared_data: Path) -> None:
    face = cv2.resize(portrait(shared_data)[80:440, 120:460], None, fx=0.09, fy=0.09, interpolation=cv2.INTER_AREA)
    photo = np.full((400, 2600, 3), 90, np.uint8)
    photo[200 : 200 + face.shape[0], 1500 : 1500 + face.shape[1]] = face
    assert len(YuNet().detect(photo)[0]) == 0
    boxes, _ = YuNet(small_faces=True).detect(photo)
    assert len(boxes) == 1
    in_face = np.array([94, 56, 266, 295])
    np.testing.assert_allclose(boxes[0], np.array([1500, 200, 1500, 200]) + 0.09 * in_face, atol=3)


def test_a_tile_that_cuts_a_large_face_finds_no_second(shared_data: Path) -> None:
    face = cv2.resize(portrait(shared_data)[40:480, 120:480], None, fx=1.76, fy=1.76)
    photo = np.full((2600, 940, 3), 90, np.uint8)
    photo[300 : 300 + face.shape[0], 300 : 300 + face.shape[1]] = face
    assert len(YuNet(small_faces=True).detect(photo)[0]) == 1


def test_threads_get_what_single_calls_get(shared_data: Path) -> None:
    yunet, photo = YuNet(size=320, threads=1), portrait(shared_data)
    photos = [photo[100:420, 150 + 10 * i : 430] for i in range(6)]
    singly = [yunet.detect(each)[0] for each in photos]
    with ThreadPoolExecutor(4) as pool:
        for alone, together in zip(singly, pool.map(yunet.detect, photos), strict=True):
            np.testing.assert_allclose(alone, together[0], atol=1e-3)
