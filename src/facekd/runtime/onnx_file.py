"""What an ONNX file holds, as far as it matters before ONNX Runtime opens it: whether it is whole in itself.

An ONNX file may leave tensors to other files and name them by a path. The files of facekd never do, and their card's
checksum would not cover it. The format is Protocol Buffers (https://protobuf.dev/programming-guides/encoding); the
numbers of the fields are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from facekd.errors import ModelError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # kinds of fields
_MODEL_GRAPH, _MODEL_FUNCTIONS, _NODE, _INITIALIZER, _SPARSE, _ATTRIBUTE = 7, 25, 1, 5, 15, 5
_INT32 = 0xFFFFFFFF  # enumerations are cut to 32 bits when they are read
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = (5, 10), (6, 11)
_SPARSE_TENSORS = (1, 2)
_DATA_LOCATION, _EXTERNAL = 14, 1
_DEEPEST = 16  # graphs within graphs


def check(path: str | Path) -> None:
    """Refuse an ONNX file that is damaged as a whole, or that keeps tensors in other files.

    Args:
        path: the .onnx file.

    Raises:
        ModelError: it cannot be read, is no ONNX file, or keeps tensors elsewhere.
    """
    try:
        content = memoryview(Path(path).read_bytes())
        functions = any(True for _ in _groups(content, 0, len(content), _MODEL_FUNCTIONS))
        external = any(_graph(content, *span) for span in _groups(content, 0, len(content), _MODEL_GRAPH))
    except OSError as error:
        raise ModelError(f"model {path} cannot be read: {error.strerror}") from error
    except (ValueError, IndexError, RecursionError) as error:
        raise ModelError(f"model {path} is no ONNX file, or it is damaged; install or export it again") from error
    if functions:
        raise ModelError(f"model {path} has functions, which no export of facekd writes; install or export it again")
    if external:
        raise ModelError(f"model {path} keeps tensors in other files, which are not checked; export it as one file")


def _graph(content: memoryview, start: int, end: int, depth: int = 0) -> bool:
    """Return whether a graph keeps tensors elsewhere."""
    if depth > _DEEPEST:
        raise ValueError("too many graphs within graphs")
    for number, first, last in _fields(content, start, end):
        tensors: list[tuple[int, int]] = []
        graphs: list[tuple[int, int]] = []
        if number == _INITIALIZER:
            tensors = [(first, last)]
        elif number == _SPARSE:
            tensors = list(_groups(content, first, last, *_SPARSE_TENSORS))
        elif number == _NODE:
            for attribute in _groups(content, first, last, _ATTRIBUTE):
                tensors += _groups(content, *attribute, *_ATTRIBUTE_TENSORS)
                graphs += _groups(content, *attribute, *_ATTRIBUTE_GRAPHS)
        if any(_is_external(content, *span) for span in tensors):
            return True
        if any(_graph(content, *span, depth + 1) for span in graphs):
            return True
    return False


def _is_external(content: memoryview, start: int, end: int) -> bool:
    """Return whether a tensor says that its data are elsewhere."""
    return any(
        number == _DATA_LOCATION and first & _INT32 == _EXTERNAL for number, first, _ in _all(content, start, end)
    )


def _groups(content: memoryview, start: int, end: int, *numbers: int) -> Iterator[tuple[int, int]]:
    """Yield where the fields of these numbers begin and end."""
    return ((first, last) for number, first, last in _fields(content, start, end) if number in numbers)


def _fields(content: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, begin and end of the fields that hold bytes."""
    return ((number, first, last) for number, first, last in _all(content, start, end) if last >= 0)


def _all(content: memoryview, place: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the fields of a message: number, begin and end of those that hold bytes; of varints the value, and -1."""
    while place < end:
        tag, place = _varint(content, place)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, place = _varint(content, place)
            yield number, value, -1
        elif kind == _BYTES:
            length, place = _varint(content, place)
            if place + length > end:
                raise ValueError("a field reaches beyond its message")
            yield number, place, place + length
            place += length
        elif kind in (_FIXED32, _FIXED64):
            place += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError("no kind of field")
    if place != end:
        raise ValueError("a field reaches beyond its message")


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    """Return a number of seven bits per byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number has more than ten bytes")
