"""Heads: from a backbone's features to landmarks. A new head: a class, a function that builds it, a line in HEADS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facekd.networks.architecture import Architecture

# Landmarks (B, N, 2); log-sigma (B, N), log-heatmaps (B, N, h, w) and visibility (B, N), or None: the fields of a
# `Prediction`.
Output = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]
_PYRAMID = 128  # channels of the feature pyramid
_FIRST_LOG_SIGMA = -3.5  # about 3 % of the frame, as the errors are early in training


class CoordinateHead(nn.Module):
    """The paper's head: dropout and one linear layer from pooled features to 2N coordinates.

    Args:
        channels: of the pooled features.
        points: the number of landmarks N.
        dropout: probability.
        sigma: whether it also predicts N log-sigmas.
        visibility: whether it also predicts N logits of visibility.
    """

    def __init__(self, channels: int, points: int, dropout: float, sigma: bool, visibility: bool = False) -> None:
        super().__init__()
        self.points, self.sigma = points, sigma
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels, points * (3 if sigma else 2))
        self.visibility = nn.Linear(channels, points) if visibility else None
        if sigma:
            with torch.no_grad():
                self.linear.bias[2 * points :] = _FIRST_LOG_SIGMA

    def forward(self, features: Tensor) -> Output:
        """Regress landmarks.

        Args:
            features: (B, C), pooled.

        Returns:
            Landmarks (B, N, 2), log-sigma (B, N) or None, None for heatmaps, and visibility (B, N) or None.
        """
        with torch.autocast(features.device.type, enabled=False):  # bfloat16 would round to half a pixel
            features = self.dropout(features).float()
            values = self.linear(features)
            visibility = None if self.visibility is None else self.visibility(features)
        landmarks = values[:, : 2 * self.points].unflatten(1, (self.points, 2))
        return landmarks, values[:, 2 * self.points :] if self.sigma else None, None, visibility

    def start_at(self, mean: Tensor) -> None:
        """Initialise the head so that it predicts about the mean shape for every face.

        Args:
            mean: (N, 2), normalised.
        """
        with torch.no_grad():
            self.linear.weight.mul_(0.1)
            self.linear.bias[: 2 * self.points] = mean.flatten()


class SpatialHead(nn.Module):
    """A light feature pyramid, and per landmark a heatmap, an offset map, a log-sigma map and a visibility map.

    The landmark is the expectation, under the heatmap's softmax, of cell centre plus offset; log-sigma and visibility
    are the expectations of their maps. Source of this soft-argmax: Sun et al., "Integral human pose regression", ECCV
    2018.

    Args:
        channels: of the backbone's features, fine to coarse.
        points: the number of landmarks N.
        size: side of the network's input, in pixels.
        stride: input pixels per cell, that of the finest features.
        sigma: whether it also predicts log-sigma.
        visibility: whether it also predicts logits of visibility.
    """

    def __init__(
        self, channels: list[int], points: int, size: int, stride: int, sigma: bool, visibility: bool = False
    ) -> None:
        super().__init__()
        self.points, self.sigma = points, sigma
        self.lateral = nn.ModuleList(nn.Conv2d(c, _PYRAMID, 1, bias=False) for c in channels)
        self.smooth = nn.ModuleList(_separable(_PYRAMID) for _ in channels)
        self.kinds, self.cells = 4 if sigma else 3, -(-size // stride)
        self.out = nn.Conv2d(_PYRAMID, points * self.kinds, 1)
        self.visibility = nn.Conv2d(_PYRAMID, points, 1) if visibility else None
        axis = ((torch.arange(self.cells) + 0.5) * stride - 0.5 - (size - 1) / 2) / size
        centres = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).reshape(-1, 2)
        self.register_buffer("centres", centres, persistent=False)
        self.cell = stride / size
        if sigma:
            bias = self.out.bias
            assert bias is not None
            with torch.no_grad():
                bias[3 * points :] = _FIRST_LOG_SIGMA

    def forward(self, features: list[Tensor]) -> Output:
        """Read landmarks off heatmaps.

        Args:
            features: (B, C_i, h_i, w_i) each, fine to coarse.

        Returns:
            Landmarks (B, N, 2), log-sigma (B, N) or None, log-heatmaps (B, N, h, w), visibility (B, N) or None.
        """
        merged = self.pyramid(features)
        # All sizes but the batch's are plain numbers, so that the exported graph computes no shapes.
        maps = self.out(merged).float().reshape(-1, self.kinds, self.points, self.cells**2)
        seen = None
        if self.visibility is not None:
            seen = self.visibility(merged).float().reshape(-1, self.points, self.cells**2)
        log_heat = maps[:, 0].log_softmax(-1)
        heat = log_heat.exp()
        # Expectations under the heatmap: of offset x, offset y, log-sigma; and, below, of the cells' centres.
        means = (heat[:, None] * maps[:, 1:]).sum(-1)
        with torch.autocast(heat.device.type, enabled=False):  # bfloat16 would round to a quarter pixel
            landmarks = heat @ self.centres + self.cell * means[:, :2].transpose(1, 2)
        log_sigma = means[:, 2] if self.sigma else None
        # What makes visibility easy to tell must not move the landmarks.
        visibility = None if seen is None else ((heat.detach() if self.training else heat) * seen).sum(-1)
        return landmarks, log_sigma, log_heat.reshape(-1, self.points, self.cells, self.cells), visibility

    def pyramid(self, features: list[Tensor]) -> Tensor:
        """Merge a backbone's features, from coarse to fine.

        Args:
            features: (B, C_i, h_i, w_i) each, fine to coarse.

        Returns:
            (B, 128, h, w), what the last convolution makes maps of; h and w are those of the finest features.
        """
        merged = None
        for feature, lateral, smooth in zip(
            features[::-1], list(self.lateral)[::-1], list(self.smooth)[::-1], strict=True
        ):
            level = lateral(feature)
            if merged is not None:
                finer = F.interpolate(merged, scale_factor=2.0, mode="nearest")
                height, width = (int(side) for side in level.shape[-2:])
                if finer.shape[-2:] != (height, width):  # an odd side was rounded up in the coarser level
                    finer = finer[..., :height, :width]
                level = level + finer
            merged = smooth(level)
        assert merged is not None
        return merged


def _separable(channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def build_coordinate(a: Architecture, create_backbone: Callable[..., nn.Module]) -> tuple[nn.Module, nn.Module]:
    """Return a coordinate head and its backbone.

    Args:
        a: what both are built of.
        create_backbone: as `backbone.create_backbone`.

    Returns:
        Head and backbone, which ends with pooled features.
    """
    body: Any = create_backbone(a.backbone, num_classes=0)
    # Some backbones (MobileNetV3) have a wider layer of their own behind the pooling.
    channels = int(getattr(body, "head_hidden_size", None) or body.num_features)
    return CoordinateHead(channels, a.points, a.dropout, a.sigma, a.visibility), body


def build_spatial(a: Architecture, create_backbone: Callable[..., nn.Module]) -> tuple[nn.Module, nn.Module]:
    """Return a spatial head and its backbone.

    Args:
        a: what both are built of.
        create_backbone: as `backbone.create_backbone`.

    Returns:
        Head and backbone, which ends with features from the head's stride on, fine to coarse.
    """
    body: Any = create_backbone(a.backbone, features_only=True)
    info = body.feature_info
    levels = [i for i, reduction in enumerate(info.reduction()) if reduction >= a.stride]
    body = create_backbone(a.backbone, features_only=True, out_indices=levels)
    channels = [info.channels()[i] for i in levels]
    return SpatialHead(channels, a.points, a.size, info.reduction()[levels[0]], a.sigma, a.visibility), body


HEADS: dict[str, Callable[..., tuple[nn.Module, nn.Module]]] = {
    "coordinate": build_coordinate,
    "spatial": build_spatial,
}
