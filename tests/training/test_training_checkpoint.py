"""Where a training goes on: what was written is read back, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from facekd.errors import TrainingError
from facekd.training import checkpoint
from facekd.training.ema import ExponentialMovingAverage
from facekd.training.loop import Best


def parts(seed: int = 0) -> tuple[nn.Module, ExponentialMovingAverage, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    return net, ExponentialMovingAverage(net, 0.9), torch.optim.Adam(net.parameters(), lr=0.1)


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, nn.Module]:
    """A checkpoint after two steps."""
    net, average, optimiser = parts()
    for step in range(2):
        optimiser.zero_grad()
        net(torch.randn(4, 2)).square().mean().backward()
        optimiser.step()
        average.update(net, step)
    best = Best(3, epoch=1, val_nme=5.0, state={key: value.clone() for key, value in net.state_dict().items()})
    checkpoint.save(tmp_path / "checkpoint.pt", 2, net, average, optimiser, best)
    return tmp_path / "checkpoint.pt", net


CPU = torch.device("cpu")


def test_what_was_written_is_read_back(written: tuple[Path, nn.Module]) -> None:
    path, trained = written
    net, average, optimiser = parts(1)
    best = Best(3)
    assert checkpoint.resume(path, CPU, net, average, optimiser, best) == 2
    for key, value in trained.state_dict().items():
        torch.testing.assert_close(net.state_dict()[key], value)
    assert (best.epoch, best.val_nme) == (1, 5.0) and best.state is not None
    moments = optimiser.state_dict()["state"]
    assert len(moments) == 4 and all(float(values["step"]) == 2 for values in moments.values())
    assert checkpoint.resume(path.with_name("none.pt"), CPU, *parts(), Best(0)) == 0


def test_settings_of_the_optimiser_are_the_recipes(written: tuple[Path, nn.Module]) -> None:
    net, average, _ = parts()
    optimiser = torch.optim.Adam(net.parameters(), lr=0.5, betas=(0.8, 0.9))
    checkpoint.resume(written[0], CPU, net, average, optimiser, Best(0))
    assert optimiser.param_groups[0]["betas"] == (0.8, 0.9) and optimiser.param_groups[0]["lr"] == 0.5


def spoil(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda state: state["net"].update({key: torch.full((3, 2), float("nan"))})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("step"), "does not say its step"),
        (lambda state: state.update(step=-1), "does not say its step"),
        (lambda state: state.update(step=True), "does not say its step"),
        (lambda state: state.pop("net"), "weights .net. are not those"),
        (lambda state: state["net"].pop("0.bias"), "weights .net. are not those"),
        (spoil("0.weight"), "0.weight .net. is not as in this network, or not finite"),
        (lambda state: state["net"].update({"0.weight": torch.zeros(2, 3)}), "0.weight .net. is not as in"),
        (lambda state: state["average"].update({"0.bias": [1]}), "0.bias .average. is not as in"),
        (lambda state: state.update(average=[]), "weights .average. are not those"),
        (lambda state: state.update(optimiser=[]), "optimiser's state"),
        (lambda state: state["optimiser"]["state"][0].pop("exp_avg"), "optimiser's state"),
        (lambda state: state["optimiser"]["state"].update({9: {}}), "optimiser's state"),
        (lambda state: state["optimiser"]["state"][0].update(step=torch.zeros(2)), "optimiser's state"),
        (lambda state: state["best"].update(val_nme="low"), "best weights are damaged"),
        (lambda state: state["best"].pop("state"), "best weights are damaged"),
    ],
)
def test_a_damaged_checkpoint_is_one_sentence(
    written: tuple[Path, nn.Module], change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path, _ = written
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    net, average, optimiser = parts(1)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(TrainingError, match=f"checkpoint .*checkpoint\.pt cannot be used: .*{message}"):
        checkpoint.resume(path, CPU, net, average, optimiser, Best(3))
    for key, value in before.items():  # nothing of it is used
        torch.testing.assert_close(net.state_dict()[key], value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no checkpoint", b"\x80\x02K\x01."])
def test_what_is_no_checkpoint_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"checkpoint .* cannot be used"):
        checkpoint.resume(path, CPU, *parts(), Best(0))


def test_half_a_checkpoint_is_one_sentence(written: tuple[Path, nn.Module]) -> None:
    path, _ = written
    content = path.read_bytes()
    for length in (10, len(content) // 2, len(content) - 10):
        path.write_bytes(content[:length])
        with pytest.raises(TrainingError, match="cannot be used"):
            checkpoint.resume(path, CPU, *parts(), Best(0))
