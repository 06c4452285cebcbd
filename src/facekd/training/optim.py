"""A stage's learning rate and its optimiser."""

from __future__ import annotations

import math

import torch
from torch import nn

from facekd.recipes.groups import Optimisation


def learning_rate(settings: Optimisation, step: int, steps: int) -> float:
    """Return the learning rate of a step: linear warm-up, then half a cosine to zero or the paper's decay.

    Args:
        settings: lr, warmup, schedule.
        step: from 0.
        steps: of the whole schedule; a stage may stop earlier.

    Returns:
        The rate; the paper's is lr / (1 + 1e-4 step).
    """
    warmup = settings.warmup * steps
    if step < warmup:
        return settings.lr * (step + 1) / (warmup + 1)
    if settings.schedule == "paper":
        return settings.lr / (1 + 1e-4 * step)  # the decay in the paper's released code
    return settings.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def build_optimiser(settings: Optimisation, net: nn.Module) -> torch.optim.Optimizer:
    """Return a stage's optimiser, with two groups of parameters: biases and normalisation have no weight decay.

    Args:
        settings: optimiser, lr, weight_decay.
        net: whose parameters are optimised.

    Returns:
        Adam or AdamW with betas 0.9 and 0.999.
    """
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    decayed = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return kinds[settings.optimiser](groups, lr=settings.lr, betas=(0.9, 0.999), fused=True)
