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

All is in normalised coordinates, and the parts are means over the B * N * 2 coordinates, less those of missing points.
Source: Fard & Mahoor, arXiv 2111.07047 (figures: preset `paper`) and its released code (preset `released`).
"""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import (
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_serializer,
    model_validator,
)
from torch import Tensor, nn

from facekd.losses.base import LossTerms, absolute_error, mean_of_labelled
from facekd.settings import Number, Settings, checked

_RELEASED = {
    "main_coefficient": 2.0,
    "main_slope": 3.0,
    "main_break": "tolerant",
    "tough_positive": 1.9,
    "tough_negative": -0.45,
    "tolerant_positive": 1.8,
    "tolerant_negative": -0.40,
    "beta": 0.15,
    "low_influence": "zero",
}


def _one_sentence(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """Refuse what is neither with one sentence for both."""
    try:
        return check(value)
    except ValidationError:
        raise ValueError("it must be tolerant or a number") from None


class KDSettings(Settings):
    """The numbers of KD-Loss; the module's docstring has the formula. The defaults are those of the preset `paper`."""

    name: Literal["kd"] = "kd"
    preset: Literal["paper", "released"] = Field(
        "paper", description="where the numbers below come from: the paper's figures, or the authors' code"
    )
    main_coefficient: Number = Field(2.5, ge=0, description="weight of the main term (paper: read off the plot)")
    main_slope: Number = Field(1.0, ge=0, description="slope of the main term below its break point")
    main_break: Annotated[Literal["tolerant"] | Number, WrapValidator(_one_sentence)] = Field(
        0.5,
        description="where the main term turns into a parabola: a normalised distance, or tolerant, the tolerant "
        "teacher's error at the same coordinate (without that teacher there is no break)",
    )
    tough_positive: Number = Field(1.0, ge=0, description="tough teacher, student behind it: weight")
    tough_negative: Number = Field(-0.5, le=0, description="tough teacher, student ahead of it: weight")
    tolerant_positive: Number = Field(1.0, ge=0, description="tolerant teacher, student behind it: weight")
    tolerant_negative: Number = Field(-0.5, le=0, description="tolerant teacher, student ahead of it: weight")
    beta: Number = Field(0.4, gt=0, lt=1, description="share of a teacher's error below which its influence is low")
    low_influence: Literal["ramp", "zero"] = Field("ramp", description="ALoss below that: a ramp, or nothing")
    assistance: Number = Field(1.0, ge=0, description="scales all four ALoss weights (one figure is drawn with 0.9)")

    needs_teachers: ClassVar[bool] = True

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, values: Any) -> Any:
        return _RELEASED | values if isinstance(values, dict) and values.get("preset") == "released" else values

    @model_serializer
    def _kept(self) -> dict[str, Any]:
        """Write the preset and what differs from it: written in full, its numbers would outlive a change of preset."""
        usual = _RELEASED if self.preset == "released" else {}
        numbers = {key: field.default for key, field in KDSettings.model_fields.items()} | usual
        kept = {key: getattr(self, key) for key in numbers if getattr(self, key) != numbers[key]}
        return {"name": self.name, "preset": self.preset} | kept

    def build(self) -> KDLoss:
        """Make the loss.

        Returns:
            The loss, ready to call.
        """
        return KDLoss(**{key: value for key, value in self.model_dump().items() if key != "name"})


PRESETS: dict[str, KDSettings] = {"paper": KDSettings(), "released": KDSettings(preset="released")}


def main_loss(error: Tensor, slope: float, breakpoint: float | Tensor) -> Tensor:
    """Loss_Main per coordinate: `slope * error` up to the break point, then a parabola that continues it.

    Args:
        error: absolute error per coordinate, any shape.
        slope: of the linear part.
        breakpoint: a number (infinity: no parabola) or a tensor of that shape.

    Returns:
        The loss per coordinate, same shape.
    """
    parabola = error.square() + (slope - breakpoint) * breakpoint
    return torch.where(error <= breakpoint, slope * error, parabola)


def assistive_loss(
    error: Tensor, teacher_error: Tensor, positive: float, negative: float, beta: float, ramp: bool
) -> Tensor:
    """ALoss per coordinate; the formula is in the module's docstring.

    Args:
        error: absolute error of the student per coordinate, normalised; gradient flows into it alone.
        teacher_error: the same of the teacher, same shape.
        positive: weight where the student is behind the teacher, 0 or more.
        negative: weight where it is ahead, 0 or less.
        beta: share of the teacher's error below which its influence is low, in (0, 1).
        ramp: whether the influence there falls to 0 with the error, or is 0.

    Returns:
        The loss per coordinate, same shape.
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

    Source: Fard & Mahoor, arXiv 2111.07047.

        loss = KDLoss("released", beta=0.2)
        total, main, tough, tolerant = loss(pred, target, tough_prediction, tolerant_prediction)

    Args:
        preset: "paper" (the figures) or "released" (the authors' code).
        overrides: any field of `KDSettings`.

    Raises:
        RecipeError: an unknown preset or name, or a value outside its range.
    """

    def __init__(self, preset: str = "paper", **overrides: Any) -> None:
        super().__init__()
        self.settings = checked(KDSettings, {"preset": preset, **overrides}, "KD-Loss")

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        tough: Tensor | None = None,
        tolerant: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> LossTerms:
        """Return the loss and its parts; a teacher that is not given has no part.

        Args:
            pred: (B, N, 2) the student's landmarks, normalised.
            target: (B, N, 2) the ground truth, normalised; NaN where a point is missing: it counts nothing.
            tough: (B, N, 2) the tough teacher's landmarks, or None; no gradient flows into them.
            tolerant: (B, N, 2) the tolerant teacher's, or None.
            weight: (B, N) how much each point counts, 0 or more; None: all alike.

        Returns:
            total, main (with its coefficient), tough, tolerant: scalars, means over the coordinates.

        Raises:
            InputError: shapes differ.
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
        mean = partial(mean_of_labelled, target=target, weight=weight)
        main = s.main_coefficient * mean(main_loss(error, s.main_slope, breakpoint))
        tough_part = s.assistance * mean(self._assist(error, tough_error, s.tough_positive, s.tough_negative))
        tolerant_part = s.assistance * mean(
            self._assist(error, tolerant_error, s.tolerant_positive, s.tolerant_negative)
        )
        return LossTerms(main + tough_part + tolerant_part, main, tough_part, tolerant_part)

    def _assist(self, error: Tensor, teacher_error: Tensor | None, positive: float, negative: float) -> Tensor:
        """Return one teacher's part of the loss per coordinate."""
        if teacher_error is None:
            return torch.zeros_like(error)
        ramp = self.settings.low_influence == "ramp"
        return assistive_loss(error, teacher_error, positive, negative, self.settings.beta, ramp)
