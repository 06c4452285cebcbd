"""The same points have one error, whoever gives it: the training log and `evaluate` normalise alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from facekd.evaluation.protocol import evaluate
from facekd.geometry import normalise
from facekd.markup import FIVE, MarkUp
from facekd.training.loop import face_errors
from tiny_faces import Oracle, write_pack

# Eye centres 24 px apart, a box of 24 x 20 px: 1.2 px are 5 % of the one, 3.84 % of the other's diagonal.
POINTS = np.array([[30.0, 34.0], [54.0, 34.0], [42.0, 44.0], [34.0, 54.0], [50.0, 54.0]])
NO_EYES = MarkUp("no eyes", 5, FIVE.mirror)


@pytest.mark.parametrize(("markup", "percent"), [(FIVE, 5.0), (NO_EYES, 100 * 1.2 / np.hypot(24, 20))])
def test_the_log_and_evaluate_say_the_same(tmp_path: Path, markup: MarkUp, percent: float) -> None:
    pack = write_pack(tmp_path / "p.parquet", markup, POINTS)
    measured = evaluate(Oracle(pack, (1.2, 1.2, 1.2, 1.2)), pack)
    assert measured.subsets["full"][f"nme_{measured.normaliser}"] == pytest.approx(percent, abs=2e-3)

    truth = torch.from_numpy(normalise(POINTS, 96)[None])
    moved = torch.from_numpy(normalise(np.add(POINTS, [1.2, 0.0]), 96)[None])
    assert 100 * float(face_errors(moved, truth, markup, 96)) == pytest.approx(percent, abs=2e-3)


def test_a_face_s_box_is_a_square_in_the_middle_of_the_frame() -> None:
    """Of a frame of 96 px that is 1.5 times as wide, 64 px: 1.2 px are 1.33 % of its diagonal."""
    tip, truth = MarkUp("tip", 1, (0,), crop="face"), torch.from_numpy(normalise(POINTS[None, :1], 96))
    moved = torch.from_numpy(normalise(np.add(POINTS[None, :1], [1.2, 0.0]), 96))
    assert float(face_errors(moved, truth, tip, 96, 1.5)) == pytest.approx(1.2 / (64 * 2**0.5))
