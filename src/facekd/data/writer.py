"""Writing a pack face by face."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from facekd.data import pack_file
from facekd.data.face import QUALITIES, SPLITS, LabelledFace
from facekd.errors import InputError
from facekd.files import atomic
from facekd.geometry import tight_box
from facekd.markup import MarkUp

ROW_GROUP = 128  # rows; the unit of streaming, a few MB of crops


class PackWriter:
    """Write a pack face by face; the file appears under its name only when the `with` block ends without an error.

    Args:
        path: the Parquet file to write.
        markup: what the points are; its count is N.
        dataset: name of the dataset.
        margin: side of a crop / larger side of its tight landmark box.
        size: largest side of a crop in pixels.
        jpeg_quality: 1 to 100, for faces added with their image as an array.
        terms: one sentence on the terms the data come under.
        evaluation_dataset: name of the dataset of the validation and test faces, where training faces of others came
            to it; None: that of all.
    """

    def __init__(
        self,
        path: str | Path,
        markup: MarkUp,
        *,
        dataset: str,
        margin: float,
        size: int,
        jpeg_quality: int,
        terms: str,
        evaluation_dataset: str | None = None,
    ) -> None:
        self.path, self.markup, self.jpeg_quality = Path(path), markup, jpeg_quality
        self._schema = pack_file.schema(markup.count)
        self.count = 0
        self._about = {
            "version": pack_file.VERSION,
            "schema": pack_file.checksum(self._schema),
            "dataset": dataset,
            "markup": markup.to_dict(),
            "margin": margin,
            "size": size,
            "jpeg_quality": jpeg_quality,
            "terms": terms,
        }
        if evaluation_dataset is not None:
            self._about["evaluation_dataset"] = evaluation_dataset
        self._counts: dict[str, Counter[str]] = {"split": Counter(), "subset": Counter(), "quality": Counter()}
        self._digest = hashlib.sha256()
        self._rows: list[dict[str, Any]] = []
        self._stack = ExitStack()

    def __enter__(self) -> PackWriter:
        temporary = self._stack.enter_context(atomic(self.path))
        self._parquet = self._stack.enter_context(
            pq.ParquetWriter(
                temporary,
                self._schema,
                compression={"image": "none"},  # JPEG does not shrink further; the labels are small
                use_dictionary=["split", "quality"],
                write_statistics=["split", "quality"],
            )
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
            counts = {"faces": self.count} | {key: dict(sorted(c.items())) for key, c in self._counts.items()}
            about = self._about | {"counts": counts, "sha256": self._digest.hexdigest()}
            self._parquet.add_key_value_metadata({pack_file.METADATA: json.dumps(about)})
        self._stack.__exit__(kind, error, trace)

    def add(self, face: LabelledFace) -> None:
        """Append one face.

        Args:
            face: its image as an array or as JPEG; missing points are NaN, and are stored as not visible.

        Raises:
            InputError: it does not fit the mark-up or the table.
        """
        points = np.array(face.points, np.float32)
        points[np.isnan(points).any(axis=-1)] = np.nan  # a point without x has no y
        missing = np.isnan(points).any(axis=-1)
        if points.shape != (self.markup.count, 2) or missing.all() or np.isinf(points).any():
            need = f"{self.markup.name} needs {self.markup.count} points, finite or, but for all of them, NaN"
            raise InputError(f"{face.name}: {need}; got an array {points.shape}, {missing.sum()} of them NaN")
        if face.split not in SPLITS or face.quality not in QUALITIES or face.size <= 0:
            raise InputError(
                f"{face.name}: no pack holds split '{face.split}', quality '{face.quality}', {face.size} px"
            )
        if isinstance(face.image, np.ndarray) and face.image.shape[:2] != (face.size, face.size):
            raise InputError(f"{face.name}: its image {face.image.shape} is no square of {face.size} px")
        face = face.encoded(self.jpeg_quality)
        name = face.name.encode("utf-8", "backslashreplace").decode()  # a photo's name may be no text
        self._rows.append(
            {
                "image": face.image,
                "size": face.size,
                "points": points.ravel(),
                "box": tight_box(points) if face.box is None else np.asarray(face.box, np.float32),
                "photo_box": None if face.photo_box is None else np.asarray(face.photo_box, np.float32),
                "to_photo": np.asarray(face.to_photo, np.float32).ravel(),
                "name": name,
                "split": face.split,
                "subsets": list(face.subsets),
                "quality": face.quality,
                "orientation": face.orientation,
                "visible": None if face.visible is None else np.asarray(face.visible, bool) & ~missing,
            }
        )
        self._digest.update(bytes(face.image) + points.tobytes() + f"{name} {face.split}".encode())
        self.count += 1
        self._counts["split"][face.split] += 1
        self._counts["subset"].update(face.subsets)
        self._counts["quality"][face.quality] += 1
        if len(self._rows) == ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._parquet.write_table(pa.Table.from_pylist(self._rows, self._schema), ROW_GROUP)
            self._rows.clear()
