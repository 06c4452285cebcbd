"""Backbones: those of timm, by name, and the weights they start from."""

from __future__ import annotations

import difflib
import re
import ssl
import threading
from http.client import HTTPException
from typing import Any
from unittest.mock import patch
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import timm
from huggingface_hub import constants
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from facekd.errors import ModelError, nearest

_PATIENCE = 5.0  # seconds for the hub to answer, which takes it a fraction of one


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
    if not timm.is_model_pretrained(name):
        raise ModelError(f"timm has no weights for '{name}'; --set {setting}=none, or choose another backbone")
    offline = constants.HF_HUB_OFFLINE or not _answers(constants.ENDPOINT)
    try:
        # What was downloaded before is found offline, too, and without the hub's own retries, which take a minute.
        with patch.object(constants, "HF_HUB_OFFLINE", offline):
            state: dict[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # timm and its hub raise all kinds; the user can do the same about each
        why = type(error).__name__
        if offline:
            why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} does not answer"
        raise ModelError(
            f"weights of '{name}' could not be had from timm's hub ({why}); without internet "
            f"give a .safetensors file, or none: --set {setting}=FILE"
        ) from error
    return state


def _answers(address: str) -> bool:
    """Return whether a server answers within a few seconds, whatever it says."""
    answered = []

    def ask() -> None:
        try:
            urlopen(Request(address, method="HEAD"), timeout=_PATIENCE).close()
        except (HTTPError, HTTPException):
            pass
        except (OSError, ValueError) as error:  # a ValueError: HF_ENDPOINT is no address
            # Certificates are for the hub's library to check, which may know others.
            if not isinstance(getattr(error, "reason", error), ssl.SSLError):
                return
        answered.append(True)

    # A thread, for names may take longer to be looked up than the time limit, which does not hold for that.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PATIENCE)
    return bool(answered)


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
