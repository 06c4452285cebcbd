"""Training on several processes: launching, and what they share beyond the gradients."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import Tensor, nn

from facekd.errors import TrainingError

_BF16 = ("auto", "bf16")


def fabric(precision: str = "auto", accelerator: str = "auto") -> Fabric:
    """Return a launched Fabric for this machine, or for the processes that torchrun started.

    Args:
        precision: "32", "bf16", or "auto" for bf16 where the hardware has it.
        accelerator: "auto", "cpu", "cuda", ... as Lightning names them.

    Returns:
        The Fabric.

    Raises:
        TrainingError: there is no such accelerator here.
    """
    started = "LOCAL_WORLD_SIZE" in os.environ  # by torchrun
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    world = int(os.environ.get("WORLD_SIZE", 1))
    mixed = precision in _BF16 and (precision == "bf16" or _has_bf16(accelerator))
    try:
        result = Fabric(
            accelerator=accelerator,
            devices=local,
            num_nodes=world // local,
            strategy="ddp" if started and world > 1 else "auto",
            precision="bf16-mixed" if mixed else "32-true",
        )
    except (ValueError, RuntimeError) as error:
        if accelerator == "auto":
            raise
        raise TrainingError(f"no accelerator '{accelerator}' here; give auto or cpu") from error
    result.launch()
    return result


def _has_bf16(accelerator: str) -> bool:
    if accelerator != "cpu" and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def sync_batch_norm(net: nn.Module, fabric: Fabric) -> nn.Module:
    """Make batch-norm statistics those of the global batch, so that several processes train as one does.

    Args:
        net: changed in place.
        fabric: its processes share a batch.

    Returns:
        The network, or a converted copy on CUDA.
    """
    if fabric.world_size == 1:
        return net
    if fabric.device.type == "cuda":
        from timm.layers import convert_sync_batchnorm

        return convert_sync_batchnorm(net)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm's BatchNormAct2d is one too
            kind = type(module)
            module.__class__ = type(f"Synced{kind.__name__}", (_SyncedBatchNorm, kind), {})
    return net


class _Mean(torch.autograd.Function):
    """The mean of a tensor over all processes; its gradient is the mean of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _mean(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _mean(grads[0])


def _mean(x: Tensor) -> Tensor:
    x = x.clone()
    dist.all_reduce(x)
    return x / dist.get_world_size()


class _SyncedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over all processes on a CPU, which torch's SyncBatchNorm does not support."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (B, C, H, W), this process's share of a batch."""
        if not self.training:
            return super().forward(x)
        wide = x.float()
        mean = _Mean.apply(wide.mean((0, 2, 3)))
        centred = wide - mean[:, None, None]
        variance = _Mean.apply(centred.square().mean((0, 2, 3)))
        count = x.numel() / x.shape[1] * dist.get_world_size()
        with torch.no_grad():
            assert self.running_mean is not None and self.running_var is not None
            assert self.num_batches_tracked is not None and self.momentum is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        y = centred * scale[:, None, None] + self.bias[:, None, None]
        rest: list[Any] = [
            getattr(self, name) for name in ("drop", "act") if hasattr(self, name)
        ]  # timm's BatchNormAct2d
        for layer in rest:
            y = layer(y)
        return y.to(x.dtype)


def labelled_weight(labelled: Tensor, fabric: Fabric) -> Tensor:
    """Return the weight of this process's mean over its labelled faces, so that all labelled faces count alike.

    Args:
        labelled: (B,) bool, of this process's share of a batch.
        fabric: its processes share the batch.

    Returns:
        A scalar: its number of labelled faces over the mean number per process.
    """
    own = labelled.sum().float()
    mean = fabric.all_reduce(own, reduce_op="mean")
    assert isinstance(mean, Tensor)
    return own / mean.clamp_min(1e-6)


def global_batch_size(batch: int, faces: int, fabric: Fabric) -> int:
    """Return how many faces a step takes, over all processes: each process takes as many as the others.

    Args:
        batch: faces per step that are asked for.
        faces: how many there are.
        fabric: its processes share the batch.

    Returns:
        The multiple of the number of processes at or below `batch` and `faces`.

    Raises:
        TrainingError: there are more processes than that.
    """
    wanted, processes = min(batch, faces), fabric.world_size
    if wanted < processes:
        raise TrainingError(f"{processes} processes cannot share a batch of {wanted} faces: start at most that many")
    return wanted // processes * processes
