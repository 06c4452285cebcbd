"""YuNet."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from facekd.errors import InputError
from facekd.images import read_image
from facekd.runtime.detector import YuNet, shrink, whole


def test_nothing_in_noise_and_tiny_images() -> None:
    yunet = YuNet()
    for shape in [(1, 1, 3), (1, 400, 3), (7, 2, 3), (64, 64, 3)]:
        boxes, scores = yunet.detect(np.full(shape, 128, np.uint8))
        assert boxes.shape == (0, 4) and scores.shape == (0,)


class Answers:
    """A network that sees what it is told to in images of a size: x, y, width, height in pixels, perhaps a score."""

    def __init__(self, boxes: dict[tuple[int, int], list[list[float]]]) -> None:
        self.boxes = boxes
        self.sizes: list[tuple[int, int]] = []  # of the images it was given

    def __call__(self, images: np.ndarray, threshold: float) -> list[np.ndarray]:
        found = []
        for image in images:
            self.sizes.append(image.shape[1::-1])
            seen = [[*box, 0.9][:5] for box in self.boxes.pop(image.shape[1::-1], [])]
            rows = [[x, y, x + width, y + height, score] for x, y, width, height, score in seen if score >= threshold]
            found.append(np.array(rows, np.float32).reshape(-1, 5))
        return found


FACE = [60, 30, 50, 60]  # in the first pass
PHOTO = (640, 480)
FIRST, WHOLE, QUARTER, CROP = (160, 120), (640, 480), (320, 240), (128, 128)


@pytest.mark.parametrize(
    ("seen", "sizes"),
    [
        ([FACE], [FIRST]),
        ([[*FACE, 0.61]], [FIRST]),
        ([FACE, [10, 10, 20, 22, 0.16]], [FIRST, QUARTER, WHOLE]),  # perhaps a small face
        ([FACE, [10, 10, 20, 22, 0.14]], [FIRST]),
        ([FACE, [70, 40, 20, 22, 0.5]], [FIRST]),  # a part of the face
        ([FACE, [10, 10, 40, 50, 0.21]], [FIRST, CROP]),  # perhaps a larger face
        ([FACE, [10, 10, 40, 50, 0.19]], [FIRST]),
        ([FACE, [10, 10, 40, 50, 0.36]], [FIRST, *[CROP] * 4]),  # perhaps a rolled one: turned by quarters
        ([FACE, [85, 50, 40, 50, 0.36]], [FIRST, *[CROP] * 4]),  # or one behind the first
        ([FACE, [-10, 10, 40, 50, 0.36]], [FIRST, CROP]),  # the edge cuts it: its roll would not help
        ([FACE, [85, 50, 40, 50, 0.34]], [FIRST]),
        ([FACE, [10, 10, 9, 11]], [FIRST, QUARTER, WHOLE]),  # where one face is tiny, there may be others
    ],
)
def test_the_whole_photo_is_searched_where_the_first_pass_says_so(
    seen: list[list[float]], sizes: list[tuple[int, int]]
) -> None:
    yunet = YuNet()
    yunet._network = Answers({FIRST: seen})
    boxes, _ = yunet.detect(np.zeros((*PHOTO[::-1], 3), np.uint8))
    assert yunet._network.sizes == sizes
    np.testing.assert_allclose(boxes[0], (np.array([60, 30, 110, 90]) + 0.5) * 4 - 0.5)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"threshold": 60}, "threshold must be within 0 and 1, got 60"),
        ({"threshold": -0.1}, "threshold must be within 0 and 1, got -0.1"),
        ({"threshold": np.nan}, "threshold must be within 0 and 1, got nan"),
        ({"size": 0}, "size must be 8 or more, got 0"),
        ({"size": np.nan}, "size must be 8 or more, got nan"),
    ],
)
def test_settings_by_which_no_face_could_be_found_are_refused(settings: dict[str, float], why: str) -> None:
    with pytest.raises(InputError, match=f"^{why}$"):
        YuNet(**settings)


def test_a_photo_without_faces_is_searched_enlarged_too() -> None:
    yunet = YuNet()
    yunet._network = Answers({})
    assert len(yunet.detect(np.zeros((*PHOTO[::-1], 3), np.uint8))[0]) == 0
    assert yunet._network.sizes == [FIRST, QUARTER, WHOLE, (960, 720)]


@pytest.mark.parametrize("settings", [{"thorough": True}, {"thorough": True, "size": 640}])
def test_thorough_searches_every_photo(settings: dict[str, int]) -> None:
    yunet = YuNet(**settings)
    yunet._network = Answers({WHOLE: [[240, 120, 200, 240]]})
    assert len(yunet.detect(np.zeros((*PHOTO[::-1], 3), np.uint8))[0]) == 1
    assert yunet._network.sizes == [FIRST if "size" in settings else QUARTER, WHOLE]


@pytest.mark.parametrize(
    ("small", "kept"), [([10, 10, 20, 25, 0.7], False), ([10, 10, 20, 25, 0.8], True), ([10, 10, 25, 33, 0.7], True)]
)
def test_small_faces_of_low_score_need_a_second_sight(small: list[float], kept: bool) -> None:
    yunet = YuNet()
    yunet._network = Answers({FIRST: [FACE, small, [130, 10, 9, 11, 0.7]]})  # the last makes it search the whole photo
    assert len(yunet.detect(np.zeros((*PHOTO[::-1], 3), np.uint8))[0]) == 1 + kept


@pytest.mark.parametrize("seen", [[[30, 35, 60, 58], [0, 0, 20, 20]], []])
def test_small_faces_are_boxed_again_in_crops(seen: list[list[float]]) -> None:
    # A face of 40 x 32 in the first pass is 160 x 128 at (239.5, 199.5) of the photo, and 64 px wide in a crop of 128.
    yunet = YuNet()
    yunet._network = Answers({FIRST: [[40, 34, 40, 32]], (128, 128): seen})
    boxes, scores = yunet.detect(np.zeros((*PHOTO[::-1], 3), np.uint8))
    assert yunet._network.sizes == [FIRST, (128, 128)]
    as_it_was = [161.5, 137.5, 321.5, 265.5]
    left, top = 241.5 + (30 - 63.5) * 2.5, 201.5 + (35 - 63.5) * 2.5
    again = [left, top, left + 60 * 2.5, top + 58 * 2.5]
    np.testing.assert_allclose(boxes, [again if seen else as_it_was], atol=1e-3)
    assert scores == pytest.approx([0.9])


@pytest.mark.parametrize(("score", "count"), [(0.61, 2), (0.59, 1)])
def test_what_may_be_a_face_is_one_if_a_crop_shows_it(score: float, count: int) -> None:
    # The hint of 32 x 40 in the first pass is 128 x 160 at (81.5, 121.5) of the photo, and 64 px high in a crop of 128.
    yunet = YuNet()
    yunet._network = Answers({FIRST: [[90, 30, 50, 60], [4, 10, 32, 40, 0.4]], CROP: [[38, 32, 52, 64, score]]})
    boxes, scores = yunet.detect(np.zeros((*PHOTO[::-1], 3), np.uint8))
    assert len(boxes) == len(scores) == count
    if count == 2:
        assert scores[1] == pytest.approx(score)
        left, top = 81.5 + (38 - 63.5) * 2.5, 121.5 + (32 - 63.5) * 2.5
        np.testing.assert_allclose(boxes[1], [left, top, left + 52 * 2.5, top + 64 * 2.5], atol=1e-3)


def test_which_boxes_the_edge_cuts() -> None:
    boxes = np.array(
        [[0, 0, 10, 10], [-2.4, -0.5, 17.6, 19.5], [-2.6, -0.5, 17.4, 19.5], [90, 40, 109, 59], [200, 0, 210, 9]]
    )
    assert whole(boxes, np.zeros((50, 100, 3), np.uint8)).tolist() == [True, True, False, False, False]


def test_boxes_are_mapped_by_the_edges_of_pixels() -> None:
    yunet = YuNet(size=320)
    yunet._network = Answers({(160, 80): [[-0.5, -0.5, 160, 80]]})  # the whole photo, (0, 0) the first pixel's centre
    boxes, _ = yunet.detect(np.zeros((640, 1280, 3), np.uint8))
    np.testing.assert_allclose(boxes, [[-0.5, -0.5, 1279.5, 639.5]], atol=1e-3)


def test_pixels_are_averaged_as_an_image_is_halved() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8)
    small, step = shrink(image, 1 / 4)  # 11 pixels become 5 and then 2, which bilinear sampling makes 3; 9 become 4, 2
    blocks = image[:8, :8].reshape(2, 4, 2, 4, 3).mean(axis=(1, 3))
    assert small.shape == (2, 3, 3)
    np.testing.assert_allclose(small[:, [0, 2]], blocks, atol=1)  # rounded twice
    np.testing.assert_allclose(step, [8 / 3, 4])


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
