"""Tiny copies of the official layouts, with made-up photos and points."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from facekd.markup import IBUG68, MarkUp
from facekd.pts import write_pts

WIDTH, HEIGHT = 120, 90


def shape(
    markup: MarkUp = IBUG68, seed: int = 0, side: float = 40.0, centre: tuple[float, float] = (60, 45)
) -> np.ndarray:
    """Return points (N, 2) of a symmetric face-like shape, a little disturbed, whose tight box has this side."""
    rng, mirror = np.random.default_rng(1), np.array(markup.mirror)
    points = rng.uniform(-1, 1, (markup.count, 2)) * (0.5, 1)
    points[:, 0] = np.where(np.arange(markup.count) < mirror, -np.abs(points[:, 0]) - 0.1, np.abs(points[:, 0]) + 0.1)
    points = (points + points[mirror] * (-1, 1)) / 2
    points += np.random.default_rng(seed).normal(0, 0.02, points.shape)
    points -= (points.min(0) + points.max(0)) / 2
    return points * side / np.ptp(points, axis=0).max() + centre


def photo(seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Return a smooth made-up photo, different for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def write_photo(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo(seed)).save(path)


def write_labelled(path: Path, seed: int = 0, points: np.ndarray | None = None) -> None:
    """Write a photo and its .pts file."""
    write_photo(path, seed)
    write_pts(path.with_suffix(".pts"), shape(seed=seed) if points is None else points)


W300_NAMES = (
    "afw/100_1.jpg",
    "afw/100_2.jpg",
    "lfpw/trainset/image_0001.png",
    "lfpw/trainset/image_0002.png",
    "helen/trainset/200_1.jpg",
    "lfpw/testset/image_0003.png",
    "helen/testset/300_1.jpg",
    "ibug/image_004.jpg",
)


def w300(folder: Path) -> Path:
    for seed, name in enumerate(W300_NAMES):
        write_labelled(folder / name, seed)
    return folder


def wflw_line(points: np.ndarray, box: tuple[int, ...], attributes: tuple[int, ...], name: str) -> str:
    return " ".join([*(f"{v:.6f}" for v in points.ravel()), *map(str, box), *map(str, attributes), name]) + "\n"


def wflw(folder: Path, train: list[str], test: list[str]) -> Path:
    lists = folder / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
    lists.mkdir(parents=True)
    (folder / "WFLW_images").mkdir()
    for split, lines in (("train", train), ("test", test)):
        (lists / f"list_98pt_rect_attr_{split}.txt").write_text("".join(lines))
    return folder


def cofw(folder: Path, train: list[np.ndarray], test: list[np.ndarray], points: np.ndarray, hidden: np.ndarray) -> Path:
    """Write both MATLAB files: every face has the 0-based `points` (29, 2) and the mask `hidden` (29,)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, letters, images in (("COFW_train_color.mat", "Tr", train), ("COFW_test_color.mat", "T", test)):
        with h5py.File(folder / name, "w") as file:
            cells = file.create_dataset(f"Is{letters}", (1, len(images)), dtype=h5py.ref_dtype)
            for i, image in enumerate(images):
                cells[0, i] = file.create_dataset(f"#refs#/{i}", data=image.T).ref  # MATLAB: columns first
            row = np.concatenate([points[:, 0] + 1, points[:, 1] + 1, hidden])
            file[f"phis{letters}"] = np.tile(row[:, None], (1, len(images)))
            file[f"bboxes{letters}"] = np.tile(np.array([[11.0], [21], [30], [40]]), (1, len(images)))
    return folder
