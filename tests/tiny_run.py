"""A recipe and a study small enough to run in seconds, and the face they are about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from facekd.data.face import LabelledFace
from facekd.data.pack import Pack, PackWriter
from facekd.markup import FIVE
from facekd.pipeline.context import Context
from facekd.recipes.load import parse
from facekd.recipes.schema import Recipe
from facekd.training import distributed

SHAPE = np.array([[38, 40], [58, 40], [48, 52], [40, 62], [56, 62.0]])
STAGE = {"backbone": "mobilenetv2_035", "init": "none", "epochs": 2, "batch": 8, "lr": 1e-3, "ema": 0.9}
SPATIAL = STAGE | {"head": "spatial", "heatmap_weight": 0.1, "epochs": 1}
BASE = {"name": "tiny", "precision": "32", "input": {"size": 32, "scale": 1.3}, "evaluation": {"bootstrap": 100}}
STAGES: dict[str, dict[str, Any]] = {
    "tough": STAGE | {"loss": "l2", "dropout": 0.2},
    "tolerant": STAGE | {"loss": "l2", "targets": "soft", "init": "tough", "dropout": 0.1, "epochs": 1},
    "baseline": STAGE | {"loss": "l1", "views": 2},
    "student": STAGE | {"loss": "kd", "teachers": ["tough", "tolerant"], "views": 2, "epochs": 3},
}
RECIPE: dict[str, Any] = BASE | {"stages": STAGES}
ROWS: list[dict[str, Any]] = [
    {"name": "teacher", "stage": "tough"},
    {"name": "{student.loss}", "over": {"student.loss": ["l1", "l2"]}, "set": {"student.teachers": []}},
    {"name": "both"},
    {"name": "one", "set": {"student.teachers": ["tough"]}, "seeds": [0, 1]},
    {"name": "wild", "set": {"student.lr": 1e30, "student.clip_grad": 0}},
]


def recipe(stages: dict[str, Any], **more: Any) -> Recipe:
    """Return a tiny recipe with these stages."""
    return parse(BASE | {"stages": stages} | more, "tiny")


def context(pack: Pack, folder: Path, settings: Recipe, unlabelled: Pack | None = None) -> Context:
    """Return what the stages of a recipe share, in one process on the CPU, each in a folder of its name."""
    fabric = distributed.fabric("32", "cpu")
    return Context(pack, folder, fabric, lambda stage: folder / stage.name, unlabelled, settings.published())


def write_study(folder: Path, **values: Any) -> Path:
    """Write a study and the recipe beside it; return the study's file."""
    (folder / "tiny.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({"name": "small", "recipe": "tiny.yaml", "rows": ROWS} | values))
    return path


def write_pack(path: Path) -> Pack:
    """Write five white dots on a grey ground, moved about: 24 faces to train on, 6 for validation, 6 for the test."""
    rng = np.random.default_rng(0)
    with PackWriter(path, FIVE, dataset="tiny", margin=2.0, size=96, jpeg_quality=95, terms="Made up.") as writer:
        for i in range(36):
            points = SHAPE + rng.normal(0, 2, SHAPE.shape)
            image = np.full((96, 96, 3), 90, np.uint8)
            for x, y in points:
                cv2.circle(image, (round(x), round(y)), 3, (250, 250, 250), -1)
            split = "train" if i < 24 else "val" if i < 30 else "test"
            subsets = ("full", "common" if i % 2 else "challenge") if split == "test" else ()
            writer.add(LabelledFace(image=image, points=points, name=f"{i}.jpg", split=split, subsets=subsets))
    return Pack.open(path)


def write_recipe(path: Path) -> Path:
    """Write the recipe's file and return it."""
    path.write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    return path
