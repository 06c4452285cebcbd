"""The fast gradients are the ordinary ones."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from facekd.networks.depthwise import accelerate


@pytest.mark.parametrize("size", [9, 12])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_gradients_of_one_layer(kernel: int, stride: int, size: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 6, kernel, stride, padding=kernel // 2, groups=6, bias=False, dtype=torch.float64)
    fast = accelerate(nn.Sequential(copy.deepcopy(plain)))[0]
    assert (type(fast) is nn.Conv2d) == (kernel == 3 and stride == 1)  # that one is fast as it is
    x = torch.randn(2, 6, size, size, dtype=torch.float64)
    results = []
    for layer in (plain, fast):
        leaf = x.clone().requires_grad_()
        y = layer(leaf)
        (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
        results.append((y, leaf.grad, layer.weight.grad))
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("name", ["mobilenetv2_050", "tf_efficientnet_lite0"])
def test_gradients_of_a_network(name: str) -> None:
    """Strided 3x3 and 5x5, with PyTorch's and with TensorFlow's padding."""
    torch.manual_seed(0)
    plain = timm.create_model(name, num_classes=4)
    fast = accelerate(copy.deepcopy(plain))
    x = torch.randn(2, 3, 65, 65)
    for net in (plain, fast):
        torch.manual_seed(1)
        net(x).square().mean().backward()
    for expected, got in zip(plain.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(got.grad, expected.grad, rtol=1e-3, atol=1e-6)


def test_without_gradients_nothing_changes() -> None:
    net = timm.create_model("mobilenetv2_050", num_classes=4).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = net(x)
        torch.testing.assert_close(accelerate(net)(x), expected, rtol=0, atol=0)


def test_under_autocast_the_gradients_stay_near() -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(16, 16, 5, 2, padding=2, groups=16, bias=False)
    fast = accelerate(nn.Sequential(copy.deepcopy(plain)))[0]
    x = torch.randn(4, 16, 16, 16)
    for layer in (plain, fast):
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(x)
        assert y.dtype == torch.bfloat16
        y.float().square().mean().backward()
    assert fast.weight.grad.dtype == torch.float32
    torch.testing.assert_close(fast.weight.grad, plain.weight.grad, rtol=0.05, atol=1e-3)
