"""A pack and a recipe small enough to run the whole chain in seconds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from tiny_run import RECIPE, SHAPE

from facekd.data.face import Face
from facekd.data.pack import Pack, PackWriter
from facekd.markup import FIVE


@pytest.fixture(scope="session")
def tiny_pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """Five white dots on a grey ground, moved about: 24 faces to train on, 6 for validation, 6 for the test."""
    path = tmp_path_factory.mktemp("pack") / "tiny.parquet"
    rng = np.random.default_rng(0)
    with PackWriter(path, FIVE, dataset="tiny", margin=2.0, size=96, jpeg_quality=95, terms="Made up.") as writer:
        for i in range(36):
            points = SHAPE + rng.normal(0, 2, SHAPE.shape)
            image = np.full((96, 96, 3), 90, np.uint8)
            for x, y in points:
                cv2.circle(image, (round(x), round(y)), 3, (250, 250, 250), -1)
            split = "train" if i < 24 else "val" if i < 30 else "test"
            subsets = ("full", "common" if i % 2 else "challenge") if split == "test" else ()
            writer.add(Face(image=image, points=points, name=f"{i}.jpg", split=split, subsets=subsets))
    return Pack.open(path)


@pytest.fixture
def tiny_recipe(tmp_path: Path) -> Path:
    """The recipe's file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return path
