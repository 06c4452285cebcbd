"""Photos in, faces with landmarks out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat, zip_longest
from os import PathLike
from typing import Any

import numpy as np

from facekd.errors import InputError, nearest
from facekd.geometry import BoxTransform, Crops, crop_faces
from facekd.images import Photo, check_color, read_ahead, read_image
from facekd.runtime.detector import Detector, YuNet
from facekd.runtime.face import Face
from facekd.runtime.model import DEFAULT, Predictor, load
from facekd.runtime.ort import Providers

BOX_TYPES = ("detector", "landmarks")  # what boxes that are given hold
# Faces that wait for the network together, or photos; it bounds the memory and the wait, and gains little beyond.
_BATCH = 32
_NOTHING: Any = object()


@dataclass(frozen=True)
class _Found:
    """The faces of one photo: its width and height, boxes (k, 4), scores (k,), and what was cut out for the network."""

    size: tuple[int, int]
    boxes: np.ndarray
    scores: np.ndarray
    crops: Crops


class Landmarker:
    """Finds faces and their landmarks in photos. Calls from several threads are safe, and so are forked processes.

    It can be copied and pickled: a copy loads the model by its name, or from the same file.

    Args:
        model: a bundled model's name, an .onnx or .tflite file, or any `Predictor`.
        detector: what finds the faces; default `YuNet()`.
        threads: CPU threads for the network, and for the default detector; None: as many as there are cores.
        providers: where the network runs, first choice first: "cpu" (default), "cuda", "coreml", ..., each alone or
            with options of ONNX Runtime's, as ("cuda", {"device_id": 1}).
        box_transform: how a detector's box becomes the tight landmark box; default: the model card's, fitted to YuNet.
            For a detector of your own fit one with `BoxTransform.fit`.
        color: order of the channels of photos that are given as arrays: "rgb", or "bgr" as OpenCV reads them. Files and
            PIL images are not affected.
        engine: what runs the network: "onnx" (ONNX Runtime), "litert" (LiteRT: .tflite files), or "auto", which takes
            the 8-bit form of a bundled network that has one where LiteRT is installed and the CPU is made for it.

    Raises:
        ModelError: the model cannot be used, or a provider cannot be had.
        InputError: `color` is neither "rgb" nor "bgr".
    """

    def __init__(
        self,
        model: str | PathLike[str] | Predictor = DEFAULT,
        detector: Detector | None = None,
        threads: int | None = None,
        providers: Providers | None = None,
        box_transform: BoxTransform | None = None,
        color: str = "rgb",
        engine: str = "auto",
    ) -> None:
        self.color = check_color(color)
        if isinstance(model, str | PathLike):
            model = load(model, threads, providers, engine)
        self.model: Predictor = model
        self.detector = detector or YuNet(threads=threads)
        self.box_transform = box_transform or self.model.box_transform or BoxTransform()

    @property
    def providers(self) -> tuple[str, ...]:
        """Where the network runs, such as ("cuda", "cpu"); empty for a `Predictor` that does not say."""
        return tuple(getattr(self.model, "providers", ()))

    def detect(
        self,
        photo: Photo,
        boxes: Sequence[Any] | np.ndarray | None = None,
        box_type: str = "detector",
        roll: np.ndarray | float = 0.0,
        max_faces: int | None = None,
    ) -> list[Face]:
        """Find the faces of a photo.

        Args:
            photo: a path, the bytes of a file, a file object, an array (H, W, 3) uint8, or a PIL image.
            boxes: (k, 4) x0, y0, x1, y1 in photo pixels; skips detection, one face per box in the same order.
            box_type: what `boxes` are: "detector", like a face detector's; or "landmarks", tight about the landmarks.
            roll: degrees, one or (k,), by which the faces in `boxes` are rotated, clockwise as seen; they are turned
                upright about the centres of their boxes, which hold them tightly then (`facekd.geometry.upright_box`).
            max_faces: most faces to return, the largest; None: all. It does not count for `boxes`.

        Returns:
            The faces, best score first, or with `max_faces` largest first; an empty list if there are none.

        Raises:
            InputError: the photo cannot be read, a box is not a box, there is no such `box_type`, or `max_faces` is
                below 1.
        """
        image = read_image(photo, color=self.color)
        (faces,) = self._landmarks([self._cut(image, boxes, box_type, roll, max_faces)])
        return faces

    __call__ = detect

    def detect_boxes(self, photo: Photo) -> tuple[np.ndarray, np.ndarray]:
        """Run only the face detector.

        Args:
            photo: as for `detect`.

        Returns:
            Boxes (k, 4) float32 x0, y0, x1, y1 in photo pixels, and scores (k,) in [0, 1], best first.

        Raises:
            InputError: the photo cannot be read.
        """
        return self._detected(read_image(photo, color=self.color))

    def detect_batch(
        self,
        photos: Sequence[Photo],
        boxes: Sequence[Any] | None = None,
        box_type: str = "detector",
        max_faces: int | None = None,
    ) -> list[list[Face]]:
        """Find the faces of several photos, with the network run on many faces at a time.

        Args:
            photos: as for `detect`.
            boxes: per photo (k, 4), or None for a photo whose faces are to be found.
            box_type: as for `detect`.
            max_faces: as for `detect`.

        Returns:
            Per photo what `detect` returns, within 0.001 px.

        Raises:
            InputError: the first photo or box that cannot be used; or `max_faces` is below 1.
        """
        if boxes is not None and len(boxes) != len(photos):
            raise InputError(f"got {len(photos)} photos but boxes for {len(boxes)}; give one entry per photo")
        found = []
        for faces in self.stream(photos, boxes, box_type, max_faces):
            if isinstance(faces, InputError):
                raise faces
            found.append(faces)
        return found

    def stream(
        self,
        photos: Iterable[Photo],
        boxes: Iterable[Any] | None = None,
        box_type: str = "detector",
        max_faces: int | None = None,
    ) -> Iterator[list[Face] | InputError]:
        """Find the faces of any number of photos; photos are read ahead in threads, and forgotten once cut.

        Args:
            photos: as for `detect`.
            boxes: per photo (k, 4), or None for a photo whose faces are to be found.
            box_type: as for `detect`.
            max_faces: as for `detect`.

        Yields:
            Per photo, in order, what `detect` returns; or, of a photo or box that cannot be used, its InputError.

        Raises:
            InputError: there are not as many entries in `boxes` as photos, or `max_faces` is below 1.
        """
        for found in self._stream(photos, boxes, box_type, max_faces):
            yield found if isinstance(found, InputError) else found[1]

    def stream_sized(
        self, photos: Iterable[Photo], max_faces: int | None = None
    ) -> Iterator[tuple[tuple[int, int], list[Face]] | InputError]:
        """Find the faces of any number of photos, and tell the photos' sizes.

        Args:
            photos: as for `detect`.
            max_faces: as for `detect`.

        Yields:
            Per photo, in order, its width and height in pixels, once upright, and what `detect` returns; or, of a
            photo that cannot be used, its InputError.

        Raises:
            InputError: `max_faces` is below 1.
        """
        yield from self._stream(photos, None, "detector", max_faces)

    def _stream(
        self, photos: Iterable[Photo], boxes: Iterable[Any] | None, box_type: str, max_faces: int | None
    ) -> Iterator[tuple[tuple[int, int], list[Face]] | InputError]:
        """Yield width, height and faces of each photo, or why there are none."""
        _check_count(max_faces)
        waiting: list[_Found | InputError] = []
        read = read_ahead(photos, color=self.color)
        pairs = zip(read, repeat(None)) if boxes is None else zip_longest(read, boxes, fillvalue=_NOTHING)
        for photo, photo_boxes in pairs:
            if photo is _NOTHING or photo_boxes is _NOTHING:
                raise InputError("there are not as many entries in boxes as photos; give one per photo")
            try:
                if isinstance(photo, InputError):
                    waiting.append(photo)
                else:
                    waiting.append(self._cut(photo, photo_boxes, box_type, max_faces=max_faces))
            except InputError as error:
                waiting.append(error)
            faces = sum(len(found.boxes) for found in waiting if isinstance(found, _Found))
            if max(faces, len(waiting)) >= _BATCH:
                yield from self._in_order(waiting)
                waiting = []
        yield from self._in_order(waiting)

    def _in_order(self, photos: list[_Found | InputError]) -> Iterator[tuple[tuple[int, int], list[Face]] | InputError]:
        """Yield size and faces of each photo that was cut, and each error in its place."""
        cut = [found for found in photos if isinstance(found, _Found)]
        found = self._landmarks(cut) if cut else iter(())
        for photo in photos:
            yield photo if isinstance(photo, InputError) else (photo.size, next(found))

    def _detected(self, photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the detector's boxes (k, 4) and scores (k,) of an RGB photo."""
        boxes, scores = self.detector.detect(photo)
        return np.asarray(boxes, np.float32).reshape(-1, 4), scores

    def _cut(
        self,
        photo: np.ndarray,
        boxes: Any,
        box_type: str,
        roll: np.ndarray | float = 0.0,
        max_faces: int | None = None,
    ) -> _Found:
        """Find the faces of an RGB photo, or take the given ones, and cut them out."""
        _check_count(max_faces)
        if box_type not in BOX_TYPES:
            raise InputError(f"box_type '{box_type}' is no kind of boxes; {nearest(str(box_type), BOX_TYPES)}")
        size = (photo.shape[1], photo.shape[0])
        if boxes is None:
            boxes, scores = self._detected(photo)
            if max_faces is not None:
                largest = np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(axis=1), kind="stable")[:max_faces]
                boxes, scores = boxes[largest], np.asarray(scores)[largest]
        else:
            boxes = _checked(boxes)
            scores = np.ones(len(boxes), np.float32)
            if box_type == "landmarks":
                return _Found(size, boxes, scores, crop_faces(photo, boxes, self.model.size, self.model.scale, -roll))
        tight = self.box_transform.apply(boxes)
        return _Found(size, boxes, scores, crop_faces(photo, tight, self.model.size, self.model.scale, -roll))

    def _landmarks(self, photos: Sequence[_Found]) -> Iterator[list[Face]]:
        """Run the network once for the faces of several photos, and share the points out."""
        points, confidence = self.model(np.concatenate([found.crops.images for found in photos]))
        start = 0
        for found in photos:
            part = slice(start, start + len(found.boxes))
            start = part.stop
            in_photo = found.crops.to_photo(points[part]).astype(np.float32)
            levels = repeat(None) if confidence is None else confidence[part]
            yield [
                Face(box, float(score), face_points, level, self.model.markup)
                for box, score, face_points, level in zip(found.boxes, found.scores, in_photo, levels, strict=False)
            ]


def _check_count(max_faces: int | None) -> None:
    """Refuse a number of faces below 1."""
    if max_faces is not None and max_faces < 1:
        raise InputError(f"max_faces must be 1 or more, got {max_faces}; leave it out for all faces")


def _checked(boxes: Any) -> np.ndarray:
    """Return the caller's boxes as (k, 4) float32."""
    try:
        array = np.asarray(boxes, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError("boxes must be numbers (k, 4): x0, y0, x1, y1") from error
    if array.size == 0:
        return array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise InputError(f"boxes must be (k, 4): x0, y0, x1, y1, got {array.shape}")
    wrong = ~(np.isfinite(array).all(axis=1) & (array[:, 2:] > array[:, :2]).all(axis=1))
    if wrong.any():
        index = int(np.flatnonzero(wrong)[0])
        raise InputError(f"box {index} is {array[index].tolist()}; it needs finite numbers with x0 < x1 and y0 < y1")
    return array
