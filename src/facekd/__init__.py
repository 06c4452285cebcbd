"""facekd: small, fast face-landmark networks, distilled from large ones.

    faces = facekd.Landmarker().detect("photo.jpg")           # find faces and their landmarks
    run = facekd.train("quick", data="300w.parquet", out="runs/quick")
    facekd.evaluate(run, "300w.parquet").to_json()
    facekd.export(run, "quick.onnx")

Names are imported when first used, so that `import facekd` stays cheap; torch loads only with a part that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from facekd.version import __version__ as __version__

__all__ = [
    "BoxTransform",
    "BundledModel",
    "Face",
    "FacekdError",
    "InputError",
    "KDLoss",
    "Landmarker",
    "MarkUp",
    "ModelError",
    "PhotoBatch",
    "RecipeError",
    "ShapeModel",
    "Tracker",
    "TrainingError",
    "YuNet",
    "__version__",
    "detect_files",
    "draw",
    "errors",
    "evaluate",
    "export",
    "list_models",
    "load_model",
    "read_pack",
    "to_supervision",
    "train",
]

if TYPE_CHECKING:  # what type checkers and editors see; the names at run time come from below
    from facekd import errors as errors
    from facekd.api import BundledModel as BundledModel
    from facekd.api import evaluate as evaluate
    from facekd.api import export as export
    from facekd.api import list_models as list_models
    from facekd.api import load_model as load_model
    from facekd.api import read_pack as read_pack
    from facekd.api import train as train
    from facekd.drawing import draw as draw
    from facekd.errors import FacekdError as FacekdError
    from facekd.errors import InputError as InputError
    from facekd.errors import ModelError as ModelError
    from facekd.errors import RecipeError as RecipeError
    from facekd.errors import TrainingError as TrainingError
    from facekd.geometry import BoxTransform as BoxTransform
    from facekd.losses.kd import KDLoss as KDLoss
    from facekd.markup import MarkUp as MarkUp
    from facekd.runtime.batch import PhotoBatch as PhotoBatch
    from facekd.runtime.batch import detect_files as detect_files
    from facekd.runtime.detector import YuNet as YuNet
    from facekd.runtime.face import Face as Face
    from facekd.runtime.interop import to_supervision as to_supervision
    from facekd.runtime.landmarker import Landmarker as Landmarker
    from facekd.runtime.tracking import Tracker as Tracker
    from facekd.shape import ShapeModel as ShapeModel
else:
    from importlib import import_module

    _HOMES = {
        "facekd.api": ("BundledModel", "evaluate", "export", "list_models", "load_model", "read_pack", "train"),
        "facekd.drawing": ("draw",),
        "facekd.errors": ("FacekdError", "InputError", "ModelError", "RecipeError", "TrainingError"),
        "facekd.geometry": ("BoxTransform",),
        "facekd.losses.kd": ("KDLoss",),
        "facekd.markup": ("MarkUp",),
        "facekd.runtime.batch": ("PhotoBatch", "detect_files"),
        "facekd.runtime.detector": ("YuNet",),
        "facekd.runtime.interop": ("to_supervision",),
        "facekd.runtime.face": ("Face",),
        "facekd.runtime.landmarker": ("Landmarker",),
        "facekd.runtime.tracking": ("Tracker",),
        "facekd.shape": ("ShapeModel",),
    }
    _HOME = {name: home for home, names in _HOMES.items() for name in names}

    def __getattr__(name):
        if name == "errors":
            return import_module("facekd.errors")
        if name in _HOME:
            return getattr(import_module(_HOME[name]), name)
        raise AttributeError(f"module 'facekd' has no attribute '{name}'")

    def __dir__():
        return sorted(__all__)
