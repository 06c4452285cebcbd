"""What all losses between landmarks share: how they are called, what they return.

A loss is called as `loss(pred, target, tough=None, tolerant=None, weight=None)`, with tensors of shape (B, N, 2) in
normalised coordinates (centred, divided by the input size: [-0.5, 0.5] is the input's frame), and returns `LossTerms`.
Losses that need no teacher ignore them, so that the training loop treats all alike. Reductions are the mean over the
B * N * 2 coordinates, less those of missing points, whose target is NaN: they have no part in a loss and no gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from facekd.errors import InputError


class LossTerms(NamedTuple):
    """A loss and the three parts that add up to it, each a scalar tensor; the parts a loss does not have are 0.

    Attributes:
        total: what is minimised.
        main: the part of the ground truth.
        tough: the part of the tough teacher.
        tolerant: the part of the tolerant teacher.
    """

    total: Tensor
    main: Tensor
    tough: Tensor
    tolerant: Tensor


class DistanceLoss(nn.Module):
    """A loss that sees the ground truth only: the mean of `distance` over all coordinates. Teachers are ignored."""

    def distance(self, error: Tensor) -> Tensor:
        """Return the loss of an error; here L1: the error itself.

        Args:
            error: absolute error per coordinate, any shape.

        Returns:
            The loss per coordinate, same shape.
        """
        return error

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        tough: Tensor | None = None,
        tolerant: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> LossTerms:
        """Return the loss of predicted landmarks.

        Args:
            pred: (B, N, 2), normalised.
            target: (B, N, 2), the ground truth, normalised; NaN where a point is missing.
            tough: ignored.
            tolerant: ignored.
            weight: (B, N) how much each point counts, 0 or more; None: all alike.

        Returns:
            The loss, all of it in `main`.

        Raises:
            InputError: shapes differ.
        """
        main = mean_of_labelled(self.distance(absolute_error(pred, target)), target, weight)
        nothing = main.new_zeros(())
        return LossTerms(main, main, nothing, nothing)


def absolute_error(points: Tensor, target: Tensor) -> Tensor:
    """Return the absolute error per coordinate, at least in float32: bf16 is too coarse for it.

    Args:
        points: (B, N, 2).
        target: (B, N, 2); no gradient flows into it. NaN where a point is missing.

    Returns:
        (B, N, 2); 0, without a gradient, where a point is missing.

    Raises:
        InputError: shapes differ.
    """
    if points.shape != target.shape:
        raise InputError(
            f"landmarks of shape {tuple(points.shape)} cannot be compared with a target of shape "
            f"{tuple(target.shape)}: give all of them as one (B, N, 2)"
        )
    dtype = torch.promote_types(points.dtype, torch.float32)
    difference = points.to(dtype) - target.detach().to(dtype)
    return torch.where(target.isnan(), 0, difference).abs()


def mean_of_labelled(values: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean of what each labelled point has; missing points, whose target is NaN, do not count.

    Args:
        values: (B, N, 2) per coordinate or (B, N) per point, finite wherever a point is missing, too.
        target: (B, N, 2).
        weight: (B, N) how much each point counts, 0 or more; None: all alike.

    Returns:
        A scalar; 0 where no point counts.
    """
    counts = (~target.isnan().any(-1)).to(values.dtype)
    if weight is not None:
        counts = counts * weight
    if values.dim() > counts.dim():
        counts = counts[..., None].expand_as(values)
    return (values * counts).sum() / counts.sum().clamp_min(1e-6)
