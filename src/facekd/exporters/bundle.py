"""What an app needs beside a network: its card, its mark-up, and a photo with the points that it must find."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facekd.exporters.formats import read_card
from facekd.exporters.onnx import SAMPLE
from facekd.files import atomic_folder, write_text
from facekd.geometry import BoxTransform, Crops, crop_faces
from facekd.images import read_image
from facekd.networks.exported import load_network
from facekd.networks.predictor import TorchModel
from facekd.runtime.detector import YuNet
from facekd.runtime.model import NetworkModel, load
from facekd.runtime.names import ENGINES

_DIGITS = 4  # of pixels and probabilities
_MATRIX_DIGITS = 8  # a matrix's values are multiplied by thousands of pixels


def write(checkpoint: str | Path, files: list[Path], folder: Path) -> None:
    """Write the folder, whole or not at all; one that is there is replaced.

    It holds the files; `card.json`; `markup.json`; `photo.jpg`; `crop.png`, the photo's first face as the network
    takes it; and `expected.json`: for each face of the photo the detector's box, the matrix from photo to crop, and for
    each file the points in the crop and in the photo. What this machine cannot run stands there with torch's points.

    Args:
        checkpoint: the .safetensors or .onnx file that the files were made of.
        files: what `export` wrote of it.
        folder: to write.
    """
    card = read_card(files[0])
    photo = read_image(SAMPLE)
    boxes, _ = YuNet(threads=1).detect(photo)
    tight = (card.box_transform or BoxTransform()).apply(boxes)
    crops = crop_faces(photo, tight, card.size, card.scale)
    expected = {
        "photo": "photo.jpg",
        "crop": "crop.png",
        "pixels": "x to the right, y down; (0, 0) is the centre of the top-left pixel",
        "boxes": _plain(boxes),
        "photo_to_crop": _plain(crops.matrices, _MATRIX_DIGITS),
        "found": {file.name: _found(_predictor(file, checkpoint), crops) for file in files},
    }
    with atomic_folder(folder) as temporary:
        for file in files:
            (shutil.copytree if file.is_dir() else shutil.copyfile)(file, temporary / file.name)
            if file.suffix == ENGINES["onnx"]:  # the others have their cards inside
                shutil.copyfile(file.with_suffix(".json"), temporary / file.with_suffix(".json").name)
        shutil.copyfile(SAMPLE, temporary / "photo.jpg")
        Image.fromarray(crops.images[0]).save(temporary / "crop.png")
        for name, values in (("card", card.to_dict()), ("markup", card.markup.to_dict()), ("expected", expected)):
            write_text(temporary / f"{name}.json", json.dumps(values, indent=1) + "\n")


def _predictor(file: Path, checkpoint: str | Path) -> NetworkModel | TorchModel:
    """Return what runs a file here: its engine, or torch in its place."""
    return load(file, threads=1) if file.suffix in ENGINES.values() else TorchModel(*load_network(checkpoint))


def _found(model: NetworkModel | TorchModel, crops: Crops) -> dict[str, Any]:
    """Return what one pass of a network finds, face by face."""
    points, confidence, visible = model.predict(crops.images)
    return {
        "by": type(model).__name__,
        "points_in_crop": _plain(points),
        "points_in_photo": _plain(crops.to_photo(points)),
        "confidence": None if confidence is None else _plain(confidence),
        "visible": None if visible is None else _plain(visible),
    }


def _plain(values: np.ndarray, digits: int = _DIGITS) -> list[Any]:
    rounded: list[Any] = np.asarray(values, np.float64).round(digits).tolist()
    return rounded
