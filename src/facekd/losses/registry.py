"""Every loss a recipe can name. A new loss is one file with the loss and its settings, and one line here."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator

from facekd.losses.distance import L1Settings, L2Settings, SmoothL1Settings, WingSettings
from facekd.losses.kd import KDSettings


def _named(value: Any) -> Any:
    """Let a loss be given by its name alone."""
    return {"name": value} if isinstance(value, str) else value


Loss = L1Settings | L2Settings | SmoothL1Settings | WingSettings | KDSettings
LossSettings = Annotated[Annotated[Loss, Discriminator("name")], BeforeValidator(_named)]
