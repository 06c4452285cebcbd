"""What a landmark network is built of, in a few plain values that are kept with its weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build a network again.

    Attributes:
        backbone: timm's name of the backbone.
        head: "coordinate" or "spatial", a key of `heads.HEADS`.
        points: the number of landmarks N.
        size: side of the square input, in pixels.
        dropout: probability, in front of the coordinate head's linear layer.
        sigma: whether the head also predicts log-sigma per landmark.
        standardise: whether pixels are normalised by the backbone's mean and standard deviation; False: pixel / 255.
        stride: input pixels per heatmap cell of the spatial head.
        visibility: whether the head also predicts which landmarks are visible.
    """

    backbone: str
    head: str
    points: int
    size: int
    dropout: float = 0.0
    sigma: bool = False
    standardise: bool = True
    stride: int = 8
    visibility: bool = False
