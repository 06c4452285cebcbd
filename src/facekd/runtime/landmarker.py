"""Photos in, faces with landmarks out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat, zip_longest
from os import PathLike
from typing import Any

import numpy as np
from PIL import Image

from facekd.errors import InputError, nearest
from facekd.geometry import BoxTransform
from facekd.images import Photo, check_color, read_ahead, read_image
from facekd.runtime.detector import Detector, YuNet
from facekd.runtime.face import TRUSTED, Face
from facekd.runtime.finder import FaceFinder, Found, check_count
from facekd.runtime.model import Predictor, load
from facekd.runtime.names import DEFAULT
from facekd.runtime.ort import Providers

# Faces that wait for the network together, or photos; it bounds the memory and the wait, and gains little beyond.
_BATCH = 32
_HELD = 200_000_000  # bytes of photos that wait: they may have to be searched again
ROLLS = ("any", "upright")
_NOTHING: Any = object()


class Landmarker:
    """Finds faces and their landmarks in photos. Calls from several threads are safe, and so are forked processes.

    It can be copied and pickled: a copy loads the model by its name, or from the same file.

    Args:
        model: a bundled model's name, an .onnx or .tflite file, or any `Predictor`.
        detector: what finds the faces; default `YuNet()`.
        threads: CPU threads for the network, and for the default detector; None: as many as there are cores.
        providers: where the network runs, first choice first: "cpu" (default), "cuda", "coreml", ..., each alone or
            with options of ONNX Runtime's, as ("cuda", {"device_id": 1}).
        box_transform: how a detector's box becomes the tight landmark box, or with a mark-up of `crop: face` the box of
            the face; default: the model card's, fitted to YuNet. Without one only boxes that are given can be used.
            For a detector of your own fit one with `BoxTransform.fit`.
        color: order of the channels of photos that are given as arrays: "rgb", or "bgr" as OpenCV reads them. Files and
            PIL images are not affected.
        roll: "any": if no face is found, or one whose landmarks cannot be trusted, the photo is turned by 90, 180 and
            270 degrees and searched again, beside an upright face only for faces that are whole and not far behind it;
            "upright": never.
        min_confidence: lowest `Face.face_confidence` of faces that are returned; 0: all. It does not count for boxes
            that are given: each has its face, and `Face.ok` tells.
        engine: what runs the network: "onnx" (ONNX Runtime), "litert" (LiteRT: .tflite files), or "auto", which takes
            the 8-bit form of a bundled network that has one where LiteRT is installed and the CPU is made for it.

    Raises:
        ModelError: the model cannot be used, or a provider cannot be had.
        InputError: `color` is neither "rgb" nor "bgr", `roll` neither "any" nor "upright", or `min_confidence` outside
            [0, 1].
    """

    def __init__(
        self,
        model: str | PathLike[str] | Predictor = DEFAULT,
        detector: Detector | None = None,
        threads: int | None = None,
        providers: Providers | None = None,
        box_transform: BoxTransform | None = None,
        color: str = "rgb",
        roll: str = "any",
        min_confidence: float = TRUSTED,
        engine: str = "auto",
    ) -> None:
        self.color = check_color(color)
        if roll not in ROLLS:
            raise InputError(f"roll '{roll}' is no kind of search; {nearest(str(roll), ROLLS)}")
        if not 0 <= min_confidence <= 1:
            raise InputError(f"min_confidence must be within 0 and 1, got {min_confidence}")
        if isinstance(model, str | PathLike):
            model = load(model, threads, providers, engine)
        box_transform = box_transform or model.box_transform
        self._finder = FaceFinder(
            model, detector or YuNet(threads=threads), box_transform, roll == "any", min_confidence
        )

    @property
    def roll(self) -> str:
        """What is searched for: "any" or "upright"; always the latter if the model has no face calibration."""
        return "any" if self._finder.any_roll else "upright"

    @property
    def min_confidence(self) -> float:
        """Lowest `Face.face_confidence` of faces that are returned."""
        return self._finder.min_confidence

    @property
    def model(self) -> Predictor:
        """The landmark network."""
        return self._finder.model

    @property
    def detector(self) -> Detector:
        """What finds the faces."""
        return self._finder.detector

    @property
    def box_transform(self) -> BoxTransform:
        """How a detector's box becomes the network's.

        Raises:
            ModelError: that is not known, so boxes have to be given.
        """
        return self._finder.box_transform

    @property
    def providers(self) -> tuple[str, ...]:
        """Where the network runs, such as ("cuda", "cpu"); empty for a `Predictor` that does not say."""
        return tuple(getattr(self.model, "providers", ()))

    def detect(
        self,
        photo: Photo,
        boxes: Sequence[Any] | np.ndarray | None = None,
        box_type: str = "detector",
        roll: np.ndarray | float | None = None,
        max_faces: int | None = None,
    ) -> list[Face]:
        """Find the faces of a photo.

        Args:
            photo: a path, the bytes of a file, a file object, an array (H, W, 3) uint8, or a PIL image.
            boxes: (k, 4) x0, y0, x1, y1 in photo pixels; skips detection, one face per box in the same order.
            box_type: what `boxes` are: "detector", like a face detector's, so that a face that does not fit is cut once
                more by its landmarks; or "landmarks", tight about the landmarks, and taken as they are.
            roll: degrees, one or (k,), by which the faces in `boxes` are rotated, clockwise as seen; they are turned
                upright about the centres of their boxes, which hold them tightly then (`facekd.geometry.upright_box`).
                None: not known; those that cannot be trusted upright are tried in the other three quarters.
            max_faces: most faces to return, the largest; None: all. It does not count for `boxes`.

        Returns:
            The faces whose landmarks can be trusted (`min_confidence`), best score first, or with `max_faces` largest
            first; an empty list if there are none.

        Raises:
            InputError: the photo cannot be read, a box is not a box, there is no such `box_type`, `roll` is no number,
                or given without boxes, or `max_faces` is below 1.
        """
        image = read_image(photo, color=self.color)
        (faces,) = self._finder.faces([self._finder.cut(image, boxes, box_type, roll, max_faces)])
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
        return self._finder.detect(read_image(photo, color=self.color))

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
            InputError: the first photo or box that cannot be used; `photos` is a single one; or `max_faces` is below 1.
        """
        _check_several(photos)
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
        check_count(max_faces)
        _check_several(photos)
        waiting: list[Found | InputError] = []
        read = read_ahead(photos, color=self.color)
        pairs = zip(read, repeat(None)) if boxes is None else zip_longest(read, boxes, fillvalue=_NOTHING)
        for photo, photo_boxes in pairs:
            if photo is _NOTHING or photo_boxes is _NOTHING:
                raise InputError("there are not as many entries in boxes as photos; give one per photo")
            try:
                if isinstance(photo, InputError):
                    waiting.append(photo)
                else:
                    waiting.append(self._finder.cut(photo, photo_boxes, box_type, max_faces=max_faces))
            except InputError as error:
                waiting.append(error)
            held = [found for found in waiting if isinstance(found, Found)]
            faces = sum(len(found.cut.boxes) for found in held)
            if max(faces, len(waiting)) >= _BATCH or sum(found.photo.nbytes for found in held) >= _HELD:
                yield from self._in_order(waiting)
                waiting = []
        yield from self._in_order(waiting)

    def _in_order(self, photos: list[Found | InputError]) -> Iterator[tuple[tuple[int, int], list[Face]] | InputError]:
        """Yield size and faces of each photo that was cut, and each error in its place."""
        cut = [found for found in photos if isinstance(found, Found)]
        found = self._finder.faces(cut) if cut else iter(())
        for photo in photos:
            if isinstance(photo, InputError):
                yield photo
            else:
                height, width = photo.photo.shape[:2]
                yield (width, height), next(found)


def _check_several(photos: Any) -> None:
    """Refuse one photo in place of several: its letters, bytes or rows would be taken for photos."""
    single = str | bytes | bytearray | memoryview | PathLike | Image.Image
    rows = isinstance(photos, np.ndarray) and photos.ndim < 4
    if rows or isinstance(photos, single) or hasattr(photos, "read"):
        raise InputError("this is one photo where several are taken; give a list of photos, or call detect")
