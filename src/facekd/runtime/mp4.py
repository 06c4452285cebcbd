"""When the frames of an mp4 file are shown: OpenCV can only write frames that all last alike."""

from __future__ import annotations

import struct
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np

from facekd.errors import InputError

# Boxes from the file's index down to the table of the frames' durations: each grows with the table.
_AROUND = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts")


def set_frame_times(path: Path, seconds: np.ndarray) -> None:
    """Change when the frames of an mp4 file are shown. The file holds one video and nothing else, its index last.

    The last frame lasts as long as the one before it. Boxes and fields: ISO/IEC 14496-12, section 8.

    Args:
        path: the file, as OpenCV writes it.
        seconds: (n,) rising, from 0: of each frame, n at least 2.

    Raises:
        InputError: the file is built otherwise.
    """
    with open(path, "r+b") as file:
        place = _find_index(file)
        file.seek(place)
        index = bytearray(file.read())
        if not all(name in index for name in (*_AROUND, b"mvhd", b"tkhd", b"mdhd")) or index.count(b"trak") != 1:
            raise InputError(f"{path} is no mp4 file whose frames can be given their times; try --no-video")
        scale, film_scale = (_field(index, name, 16) for name in (b"mdhd", b"mvhd"))  # ticks per second
        ticks = np.maximum(np.diff(np.rint(seconds * scale).astype(np.int64)), 1)
        ticks = np.append(ticks, ticks[-1])
        film_length = round(int(ticks.sum()) * film_scale / scale)
        _set_field(index, b"mdhd", 20, int(ticks.sum()))
        _set_field(index, b"mvhd", 20, film_length)
        _set_field(index, b"tkhd", 24, film_length)
        if b"elst" in index:
            _set_field(index, b"elst", 12, film_length)
        _set_durations(index, ticks)
        file.seek(place)
        file.write(index)
        file.truncate()


def frame_count(path: str | Path) -> int:
    """Return how many frames an mp4 file has.

    Args:
        path: the file, as OpenCV writes it.

    Returns:
        The count; 0 if the file is not whole.
    """
    with open(path, "rb") as file:
        try:
            file.seek(_find_index(file))
        except InputError:
            return 0
        return _field(bytearray(file.read()), b"stsz", 12)


def _find_index(file: BinaryIO) -> int:
    """Return where the box `moov` begins, the last of the file."""
    place = 0
    while len(head := file.read(16)) >= 8:
        size, name = struct.unpack(">I4s", head[:8])
        if size == 1:  # too large for 32 bits
            (size,) = struct.unpack(">Q", head[8:])
        end = file.seek(0, 2)
        if name == b"moov" and place + size == end:
            return place
        if size < 8:
            break
        place += size
        file.seek(place)
    raise InputError(f"{file.name} is no mp4 file with its index last; try --no-video")


def _set_durations(index: bytearray, ticks: np.ndarray) -> None:
    """Replace the table of how long frames last: pairs of how many and ticks."""
    runs = [(len(list(run)), int(value)) for value, run in groupby(ticks)]
    start = index.index(b"stts") + 8
    end = start + 4 + 8 * struct.unpack_from(">I", index, start)[0]
    table = struct.pack(f">{1 + 2 * len(runs)}I", len(runs), *(value for run in runs for value in run))
    for name in _AROUND:
        place = index.index(name) - 4
        struct.pack_into(">I", index, place, struct.unpack_from(">I", index, place)[0] + len(table) - (end - start))
    index[start:end] = table


def _field(index: bytearray, box: bytes, offset: int) -> int:
    """Return a field of 32 bits, by its offset from the box's name."""
    (value,) = struct.unpack_from(">I", index, index.index(box) + offset)
    return int(value)


def _set_field(index: bytearray, box: bytes, offset: int, value: int) -> None:
    if index[index.index(box) + 4] or value >= 2**32:  # version 1: fields of 64 bits
        raise InputError(f"a video of {value} ticks is too long for its frames to be given their times; try --no-video")
    struct.pack_into(">I", index, index.index(box) + offset, value)
