"""A run's student that costs no training."""

from __future__ import annotations

from pathlib import Path

import torch

from facekd.geometry import BoxTransform
from facekd.markup import FIVE
from facekd.networks.architecture import Architecture
from facekd.networks.checkpoint import ModelMetadata, save
from facekd.networks.network import LandmarkNet


def write_student(run: Path, seed: int = 0) -> Path:
    """Write a run's student: an untrained network of 32 px; returns the run."""
    torch.manual_seed(seed)
    net = LandmarkNet(Architecture("resnet10t", "coordinate", points=5, size=32))
    save(net, ModelMetadata(FIVE, scale=1.25, box_transform=BoxTransform()), run / "student" / "model.safetensors")
    (run / "recipe.yaml").write_text("{name: tiny, result: student}\n")
    return run
