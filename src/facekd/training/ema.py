"""An exponential moving average (EMA) of a network's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class ExponentialMovingAverage:
    """An exponential moving average of a network's weights and statistics (EMA); it follows quickly at first."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {key: value.detach().clone() for key, value in net.state_dict().items()}

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Take in the weights after a step."""
        decay = min(self.decay, (1 + step) / (10 + step))
        own, new = [], []
        for key, value in net.state_dict().items():
            if value.dtype.is_floating_point:
                own.append(self.state[key])
                new.append(value.detach())
            else:
                self.state[key].copy_(value)
        torch._foreach_lerp_(own, new, 1 - decay)

    @contextmanager
    def in_place_of(self, net: nn.Module) -> Iterator[None]:
        """Lend the averaged state to the network for a while."""
        training = {key: value.clone() for key, value in net.state_dict().items()}
        net.load_state_dict(self.state)
        try:
            yield
        finally:
            net.load_state_dict(training)
