"""Backbones by name, and the weights they start from."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.client import BadStatusLine
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from facekd.errors import ModelError
from facekd.networks import backbone
from facekd.networks.architecture import Architecture
from facekd.networks.backbone import create_backbone, load_backbone, pixel_statistics
from facekd.networks.network import LandmarkNet


def test_backbone_weights_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = timm.create_model("mobilenetv2_035", num_classes=1000)
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    for head in ("coordinate", "spatial"):
        net = LandmarkNet(Architecture("mobilenetv2_035", head, 68, 64))
        load_backbone(net.backbone, "mobilenetv2_035", str(tmp_path / "w.safetensors"))
        torch.testing.assert_close(net.backbone.conv_stem.weight, whole.conv_stem.weight)


def test_weights_that_do_not_fit_name_the_layers(tmp_path: Path) -> None:
    other = timm.create_model("mobilenetv2_050", num_classes=0)
    save_file(other.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"do not fit 'mobilenetv2_035': \d+ layers differ \(conv_stem|blocks"):
        load_backbone(
            create_backbone("mobilenetv2_035", num_classes=0), "mobilenetv2_035", str(tmp_path / "w.safetensors")
        )


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("mobilenetv2_10", "mobilenetv2_100"),
        ("mobilenet_v2", "mobilenetv2_100"),
        ("MobileNetV2", "mobilenetv2_100"),
        ("efficientnet-b3", "efficientnet_b3"),
        ("resnet-18", "resnet18"),
    ],
)
def test_an_unknown_backbone_is_answered_with_the_nearest(name: str, meant: str) -> None:
    with pytest.raises(ModelError, match=f"did you mean '{meant}'"):
        LandmarkNet(Architecture(name, "coordinate", 68, 64))


@pytest.mark.parametrize("name", ["hf_hub:timm/resnet18.a1_in1k", "hf-hub:timm/resnet18.a1_in1k", "local-dir:resnet18"])
def test_an_address_is_answered_with_the_name_in_it(name: str) -> None:
    with pytest.raises(
        ModelError, match=r"is an address; give timm's name, such as 'resnet18(\.a1_in1k)?', and init: t"
    ):
        create_backbone(name)


def test_an_unknown_tag_is_answered_with_the_nearest() -> None:
    with pytest.raises(ModelError, match="no weights 'a1_in2k' of backbone 'resnet18'; did you mean 'a1_in1k'"):
        create_backbone("resnet18.a1_in2k")
    assert create_backbone("resnet18.a1_in1k", num_classes=0)


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that takes connections and never answers; patience is short."""
    monkeypatch.setattr(backbone, "_PATIENCE", 0.2)
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield "http://{}:{}".format(*server.getsockname())


class NotFound(BaseHTTPRequestHandler):
    """A server that has nothing."""

    def do_HEAD(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_whether_a_server_answers(listening: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone, "_PATIENCE", 5)
    with HTTPServer(("127.0.0.1", 0), NotFound) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert backbone._answers("http://{}:{}".format(*server.server_address))
    assert not backbone._answers("http://{}:{}".format(*server.server_address))  # it is closed
    monkeypatch.setattr(backbone, "_PATIENCE", 0.2)
    assert not backbone._answers(listening)
    assert not backbone._answers("no address")


def test_what_is_no_http_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is, it is for the hub's library to say what is wrong with it."""

    def garbled(*_: object, **__: object) -> None:
        raise BadStatusLine("hello")

    monkeypatch.setattr(backbone, "urlopen", garbled)
    assert backbone._answers("http://hub.invalid")


def test_names_that_are_looked_up_for_ever_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = threading.Event()
    monkeypatch.setattr(backbone, "_PATIENCE", 0.2)

    def wait(*_: object, **__: object) -> None:
        looked_up.wait()
        raise OSError("no such name")

    monkeypatch.setattr(backbone, "urlopen", wait)
    assert not backbone._answers("http://hub.invalid")
    looked_up.set()


def test_without_the_hub_its_cache_is_asked_and_the_setting_named(
    listening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def create(*_: object, **__: object) -> None:
        asked.append(constants.HF_HUB_OFFLINE)
        raise OSError("it is not in the cache")

    net = create_backbone("mobilenetv2_100")
    monkeypatch.setattr(constants, "ENDPOINT", listening)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(ModelError, match=rf"hub \({listening} does not answer\).* --set tough\.init=FILE"):
        load_backbone(net, "mobilenetv2_100", "timm", "tough.init")
    assert asked == [True] and constants.HF_HUB_OFFLINE is False


def test_backbones_of_which_the_hub_has_no_weights_are_not_asked_for() -> None:
    with pytest.raises(ModelError, match=r"timm has no weights for 'mobilenetv2_035'; --set tough\.init=none"):
        load_backbone(create_backbone("mobilenetv2_035"), "mobilenetv2_035", "timm", "tough.init")


@pytest.mark.parametrize("content", [None, b"", b"not safetensors at all"])
def test_files_that_hold_no_weights(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read"):
        load_backbone(create_backbone("mobilenetv2_035"), "mobilenetv2_035", str(path))


def test_pixels_are_standardised_as_in_pretraining() -> None:
    """ImageNet's statistics for most; Inception's, 0.5 throughout, for others."""
    assert pixel_statistics("mobilenetv2_100") == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert pixel_statistics("tf_efficientnet_lite3") == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
