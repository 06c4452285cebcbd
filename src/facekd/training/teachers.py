"""What frozen teachers say of the student's view.

They are asked online; or once for a fixed number of views per face; or once per face, and what was said is moved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from facekd.files import atomic
from facekd.geometry import crop_matrix, invert, to_pixels
from facekd.losses.objective import spread
from facekd.networks.network import LandmarkNet
from facekd.training.augment import Augmenter
from facekd.training.faces import Faces

_BATCH = 64


Says = Callable[[Tensor], Tensor]  # views (B, 3, S, S) -> what a teacher says of them, (B, N, ...)


def landmarks_of(net: LandmarkNet) -> Says:
    """Return how a teacher of the paper is asked: its normalised landmarks (B, N, 2)."""
    return lambda images: net(_at(images, net)).landmarks


def _at(images: Tensor, net: LandmarkNet) -> Tensor:
    """Return views at the size of a network; a teacher's may differ from its student's."""
    size = net.architecture.size
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)


def expert_says(net: LandmarkNet, mirror: Tensor | None = None) -> Says:
    """Return how an expert is asked: landmarks and the covariance of its heatmaps, (B, N, 5): x, y, xx, xy, yy.

    Of a heatmap its first two moments are kept: they are small enough to write down, and hold for a student whose grid
    is another. A network without heatmaps has no spread.

    mirror: (N,) what each point is in the mirrored face; the expert then looks at both, and says the mean.
    """

    def say(images: Tensor) -> Tensor:
        landmarks, _, heatmaps = net(_at(images, net))
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
    def __call__(self, images: Tensor, faces: np.ndarray, view: np.ndarray) -> dict[str, Tensor]:
        """Return what each teacher says."""
        with self.fabric.autocast():
            return {name: says(images).float() for name, says in self.teachers.items()}


class ViewedTeachers:
    """Teachers whose word on each view was written down: said[name][view, face] is what it says of that face."""

    def __init__(self, said: Mapping[str, np.ndarray], device: torch.device) -> None:
        self.said, self.device = said, device

    def __call__(self, images: Tensor, faces: np.ndarray, view: np.ndarray) -> dict[str, Tensor]:
        """Return what each teacher says."""
        return {name: torch.from_numpy(known[view, faces]).to(self.device) for name, known in self.said.items()}


class MovedTeachers:
    """Teachers whose word on the plain crop was written down once per face, and is moved with each view.

    Views are endless, a teacher costs one look per face, and it saw the face without blur, noise and cut-out.

    Args:
        said: by name, (n, N, 2) landmarks, or (n, N, 5) as `expert_says` has them, of `train`'s plain crops.
        train: the faces they are of.
        augmenter: makes the views.
    """

    def __init__(self, said: Mapping[str, np.ndarray], train: Faces, augmenter: Augmenter) -> None:
        self.boxes, self.augmenter = train.boxes, augmenter
        size = augmenter.frame.size
        back = torch.from_numpy(invert(crop_matrix(train.boxes, size, augmenter.frame.scale))).float()
        self.known = {}
        for name, values in said.items():
            # A point with the tips of the two half-axes of its spread: three points, which move like any other.
            tips = _tips(torch.tensor(np.asarray(values)))
            pixels = to_pixels(tips, size).flatten(1, 2) @ back[:, :, :2].mT + back[:, None, :, 2]
            self.known[name] = pixels.view(tips.shape)

    def __call__(self, images: Tensor, faces: np.ndarray, view: np.ndarray) -> dict[str, Tensor]:
        """Return what each teacher says."""
        return {
            name: _from_tips(self.augmenter.move(tips[faces], self.boxes[faces], faces, view))
            for name, tips in self.known.items()
        }


def _tips(said: Tensor) -> Tensor:
    """Return points (n, N, 1, 2), or of those with a covariance xx, xy, yy (n, N, 3, 2): point, and two tips."""
    where = said[..., None, :2]
    if said.shape[-1] == 2:
        return where
    xx, xy, yy = said[..., 2:].unbind(-1)
    along = xx.clamp_min(1e-12).sqrt()  # a Cholesky factor, by hand: its columns' outer products add up to it
    across = (yy - (xy / along).square()).clamp_min(0).sqrt()
    columns = torch.stack([torch.stack([along, xy / along], -1), torch.stack([torch.zeros_like(xx), across], -1)], -2)
    return torch.cat([where, where + columns], dim=-2)


def _from_tips(tips: Tensor) -> Tensor:
    """Undo `_tips`."""
    where = tips[..., 0, :]
    if tips.shape[-2] == 1:
        return where
    columns = tips[..., 1:, :] - where[..., None, :]
    x, y = columns.unbind(-1)
    return torch.cat([where, torch.stack([(x * x).sum(-1), (x * y).sum(-1), (y * y).sum(-1)], -1)], dim=-1)


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
