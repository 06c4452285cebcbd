"""Backbones: those of timm, by name, and the weights they start from."""

from __future__ import annotations

import difflib
import re
from typing import Any

import timm
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from facekd.errors import ModelError, nearest


def check_backbone(name: str) -> None:
    """Check that timm has a backbone of that name.

    Args:
        name: a model name of timm, with or without a tag behind a dot.

    Raises:
        ModelError: it has none, or not with that tag; the message lists names that are spelt alike.
    """
    hub, _, path = name.rpartition(":")
    if hub:
        plain = path.rpartition("/")[2]
        raise ModelError(f"backbone '{name}' is an address; give timm's name, such as '{plain}', and init: timm")
    model, _, tag = name.partition(".")
    if not timm.is_model(model):
        raise ModelError(f"timm has no backbone '{name}'; {_similar_names(name)}")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{model}.*")]
    if tag and tag not in tags:
        raise ModelError(f"timm has no weights '{tag}' of backbone '{model}'; {nearest(tag, tags)}")


def create_backbone(name: str, **options: Any) -> nn.Module:
    """Return a backbone with random weights.

    Args:
        name: a model name of timm.
        options: passed to `timm.create_model`.

    Returns:
        The backbone.

    Raises:
        ModelError: timm has no such backbone.
    """
    check_backbone(name)
    return timm.create_model(name, pretrained=False, **options)


def pixel_statistics(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation per colour channel that a backbone was pretrained with.

    Args:
        name: a model name of timm.

    Returns:
        Mean and standard deviation, three values each, of pixels in [0, 1].
    """
    config = timm.get_pretrained_cfg(name).to_dict()
    return tuple(config["mean"]), tuple(config["std"])


def load_backbone(backbone: nn.Module, name: str, weights: str, setting: str = "student.init") -> None:
    """Load pretrained weights into a backbone; those of a classifier are left out.

    Args:
        backbone: changed in place.
        name: its model name in timm.
        weights: "none", "timm" (its hub, which needs internet once) or a .safetensors file with timm's names.
        setting: the recipe's key for `weights`, for error messages.

    Raises:
        ModelError: the weights cannot be read or do not fit; the message names the layers.
    """
    if weights == "none":
        return
    state = _hub_weights(name, setting) if weights == "timm" else _file_weights(weights)
    own = backbone.state_dict()
    missing = [key for key in own if key not in state]
    wrong = [
        f"{k} {tuple(state[k].shape)}, not {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    if missing or wrong:
        layers = "; ".join([*wrong[:3], *(f"no {key}" for key in missing[:3])])
        raise ModelError(
            f"weights {weights} do not fit '{name}': {len(missing) + len(wrong)} layers differ ({layers}, ...)"
        )
    backbone.load_state_dict({key: state[key] for key in own})


def _hub_weights(name: str, setting: str) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # timm and its hub raise all kinds; the user can do the same about each
        raise ModelError(
            f"weights of '{name}' could not be had from timm's hub ({type(error).__name__}); without internet "
            f"give a .safetensors file, or none: --set {setting}=FILE"
        ) from error
    return state


def _file_weights(path: str) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"weights {path} cannot be read as safetensors: {error}") from None


def _similar_names(name: str) -> str:
    """Return a hint that names timm's backbones spelt alike, those first that differ by digits or separators only."""
    models, plain = timm.list_models(), _plain(name)
    alike = [model for model in models if _plain(model) and plain.startswith(_plain(model))]
    # mobilenet_v2 means the plain network of that family, which timm calls mobilenetv2_100.
    family = [model for model in models if plain and _plain(model).startswith(plain)]
    whole = [model for model in family if model.endswith("_100")]
    close = difflib.get_close_matches(name, models, n=8)
    names = list(dict.fromkeys([*whole, *close, *family, *alike]))[:8] or ["mobilenetv2_100", "efficientnet_b3"]
    return f"did you mean '{names[0]}'? allowed: {', '.join(names)}, ... (timm.list_models())"


def _plain(name: str) -> str:
    """Return a name without what people leave out or write in another way."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
