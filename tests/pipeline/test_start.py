"""A stage that starts from a network of ours: what is taken over, and what is refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from facekd.data.dataset import Annotation
from facekd.data.pack import Pack
from facekd.data.prepare import prepare
from facekd.errors import InputError, ModelError, RecipeError
from facekd.exporters.onnx import SAMPLE
from facekd.images import read_image
from facekd.markup import FIVE, MarkUp
from facekd.networks.exported import load_network
from facekd.networks.network import LandmarkNet
from facekd.networks.predictor import TorchModel
from facekd.networks.transfer import correspondence
from facekd.pipeline.distill import distill
from facekd.pipeline.start import check_network, initial_network, look
from facekd.recipes.resolve import resolve
from facekd.runtime.landmarker import Landmarker
from tiny_run import STAGE, context, recipe, write_pack

LITE = STAGE | {"backbone": "mobilenetv2_100", "head": "spatial", "init": "facekd-68-lite"}


def started(tmp_path: Path, **stage: object) -> LandmarkNet:
    settings = recipe({"a": LITE | stage})
    return initial_network(context(write_pack(tmp_path / "faces.parquet"), tmp_path, settings), resolve(settings)["a"])


def test_a_bundled_network_gives_its_backbone_and_pyramid_to_five_points(tmp_path: Path) -> None:
    net, source = started(tmp_path), load_network("facekd-68-lite")[0]
    assert net.architecture.points == FIVE.count
    own, given = net.state_dict(), source.state_dict()
    weights = {key: value for key, value in given.items() if key.endswith("weight") and value.ndim == 4}
    convolutions = [key for key in weights if not key.startswith("head.out")]
    assert len(convolutions) > 50
    for key in convolutions:
        torch.testing.assert_close(own[key], given[key], rtol=0, atol=0)


def test_another_backbone_or_head_than_the_file_s_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"network of head spatial, and a has coordinate; --set a\.head=spatial"):
        started(tmp_path, head="coordinate")


def test_a_start_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no file .*none\.onnx"):
        started(tmp_path, init=str(tmp_path / "none.onnx"))


@pytest.mark.parametrize(
    ("stage", "size", "reason"),
    [
        ({"backbone": "vit_tiny_patch16_224"}, 64, "64 px"),
        ({"backbone": "resnet10t", "batch": 1}, 32, "1 image"),  # one value per channel at its end, to be normalised
    ],
)
def test_networks_that_cannot_take_the_size_or_the_batch_are_refused_first(stage: dict, size: int, reason: str) -> None:
    settings = STAGE | {"head": "coordinate", "init": "none"} | stage
    before = torch.random.get_rng_state()
    with pytest.raises(ModelError, match=rf"^a: backbone '{stage['backbone']}' with head .*{reason}"):
        check_network(resolve(recipe({"a": settings}, input={"size": size}))["a"], 5)
    assert (torch.random.get_rng_state() == before).all()


@pytest.mark.slow
def test_a_result_that_could_not_be_exported_is_refused_before_training(tiny_pack: Pack, tmp_path: Path) -> None:
    """VGG's head pools 2 x 2 features to 7 x 7, which ONNX cannot; as a teacher, which is not exported, it trains."""
    vgg = STAGE | {"backbone": "vgg11", "head": "coordinate"}
    with pytest.raises(
        ModelError, match=r"^'?backbone 'vgg11' with head 'coordinate' at 64 px cannot be exported \(Unsup"
    ):
        distill(recipe({"a": vgg}, input={"size": 64}), tiny_pack, tmp_path / "run", accelerator="cpu")
    assert not (tmp_path / "run").exists()
    check_network(resolve(recipe({"a": vgg}, input={"size": 64}))["a"], 5)


def test_what_a_bundled_network_lacks_starts_by_itself(tmp_path: Path) -> None:
    """Visibility is an output of its own, so that nothing of the others is mistaken for it."""
    net, plain = started(tmp_path / "a", visibility_weight=0.1), started(tmp_path / "b")
    own, given = net.state_dict(), plain.state_dict()
    assert own.keys() - given.keys() == {"head.visibility.weight", "head.visibility.bias"}
    for key in ("head.lateral.0.weight", "backbone.conv_stem.weight"):
        torch.testing.assert_close(own[key], given[key], rtol=0, atol=0)
    assert own["head.visibility.weight"].std() > 0


# Points that no conversion leads to, on the picture that comes with the package: six faces
OWN = MarkUp("own", 4, (1, 0, 2, 3))
OF_IBUG = (tuple(range(36, 42)), tuple(range(42, 48)), (30,), (57,))  # eye centres, nose tip, lower lip


@pytest.fixture
def own_points(tmp_path: Path) -> Pack:
    faces = Landmarker("facekd-68", threads=1).detect(SAMPLE)
    points = [np.stack([face.points[list(of)].mean(axis=0) for of in OF_IBUG]) for face in faces]
    items = [Annotation(f"{i}.jpg", partial(read_image, SAMPLE), each, "train") for i, each in enumerate(2 * points)]
    prepare(items, tmp_path / "own.parquet", OWN, dataset="sample", terms="None.", jobs=1)
    return Pack.open(tmp_path / "own.parquet")


@pytest.mark.parametrize("scale", [1.2, 1.7])
def test_own_points_start_where_the_network_finds_them_however_they_are_cut(
    own_points: Pack, tmp_path: Path, scale: float
) -> None:
    """The box of these points is a third of that of all 68: the start looks at its own crops to tell which is which."""
    settings = recipe({"a": LITE}, input={"size": 112, "scale": scale})
    shared, stage = context(own_points, tmp_path, settings), resolve(settings)["a"]
    source, about = load_network("facekd-68-lite")
    seen = look(shared, stage.frame, TorchModel(source, about))
    weights, _ = correspondence(seen.predicted, seen.labels)
    chosen = weights.argmax(axis=1)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert all(int(i) in of for i, of in zip(chosen[[0, 1, 2]], OF_IBUG, strict=False))
    assert int(chosen[3]) in (56, 57, 58, 65, 66, 67)  # the lower lip
    # A face of its own crop, as large as the start knows it: its untrained network finds the points.
    assert seen.enlarged == pytest.approx(1.6 * 1.2 / scale, rel=0.2)


def test_a_start_that_knows_faces_of_another_size_is_told(
    own_points: Pack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = recipe({"a": LITE | {"init": "facekd-68"}}, input={"size": 64, "scale": 1.2})
    initial_network(context(own_points, tmp_path, settings), resolve(settings)["a"])
    assert "a sees faces 0.4" in caplog.text and "its start, facekd-68" in caplog.text


def test_too_few_faces_to_tell_points_apart_are_refused(own_points: Pack, tmp_path: Path) -> None:
    settings = recipe({"a": LITE}, input={"size": 112, "scale": 1.7})
    few = own_points.select(indices=range(9))
    with pytest.raises(InputError, match=r"own.parquet has 9 training face\(s\), and it takes 10 .* label more"):
        initial_network(context(few, tmp_path, settings), resolve(settings)["a"])
