"""A stage's learning rate and its optimiser."""

from __future__ import annotations

import math

import torch
from torch import nn

from facekd.recipes.schema import Optimisation


def learning_rate(settings: Optimisation, step: int, steps: int) -> float:
    """Return the rate of a step: a linear rise, then a cosine to zero or the paper's lr / (1 + 1e-4 step)."""
    warmup = settings.warmup * steps
    if step < warmup:
        return settings.lr * (step + 1) / (warmup + 1)
    if settings.schedule == "paper":
        return settings.lr / (1 + 1e-4 * step)  # 1e-4: released code's decay
    return settings.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def build_optimiser(settings: Optimisation, net: nn.Module) -> torch.optim.Optimizer:
    """Return the stage's optimiser; biases and normalisation are not decayed."""
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    decayed = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return kinds[settings.optimiser](groups, lr=settings.lr, betas=(0.9, 0.999), fused=True)
