"""The formats that `facekd export` writes, by suffix. A new one: a module here, and a line in FORMATS."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from facekd.data.pack import Pack
from facekd.errors import ModelError, nearest
from facekd.runtime.card import ModelCard


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        module: in `facekd.exporters`, with `export`.
        precisions: what its numbers may be stored as, the default first.
        int8: whether there is a form that computes in 8 bits.
        batches: whether faces per call are chosen when the file is written.
    """

    module: str
    precisions: tuple[str, ...]
    int8: bool
    batches: bool

    def load(self) -> ModuleType:
        """Import the module.

        Returns:
            It.
        """
        return import_module(f"facekd.exporters.{self.module}")


FORMATS = {
    ".onnx": Format("onnx", ("float32",), int8=True, batches=False),
    ".tflite": Format("litert", ("float32", "float16"), int8=True, batches=True),
    ".mlpackage": Format("coreml", ("float16", "float32", "palette8"), int8=False, batches=False),
}


def of(out: Path, precision: str | None = None, batch: int | None = None, int8: bool = False) -> Format:
    """Find the format of a file to write, and check that it has what is wanted.

    Args:
        out: the file.
        precision: what its numbers are to be stored as; None: the default.
        batch: faces per call; None: one, or any number where the format leaves it open.
        int8: whether an 8-bit form is wanted, too.

    Returns:
        The format.

    Raises:
        ModelError: there is no such format, or it does not have one of these.
    """
    if out.suffix not in FORMATS:
        raise ModelError(f"{out} must end with {', '.join(FORMATS)}: that says which format to write")
    chosen = FORMATS[out.suffix]
    if precision and precision not in chosen.precisions:
        raise ModelError(f"precision '{precision}' of a {out.suffix} file: {nearest(precision, chosen.precisions)}")
    if batch is not None and batch < 1:
        raise ModelError(f"batch must be 1 or more, got {batch}")
    if batch is not None and not chosen.batches:
        takes = "any number of faces" if out.suffix == ".onnx" else "one face"
        raise ModelError(f"a {out.suffix} file takes {takes} per call; leave batch out")
    if int8 and not chosen.int8:
        raise ModelError(f"there is no int8 form of a {out.suffix} file; precision palette8 makes it as small")
    return chosen


def quantise(path: Path, out: Path, pack: Pack) -> float | None:
    """Write the 8-bit form of an exported network.

    Args:
        path: what `export` wrote.
        out: the file to write.
        pack: faces; those for training calibrate it.

    Returns:
        By how much the NME is larger, in percent; None if that is not measured.

    Raises:
        ModelError: it would lose too much.
        InputError: the pack has no training faces.
    """
    if path.suffix == ".tflite":
        from facekd.exporters import litert

        return litert.quantise(path, out, pack)
    from facekd.exporters import int8
    from facekd.runtime.model import OnnxModel

    int8.quantise(path, out, int8.calibration_frames(pack.select("train"), OnnxModel(path)))
    return None


def read_card(path: Path) -> ModelCard:
    """Read the card of an exported network.

    Args:
        path: what `export` wrote.

    Returns:
        The card.
    """
    if path.suffix != ".mlpackage":
        return ModelCard.load(path)
    from facekd.exporters import coreml

    return coreml.read_card(path)
