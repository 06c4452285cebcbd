"""KD-Loss: two frozen teachers set how hard the ground truth pulls at each coordinate.

Per coordinate, with the student's error `e = |pred - target|` and a teacher's error `T = |teacher - target|`:

    main   = slope * e                          for e <= k
             e^2 + slope * k - k^2              for e > k          (continuous at k)
    ALoss  = positive * (e - T)                 for e > T               positive assistant: student behind teacher
             negative * (T - e)                 for beta T <= e <= T    negative assistant: student ahead
             negative * (T - e) * e / (beta T)  for e < beta T          low influence "ramp"; 0 for "zero"
    total  = main_coefficient * main + assistance * (ALoss(tough) + ALoss(tolerant))

`|P'_Te - P_Pr|` of the paper is `|T - e|` here: the reflection puts the teacher on the student's side of the ground
truth, so only its distance is left. `T`, and the choice of a region, carry no gradient; the ramp does, for it is a
function of `e`. Hence the derivative of ALoss with respect to `e`:

    e > T:  positive        beta T <= e <= T:  -negative        e < beta T:  negative * (1 - 2 e / T) / beta, or 0

In the preset `paper` the ramp's derivative starts at -0.5 / 0.4 = -1.25 for each teacher, and the main term's 2.5 is
what the two of them cancel: the gradient of the whole loss is 0 at the ground truth and grows linearly from there.
The boundary `e = T` belongs to the negative assistant; the value is 0 there from both sides, the derivative is not.
In the preset `released` the *value* of ALoss drops from 0 to negative * (1 - beta) T at `e = beta T`: its gradient
does not see that step, but a line search or a plot of the loss does.

All is in normalised coordinates, and the parts are means over the B * N * 2 coordinates.
Source: Fard & Mahoor, arXiv 2111.07047 (figures: preset `paper`) and its released code (preset `released`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from facekd.losses.base import LossTerms, absolute_error, check, check_name, is_number


@dataclass(frozen=True)
class KDSettings:
    """The numbers of KD-Loss; the module's docstring says what each one does.

    `main_break` (k) is a distance in normalised coordinates, or "tolerant": the tolerant teacher's error at the same
    coordinate. Then, without that teacher, there is no break and the main term stays linear. `assistance` scales all
    four ALoss weights at once. Raises RecipeError when a value is outside its range.
    """

    main_coefficient: float
    main_slope: float
    main_break: float | Literal["tolerant"]
    tough_positive: float
    tough_negative: float
    tolerant_positive: float
    tolerant_negative: float
    beta: float
    low_influence: Literal["ramp", "zero"]
    assistance: float = 1.0  # one figure of the paper is drawn with 0.9

    def __post_init__(self) -> None:
        """Refuse what would train towards something else than the ground truth."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "low_influence":
                check(value in ("ramp", "zero"), field.name, value, "'ramp' or 'zero'")
            elif field.name == "main_break" and isinstance(value, str):
                check(value == "tolerant", field.name, value, "'tolerant' or a number")
            else:
                check(is_number(value), field.name, value, "a number")
        check(0 < self.beta < 1, "beta", self.beta, "between 0 and 1")
        for name in ("main_coefficient", "main_slope", "tough_positive", "tolerant_positive", "assistance"):
            check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("tough_negative", "tolerant_negative"):
            check(getattr(self, name) <= 0, name, getattr(self, name), "0 or less")


PRESETS: dict[str, KDSettings] = {
    "paper": KDSettings(
        main_coefficient=2.5,  # read off the plot of KD-Loss
        main_slope=1.0,
        main_break=0.5,
        tough_positive=1.0,
        tough_negative=-0.5,
        tolerant_positive=1.0,
        tolerant_negative=-0.5,
        beta=0.4,
        low_influence="ramp",
    ),
    "released": KDSettings(
        main_coefficient=2.0,
        main_slope=3.0,
        main_break="tolerant",
        tough_positive=1.9,
        tough_negative=-0.45,
        tolerant_positive=1.8,
        tolerant_negative=-0.40,
        beta=0.15,
        low_influence="zero",
    ),
}


def main_loss(error: Tensor, slope: float, breakpoint: float | Tensor) -> Tensor:
    """Loss_Main per coordinate: `slope * error` up to the break point, then a parabola that continues it.

    error: any shape, 0 or more; breakpoint: a number (infinity: no parabola) or a tensor of that shape.
    """
    parabola = error.square() + (slope - breakpoint) * breakpoint
    return torch.where(error <= breakpoint, slope * error, parabola)


def assistive_loss(
    error: Tensor, teacher_error: Tensor, positive: float, negative: float, beta: float, ramp: bool
) -> Tensor:
    """ALoss per coordinate; the formula is in the module's docstring.

    error, teacher_error: one shape, 0 or more, normalised coordinates. Gradient flows into `error` only.
    """
    teacher_error = teacher_error.detach()
    low = beta * teacher_error
    # Where the teacher is perfect, low = 0: the ramp is not taken there, yet its 0 / 0 would turn the gradient to NaN.
    influence = error / low.clamp_min(torch.finfo(low.dtype).eps) if ramp else torch.zeros_like(error)
    ahead = teacher_error - error
    assistant = torch.where(ahead < 0, -positive * ahead, negative * ahead)
    return torch.where(error < low, influence * assistant, assistant)


class KDLoss(nn.Module):
    """KD-Loss: the ground truth leads, and two frozen teachers set how hard it pulls at each coordinate.

    preset: "paper" (the figures) or "released" (the authors' code); overrides: any field of `KDSettings`.
    Raises RecipeError for an unknown preset or name, or a value outside its range.
    Source: Fard & Mahoor, arXiv 2111.07047.

        loss = KDLoss("released", beta=0.2)
        total, main, tough, tolerant = loss(pred, target, tough_prediction, tolerant_prediction)
    """

    def __init__(self, preset: str = "paper", **overrides: Any) -> None:
        super().__init__()
        check_name("KD-Loss preset", preset, PRESETS)
        for name in overrides:
            check_name("setting of KD-Loss", name, (field.name for field in fields(KDSettings)))
        self.settings = replace(PRESETS[preset], **overrides)

    def forward(
        self, pred: Tensor, target: Tensor, tough: Tensor | None = None, tolerant: Tensor | None = None
    ) -> LossTerms:
        """Return the loss of `pred` (B, N, 2) and its parts (`main` with its coefficient); no teacher, no part.

        target, tough, tolerant: (B, N, 2); no gradient flows into them. Raises InputError when shapes differ.
        """
        s = self.settings
        error = absolute_error(pred, target)
        tough_error = None if tough is None else absolute_error(tough, target).detach()
        tolerant_error = None if tolerant is None else absolute_error(tolerant, target).detach()
        breakpoint: float | Tensor
        if s.main_break != "tolerant":
            breakpoint = s.main_break
        else:
            breakpoint = math.inf if tolerant_error is None else tolerant_error
        main = s.main_coefficient * main_loss(error, s.main_slope, breakpoint).mean()
        tough_part = self._assist(error, tough_error, s.tough_positive, s.tough_negative)
        tolerant_part = self._assist(error, tolerant_error, s.tolerant_positive, s.tolerant_negative)
        return LossTerms(main + tough_part + tolerant_part, main, tough_part, tolerant_part)

    def _assist(self, error: Tensor, teacher_error: Tensor | None, positive: float, negative: float) -> Tensor:
        """Return one teacher's part of the loss, a scalar."""
        if teacher_error is None:
            return error.new_zeros(())
        ramp = self.settings.low_influence == "ramp"
        values = assistive_loss(error, teacher_error, positive, negative, self.settings.beta, ramp)
        return self.settings.assistance * values.mean()
