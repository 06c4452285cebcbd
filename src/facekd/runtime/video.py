"""Frames in from files and cameras, pictures with faces out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import cv2
import numpy as np

from facekd.errors import InputError
from facekd.files import expand


class Video:
    """A video file, a stream or a camera, frame by frame.

    Args:
        source: a path ("~" is the home folder), an address (rtsp://...), or a camera's number.

    Attributes:
        live: whether it is a camera or stream, whose frames come when they come.
        fps: frames per second as the source says, or 30 if it does not.
        count: frames as the file says, or None; files may be wrong.
        size: width and height of the frames in pixels.

    Raises:
        InputError: there is no such file or camera, or OpenCV cannot decode it.
    """

    def __init__(self, source: str | int | PathLike[str]) -> None:
        text = str(source) if isinstance(source, int) or "://" in str(source) else str(expand(source))
        camera = text.isdigit() and not Path(text).exists()
        self.live = camera or "://" in text
        if not self.live and not Path(text).is_file():
            raise InputError(f"no video {text}; give a file, a stream's address or a camera's number")
        self._capture = cv2.VideoCapture(int(text) if camera else text)
        found, self._first = self._capture.read()
        if not found:
            self._capture.release()
            kind = f"camera {text} gives no picture" if camera else f"{text} holds no video that can be decoded"
            raise InputError(f"{kind}; check it with another program")
        fps, count = self._capture.get(cv2.CAP_PROP_FPS), self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.fps = float(fps) if 0 < fps < 1000 else 30.0
        self.count = int(count) if count > 0 and not self.live else None
        self.size = (self._first.shape[1], self._first.shape[0])

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yield (seconds since the first frame, (H, W, 3) uint8 RGB) to the end; it can be read once."""
        start, seconds = self._clock(), 0.0
        found, frame = True, self._first
        while found:
            yield seconds, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            found, frame = self._capture.read()
            now = self._clock() - start
            seconds = now if now > seconds else seconds + 1 / self.fps
        self._capture.release()

    def _clock(self) -> float:
        """Return the time of the frame read last, in seconds since some moment.

        Frames of a file carry their own: phones film at a rate that varies. Some decoders stamp no frame, or not all,
        and some give the time of the next one; so only differences count, and only while they rise.
        """
        return time.monotonic() if self.live else self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000


class VideoWriter:
    """An mp4 file (MPEG-4 part 2, which every OpenCV build can write).

    Args:
        path: the file to write.
        fps: frames per second.
        size: width and height of the frames in pixels.

    Raises:
        InputError: OpenCV cannot write it.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
        if not self._writer.isOpened():
            raise InputError(f"no video can be written to {path}; choose another folder or --no-video")
        self._size = size

    def add(self, frame: np.ndarray) -> None:
        """Add a frame.

        Args:
            frame: (H, W, 3) uint8 RGB; one of another size is resized.
        """
        if (frame.shape[1], frame.shape[0]) != self._size:
            frame = cv2.resize(frame, self._size)
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file; before that it cannot be played."""
        self._writer.release()
