"""A landmark network in ONNX Runtime or LiteRT."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from facekd.errors import ModelError
from facekd.geometry import BoxTransform
from facekd.markup import MarkUp
from facekd.runtime import litert, onnx_file, ort
from facekd.runtime.card import ModelCard
from facekd.runtime.enhance import enhance_crops
from facekd.runtime.face_confidence import FaceCalibration
from facekd.runtime.names import DEFAULT, ENGINES, bundled, not_cpu, resolve
from facekd.runtime.output import NetworkOutput, check_output
from facekd.runtime.roll import predict_with_rotation

_TYPES = {"tensor(uint8)": "uint8"}  # ONNX Runtime's name of the type that images have
_OUTPUTS = NetworkOutput._fields  # what a network may give, by name


class Predictor(Protocol):
    """A landmark network, whether it runs in ONNX Runtime, LiteRT or torch; bring your own by giving these five.

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

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, *tuple[np.ndarray | None, ...]]:
        """Find the landmarks in crops.

        Args:
            images: (B, size, size, 3) uint8 RGB; B may be 0.

        Returns:
            A `NetworkOutput`, or a tuple of its first fields: points (B, N, 2) float32 in crop pixels; confidence
            (B, N) float32 in [0, 1] or None; the probability that each is visible (B, N) float32 or None.
        """


def load(
    model: str | PathLike[str] = DEFAULT,
    threads: int | None = None,
    providers: ort.Providers | None = None,
    engine: str = "auto",
) -> NetworkModel:
    """Load a network into the engine that runs it.

    Args:
        model: as for `resolve`.
        threads: CPU threads per call; None: as many as there are cores.
        providers: of ONNX Runtime, first choice first, as `facekd.runtime.ort.Session` takes them; None: the CPU.
        engine: as for `resolve`.

    Returns:
        The network.

    Raises:
        ModelError: there is no such model, it cannot be loaded, or LiteRT is asked for a provider.
    """
    path = resolve(model, engine, providers)
    if path.suffix == ENGINES["onnx"]:
        return OnnxModel(path, threads, providers)
    if elsewhere := not_cpu(providers):
        raise ModelError(f"LiteRT runs {path.name} on the CPU; for provider '{elsewhere}' take an .onnx file")
    return LiteRTModel(path, threads)


class NetworkModel(ABC):
    """A landmark network in a file with a card: crops in, points and confidence out.

    Args:
        path: the file.
        second_pass: run a second time on rotated faces, turned upright (`facekd.runtime.roll`); False: one pass.

    Attributes:
        path: the file.
        card: its model card.
        second_pass: as given.
        outputs: names of what the network gives, of those that are known here.

    Raises:
        ModelError: no card, or a file that is not the one on the card.
    """

    def __init__(self, path: Path, second_pass: bool) -> None:
        self.path, self.second_pass = path, second_pass
        self.card = ModelCard.load(path)
        self.card.verify(path)
        self.outputs: list[str] = []

    @property
    def _named(self) -> str | Path:
        """What a copy in another process loads it by: a bundled name, or the path."""
        name = next((name for name, path in bundled().items() if path.with_suffix("") == self.path.with_suffix("")), "")
        return name or self.path.absolute()

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

    def __call__(self, images: np.ndarray) -> NetworkOutput:
        """Find the landmarks in crops: those that are pale, dark, noisy or blurred are enhanced first.

        Args:
            images: (B, size, size, 3) uint8 RGB; B may be 0.

        Returns:
            Points (B, N, 2) float32 in pixels of the crop; confidence and visibility (B, N) float32 in [0, 1], or None
            if the network gives none. Of rotated faces what the more confident of two passes found.

        Raises:
            ModelError: the crops have another shape or type.
        """
        if images.dtype != np.uint8 or images.shape[1:] != (self.size, self.size, 3):
            raise ModelError(
                f"model '{self.card.name}' takes (B, {self.size}, {self.size}, 3) uint8, "
                f"got {images.shape} {images.dtype}"
            )
        images = enhance_crops(images)
        if not self.second_pass:
            return self.predict(images)
        return predict_with_rotation(self.predict, images, self.markup, self.scale)

    def predict(self, images: np.ndarray) -> NetworkOutput:
        """Find the landmarks in crops as they are by one pass of the network, however the faces are rotated.

        Args:
            images: (B, size, size, 3) uint8 RGB; B may be 0.

        Returns:
            Points (B, N, 2), confidence and visibility (B, N) or None, as a call does.
        """
        count, where = self.markup.count, f"model {self.path}"
        shapes = {name: (count, 2) if name == "points" else (count,) for name in self.outputs}
        parts = []
        for found in self._batches(images):
            parts.append(dict(zip(self.outputs, found, strict=True)))
            for name, values in parts[-1].items():
                check_output(name, values, shapes[name], where)
        if len(parts) == 1:  # most calls; nothing to join
            whole = parts[0]
        else:
            parts.append({name: np.zeros((0, *shape), np.float32) for name, shape in shapes.items()})
            whole = {name: np.concatenate([part[name] for part in parts]) for name in shapes}
        if any(len(values) != len(images) for values in whole.values()):
            raise ModelError(f"{where} does not give one result for each crop; export it again")
        return NetworkOutput(**whole)

    @abstractmethod
    def _batches(self, images: np.ndarray) -> Iterator[list[np.ndarray]]:
        """Yield what `outputs` names for crops (B, size, size, 3), some at a time."""

    def _check(self, inputs: dict[str, tuple[str, list[int]]], outputs: dict[str, list[Any]]) -> None:
        """Refuse a file of another kind than the export writes; types and shapes are given without the batch's size."""
        wanted = {"image": ("uint8", [self.size, self.size, 3])}
        if inputs != wanted or outputs.get("points") != [self.markup.count, 2]:
            raise ModelError(
                f"model {self.path} is no landmark model of facekd for {self.markup.count} points at {self.size} px "
                f"(inputs {inputs}, outputs {outputs}); export it with `facekd export`"
            )
        self.outputs = [name for name in _OUTPUTS if name in outputs]

    def _try(self) -> None:
        """Run a user's file once, so that what it does wrong is told when it is loaded, not in the middle of a run."""
        if not isinstance(self._named, str):
            self.predict(np.zeros((1, self.size, self.size, 3), np.uint8))


class OnnxModel(NetworkModel):
    """A landmark network in ONNX Runtime. Calls from several threads are safe.

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
        super().__init__(resolve(path, "onnx"), second_pass)
        self.batch, self._threads, self._providers = batch, threads, providers
        if not isinstance(self._named, str):
            onnx_file.check(self.path)
        self._session = ort.Session(self.path, threads, providers or "cpu")
        inputs = self._session.session.get_inputs()
        self._check(
            {node.name: (_TYPES.get(node.type, node.type), node.shape[1:]) for node in inputs},
            {node.name: node.shape[1:] for node in self._session.session.get_outputs()},
        )
        self._try()

    def __reduce__(self) -> tuple[type[OnnxModel], tuple[Any, ...]]:
        return type(self), (self._named, self._threads, self._providers, self.batch, self.second_pass)

    @property
    def providers(self) -> tuple[str, ...]:
        """Where it runs, first choice first; ONNX Runtime adds "cpu" at the end for what another cannot do."""
        return self._session.providers

    def _batches(self, images: np.ndarray) -> Iterator[list[np.ndarray]]:
        for start in range(0, len(images), self.batch):
            yield self._session.run(self.outputs, {"image": images[start : start + self.batch]})


class LiteRTModel(NetworkModel):
    """A landmark network in LiteRT, on the CPU. Calls from several threads are safe.

    Args:
        path: a bundled model's name or a .tflite file, which holds its card.
        threads: CPU threads per call; None: as many as there are cores.
        second_pass: run a second time on rotated faces, turned upright (`facekd.runtime.roll`); False: one pass.

    Attributes:
        batch: crops per call of LiteRT, which the file fixes.

    Raises:
        ModelError: LiteRT is not installed, there is no such model, or the file is damaged or no model of facekd.
    """

    providers = ("cpu",)

    def __init__(
        self, path: str | PathLike[str] = DEFAULT, threads: int | None = None, second_pass: bool = True
    ) -> None:
        super().__init__(resolve(path, "litert"), second_pass)
        self._threads, self._session = threads, litert.Session(self.path, threads)
        self._check(
            {name: (kind, shape[1:]) for name, (kind, shape) in self._session.inputs.items()},
            {name: shape[1:] for name, (_, shape) in self._session.outputs.items()},
        )
        self.batch = self._session.inputs["image"][1][0]
        self._try()

    def __reduce__(self) -> tuple[type[LiteRTModel], tuple[Any, ...]]:
        return type(self), (self._named, self._threads, self.second_pass)

    def _batches(self, images: np.ndarray) -> Iterator[list[np.ndarray]]:
        for start in range(0, len(images), self.batch):
            part = images[start : start + self.batch]
            count = len(part)
            if count < self.batch:  # the file takes exactly so many: the last ones are filled up
                part = np.concatenate([part, np.zeros((self.batch - count, *part.shape[1:]), np.uint8)])
            yield [found[:count] for found in self._session.run(self.outputs, {"image": part})]
