"""Networks in LiteRT, on files that `tests/make_tiny_tflite.py` wrote; their answers are worked out by hand."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facekd import api
from facekd.errors import ModelError
from facekd.markup import FIVE
from facekd.runtime import litert, names
from facekd.runtime import model as models
from facekd.runtime.card import ModelCard, sha256
from facekd.runtime.landmarker import Landmarker
from facekd.runtime.model import LiteRTModel, OnnxModel, load
from facekd.runtime.names import resolve

WEIGHTS = Path(__file__).parents[1] / "weights"
TINY = WEIGHTS / "tiny.tflite"
OFFSETS = np.arange(10.0).reshape(5, 2)
needs_litert = pytest.mark.skipif(not litert.installed(), reason="no ai-edge-litert here: pip install 'facekd[litert]'")


def crops(count: int, seed: int = 0) -> np.ndarray:
    """Return noise (count, 32, 32, 3), and with it what the tiny networks find in it."""
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)


def expected(images: np.ndarray) -> np.ndarray:
    """Return the centres of brightness plus the offsets (B, 5, 2)."""
    grey = images.astype(np.float64).mean(-1)
    y, x = np.mgrid[:32, :32]
    centre = [[(g * x).sum() / g.sum(), (g * y).sum() / g.sum()] for g in grey]
    return np.reshape(centre, (-1, 1, 2)) + OFFSETS


@needs_litert
def test_points_are_the_centre_of_brightness() -> None:
    model = LiteRTModel(TINY, threads=1, second_pass=False)
    images = np.zeros((2, 32, 32, 3), np.uint8)
    images[0, 4, 7] = 200  # row 4, column 7
    images[1, 10:12, 20] = 100  # centre between rows 10 and 11
    points, confidence, _ = model.predict(images)
    np.testing.assert_allclose(points[0], np.add([7, 4], OFFSETS), atol=1e-4)
    np.testing.assert_allclose(points[1], np.add([20, 10.5], OFFSETS), atol=1e-4)
    assert confidence is not None
    np.testing.assert_allclose(confidence[:, 0], [200 / 1024 / 255, 200 / 1024 / 255], rtol=1e-5)
    assert points.dtype == confidence.dtype == np.float32 and model.providers == ("cpu",)


@needs_litert
@pytest.mark.parametrize("name", ["tiny", "tiny-batch4"])
@pytest.mark.parametrize("count", [0, 1, 4, 7])
def test_any_number_of_crops_whatever_the_file_takes(name: str, count: int) -> None:
    model, images = LiteRTModel(WEIGHTS / f"{name}.tflite", threads=1), crops(count)
    assert model.batch == (4 if name == "tiny-batch4" else 1)
    points, confidence, _ = model.predict(images)
    assert points.shape == (count, 5, 2) and confidence is not None and confidence.shape == (count, 5)
    np.testing.assert_allclose(points, expected(images), atol=1e-3)


@needs_litert
def test_a_network_without_confidence() -> None:
    points, confidence, visible = LiteRTModel(WEIGHTS / "tiny-points.tflite").predict(crops(2))
    assert confidence is None and visible is None
    np.testing.assert_allclose(points, expected(crops(2)), atol=1e-3)


@needs_litert
def test_calls_from_many_threads_do_not_mix() -> None:
    model = LiteRTModel(TINY, threads=1)
    together = threading.Barrier(8)

    def run(seed: int) -> np.ndarray:
        together.wait(60)  # all are at work at once
        return np.concatenate([model.predict(crops(20, seed))[0] for _ in range(5)])

    with ThreadPoolExecutor(8) as pool:
        for seed, found in enumerate(pool.map(run, range(8))):
            np.testing.assert_allclose(found, np.tile(expected(crops(20, seed)), (5, 1, 1)), atol=1e-3)


@needs_litert
def test_what_was_found_is_no_memory_of_the_interpreter() -> None:
    session = litert.Session(TINY, threads=1)
    (first,) = session.run(["points"], {"image": crops(1)})
    kept = first.copy()
    session.run(["points"], {"image": crops(1, seed=1)})
    np.testing.assert_array_equal(first, kept)
    assert first.flags.writeable
    for wrong in ({}, {"image": crops(2)}, {"image": crops(1).astype(np.float32)}):
        with pytest.raises(ModelError, match=r"tiny.tflite cannot be run: "):
            session.run(["points"], wrong)


@needs_litert
def test_as_many_threads_run_as_cores_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, real = [], litert._interpreter()

    def interpreter(path: str, num_threads: int) -> object:
        asked.append(num_threads)
        return real(path, num_threads=num_threads)

    monkeypatch.setattr(litert, "usable_cores", lambda: 2)
    monkeypatch.setattr(litert, "_interpreter", lambda: interpreter)
    litert.Session(TINY)
    litert.Session(TINY, 3)
    assert asked == [2, 3]


@needs_litert
def test_loading_prints_nothing() -> None:
    """LiteRT writes a line of its own when a network is run the first time, and commands must not at their start."""
    code = "from facekd.runtime.model import LiteRTModel; LiteRTModel('facekd-68-lite', threads=1)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert told.stdout == told.stderr == ""


LOADED: list[LiteRTModel] = []


def find(seed: int) -> np.ndarray:
    """Find the points with what the parent loaded before it forked."""
    return LOADED[0].predict(crops(2, seed))[0]


@needs_litert
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_workers_use_what_was_loaded_before() -> None:
    LOADED[:] = [LiteRTModel(TINY, threads=2)]
    find(0)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        for seed, found in enumerate(pool.map(find, range(3), timeout=120)):
            np.testing.assert_allclose(found, expected(crops(2, seed)), atol=1e-3)
    LOADED.clear()


@needs_litert
def test_pickles_load_the_file_again() -> None:
    model = pickle.loads(pickle.dumps(LiteRTModel(TINY, threads=1, second_pass=False)))
    assert model.path == TINY and not model.second_pass
    np.testing.assert_allclose(model.predict(crops(1))[0], expected(crops(1)), atol=1e-3)


@needs_litert
def test_what_takes_onnx_files_takes_tflite_files() -> None:
    assert isinstance(Landmarker(TINY, threads=1).model, LiteRTModel)
    assert isinstance(api.load_model(TINY, threads=1), LiteRTModel)
    assert isinstance(load(TINY, providers=["cpu"]), LiteRTModel)
    with pytest.raises(ModelError, match=r"runs tiny.tflite on the CPU; for provider 'cuda' take an .onnx file"):
        load(TINY, providers=["cuda", "cpu"])
    with pytest.raises(ModelError, match=r"engine 'onnx' takes .onnx files, not .*tiny.tflite"):
        Landmarker(TINY, engine="onnx")
    with pytest.raises(ModelError, match="threads must be 1 or more"):
        LiteRTModel(TINY, threads=0)


def test_the_card_lies_in_the_file(tmp_path: Path) -> None:
    """Read, checked and taken out with no more than Python's zipfile."""
    card = ModelCard.load(TINY)
    assert (card.name, card.markup, card.size, card.confidence) == ("tiny", FIVE, 32, "mean brightness")
    card.verify(TINY)
    assert json.loads(zipfile.ZipFile(TINY).read("facekd.json"))["name"] == "tiny"
    copy = tmp_path / "copy.tflite"
    shutil.copyfile(TINY, copy)
    replace(card, name="copy").save(copy)
    replace(card, name="again").save(copy)
    assert ModelCard.load(copy).name == "again" and len(zipfile.ZipFile(copy).namelist()) == 1
    assert sha256(copy) == sha256(TINY) == card.sha256
    card.save(copy)
    content = copy.read_bytes()
    card.save(copy)
    assert copy.read_bytes() == content  # nothing of the time or the system is in it


def test_damaged_files(tmp_path: Path) -> None:
    file, content = tmp_path / "a.tflite", TINY.read_bytes()
    file.write_bytes(content[:100] + b"x" + content[101:])
    with pytest.raises(ModelError, match="not the file its card describes"):
        LiteRTModel(file)
    file.write_bytes(content[: content.index(b"PK\3\4")])
    with pytest.raises(ModelError, match="holds no model card"):
        LiteRTModel(file)
    with pytest.raises(ModelError, match="no model file"):
        LiteRTModel(tmp_path / "none.tflite")


@needs_litert
def test_files_of_another_kind(tmp_path: Path) -> None:
    file = tmp_path / "a.tflite"
    file.write_bytes(b"no network")
    card = replace(ModelCard.load(TINY), sha256=sha256(file))
    card.save(file)
    with pytest.raises(ModelError, match="cannot be loaded"):
        LiteRTModel(file)
    shutil.copyfile(TINY, file)
    replace(ModelCard.load(TINY), size=64).save(file)
    with pytest.raises(ModelError, match="no landmark model of facekd for 5 points at 64 px"):
        LiteRTModel(file)


@needs_litert
def test_a_signature_of_another_graph_is_refused(tmp_path: Path) -> None:
    """Its tensors' numbers would mean others in the first graph, which is the one that runs."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.ModelT.InitFromObj(schema.Model.GetRootAs(TINY.read_bytes(), 0))
    first = schema.ModelT.InitFromObj(schema.Model.GetRootAs(TINY.read_bytes(), 0)).subgraphs[0]
    for tensor in first.tensors:
        tensor.name = b"first " + tensor.name
    graph.subgraphs.insert(0, first)
    graph.signatureDefs[0].subgraphIndex = 1
    builder = flatbuffers.Builder()
    builder.Finish(graph.Pack(builder), b"TFL3")
    file = tmp_path / "a.tflite"
    file.write_bytes(builder.Output())
    replace(ModelCard.load(TINY), sha256=sha256(file)).save(file)
    with pytest.raises(ModelError, match="cannot be loaded: its signature is not of its first graph"):
        LiteRTModel(file)


def test_which_file_a_bundled_name_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.onnx", "a.tflite", "b.onnx"):
        (tmp_path / name).touch()
    monkeypatch.setattr(names, "_BUNDLED", tmp_path)
    for fast, installed in ((True, True), (True, False), (False, True)):
        monkeypatch.setattr(litert, "fast_int8", lambda fast=fast: fast)
        monkeypatch.setattr(litert, "installed", lambda installed=installed: installed)
        assert resolve("a").suffix == (".tflite" if fast and installed else ".onnx")
        assert resolve("a", providers="cuda").suffix == resolve("a", "onnx").suffix == resolve("b").suffix == ".onnx"
        assert resolve("a", "litert").suffix == ".tflite"
    with pytest.raises(ModelError, match=r"'b' has no .tflite file; `facekd export b OUT.tflite`"):
        resolve("b", "litert")
    with pytest.raises(ModelError, match="engine 'lite': did you mean 'litert'"):
        resolve("a", "lite")


def test_without_litert_one_sentence_says_what_to_install() -> None:
    """In a process where the import fails; the rest of the package needs it not."""
    code = (
        "import sys; sys.modules['ai_edge_litert'] = None\n"
        "from facekd.errors import ModelError; from facekd.runtime.model import LiteRTModel, OnnxModel\n"
        "OnnxModel('facekd-68-lite')\n"
        f"try: LiteRTModel({str(TINY)!r})\n"
        "except ModelError as error: print(error)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout
    assert told == "a .tflite network runs in LiteRT, which is not installed; pip install 'facekd[litert]'\n"


@needs_litert
def test_the_bundled_8_bit_network_finds_what_the_other_finds() -> None:
    sample = Path(models.__file__).parents[1] / "weights" / "sample.jpg"
    whole, small = (Landmarker("facekd-68-lite", threads=1, engine=engine) for engine in ("onnx", "litert"))
    assert isinstance(whole.model, OnnxModel) and isinstance(small.model, LiteRTModel)
    pairs = list(zip(whole.detect(sample), small.detect(sample), strict=True))
    assert len(pairs) == 6
    for one, other in pairs:
        eyes = np.linalg.norm(one.points[36] - one.points[45])
        assert np.linalg.norm(one.points - other.points, axis=-1).mean() < 0.01 * eyes
    copy = pickle.loads(pickle.dumps(small.model))
    assert copy.path == small.model.path and len(pickle.dumps(small.model)) < 200
