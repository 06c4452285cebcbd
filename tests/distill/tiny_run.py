"""A recipe small enough to run the whole chain in seconds, and the face it is about."""

from __future__ import annotations

import numpy as np

SHAPE = np.array([[38, 40], [58, 40], [48, 52], [40, 62], [56, 62.0]])
STAGE = {"backbone": "mobilenetv2_035", "weights": "none", "epochs": 2, "batch": 8, "lr": 1e-3, "ema": 0.9}
RECIPE = {
    "name": "tiny",
    "precision": "32",
    "input": {"size": 32, "scale": 1.3},
    "tough": STAGE | {"loss": "l2", "dropout": 0.2},
    "tolerant": STAGE | {"loss": "l2", "weights": "tough", "dropout": 0.2, "epochs": 1},
    "student": STAGE | {"loss": "kd", "loss_options": {"preset": "paper"}, "epochs": 3},
    "baseline": STAGE | {"loss": "l1"},
    "teaching": {"mode": "views", "views": 2},
    "evaluation": {"bootstrap": 100},
}
