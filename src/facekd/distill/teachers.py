"""What frozen teachers say of the student's view: asked online, or once for a fixed number of views per face."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from rich.progress import track
from torch import Tensor

from facekd.distill.augment import Augmenter
from facekd.distill.networks import LandmarkNet
from facekd.distill.train import Faces
from facekd.files import atomic

_BATCH = 64


class OnlineTeachers:
    """Teachers, by name, that look at each view as it comes: endless views, at a forward pass each in every step."""

    def __init__(self, nets: Mapping[str, LandmarkNet], fabric: Fabric) -> None:
        self.nets = {name: net.eval().requires_grad_(False).to(fabric.device) for name, net in nets.items()}
        self.fabric = fabric

    @torch.no_grad()
    def __call__(self, images: Tensor, faces: np.ndarray, view: int) -> dict[str, Tensor]:
        """Return each teacher's normalised landmarks (B, N, 2)."""
        with self.fabric.autocast():
            return {name: net(images).landmarks for name, net in self.nets.items()}


class ViewedTeachers:
    """Teachers whose landmarks of each view were written down: predictions[name][view, face] is (N, 2)."""

    def __init__(self, predictions: Mapping[str, np.ndarray], device: torch.device) -> None:
        self.predictions, self.device = predictions, device

    def __call__(self, images: Tensor, faces: np.ndarray, view: int) -> dict[str, Tensor]:
        """Return each teacher's normalised landmarks (B, N, 2)."""
        return {name: torch.from_numpy(known[view, faces]).to(self.device) for name, known in self.predictions.items()}


@torch.no_grad()
def look(
    net: LandmarkNet, train: Faces, augmenter: Augmenter, views: int, path: Path, fabric: Fabric, title: str
) -> None:
    """Write a teacher's normalised landmarks (views, n, N, 2) float32 of every view of every face, once."""
    if path.is_file():
        return
    net = net.eval().to(fabric.device).to(memory_format=torch.channels_last)
    found = np.empty((views, *train.points.shape), np.float32)
    for view in track(range(views), f"{title} looks at {views} views", transient=True):
        for start in range(0, len(train), _BATCH):
            rows = np.arange(start, min(start + _BATCH, len(train)))
            batch = augmenter(torch.from_numpy(train.frames[rows]), train.points[rows], train.boxes[rows], rows, view)
            with fabric.autocast():
                found[view, rows] = net(batch.images).landmarks.float().cpu().numpy()
    with atomic(path) as temporary:
        np.save(temporary, found)
