"""A landmarker in copies, pickles, and processes that are forked or spawned."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import facekd
from facekd.geometry import BoxTransform
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.model import OnnxModel
from facekd.runtime.names import bundled

SAMPLE = Path(facekd.__file__).parent / "weights" / "sample.jpg"
METHODS = [each for each in ("fork", "spawn") if each in multiprocessing.get_all_start_methods()]


def points_in(landmarker: Landmarker, photo: Path) -> np.ndarray:
    """Return the points (k, 68, 2) that another process finds."""
    return np.stack([face.points for face in landmarker.detect(photo)])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_copies_have_the_same_settings(copied: Callable[[Landmarker], Landmarker]) -> None:
    detector = facekd.YuNet(threshold=0.8, size=640, threads=1)
    model = OnnxModel("facekd-68-lite", threads=1, providers=("cpu", {}), batch=3, second_pass=False)
    own = Landmarker(model, detector, box_transform=BoxTransform(0.8, 0.0, 0.1), color="bgr")
    other = copied(own)
    assert other.model is not own.model and other.detector is not own.detector
    assert (other.color, other.box_transform, other.providers) == ("bgr", BoxTransform(0.8, 0.0, 0.1), ("cpu",))
    assert (other.detector.threshold, other.detector.size) == (0.8, 640)
    assert (other.model.batch, other.model.second_pass, other.model.path) == (3, False, model.path)
    np.testing.assert_array_equal(points_in(other, SAMPLE), points_in(own, SAMPLE))


def test_pickles_name_the_model(make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is pickled fits another machine, where the package lies elsewhere."""
    content = pickle.dumps(Landmarker("facekd-68-lite", threads=1))
    assert len(content) < 2000 and str(bundled()["facekd-68-lite"]).encode() not in content
    path = make_model()
    monkeypatch.chdir(path.parent)
    relative = pickle.dumps(OnnxModel(path.name))
    monkeypatch.chdir("/")
    assert pickle.loads(relative).path == path


def test_faces_are_pickled_with_what_they_have_worked_out() -> None:
    face = Landmarker(threads=1).detect(SAMPLE)[0]
    pose = face.pose
    other = pickle.loads(pickle.dumps(face))
    assert other.pose == pose and other.markup == face.markup
    np.testing.assert_array_equal(other.points, face.points)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_workers_find_the_same(method: str) -> None:
    landmarker = Landmarker("facekd-68-lite", threads=2)
    here = points_in(landmarker, SAMPLE)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        for there in pool.map(partial(points_in, landmarker), [SAMPLE] * 3, timeout=120):
            np.testing.assert_array_equal(there, here)


LOADED: list[Landmarker] = []


def loaded_before(photo: Path) -> np.ndarray:
    """Find the points with what the parent loaded before it forked."""
    return points_in(LOADED[0], photo)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_workers_use_what_was_loaded_before() -> None:
    LOADED[:] = [Landmarker("facekd-68-lite", threads=2)]
    here = points_in(LOADED[0], SAMPLE)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        for there in pool.map(loaded_before, [SAMPLE] * 3, timeout=120):
            np.testing.assert_array_equal(there, here)
    LOADED.clear()
