"""The few exceptions a user can meet. Their text is one sentence: what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FacekdError(Exception):
    """Base of every error that a user can cause and fix."""


class InputError(FacekdError):
    """A photo, label file, pack or argument cannot be used."""


class RecipeError(FacekdError):
    """A recipe, or a setting given with --set, is wrong."""


class ModelError(FacekdError):
    """A model file, its card or its weights cannot be used."""


class TrainingError(FacekdError):
    """Training cannot go on, for example because the loss is no longer a number."""


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Write a hint that names the allowed words and, if one is close to the given word, asks whether it was meant.

    Args:
        word: what was given.
        allowed: what could have been.

    Returns:
        The hint, to be put behind a semicolon.
    """
    names = list(allowed)
    close = difflib.get_close_matches(word, names, n=1)
    meant = f"did you mean '{close[0]}'? " if close else ""
    return f"{meant}allowed: {', '.join(names)}"
