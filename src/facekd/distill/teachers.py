"""What frozen teachers say of the student's view: asked online, or once for a fixed number of views per face."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from rich.progress import track
from torch import Tensor

from facekd.distill.augment import Augmenter
from facekd.distill.networks import LandmarkNet
from facekd.distill.objective import spread
from facekd.distill.train import Faces
from facekd.files import atomic

_BATCH = 64


Says = Callable[[Tensor], Tensor]  # views (B, 3, S, S) -> what a teacher says of them, (B, N, ...)


def landmarks_of(net: LandmarkNet) -> Says:
    """Return how a teacher of the paper is asked: its normalised landmarks (B, N, 2)."""
    return lambda images: net(images).landmarks


def expert_says(net: LandmarkNet, mirror: Tensor | None = None) -> Says:
    """Return how an expert is asked: landmarks and the covariance of its heatmaps, (B, N, 5): x, y, xx, xy, yy.

    Of a heatmap its first two moments are kept: they are small enough to write down, and hold for a student whose grid
    is another. A network without heatmaps has no spread.

    mirror: (N,) what each point is in the mirrored face; the expert then looks at both, and says the mean.
    """

    def say(images: Tensor) -> Tensor:
        landmarks, _, heatmaps = net(images)
        covariance = landmarks.new_zeros(*landmarks.shape[:2], 3) if heatmaps is None else spread(heatmaps)
        return torch.cat([landmarks, covariance], dim=-1)

    if mirror is None:
        return say
    back = torch.tensor([-1.0, 1, 1, -1, 1])
    return lambda images: (say(images) + say(images.flip(-1))[:, mirror] * back.to(images.device)) / 2


class OnlineTeachers:
    """Teachers, by name, that look at each view as it comes: endless views, at a forward pass each in every step."""

    def __init__(self, teachers: Mapping[str, Says], fabric: Fabric) -> None:
        self.teachers, self.fabric = teachers, fabric

    @torch.no_grad()
    def __call__(self, images: Tensor, faces: np.ndarray, view: int) -> dict[str, Tensor]:
        """Return what each teacher says."""
        with self.fabric.autocast():
            return {name: says(images).float() for name, says in self.teachers.items()}


class ViewedTeachers:
    """Teachers whose word on each view was written down: said[name][view, face] is what it says of that face."""

    def __init__(self, said: Mapping[str, np.ndarray], device: torch.device) -> None:
        self.said, self.device = said, device

    def __call__(self, images: Tensor, faces: np.ndarray, view: int) -> dict[str, Tensor]:
        """Return what each teacher says."""
        return {name: torch.from_numpy(known[view, faces]).to(self.device) for name, known in self.said.items()}


@torch.no_grad()
def look(says: Says, train: Faces, augmenter: Augmenter, views: int, path: Path, fabric: Fabric, title: str) -> None:
    """Write what a teacher says of every view of every face, (views, n, N, ...) float32, unless it is there."""
    if path.is_file():
        return
    said = []
    for view in track(range(views), f"{title} looks at {views} views", transient=True):
        for start in range(0, len(train), _BATCH):
            rows = np.arange(start, min(start + _BATCH, len(train)))
            batch = augmenter(torch.from_numpy(train.frames[rows]), train.points[rows], train.boxes[rows], rows, view)
            with fabric.autocast():
                said.append(says(batch.images).float().cpu().numpy())
    stacked = np.concatenate(said)
    with atomic(path) as temporary:
        np.save(temporary, stacked.reshape(views, len(train), *stacked.shape[1:]))
