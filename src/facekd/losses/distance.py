"""Every loss by name, and the baselines that KD-Loss has to beat.

How losses are called: `landmark_loss`. A new loss is one file (or a class here) and one line in `LOSSES`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from facekd.losses.base import DistanceLoss, LossTerms, check, check_name, is_number
from facekd.losses.kd import KDLoss

__all__ = ["L1", "L2", "LOSSES", "KDLoss", "LossTerms", "SmoothL1", "Wing", "build"]


class L1(DistanceLoss):
    """Mean absolute error per coordinate."""


class L2(DistanceLoss):
    """Mean squared error per coordinate: what both teachers are trained with."""

    def distance(self, error: Tensor) -> Tensor:
        """Square the error."""
        return error.square()


class SmoothL1(DistanceLoss):
    """A parabola up to `width`, L1 (minus width / 2) beyond. width: in units of the input size, above 0.

    The default is one pixel of a 224 px input. Source: Girshick, Fast R-CNN, arXiv 1504.08083, eq. 3, in pixels.
    """

    def __init__(self, width: float = 1 / 224) -> None:
        super().__init__()
        check(is_number(width) and width > 0, "width", width, "a number above 0")
        self.width = width

    def distance(self, error: Tensor) -> Tensor:
        """Apply the definition above."""
        return torch.where(error < self.width, error.square() / (2 * self.width), error - self.width / 2)


class Wing(DistanceLoss):
    """Wing loss: width * ln(1 + e / curvature) up to `width`, L1 minus the constant that makes it continuous beyond.

    width (w), curvature (eps): in units of the input size, above 0. Defaults: that paper's w = 10 px and eps = 2 px at
    its 256 px input. Source: Feng et al., Wing Loss, CVPR 2018, arXiv 1711.06753, eq. 5.
    """

    def __init__(self, width: float = 10 / 256, curvature: float = 2 / 256) -> None:
        super().__init__()
        check(is_number(width) and width > 0, "width", width, "a number above 0")
        check(is_number(curvature) and curvature > 0, "curvature", curvature, "a number above 0")
        self.width, self.curvature = width, curvature

    def distance(self, error: Tensor) -> Tensor:
        """Apply the definition above."""
        step = self.width - self.width * math.log1p(self.width / self.curvature)
        return torch.where(error < self.width, self.width * torch.log1p(error / self.curvature), error - step)


LOSSES: dict[str, Callable[..., nn.Module]] = {"kd": KDLoss, "l1": L1, "l2": L2, "smooth_l1": SmoothL1, "wing": Wing}


def build(name: str, **options: Any) -> nn.Module:
    """Return the loss of that name with its options, ready to call.

    name: "kd", "l1", "l2", "smooth_l1" or "wing". Raises RecipeError for an unknown name or option, or a bad value.
    """
    check_name("loss", name, LOSSES)
    parameters = inspect.signature(LOSSES[name]).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        for option in options:
            check_name(f"option of loss '{name}'", option, parameters)
    return LOSSES[name](**options)
