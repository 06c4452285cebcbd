"""The packed table: one Parquet file with every labelled face of a dataset, written once, read by all that follows.

A row is a face: the JPEG of a square generous crop, and its labels in that crop's pixels. Ray, polars and datasets
read the same file. The labels stay in memory (about 1 kB per face); the photos are streamed, a row group at a time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from facekd.data import pack_file
from facekd.data.face import LabelledFace, check, decode
from facekd.data.writer import ROW_GROUP, PackWriter
from facekd.errors import InputError
from facekd.files import atomic, write_text
from facekd.markup import MarkUp

__all__ = ["LabelledFace", "Pack", "PackWriter"]

_LOG = logging.getLogger("facekd")


class _Images:
    """The image column of a pack, by row number; keeps the last row group, so reading in order reads each once.

    Args:
        path: of the pack.
        file: the same, opened.
    """

    def __init__(self, path: Path, file: pq.ParquetFile) -> None:
        self._path, self._file = path, file
        groups = range(file.num_row_groups)
        self._starts = np.cumsum([0, *(file.metadata.row_group(g).num_rows for g in groups)])
        self._held: tuple[int, pa.ChunkedArray] | None = None
        self._lock = threading.Lock()  # a ParquetFile is not safe to read from two threads at once
        self.looked_at: set[int] = set()  # rows
        self.damaged: set[int] = set()  # of these

    def __getitem__(self, row: int) -> bytes:
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        with self._lock:
            if self._held is None or self._held[0] != group:
                try:
                    self._held = group, self._file.read_row_group(group, columns=["image"]).column(0)
                except (pa.ArrowException, OSError, ValueError, RuntimeError) as error:
                    raise InputError(f"its part of the file is damaged ({_first_line(error)})") from error
            image = self._held[1][row - int(self._starts[group])].as_py()
        if not image:
            raise InputError("it is empty")
        found: bytes = image
        return found


@dataclass(frozen=True, eq=False)
class Pack:
    """The faces of a pack, or some of them: labels as arrays in memory, photos streamed from the file.

    Attributes:
        path: the Parquet file.
        markup: what the N points are.
        meta: dataset, margin, size, jpeg_quality, counts, terms, sha256 of the content, as written.
        rows: (n,) int64, row number in the file of each face.
        points: (n, N, 2) float32, pixels of the stored crop; x and y are NaN where a point is missing.
        boxes: (n, 4) float32, tight box x0, y0, x1, y1 of the points, pixels of the stored crop; missing ones count
            where the mean shape has them.
        sizes: (n,) int32, side of the stored crop in pixels.
        names: (n,) str.
        splits: (n,) str, "train", "val" or "test".
        subsets: (n,) object, each a tuple of subset names.
        quality: (n,) str, "exact", "derived" or "predicted".
        visible: (n, N) bool, False where a point is occluded or missing; None when the dataset does not say.
        photo_boxes: (n, 4) float32, the dataset's own box in photo pixels, NaN where it has none.
        to_photo: (n, 2, 3) float32, stored crop -> photo.
        orientations: (n,) int8, what EXIF says of each photo and was undone; 1 for none.
    """

    path: Path
    markup: MarkUp
    meta: dict[str, Any]
    rows: np.ndarray
    points: np.ndarray
    boxes: np.ndarray
    sizes: np.ndarray
    names: np.ndarray
    splits: np.ndarray
    subsets: np.ndarray
    quality: np.ndarray
    visible: np.ndarray | None
    photo_boxes: np.ndarray
    to_photo: np.ndarray
    orientations: np.ndarray
    _images: _Images = field(repr=False)

    @classmethod
    def open(cls, path: str | Path) -> Pack:
        """Read the labels of a pack; the photos stay in the file.

        Args:
            path: the Parquet file.

        Returns:
            All of its faces.

        Raises:
            InputError: the file is missing, is not a pack, is of a newer version, or holds what no pack does.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"there is no pack at {path}; make one with `facekd prepare DATASET SRC {path}`")
        file, meta, markup, table = pack_file.read(path)
        n = table.num_rows

        def floats(name: str, *shape: int) -> np.ndarray:
            flat = table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            return flat.reshape(n, *shape).astype(np.float32)

        def words(name: str) -> np.ndarray:
            return np.array(table[name].to_pylist(), dtype=str)

        subsets = np.empty(n, object)
        subsets[:] = [tuple(s) for s in table["subsets"].to_pylist()]
        visible = table["visible"].to_pylist()
        photo_boxes = [[np.nan] * 4 if box is None else box for box in table["photo_box"].to_pylist()]
        return cls(
            path=path,
            markup=markup,
            meta=meta,
            rows=np.arange(n),
            points=floats("points", markup.count, 2),
            boxes=floats("box", 4),
            sizes=table["size"].to_numpy().astype(np.int32),
            names=words("name"),
            splits=words("split"),
            subsets=subsets,
            quality=words("quality"),
            visible=None if None in visible else np.array(visible, bool).reshape(n, markup.count),
            photo_boxes=np.array(photo_boxes, np.float32).reshape(n, 4),
            to_photo=floats("to_photo", 2, 3),
            # Packs of 0.1.0 do not have the column.
            orientations=table["orientation"].to_numpy().astype(np.int8)
            if "orientation" in table.column_names
            else np.ones(n, np.int8),
            _images=_Images(path, file),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def select(
        self, split: str | None = None, subset: str | None = None, indices: Sequence[int] | np.ndarray | None = None
    ) -> Pack:
        """Return a view of the faces that meet every condition given.

        Args:
            split: "train", "val" or "test"; None for any.
            subset: a subset's name; None for any.
            indices: rows of this view to keep, in this order; None for all.

        Returns:
            A pack of the same file with fewer faces.

        Raises:
            InputError: nothing is left; says which splits and subsets there are.
        """
        keep = np.arange(len(self)) if indices is None else np.asarray(indices, np.int64)
        if split is not None:
            keep = keep[self.splits[keep] == split]
        if subset is not None:
            keep = keep[[subset in s for s in self.subsets[keep]]] if len(keep) else keep
        if not len(keep):
            counts = self.meta["counts"]
            raise InputError(
                f"{self.path.name} has no face with split {split or 'any'}, subset {subset or 'any'}; "
                f"splits {counts['split']}, subsets {counts['subset']}"
            )
        return self._taken(keep)

    def _taken(self, rows: np.ndarray) -> Pack:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        taken: dict[str, Any] = {name: v[rows] for name, v in values.items() if isinstance(v, np.ndarray)}
        return replace(self, **taken)

    @property
    def evaluation_dataset(self) -> str:
        """Return the name of the dataset of the validation and test faces."""
        return str(self.meta.get("evaluation_dataset", self.meta["dataset"]))

    def without(self, subsets: Collection[str]) -> Pack:
        """Return the faces that are in none of some subsets.

        Args:
            subsets: names of subsets; those that no face is in are fine.

        Returns:
            A view of this pack, or the pack itself; there may be no faces left.
        """
        rows = np.array([set(subsets).isdisjoint(names) for names in self.subsets], bool)
        return self if rows.all() else self._taken(rows)

    def annotated(self) -> Pack:
        """Return the faces whose landmarks a person set, for what is measured on faces as photos show them.

        Returns:
            Those of quality "exact"; without any of those, all.
        """
        exact = np.flatnonzero(self.quality == "exact")
        return self.select(indices=exact) if len(exact) else self

    def readable(self) -> Pack:
        """Return the faces whose images can be read; each of the others is named in a warning of the log.

        Each image is decoded at an eighth of its size, and only the first time.

        Returns:
            A view of this pack, or the pack itself.

        Raises:
            InputError: no face is left.
        """
        images = self._images
        new = [index for index in range(len(self)) if int(self.rows[index]) not in images.looked_at]
        with ThreadPoolExecutor() as pool:
            for index, error in zip(new, pool.map(self._error, new), strict=True):
                images.looked_at.add(int(self.rows[index]))
                if error is not None:
                    images.damaged.add(int(self.rows[index]))
                    _LOG.warning("left out: %s", self._damage(index, error))
        keep = np.array([int(row) not in images.damaged for row in self.rows], bool)
        if keep.all():
            return self
        if not keep.any():
            raise InputError(f"no face of {self.path} has an image that can be read; make it with `facekd prepare`")
        return self.select(indices=np.flatnonzero(keep))

    def image(self, index: int) -> np.ndarray:
        """Decode one crop.

        Args:
            index: row of this view.

        Returns:
            (size, size, 3) uint8 RGB.

        Raises:
            InputError: it is damaged.
        """
        try:
            return decode(self._images[int(self.rows[index])], int(self.sizes[index]))
        except InputError as error:
            raise InputError(self._damage(index, error)) from error

    def face(self, index: int) -> LabelledFace:
        """Return one face as it is stored.

        Args:
            index: row of this view.

        Returns:
            The face, its image encoded.

        Raises:
            InputError: its part of the file is damaged.
        """
        photo_box = self.photo_boxes[index]
        try:
            image = self._images[int(self.rows[index])]
        except InputError as error:
            raise InputError(self._damage(index, error)) from error
        return LabelledFace(
            image=image,
            points=self.points[index],
            name=str(self.names[index]),
            split=str(self.splits[index]),
            subsets=self.subsets[index],
            quality=str(self.quality[index]),
            visible=None if self.visible is None else self.visible[index],
            photo_box=None if np.isnan(photo_box).any() else photo_box,
            to_photo=self.to_photo[index],
            orientation=int(self.orientations[index]),
            box=self.boxes[index],
            size=int(self.sizes[index]),
        )

    def images(self, batch: int = ROW_GROUP) -> Iterator[list[np.ndarray]]:
        """Decode all crops in order on all cores, holding one batch at a time.

        Args:
            batch: images per batch.

        Yields:
            Lists of (size, size, 3) uint8 RGB arrays; the last may be shorter.

        Raises:
            InputError: one is damaged; `readable` leaves those out.
        """
        return self._decoded(batch, lambda image: image)

    def _error(self, index: int) -> InputError | None:
        """Return why an image cannot be used, or None."""
        try:
            check(self._images[int(self.rows[index])], int(self.sizes[index]))
        except InputError as error:
            return error
        return None

    def _damage(self, index: int, error: InputError) -> str:
        return f"the image of face {self.names[index]} in {self.path} cannot be used: {error}"

    def frames(self, path: str | Path, px: int) -> tuple[np.memmap, np.ndarray]:
        """Decode every crop once, resized to px, into a memory map that the operating system pages in as it is read.

        This is how a pack larger than memory trains. The map is written under a temporary name, and used again when
        it was made from the same faces at the same px (a small `.json` beside it says so).

        Args:
            path: the .npy file to write or use again.
            px: side of each frame in pixels.

        Returns:
            frames (n, px, px, 3) uint8 RGB, read-only, and points (n, N, 2) float32 in frame pixels.
        """
        path, stamp = Path(path), Path(path).with_suffix(".json")
        rows = hashlib.sha256(np.ascontiguousarray(self.rows, np.int64).tobytes()).hexdigest()
        made_of = json.dumps({"pack": self.meta["sha256"], "rows": rows, "px": px})
        if not (path.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == made_of):
            stamp.unlink(missing_ok=True)  # first, so that a stamp never stands beside another map
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(self), px, px, 3)}
            with atomic(path) as temporary, temporary.open("wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                for frames in self._decoded(ROW_GROUP, lambda image: _resize(image, px)):
                    file.write(np.stack(frames).data)
            write_text(stamp, made_of)
        scale = (px / self.sizes.astype(np.float32))[:, None, None]
        return np.load(path, mmap_mode="r"), (self.points + 0.5) * scale - 0.5

    def _decoded(self, batch: int, work: Callable[[np.ndarray], np.ndarray]) -> Iterator[list[np.ndarray]]:
        """Yield `work` of every crop in batches; OpenCV lets go of the interpreter while it decodes, so threads do."""
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(self), batch):
                yield list(pool.map(lambda index: work(self.image(index)), range(start, min(start + batch, len(self)))))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _resize(image: np.ndarray, px: int) -> np.ndarray:
    """Resize a square image to px, averaging areas when it shrinks; pixel centres map as in `Pack.frames`."""
    shrink = image.shape[0] > px
    return cv2.resize(image, (px, px), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)
