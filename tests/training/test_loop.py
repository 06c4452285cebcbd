"""What a step is made of: which faces, in which views."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np

from facekd.training import distributed as parallel
from facekd.training.faces import Batch, Faces, sampling_weights
from facekd.training.loop import batches

FACES = Faces(
    np.arange(12, dtype=np.uint8)[:, None, None, None] + np.zeros((12, 2, 2, 3), np.uint8),
    np.zeros((12, 5, 2), np.float32),
    np.zeros((12, 4)),
)


def steps(data: Faces, count: int, start: int = 0, views: int | None = None) -> list[Batch]:
    return list(islice(batches(data, 4, 0, start, views, parallel.fabric("32", "cpu")), count))


def test_an_epoch_has_each_face_once_in_its_own_view() -> None:
    for epoch in range(3):
        taken = steps(FACES, 3, start=3 * epoch)
        assert sorted(np.concatenate([batch.faces for batch in taken])) == list(range(12))
        assert {int(view) for batch in taken for view in batch.view} == {epoch}
        assert all((batch.frames[:, 0, 0, 0].numpy() == batch.faces).all() for batch in taken)


def test_a_frequent_face_comes_in_a_view_of_its_own_each_time() -> None:
    weights = np.array([4.0] + [8 / 11] * 11)
    taken = steps(replace(FACES, sampling_weights=weights), 12)
    seen = [(int(face), int(view)) for batch in taken for face, view in zip(batch.faces, batch.view, strict=True)]
    assert sum(face == 0 for face, _ in seen) == 16  # four times in each of four epochs
    assert len(set(seen)) == len(seen) == 48
    assert {view for _, view in seen if view < 4} == {0, 1, 2, 3}
    fixed = steps(replace(FACES, sampling_weights=weights), 3, views=2)
    assert {int(view) for batch in fixed for view in batch.view} == {0, 1}


def test_steps_go_on_where_a_run_was_broken() -> None:
    data = replace(FACES, sampling_weights=np.array([4.0] + [8 / 11] * 11))
    for whole, resumed in zip(steps(data, 8)[5:], steps(data, 3, start=5), strict=True):
        np.testing.assert_array_equal(whole.faces, resumed.faces)
        np.testing.assert_array_equal(whole.view, resumed.view)


def test_unusual_shapes_come_more_often() -> None:
    square = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    wider = np.array([[-0.01, 0], [0.01, 0], [0.01, 0], [-0.01, 0]])
    points = np.array([square, 3 * square + 5, square, square, square + wider, square - wider, square, square])
    np.testing.assert_allclose(sampling_weights(points, 1.0), [0, 0, 0, 0, 4, 4, 0, 0], atol=0.1)
    np.testing.assert_allclose(
        sampling_weights(points, 0.25), [0.75, 0.75, 0.75, 0.75, 1.75, 1.75, 0.75, 0.75], atol=0.03
    )
    np.testing.assert_array_equal(sampling_weights(points[:4], 0.5), [1, 1, 1, 1])
