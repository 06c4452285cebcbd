"""A landmark network as it is exported to LiteRT: what it computes is unchanged, by operators that are fast there."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from facekd.networks.checkpoint import ModelMetadata
from facekd.networks.heads import Output, SpatialHead
from facekd.networks.network import LandmarkNet, Prediction
from facekd.networks.shape_prior import ITERATIONS, MAX_LOG_RATIO, ShapePrior

_SMALLEST = 1e-30  # no division by 0 where nothing is left to solve


class LiteRTModule(nn.Module):
    """A network with pre- and post-processing, whose outputs have names, which the converter keeps.

    LiteRT takes a sixth of a small network's time to subtract and divide three colours of each pixel. By rows, with
    the colours' constants repeated, the same takes next to none.

    Args:
        net: in evaluation mode.
        metadata: gives shape prior and calibration.
    """

    def __init__(self, net: LandmarkNet, metadata: ModelMetadata) -> None:
        super().__init__()
        self.backbone, self.size = net.backbone, net.architecture.size
        self.head = _Reader(net.head) if isinstance(net.head, SpatialHead) else net.head
        self.prior = _Posterior(metadata.shape_prior) if metadata.shape_prior else None
        self.metadata = replace(metadata, shape_prior=None)
        mean, std = (getattr(net, name).flatten() for name in ("mean", "std"))
        self.register_buffer("gain", (1 / (255 * std)).repeat(self.size))
        self.register_buffer("offset", (-mean / std).repeat(self.size))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Find landmarks.

        Args:
            image: (B, S, S, 3) uint8 RGB crops.

        Returns:
            As `facekd.exporters.onnx.ExportModule.named`.
        """
        rows = image.flatten(2).float() * self.get_buffer("gain") + self.get_buffer("offset")
        prediction = Prediction(*self.head(self.backbone(rows.unflatten(2, (-1, 3)).permute(0, 3, 1, 2))))
        if self.prior is not None:
            landmarks = self.prior(prediction.landmarks, prediction.log_sigma)
            prediction = prediction._replace(landmarks=landmarks)
        return self.metadata.outputs(prediction, self.size)


class _Reader(nn.Module):
    """A spatial head with one last convolution for each kind of map, and its maps with channels last, as LiteRT's are.

    Heatmaps, offsets and log-sigmas have three ranges, and numbers of 8 bits one scale per convolution.
    """

    def __init__(self, head: SpatialHead) -> None:
        super().__init__()
        self.head, count = head, head.points
        self.heat = _rows(head.out, 0, count)
        self.offsets = _rows(head.out, count, 3 * count)
        self.log_sigma = _rows(head.out, 3 * count, 4 * count) if head.sigma else None
        self.visibility = head.visibility
        self.register_buffer("centres", head.get_buffer("centres")[:, :, None] / head.cell)

    def forward(self, features: list[Tensor]) -> Output:
        merged = self.head.pyramid(features)
        # The convolutions follow each other, for what is computed in 8 bits ends with the last one.
        heat, offsets = (_cells(conv(merged)) for conv in (self.heat, self.offsets))
        others = [None if conv is None else _cells(conv(merged)) for conv in (self.log_sigma, self.visibility)]
        weight = (heat - heat.amax(1, keepdim=True)).exp()
        whole = weight.sum(1)
        at = offsets.unflatten(2, (2, -1)) + self.get_buffer("centres")
        landmarks = self.head.cell * (weight[:, :, None] * at).sum(1) / whole[:, None]
        log_sigma, visibility = (None if each is None else (weight * each).sum(1) / whole for each in others)
        return landmarks.transpose(1, 2), log_sigma, None, visibility


class _Posterior(nn.Module):
    """A shape prior's posterior mean, with 8 products of vector and matrix instead of 18.

    The estimate m + C x of `facekd.networks.shape_prior`, where (C + D N D) x = b, by the same conjugate gradients:
    preconditioned by P = (C + N)^-1 instead of whitened by its root. Of each direction d = P e, e is known, too; so
    C d = e - N d, and what is left to compute of (C + D N D) d = e + (D N D - N) d are N's products alone.
    """

    def __init__(self, prior: ShapePrior) -> None:
        super().__init__()
        whiten = prior.whiten.double()
        self.register_buffer("precision", (whiten @ whiten).float())
        self.register_buffer("noise", prior.noise)
        self.register_buffer("typical", prior.typical)
        self.register_buffer("expected", prior.mean + prior.bias)
        self.register_buffer("mean", prior.mean)

    def forward(self, landmarks: Tensor, log_sigma: Tensor | None) -> Tensor:
        precision, noise = self.get_buffer("precision"), self.get_buffer("noise")
        count = landmarks.shape[1]
        given = landmarks.reshape(-1, 1, 2 * count) - self.get_buffer("expected")
        start = given @ precision
        if log_sigma is None:
            return (given - start @ noise + self.get_buffer("mean")).reshape(-1, count, 2)
        ratio = (log_sigma - self.get_buffer("typical")).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
        ratio = torch.stack([ratio, ratio], dim=-1).reshape(-1, 1, 2 * count)
        # Both N d and N D d by one product of two rows.
        before = torch.cat([torch.ones_like(ratio), ratio], dim=1)
        after = torch.cat([-torch.ones_like(ratio), ratio], dim=1)

        product = (start * before) @ noise
        moved = given - product[:, :1]  # C x
        residual = -(product * after).sum(1, keepdim=True)
        image, direction = residual, residual @ precision
        squared = (residual * direction).sum(-1, keepdim=True)
        for iteration in range(1, ITERATIONS + 1):
            product = (direction * before) @ noise
            there = image + (product * after).sum(1, keepdim=True)  # (C + D N D) d
            step = squared / (direction * there).sum(-1, keepdim=True).clamp_min(_SMALLEST)
            moved = moved + step * (image - product[:, :1])
            if iteration < ITERATIONS:
                residual = residual - step * there
                again = residual @ precision
                last, squared = squared, (residual * again).sum(-1, keepdim=True)
                turn = squared / last.clamp_min(_SMALLEST)
                image, direction = residual + turn * image, again + turn * direction
        return (moved + self.get_buffer("mean")).reshape(-1, count, 2)


def _rows(conv: nn.Conv2d, first: int, last: int) -> nn.Conv2d:
    """Return a convolution with some of another's outputs."""
    part = nn.Conv2d(conv.in_channels, last - first, 1)
    part.load_state_dict({name: values[first:last] for name, values in conv.state_dict().items()})
    return part


def _cells(maps: Tensor) -> Tensor:
    """Return maps (B, n, h, w) as (B, h w, n)."""
    return maps.permute(0, 2, 3, 1).flatten(1, 2)
