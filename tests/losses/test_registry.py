"""Losses as a recipe names them."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import TypeAdapter
from torch import nn

from facekd.errors import RecipeError
from facekd.losses.distance import L1, L2, L1Settings, SmoothL1, Wing, WingSettings
from facekd.losses.kd import KDLoss, KDSettings
from facekd.losses.registry import Loss, LossSettings
from facekd.settings import Settings, checked


class Holder(Settings):
    """Something with a loss."""

    loss: LossSettings = L1Settings()


def loss_of(value: Any) -> Any:
    return checked(Holder, {"loss": value}, "recipe r").loss


@pytest.mark.parametrize(
    ("name", "kind", "needs_teachers"),
    [("l1", L1, False), ("l2", L2, False), ("smooth_l1", SmoothL1, False), ("wing", Wing, False), ("kd", KDLoss, True)],
)
def test_a_name_alone_is_the_loss_with_its_defaults(name: str, kind: type[nn.Module], needs_teachers: bool) -> None:
    settings = loss_of(name)
    assert settings == loss_of({"name": name}) and settings.name == name
    assert type(settings.build()) is kind and settings.needs_teachers is needs_teachers


def test_every_loss_is_named() -> None:
    """The table above, and what a recipe can name, are one list."""
    assert [kind.model_fields["name"].default for kind in get_args(Loss)] == ["l1", "l2", "smooth_l1", "wing", "kd"]


def test_a_loss_takes_its_options() -> None:
    assert loss_of({"name": "wing", "width": 0.1}) == WingSettings(width=0.1)
    assert loss_of({"name": "kd", "preset": "released", "beta": 0.2}) == KDSettings(preset="released", beta=0.2)
    assert loss_of({"name": "wing", "width": "1e-1"}).width == 0.1  # YAML reads 1e-1 as a text
    build = loss_of({"name": "wing", "width": 0.1, "curvature": 0.3}).build()
    assert (build.width, build.curvature) == (0.1, 0.3)


def test_what_was_read_is_read_again_from_what_it_writes() -> None:
    for value in ("l1", {"name": "smooth_l1", "width": 0.5}, {"name": "kd", "preset": "released", "beta": 0.2}):
        settings = loss_of(value)
        assert loss_of(settings.model_dump(mode="json")) == settings == loss_of(settings)
        assert TypeAdapter(LossSettings).validate_python(value) == settings


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("wings", "loss = 'wings'; did you mean 'wing'? allowed: l1, l2, smooth_l1, wing, kd"),
        ({"name": "kdd"}, "loss = 'kdd'; did you mean 'kd'? allowed: l1, l2, smooth_l1, wing, kd"),
        ({"name": "wing", "widht": 1.0}, "unknown key 'loss.widht'; did you mean 'width'? allowed: name, width, curv"),
        ({"name": "l1", "width": 1.0}, "unknown key 'loss.width'; allowed: name"),
        ({"name": "kd", "bta": 1}, "unknown key 'loss.bta'; did you mean 'beta'?"),
        ({"name": "wing", "curvature": 0}, "loss.curvature = 0: Input should be greater than 0"),
        ({"name": "smooth_l1", "width": -1}, "loss.width = -1: Input should be greater than 0"),
        ({"name": "smooth_l1", "width": True}, "loss.width = True: it must be a number"),
        ({"name": "smooth_l1", "width": float("inf")}, "loss.width = inf: Input should be a finite number"),
        ({"name": "smooth_l1", "width": float("nan")}, "loss.width = nan: Input should be "),
        ({"name": "smooth_l1", "width": "wide"}, "loss.width = 'wide': Input should be a valid number"),
        ({"name": "kd", "preset": "relased"}, "loss.preset = 'relased'; did you mean 'released'? allowed: paper, rel"),
        ({"name": "kd", "low_influence": "none"}, "loss.low_influence = 'none'; allowed: ramp, zero"),
        ({"name": "kd", "main_break": "tough"}, "loss.main_break = 'tough': it must be tolerant or a number"),
        ({"name": 3}, "loss = '3'; allowed: l1, l2, smooth_l1, wing, kd"),
        ({"width": 0.1}, "'loss.name' is missing"),
        (3, "loss = 3: it must hold keys and values"),
        (None, "loss = None: it must hold keys and values"),
    ],
)
def test_a_wrong_loss_is_refused_in_a_sentence(value: Any, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loss_of(value)
    told = str(caught.value)
    assert told.startswith("recipe r: ") and message in told and "\n" not in told and "Settings" not in told
