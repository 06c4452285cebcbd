"""Backbones by name, and the weights they start from."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from facekd.errors import ModelError
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


def test_weights_that_cannot_be_downloaded_name_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to the hub")

    net = create_backbone("mobilenetv2_035")
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ModelError, match=r"--set tough\.init=FILE"):
        load_backbone(net, "mobilenetv2_035", "timm", "tough.init")


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
