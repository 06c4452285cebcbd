"""A stage that starts from a network of ours: what is taken over, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from facekd.errors import ModelError, RecipeError
from facekd.markup import FIVE
from facekd.networks.exported import load_network
from facekd.networks.network import LandmarkNet
from facekd.pipeline.start import initial_network
from facekd.recipes.resolve import resolve
from tiny_run import STAGE, context, recipe, write_pack

LITE = STAGE | {"backbone": "mobilenetv2_100", "head": "spatial", "init": "facekd-68-lite"}


def started(tmp_path: Path, **stage: object) -> LandmarkNet:
    settings = recipe({"a": LITE | stage})
    return initial_network(context(write_pack(tmp_path / "faces.parquet"), tmp_path, settings), resolve(settings)["a"])


def test_a_bundled_network_gives_its_backbone_and_pyramid_to_five_points(tmp_path: Path) -> None:
    net, source = started(tmp_path), load_network("facekd-68-lite")[0]
    assert net.architecture.points == FIVE.count
    own, given = net.state_dict(), source.state_dict()
    convolutions = [key for key, value in given.items() if value.ndim == 4 and not key.startswith("head.out")]
    assert len(convolutions) > 50
    for key in convolutions:
        torch.testing.assert_close(own[key], given[key], rtol=0, atol=0)


def test_another_backbone_or_head_than_the_file_s_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"network of head spatial, and a has coordinate; --set a\.head=spatial"):
        started(tmp_path, head="coordinate")


def test_a_start_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no file .*none\.onnx"):
        started(tmp_path, init=str(tmp_path / "none.onnx"))


def test_what_a_bundled_network_lacks_starts_by_itself(tmp_path: Path) -> None:
    """Visibility is an output of its own, so that nothing of the others is mistaken for it."""
    net, plain = started(tmp_path / "a", visibility_weight=0.1), started(tmp_path / "b")
    own, given = net.state_dict(), plain.state_dict()
    assert own.keys() - given.keys() == {"head.visibility.weight", "head.visibility.bias"}
    for key in ("head.lateral.0.weight", "backbone.conv_stem.weight"):
        torch.testing.assert_close(own[key], given[key], rtol=0, atol=0)
    assert own["head.visibility.weight"].std() > 0
