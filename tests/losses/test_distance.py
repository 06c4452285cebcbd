"""The baselines against hand-computed values, and what every loss of the registry must do."""

from __future__ import annotations

import math

import pytest
import torch

from facekd.errors import InputError, RecipeError
from facekd.losses.registry import LossSettings
from facekd.settings import Settings, checked

LOSSES = ("kd", "l1", "l2", "smooth_l1", "wing")


class Recipe(Settings):
    """A recipe that says nothing but the loss."""

    loss: LossSettings


def build(name: str, **options: object) -> torch.nn.Module:
    """Return the loss that a recipe names."""
    return checked(Recipe, {"loss": {"name": name, **options}}, "here").loss.build()


def at(*values: float) -> list[torch.Tensor]:
    """One coordinate each as (1, 1, 1) tensors: then the mean reduction changes nothing."""
    return [torch.tensor([[[value]]], dtype=torch.float64) for value in values]


def test_mean_over_all_coordinates_in_float32_for_bf16_predictions() -> None:
    pred = torch.zeros(2, 3, 2, dtype=torch.bfloat16)
    pred[0, 0, 0] = 0.25
    terms = build("l1")(pred, torch.zeros(2, 3, 2))
    assert terms.total.dtype == torch.float32
    assert terms.total.item() == pytest.approx(0.25 / 12)


@pytest.mark.parametrize(
    ("name", "options", "error", "expected"),
    [
        ("l1", {}, 0.2, 0.2),
        ("l2", {}, 0.2, 0.04),
        ("smooth_l1", {"width": 0.1}, 0.05, 0.0125),
        ("smooth_l1", {"width": 0.1}, 0.2, 0.15),
        ("wing", {"width": 0.04, "curvature": 0.01}, 0.01, 0.04 * math.log(2)),
        ("wing", {"width": 0.04, "curvature": 0.01}, 0.2, 0.2 - (0.04 - 0.04 * math.log(5))),
    ],
)
def test_baselines_by_hand(name: str, options: dict[str, float], error: float, expected: float) -> None:
    terms = build(name, **options)(*at(-error, 0, 0.01, 0.03))
    assert terms.total.item() == terms.main.item() == pytest.approx(expected)
    assert terms.tough == terms.tolerant == 0


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_called_alike_and_pulls_to_the_ground_truth(name: str) -> None:
    loss = build(name)
    for error in (0.003, 0.05, 0.2, -0.003, -0.05, -0.2):
        student, *others = at(error, 0, -0.01, 0.03)
        loss(student.requires_grad_(), *others).total.backward()
        assert student.grad.sign() == math.copysign(1, error)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: build("wings"), "did you mean 'wing'"),
        (lambda: build("wing", widht=1.0), "did you mean 'width'"),
        (lambda: build("wing", curvature=0), r"loss\.curvature = 0: .*greater than 0"),
        (lambda: build("smooth_l1", width=-1), "greater than 0"),
        (lambda: build("kd", preset="paper", bta=1), "did you mean 'beta'"),
    ],
)
def test_wrong_names_and_values_are_refused_with_what_is_allowed(call: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        call()  # type: ignore[operator]


@pytest.mark.parametrize("name", LOSSES)
def test_shapes_that_differ_are_refused(name: str) -> None:
    """Broadcasting (B, N, 2) with (1, N, 2) would train on the wrong faces without a word."""
    with pytest.raises(InputError, match=r"\(2, 5, 2\).*\(1, 5, 2\)"):
        build(name)(torch.zeros(2, 5, 2), torch.zeros(1, 5, 2))
