"""A landmark network in ONNX Runtime, and where the bundled ones lie."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from facekd.errors import ModelError, nearest
from facekd.files import expand
from facekd.geometry import BoxTransform
from facekd.markup import MarkUp
from facekd.run_folder import network_file
from facekd.runtime import ort
from facekd.runtime.card import ModelCard
from facekd.runtime.face_confidence import FaceCalibration
from facekd.runtime.roll import predict_with_rotation
from facekd.runtime.yunet import YUNET

DEFAULT = "facekd-68"
_BUNDLED = Path(__file__).parents[1] / "weights"


class Predictor(Protocol):
    """A landmark network, whether it runs in ONNX Runtime or torch; bring your own by giving these five.

    With a sixth, `face_calibration` (a `FaceCalibration`), faces have a `face_confidence`, without which rolled faces
    are not searched for and wrong landmarks not refused.
    """

    @property
    def size(self) -> int:
        """Side of the square input, in pixels."""

    @property
    def scale(self) -> float:
        """Side of the crop, in units of the tight landmark box's larger side."""

    @property
    def markup(self) -> MarkUp:
        """What the N points mean."""

    @property
    def box_transform(self) -> BoxTransform | None:
        """How a face detector's box becomes the tight landmark box; None if that was never fitted."""

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Find the landmarks in crops.

        Args:
            images: (B, size, size, 3) uint8 RGB; B may be 0.

        Returns:
            Points (B, N, 2) float32 in crop pixels, and confidence (B, N) float32 in [0, 1] or None.
        """


def bundled() -> dict[str, Path]:
    """List the landmark models that come with the package.

    Returns:
        Name -> .onnx file. The face detector's file, which lies beside them, is none of them.
    """
    return {path.stem: path for path in sorted(_BUNDLED.glob("*.onnx")) if path.name != YUNET}


def resolve(model: str | PathLike[str]) -> Path:
    """Find the .onnx file of a model.

    Args:
        model: a bundled model's name, or a path that ends with .onnx.

    Returns:
        The file.

    Raises:
        ModelError: no such name or file.
    """
    path = expand(model)
    if path.suffix == ".onnx":
        if not path.is_file():
            raise ModelError(f"no model file {path}")
        return path
    models = bundled()
    if str(model) not in models:
        raise ModelError(f"no bundled model '{model}'; {nearest(str(model), models)}, or a path that ends with .onnx")
    return models[str(model)]


def resolve_model(model: str | PathLike[str]) -> Path:
    """Find the file of a network.

    Args:
        model: an .onnx file, a .safetensors file, a run's folder (its result), a stage's folder, or else a bundled
            model's name; "" is the default one.

    Returns:
        The .onnx or .safetensors file.

    Raises:
        ModelError: nothing there has that name.
    """
    name, path = str(model), expand(model)
    if not name:
        return resolve(DEFAULT)
    file = network_file(path)
    if file.suffix in (".onnx", ".safetensors") and file.is_file():
        return file
    if name in bundled():
        return resolve(name)
    if path.is_dir():
        raise ModelError(f"the folder {name} is no run and no stage of one; give the --out of facekd distill")
    raise ModelError(
        f"no model '{name}'; give a run's folder, a .safetensors or .onnx file, or a bundled model "
        f"({', '.join(bundled()) or 'none in this build'})"
    )


class OnnxModel:
    """A landmark network: crops in, points and confidence out. Calls from several threads are safe.

    Args:
        path: a bundled model's name or an .onnx file, with its card beside it.
        threads: CPU threads per call; None: as many as there are cores.
        providers: where it runs, first choice first, as `facekd.runtime.ort.Session` takes them.
        batch: most crops per call of ONNX Runtime; it bounds the memory.
        second_pass: run a second time on rotated faces, turned upright (`facekd.runtime.roll`); False: one pass.

    Raises:
        ModelError: no such model, no card, a file that is not the one on the card, a provider that cannot be had.
    """

    def __init__(
        self,
        path: str | PathLike[str] = DEFAULT,
        threads: int | None = None,
        providers: ort.Providers | None = None,
        batch: int = 32,
        second_pass: bool = True,
    ) -> None:
        self.path = resolve(path)
        self.card = ModelCard.load(self.path)
        self.card.verify(self.path)
        self.batch, self.second_pass = batch, second_pass
        self._threads, self._providers = threads, providers
        self._session = ort.Session(self.path, threads, providers or "cpu")
        self._check()

    def __reduce__(self) -> tuple[type[OnnxModel], tuple[Any, ...]]:
        # Copies, and pickles sent to other processes, name the network and load it where they are.
        named = next((name for name, path in bundled().items() if path == self.path), None)
        settings = (self._threads, self._providers, self.batch, self.second_pass)
        return type(self), (named or self.path.absolute(), *settings)

    @property
    def providers(self) -> tuple[str, ...]:
        """Where it runs, first choice first; ONNX Runtime adds "cpu" at the end for what another cannot do."""
        return self._session.providers

    @property
    def size(self) -> int:
        """Side of the square input, in pixels."""
        return self.card.size

    @property
    def scale(self) -> float:
        """Side of the crop in units of the tight landmark box's larger side."""
        return self.card.scale

    @property
    def markup(self) -> MarkUp:
        """What the points mean."""
        return self.card.markup

    @property
    def box_transform(self) -> BoxTransform | None:
        """How a face detector's box becomes the tight landmark box."""
        return self.card.box_transform

    @property
    def face_calibration(self) -> FaceCalibration | None:
        """How the points' confidence tells right landmarks from wrong ones; None if that was never fitted."""
        return self.card.face_calibration

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Find the landmarks in crops.

        Args:
            images: (B, size, size, 3) uint8 RGB; B may be 0.

        Returns:
            Points (B, N, 2) float32 in pixels of the crop; and confidence (B, N) float32 in [0, 1], or None if the
            network gives none. Of rotated faces what the more confident of two passes found.

        Raises:
            ModelError: the crops have another shape or type.
        """
        if images.dtype != np.uint8 or images.shape[1:] != (self.size, self.size, 3):
            raise ModelError(
                f"model '{self.card.name}' takes (B, {self.size}, {self.size}, 3) uint8, "
                f"got {images.shape} {images.dtype}"
            )
        if not self.second_pass:
            return self.predict(images)
        return predict_with_rotation(self.predict, images, self.markup, self.scale)

    def predict(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Find the landmarks in crops by one pass of the network, however the faces are rotated.

        Args:
            images: (B, size, size, 3) uint8 RGB; B may be 0.

        Returns:
            Points (B, N, 2) and confidence (B, N) or None, as a call does.
        """
        points = [np.zeros((0, self.markup.count, 2), np.float32)]
        confidence = [np.zeros((0, self.markup.count), np.float32)]
        for start in range(0, len(images), self.batch):
            found = self._session.run(self._outputs, {"image": images[start : start + self.batch]})
            points.append(found[0])
            confidence.extend(found[1:])
        has_confidence = len(self._outputs) > 1
        return np.concatenate(points), np.concatenate(confidence) if has_confidence else None

    def _check(self) -> None:
        """Refuse an ONNX file of another kind than the export writes."""
        inputs = {node.name: (node.type, node.shape[1:]) for node in self._session.session.get_inputs()}
        outputs = {node.name: node.shape[1:] for node in self._session.session.get_outputs()}
        wanted = {"image": ("tensor(uint8)", [self.size, self.size, 3])}
        if inputs != wanted or outputs.get("points") != [self.markup.count, 2]:
            raise ModelError(
                f"model {self.path} is no landmark model of facekd for {self.markup.count} points at {self.size} px "
                f"(inputs {inputs}, outputs {outputs}); export it with `facekd export`"
            )
        self._outputs = [name for name in ("points", "confidence") if name in outputs]
