"""Where a training that was stopped goes on: step, weights, their average and the optimiser's state, in one file."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn

from facekd.documents import is_finite
from facekd.errors import TrainingError
from facekd.files import atomic
from facekd.training.ema import ExponentialMovingAverage

_STEPS = 10**12
_BEST = ("epoch", "val_nme", "state")


def save(path: Path, step: int, net: nn.Module, average: ExponentialMovingAverage, optimiser: Any, best: Any) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: the file.
        step: how many are done.
        net: its weights.
        average: of the weights.
        optimiser: its state.
        best: `loop.Best`, the best weights so far.
    """
    state = {"step": step, "net": net.state_dict(), "average": average.state, "optimiser": optimiser.state_dict()}
    state |= {"best": {key: getattr(best, key) for key in _BEST}} if best.state else {}
    with atomic(path) as temporary:
        torch.save(state, temporary)


def resume(
    path: Path, device: torch.device, net: nn.Module, average: ExponentialMovingAverage, optimiser: Any, best: Any
) -> int:
    """Load a checkpoint if there is one; all of it is checked before any of it is used.

    Args:
        path: the file.
        device: the tensors go there.
        net: takes the weights.
        average: takes theirs.
        optimiser: takes its state; a trained network that gets more epochs has none.
        best: `loop.Best`, takes the best weights so far, if it has patience.

    Returns:
        The step to go on from; 0 without a checkpoint.

    Raises:
        TrainingError: the file is damaged, or of another network.
    """
    if not path.is_file():
        return 0
    state, own, best_state = _read(path, device), net.state_dict(), None
    step = state.get("step")
    if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step <= _STEPS:
        _refuse(path, "it does not say its step")
    for key in ("net", "average"):
        _check_weights(path, state.get(key), own, key)
    moments = _moments(path, state["optimiser"], optimiser) if "optimiser" in state else None
    if "best" in state:
        best_state = state["best"]
        if not isinstance(best_state, Mapping) or set(best_state) != set(_BEST):
            _refuse(path, "its best weights are damaged")
        _check_weights(path, best_state["state"], own, "best")
        if not isinstance(best_state["epoch"], int) or not is_finite(best_state["val_nme"]):
            _refuse(path, "its best weights are damaged")
    net.load_state_dict(state["net"])
    average.state = dict(state["average"])
    if moments is not None:
        optimiser.load_state_dict(moments)
    if best.patience and best_state is not None:
        vars(best).update(best_state)
    return step


def _read(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    # torch.load has no one error of its own for files that are damaged.
    except (
        OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, EOFError, pickle.UnpicklingError,
        AssertionError, ArithmeticError,
    ) as error:  # fmt: skip
        _refuse(path, str(error).partition("\n")[0] or type(error).__name__)
    if not isinstance(state, dict):
        _refuse(path, "it is another file of torch's")
    return state


def _check_weights(path: Path, given: Any, own: Mapping[str, torch.Tensor], what: str) -> None:
    """Refuse weights that are not those of the network: other names, shapes, types, or not finite."""
    if not isinstance(given, Mapping) or given.keys() != own.keys():
        _refuse(path, f"its weights ({what}) are not those of this network")
    for key, wanted in own.items():
        if not _is_like(given[key], wanted):
            _refuse(path, f"{key} ({what}) is not as in this network, or not finite")


def _moments(path: Path, given: Any, optimiser: Any) -> dict[str, Any]:
    """Return the state of an optimiser with the moments of a checkpoint; its settings are the recipe's."""
    own = optimiser.state_dict()
    parameters = [one.detach() for group in optimiser.param_groups for one in group["params"]]
    state = given.get("state") if isinstance(given, Mapping) else None
    if not isinstance(state, Mapping) or not set(state) <= set(range(len(parameters))):
        _refuse(path, "its optimiser's state is not that of this network")
    for index, values in state.items():
        wanted = {"step": torch.zeros(()), "exp_avg": parameters[index], "exp_avg_sq": parameters[index]}
        if not isinstance(values, Mapping) or values.keys() != wanted.keys():
            _refuse(path, "its optimiser's state is not that of this network")
        if not all(_is_like(values[key], like) for key, like in wanted.items()):
            _refuse(path, "its optimiser's state is not that of this network, or not finite")
    return {"state": dict(state), "param_groups": own["param_groups"]}


def _is_like(value: Any, wanted: torch.Tensor) -> bool:
    """Return whether a value is a plain tensor of the wanted shape and type, and finite."""
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_quantized:
        return False
    if value.shape != wanted.shape or value.dtype != wanted.dtype:
        return False
    return not value.is_floating_point() or bool(math.isfinite(float(value.double().abs().sum())))


def _refuse(path: Path, why: str) -> NoReturn:
    raise TrainingError(f"checkpoint {path} cannot be used: {why}; delete it, and the stage is trained from its start")
