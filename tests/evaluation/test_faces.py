from pathlib import Path

import cv2
import numpy as np
import pytest

from facekd.data.pack import Pack
from facekd.evaluation import faces
from facekd.evaluation.protocol import evaluate
from facekd.geometry import BoxTransform, apply, crop_matrix
from tiny_faces import Detects, Oracle


def test_missed_faces_are_the_worst() -> None:
    errors = np.array([0.3, 0.1, np.inf, 0.5, 0.2])
    groups = faces.ends_and_middle(errors, worst=2, middle=1, best=2)
    assert groups == {"worst": [2, 3], "median": [0], "best": [1, 4]}


@pytest.mark.parametrize("count", [1, 2, 7])
def test_few_faces_are_enough(count: int) -> None:
    groups = faces.ends_and_middle(np.linspace(0.1, 0.2, count))
    assert [len(rows) for rows in groups.values()] == [min(count, 6)] * 3
    assert set(groups["worst"] + groups["median"] + groups["best"]) <= set(range(count))


def test_truth_is_white_and_the_prediction_orange_where_they_belong(pack: Pack) -> None:
    result = evaluate(Oracle(pack, (8.0, 0.0, 0.0, 0.0)), pack)
    picture = faces.draw(result, 0, px=192, scale=2.0).astype(int)
    matrix = crop_matrix(pack.boxes[0], 192, 2.0)
    truth = pack.points[0][[0, 2]]  # the other lies under a predicted line
    for points, colour in ((truth, faces.TRUTH), (result.predicted[0], faces.PREDICTED)):
        for x, y in np.round(apply(matrix, points)).astype(int):
            np.testing.assert_allclose(picture[y, x], colour, atol=2)


def test_a_missed_face_shows_only_the_truth(pack: Pack) -> None:
    nothing = np.zeros((0, 4)), np.zeros(0)
    result = evaluate(Oracle(pack, box_transform=BoxTransform()), pack, "detector", Detects(lambda image: nothing))
    picture = faces.draw(result, 0)
    assert (picture == 255).all(axis=-1).any()
    assert np.ptp(picture, axis=-1).max() < 12  # grey and white only


def test_saved_pictures_carry_name_and_error(pack: Pack, tmp_path: Path) -> None:
    groups = faces.save(evaluate(Oracle(pack, (0.32, 0.64, 0.96, 2.88)), pack), tmp_path, "faces/0")
    assert groups["worst"][0] == {"file": "faces/0-3.jpg", "name": "face3.jpg", "error": "9.00 %"}
    assert cv2.imread(str(tmp_path / "faces/0-3.jpg")).shape == (320, 320, 3)
