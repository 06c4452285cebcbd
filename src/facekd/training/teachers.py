"""What frozen teachers predict for the student's views.

They are asked online; or once for a fixed number of views per face; or once per face, and their predictions are warped
with each view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from facekd.files import atomic
from facekd.geometry import crop_matrix, invert, to_pixels
from facekd.losses.heatmap import heatmap_covariance
from facekd.losses.objective import TeacherKey
from facekd.networks.network import LandmarkNet
from facekd.training.augment import Augmenter
from facekd.training.faces import Faces

_BATCH = 64


TeacherFn = Callable[[Tensor], Tensor]  # views (B, 3, S, S) -> a teacher's predictions (B, N, ...)


def predict_landmarks(net: LandmarkNet) -> TeacherFn:
    """Return how a teacher of the paper is asked.

    Args:
        net: the frozen teacher.

    Returns:
        A function of views (B, 3, S, S) that gives normalised landmarks (B, N, 2).
    """
    return lambda images: net(_at(images, net)).landmarks


def _at(images: Tensor, net: LandmarkNet) -> Tensor:
    """Return views at the size of a network; a teacher's may differ from its student's."""
    size = net.architecture.size
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)


def predict_moments(net: LandmarkNet, mirror: Tensor | None = None) -> TeacherFn:
    """Return how a teacher is asked for landmarks and the covariance of its heatmaps.

    Of a heatmap its first two moments are kept: they are small enough to be stored, and hold for a student whose grid
    is another. A network without heatmaps has covariance 0.

    Args:
        net: the frozen teacher.
        mirror: (N,) what each point is in the mirrored face; the teacher then predicts both, and the mean counts.
            None: the view alone.

    Returns:
        A function of views (B, 3, S, S) that gives (B, N, 5): x, y, xx, xy, yy, normalised.
    """

    def predict(images: Tensor) -> Tensor:
        landmarks, _, heatmaps, _ = net(_at(images, net))
        covariance = landmarks.new_zeros(*landmarks.shape[:2], 3) if heatmaps is None else heatmap_covariance(heatmaps)
        return torch.cat([landmarks, covariance], dim=-1)

    if mirror is None:
        return predict
    back = torch.tensor([-1.0, 1, 1, -1, 1])
    return lambda images: (predict(images) + predict(images.flip(-1))[:, mirror] * back.to(images.device)) / 2


class OnlineTeachers:
    """Teachers that see each view as it comes: endless views, at a forward pass each in every step.

    Args:
        teachers: how each is asked.
        fabric: its precision is used.
    """

    def __init__(self, teachers: Mapping[TeacherKey, TeacherFn], fabric: Fabric) -> None:
        self.teachers, self.fabric = teachers, fabric

    @torch.no_grad()
    def __call__(self, images: Tensor, faces: np.ndarray, view: np.ndarray) -> dict[TeacherKey, Tensor]:
        """Return each teacher's predictions for a batch."""
        with self.fabric.autocast():
            return {key: predict(images).float() for key, predict in self.teachers.items()}


class CachedTeachers:
    """Teachers whose predictions for every fixed view of every face were stored.

    Args:
        predictions: by teacher, (views, n, N, ...).
        device: where they are wanted.
    """

    def __init__(self, predictions: Mapping[TeacherKey, np.ndarray], device: torch.device) -> None:
        self.predictions, self.device = predictions, device

    def __call__(self, images: Tensor, faces: np.ndarray, view: np.ndarray) -> dict[TeacherKey, Tensor]:
        """Return each teacher's predictions for a batch."""
        return {key: torch.from_numpy(known[view, faces]).to(self.device) for key, known in self.predictions.items()}


class WarpedTeachers:
    """Teachers whose predictions for the plain crop of each face were stored, and are warped with each view.

    Views are endless, a teacher costs one forward pass per face, and it saw the face without blur, noise and cut-out.

    Args:
        predictions: by teacher, (n, N, 2) landmarks, or (n, N, 5) as `predict_moments` gives them, of the plain crops.
        train: the faces they are of.
        augmenter: makes the views.
    """

    def __init__(self, predictions: Mapping[TeacherKey, np.ndarray], train: Faces, augmenter: Augmenter) -> None:
        self.boxes, self.augmenter = train.boxes, augmenter
        size = augmenter.frame.size
        back = torch.from_numpy(invert(crop_matrix(train.boxes, size, augmenter.frame.scale))).float()
        self.known = {}
        for key, values in predictions.items():
            # A point with the tips of the two half-axes of its covariance: three points, warped like any other.
            tips = _tips(torch.tensor(np.asarray(values)))
            pixels = to_pixels(tips, size).flatten(1, 2) @ back[:, :, :2].mT + back[:, None, :, 2]
            self.known[key] = pixels.view(tips.shape)

    def __call__(self, images: Tensor, faces: np.ndarray, view: np.ndarray) -> dict[TeacherKey, Tensor]:
        """Return each teacher's predictions for a batch."""
        return {
            key: _from_tips(self.augmenter.warp_points(tips[faces], self.boxes[faces], faces, view))
            for key, tips in self.known.items()
        }


def _tips(predictions: Tensor) -> Tensor:
    """Return points (n, N, 1, 2), or of those with a covariance xx, xy, yy (n, N, 3, 2): point, and two tips."""
    where = predictions[..., None, :2]
    if predictions.shape[-1] == 2:
        return where
    xx, xy, yy = predictions[..., 2:].unbind(-1)
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
def store_predictions(
    predict: TeacherFn, train: Faces, augmenter: Augmenter, views: int, path: Path, fabric: Fabric, title: str
) -> None:
    """Store a teacher's predictions for every view of every face, unless they are there.

    Args:
        predict: how the teacher is asked.
        train: the faces.
        augmenter: makes the views.
        views: how many of each face.
        path: the .npy file, (views, n, N, ...) float32.
        fabric: its precision is used.
        title: the teacher's name, for the progress bar.
    """
    if path.is_file():
        return
    parts = []
    for view in track(range(views), f"{title} predicts {views} views", transient=True):
        for start in range(0, len(train), _BATCH):
            rows = np.arange(start, min(start + _BATCH, len(train)))
            batch = augmenter(torch.from_numpy(train.frames[rows]), train.points[rows], train.boxes[rows], rows, view)
            with fabric.autocast():
                parts.append(predict(batch.images).float().cpu().numpy())
    stacked = np.concatenate(parts)
    with atomic(path) as temporary:
        np.save(temporary, stacked.reshape(views, len(train), *stacked.shape[1:]))
