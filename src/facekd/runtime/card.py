"""The model card: what one needs to know to run a landmark network, and to trust it."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facekd.documents import MAX_BYTES, Fields, is_group, parse_json, read_json
from facekd.errors import InputError, ModelError
from facekd.files import atomic
from facekd.geometry import BoxTransform
from facekd.markup import MarkUp
from facekd.runtime.face_confidence import FaceCalibration

_ADVICE = "export the model again"
# A .tflite file holds its card under this name in a ZIP archive behind the network, where TensorFlow Lite's metadata
# have their associated files: programs that run networks do not read so far, and `unzip` takes it out.
_INSIDE, _MEMBER = ".tflite", "facekd.json"


def sha256(path: str | Path) -> str:
    """Compute the SHA-256 of a file, without the card that a .tflite file holds.

    Args:
        path: the file.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256(_split(Path(path))[0]).hexdigest()


def _split(path: Path) -> tuple[bytes, bytes | None]:
    """Return a network's bytes, and those of the card behind them if there is one."""
    content = path.read_bytes()
    if path.suffix != _INSIDE or not zipfile.is_zipfile(io.BytesIO(content)):
        return content, None
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if _MEMBER not in archive.namelist():
            return content, None
        if archive.getinfo(_MEMBER).file_size > MAX_BYTES:  # it may be packed a thousandfold
            raise ValueError(f"it is longer than {MAX_BYTES // 1_000_000} MB")
        return content[: min(member.header_offset for member in archive.infolist())], archive.read(_MEMBER)


@dataclass(frozen=True)
class ModelCard:
    """What lies beside `<name>.onnx` as `<name>.json`, and in `<name>.tflite` itself.

    Attributes:
        name: the model's name.
        markup: what its points mean.
        size: side of the network's square input, in pixels.
        scale: side of the square crop, in units of the larger side of the tight landmark box.
        box_transform: how a face detector's box becomes the network's; None: not known, so that boxes have to be given.
        confidence: one sentence on what the per-point confidence means; None: the network gives none.
        confidence_radius: a point's confidence is the probability that it lies within this distance of the truth; in
            units of the larger side of the tight landmark box.
        face_calibration: how the points' confidence tells right landmarks from wrong ones; None: it was not fitted.
        data: the data it was trained on, {"name", "terms"} each.
        figures: measured errors, by data set.
        sha256: of the network's file, without the card.
        made_with: the version of facekd, the recipe and so on.
        version: of the model.
    """

    name: str
    markup: MarkUp
    size: int
    scale: float
    box_transform: BoxTransform | None = None
    confidence: str | None = None
    confidence_radius: float | None = None
    face_calibration: FaceCalibration | None = None
    data: tuple[dict[str, Any], ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    made_with: dict[str, Any] = field(default_factory=dict)
    version: str = "1"

    def to_dict(self) -> dict[str, Any]:
        """Turn the card into plain values.

        Returns:
            Keys and values for JSON; `from_dict` reads them back.
        """
        return {
            "name": self.name,
            "version": self.version,
            "markup": self.markup.to_dict(),
            "input": {"size": self.size, "scale": self.scale},
            "box_transform": self.box_transform.to_dict() if self.box_transform else None,
            "confidence": self.confidence,
            "confidence_radius": self.confidence_radius,
            "face_calibration": self.face_calibration.to_dict() if self.face_calibration else None,
            "data": list(self.data),
            "figures": self.figures,
            "sha256": self.sha256,
            "made_with": self.made_with,
        }

    @classmethod
    def from_dict(cls, values: Any, where: str = "model card") -> ModelCard:
        """Read what `to_dict` wrote; cards of version 0.1.0 and before say `detector` and `within` for two of the keys.

        Args:
            values: the card's keys and values.
            where: names the file in messages.

        Returns:
            The card.

        Raises:
            ModelError: a key is missing or of the wrong kind.
        """
        fields = Fields(values, where, ModelError, advice=_ADVICE)
        transform = fields.values.get("box_transform", fields.values.get("detector"))
        calibration = fields.values.get("face_calibration")
        shape = fields.group("input")
        try:
            return cls(
                name=fields.text("name"),
                markup=MarkUp.from_dict(fields.values.get("markup"), f"{where}: markup"),
                size=shape.integer("size", 1, 4096),
                scale=shape.number("scale", 1e-3, 1e3),
                box_transform=BoxTransform.from_dict(transform, where) if transform is not None else None,
                confidence=fields.text("confidence", None),
                confidence_radius=fields.number("confidence_radius", 0, 1e3, fields.number("within", 0, 1e3, None)),
                face_calibration=FaceCalibration.from_dict(calibration, where) if calibration is not None else None,
                data=tuple(fields.list("data", is_group, "groups", 1000, ())),
                figures=dict(fields.group("figures", fields.inner({}, "")).values),
                sha256=fields.text("sha256", ""),
                made_with=dict(fields.group("made_with", fields.inner({}, "")).values),
                version=fields.text("version", "1"),
            )
        except InputError as error:  # of the groups that packs and mark-up files have, too
            raise ModelError(f"{error}; {_ADVICE}") from error

    @classmethod
    def load(cls, path: str | Path) -> ModelCard:
        """Read the card of a model.

        Args:
            path: the .json, the .onnx that it lies beside, or the .tflite that holds it.

        Returns:
            The card.

        Raises:
            ModelError: there is none, or it cannot be read.
        """
        path = Path(path)
        if path.suffix != _INSIDE:
            path = path.with_suffix(".json")
            if not path.exists():
                raise ModelError(f"no model card {path}; `facekd export` writes it beside the .onnx")
            return cls.from_dict(read_json(path, "model card", ModelError, _ADVICE), f"model card {path}")
        try:
            text = _split(path)[1]
        except FileNotFoundError as error:
            raise ModelError(f"no model file {path}") from error
        except (OSError, ValueError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:  # RuntimeError: encrypted
            raise ModelError(f"model card in {path} cannot be read ({error}); export the model again") from error
        if text is None:
            raise ModelError(f"{path} holds no model card, so it is not as `facekd export` wrote it; export it")
        return cls.from_dict(parse_json(text, f"model card in {path}", ModelError, _ADVICE), f"model card in {path}")

    def save(self, path: str | Path) -> None:
        """Write the card.

        Args:
            path: the .json, the .onnx that it lies beside, or the .tflite that holds it.
        """
        path, text = Path(path), json.dumps(self.to_dict(), indent=1) + "\n"
        if path.suffix != _INSIDE:
            with atomic(path.with_suffix(".json")) as temporary:
                temporary.write_text(text, encoding="utf-8")
            return
        network, _ = _split(path)
        with atomic(path) as temporary:
            temporary.write_bytes(network)
            with zipfile.ZipFile(temporary, "a") as archive:  # dated 1980: the same card gives the same bytes
                archive.writestr(zipfile.ZipInfo(_MEMBER), text, zipfile.ZIP_DEFLATED)

    def verify(self, network: str | Path) -> None:
        """Check a network's file against the card's SHA-256.

        Args:
            network: the .onnx or .tflite file.

        Raises:
            ModelError: the file is missing or not the one that the card describes.
        """
        try:
            found = sha256(network)
        except OSError as error:
            raise ModelError(f"model {network} cannot be read: {error.strerror}") from error
        if found != self.sha256:
            raise ModelError(
                f"model {network} is not the file its card describes (SHA-256 {found[:12]}..., "
                f"card {self.sha256[:12]}...); install or export it again"
            )
