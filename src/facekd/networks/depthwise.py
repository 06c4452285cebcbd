"""Depthwise convolutions whose backward pass is fast on a CPU.

oneDNN, which PyTorch calls on a CPU, has fast kernels for depthwise 3x3 convolutions of stride 1, and slow ones for the
gradients of any other depthwise convolution: the four strided layers of MobileNetV2 take 40 % of a training step. The
fast kernel can compute both gradients:

- a convolution of stride s is one of stride 1 of which every s-th output is kept, so its gradients are those of stride
  1 with zeros between the outputs' gradients;
- the gradient of a k x k kernel is, window by window, that of 3 x 3 kernels on shifted inputs.

benchmarks/training.py measures the gain.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_NO_BIAS = None


def _gradient(grad: Tensor, x: Tensor, weight: Tensor, padding: tuple[int, int], wanted: int) -> Tensor:
    """Return the gradient of a depthwise convolution of stride 1 for its input (wanted=0) or its kernel (wanted=1)."""
    mask = [wanted == 0, wanted == 1, False]
    groups = weight.shape[0]
    return torch.ops.aten.convolution_backward(
        grad, x, weight, _NO_BIAS, (1, 1), padding, (1, 1), False, (0, 0), groups, mask
    )[wanted]


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, 1, weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        (pad_y, pad_x), (step_y, step_x), kernel = ctx.padding, ctx.stride, weight.shape[-1]
        grad = grads[0]
        if ctx.stride != (1, 1):
            height = x.shape[2] + 2 * pad_y - kernel + 1
            width = x.shape[3] + 2 * pad_x - kernel + 1
            dense = torch.zeros_like(
                grad[:, :, :1, :1].expand(-1, -1, height, width), memory_format=torch.channels_last
            )
            dense[:, :, ::step_y, ::step_x] = grad
            grad = dense
        grad_x = _gradient(grad, x, weight, ctx.padding, 0) if ctx.needs_input_grad[0] else None
        if kernel == 3:
            return grad_x, _gradient(grad, x, weight, ctx.padding, 1), None, None
        padded = F.pad(x, (pad_x, pad_x, pad_y, pad_y)).contiguous(memory_format=torch.channels_last)
        grad_weight = torch.empty_like(weight)
        rows, columns = grad.shape[2] + 2, grad.shape[3] + 2
        for top in range(0, kernel - 2, 2):
            for left in range(0, kernel - 2, 2):
                window = padded[:, :, top : top + rows, left : left + columns]
                part = weight[:, :, top : top + 3, left : left + 3]
                grad_weight[:, :, top : top + 3, left : left + 3] = _gradient(grad, window, part, (0, 0), 1)
        return grad_x, grad_weight, None, None


class _FastDepthwise2d(nn.Conv2d):
    """A Conv2d with the gradients above while it trains on a CPU, and an ordinary one otherwise."""

    ordinary: type[nn.Conv2d]

    def forward(self, x: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: (B, C, H, W).

        Returns:
            (B, C, h, w).
        """
        if x.device.type != "cpu" or not torch.is_grad_enabled():
            return self.ordinary.forward(self, x)
        weight = self.weight
        padding = self.padding
        if isinstance(padding, str) or self.ordinary is not nn.Conv2d:  # timm's Conv2dSame: pads as TensorFlow does
            from timm.layers import pad_same

            x, padding = pad_same(x, list(self.kernel_size), list(self.stride), list(self.dilation)), (0, 0)
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            x, weight = x.to(dtype), weight.to(dtype)
        return _Depthwise.apply(x, weight, self.stride, padding)


def accelerate(model: nn.Module) -> nn.Module:
    """Give the fast gradients to every depthwise convolution that oneDNN is slow at.

    Parameters, results and gradients stay the same up to rounding. Off the CPU nothing changes.

    Args:
        model: changed in place.

    Returns:
        The same model.
    """
    from timm.layers import Conv2dSame

    subclasses = {
        kind: type(f"Fast{kind.__name__}", (_FastDepthwise2d, kind), {"ordinary": kind})
        for kind in (nn.Conv2d, Conv2dSame)
    }
    for module in model.modules():
        if type(module) in subclasses and _slow(module):
            module.__class__ = subclasses[type(module)]
    return model


def _slow(conv: nn.Module) -> bool:
    """Return whether oneDNN has no fast kernel for the gradients of `conv`, but they can be computed with one."""
    assert isinstance(conv, nn.Conv2d)
    kernel = conv.kernel_size
    depthwise = conv.groups == conv.in_channels == conv.out_channels > 1 and conv.bias is None
    odd = kernel[0] == kernel[1] and kernel[0] % 2 == 1 and kernel[0] >= 3
    return depthwise and odd and conv.dilation == (1, 1) and (kernel[0] > 3 or conv.stride != (1, 1))
