"""Losses that see the ground truth only: what KD-Loss has to beat.

How losses are called: `facekd.losses.base`. A loss and its settings stand side by side; `facekd.losses.registry` lists
the settings.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from facekd.losses.base import DistanceLoss
from facekd.settings import Number, Settings


class L1(DistanceLoss):
    """Mean absolute error per coordinate."""


class L1Settings(Settings):
    """Mean absolute error per coordinate."""

    name: Literal["l1"] = "l1"
    needs_teachers: ClassVar[bool] = False

    def build(self) -> nn.Module:
        """Make the loss.

        Returns:
            The loss, ready to call.
        """
        return L1()


class L2(DistanceLoss):
    """Mean squared error per coordinate: what both teachers of the paper are trained with."""

    def distance(self, error: Tensor) -> Tensor:
        """Return the square of the error.

        Args:
            error: absolute error per coordinate, any shape.

        Returns:
            The loss per coordinate, same shape.
        """
        return error.square()


class L2Settings(Settings):
    """Mean squared error per coordinate."""

    name: Literal["l2"] = "l2"
    needs_teachers: ClassVar[bool] = False

    def build(self) -> nn.Module:
        """Make the loss.

        Returns:
            The loss, ready to call.
        """
        return L2()


class SmoothL1(DistanceLoss):
    """A parabola up to `width`, L1 (minus width / 2) beyond.

    Source: Girshick, Fast R-CNN, arXiv 1504.08083, eq. 3, in pixels.

    Args:
        width: in units of the input size, above 0; the default is one pixel of a 224 px input.
    """

    def __init__(self, width: float = 1 / 224) -> None:
        super().__init__()
        self.width = width

    def distance(self, error: Tensor) -> Tensor:
        """Return the loss of an error.

        Args:
            error: absolute error per coordinate, any shape.

        Returns:
            The loss per coordinate, same shape.
        """
        return torch.where(error < self.width, error.square() / (2 * self.width), error - self.width / 2)


class SmoothL1Settings(Settings):
    """A parabola near the ground truth, L1 beyond (Huber)."""

    name: Literal["smooth_l1"] = "smooth_l1"
    width: Number = Field(1 / 224, gt=0, description="where the parabola ends, in units of the input size")
    needs_teachers: ClassVar[bool] = False

    def build(self) -> nn.Module:
        """Make the loss.

        Returns:
            The loss, ready to call.
        """
        return SmoothL1(self.width)


class Wing(DistanceLoss):
    """Wing loss: width * ln(1 + e / curvature) up to `width`, L1 minus the constant that makes it continuous beyond.

    Source: Feng et al., Wing Loss, CVPR 2018, arXiv 1711.06753, eq. 5. The defaults are that paper's w = 10 px and
    eps = 2 px at its 256 px input.

    Args:
        width: w, in units of the input size, above 0.
        curvature: eps, in units of the input size, above 0.
    """

    def __init__(self, width: float = 10 / 256, curvature: float = 2 / 256) -> None:
        super().__init__()
        self.width, self.curvature = width, curvature

    def distance(self, error: Tensor) -> Tensor:
        """Return the loss of an error.

        Args:
            error: absolute error per coordinate, any shape.

        Returns:
            The loss per coordinate, same shape.
        """
        step = self.width - self.width * math.log1p(self.width / self.curvature)
        return torch.where(error < self.width, self.width * torch.log1p(error / self.curvature), error - step)


class WingSettings(Settings):
    """Wing loss: small errors count more than with L1."""

    name: Literal["wing"] = "wing"
    width: Number = Field(10 / 256, gt=0, description="w: where the logarithm ends, in units of the input size")
    curvature: Number = Field(2 / 256, gt=0, description="eps: how sharply it bends, in units of the input size")
    needs_teachers: ClassVar[bool] = False

    def build(self) -> nn.Module:
        """Make the loss.

        Returns:
            The loss, ready to call.
        """
        return Wing(self.width, self.curvature)
