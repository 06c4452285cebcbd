"""An exponential moving average (EMA) of a network's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class ExponentialMovingAverage:
    """An exponential moving average of a network's weights and batch-norm statistics.

    The decay rises over the first steps, (1 + step) / (10 + step), so that the random start is soon forgotten.

    Args:
        net: starts the average with its weights.
        decay: in [0, 1); 0: the average is the last step's weights.

    Attributes:
        state: the averaged state dict.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {key: value.detach().clone() for key, value in net.state_dict().items()}

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Update the average after a step.

        Args:
            net: whose weights the optimiser has just changed.
            step: its number, from 0.
        """
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
    def applied_to(self, net: nn.Module) -> Iterator[None]:
        """Give a network the averaged weights within a `with` block, and its own ones back afterwards.

        Args:
            net: changed in place.

        Yields:
            Nothing.
        """
        training = {key: value.clone() for key, value in net.state_dict().items()}
        net.load_state_dict(self.state)
        try:
            yield
        finally:
            net.load_state_dict(training)
