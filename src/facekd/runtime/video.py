"""Frames in from files and cameras, pictures with faces out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facekd.errors import InputError
from facekd.files import expand
from facekd.images import find_photos, read_ahead, read_image
from facekd.runtime.batch import DRAWN
from facekd.runtime.mp4 import frame_count, set_frame_times


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
        found, self._first = self._read()
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
            found, frame = self._read()
            now = self._clock() - start
            seconds = now if now > seconds else seconds + 1 / self.fps
        self._capture.release()

    def _read(self) -> tuple[bool, Any]:
        """Return whether there is a next frame, and the frame; of damage that OpenCV stops at, the video ends there."""
        try:
            return self._capture.read()
        except cv2.error:
            return False, None

    def _clock(self) -> float:
        """Return the time of the frame read last, in seconds since some moment.

        Frames of a file carry their own: phones film at a rate that varies. Some decoders stamp no frame, or not all,
        and some give the time of the next one; so only differences count, and only while they rise.
        """
        return time.monotonic() if self.live else self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000


class FrameFolder:
    """The frames of a video as photos in a folder, in natural order: frame2 before frame10.

    Args:
        folder: the folder; "~" is the home folder. Folders within it and drawings (`*.landmarks.jpg`) are left out.
        fps: frames per second.

    Attributes:
        live: False.
        fps: as given.
        count: how many frames there are.
        size: width and height in pixels, of the first frame that can be read.
        skipped: files in the folder that are no photos by their suffix.

    Raises:
        InputError: there is no photo in the folder, or none that can be read.
    """

    live = False

    def __init__(self, folder: str | PathLike[str], fps: float = 30.0) -> None:
        path = expand(folder)
        found, others = find_photos(path)
        self._photos = [each for each in found if each.parent == path and not each.name.endswith(DRAWN)]
        if not self._photos:
            raise InputError(f"folder {path} holds no photo; those of folders within it are not taken for frames")
        self.skipped = [each for each in others if each.parent == path]
        self.fps, self.count = fps, len(self._photos)
        self.size = self._first_size()

    def __iter__(self) -> Iterator[tuple[float, np.ndarray | InputError]]:
        """Yield (seconds since the first frame, (H, W, 3) uint8 RGB), or an error in place of a frame that is bad."""
        for index, (path, frame) in enumerate(zip(self._photos, read_ahead(self._photos), strict=True)):
            if isinstance(frame, np.ndarray) and frame.shape[1::-1] != self.size:
                sizes = [f"{width} x {height}" for width, height in (frame.shape[1::-1], self.size)]
                frame = InputError(f"photo {path} has {sizes[0]} pixels, but the frames of this folder {sizes[1]}")
            yield index / self.fps, frame

    def _first_size(self) -> tuple[int, int]:
        errors = []
        for path in self._photos:
            try:
                height, width = read_image(path).shape[:2]
                return width, height
            except InputError as error:
                errors.append(error)
        raise errors[0]


class VideoWriter:
    """An mp4 file (MPEG-4 part 2, which every OpenCV build can write).

    Args:
        path: the file to write.
        fps: frames per second, of frames that are added without their time.
        size: width and height of the frames in pixels.

    Raises:
        InputError: OpenCV cannot write it.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
        if not self._writer.isOpened():
            raise InputError(f"no video can be written to {path}; choose another folder or --no-video")
        self._path, self._fps, self._size = path, fps, size
        self._times: list[float] = []

    def add(self, frame: np.ndarray, seconds: float | None = None) -> None:
        """Add a frame.

        Args:
            frame: (H, W, 3) uint8 RGB; one of another size is resized.
            seconds: its time, later than that of the frame before; default: one period of `fps` later.
        """
        if seconds is None:
            seconds = self._times[-1] + 1 / self._fps if self._times else 0.0
        if (frame.shape[1], frame.shape[0]) != self._size:
            frame = cv2.resize(frame, self._size)
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self._times.append(seconds)

    def close(self) -> None:
        """Finish the file; before that it cannot be played.

        Raises:
            InputError: it could not be written whole, or the frames' times cannot be written into it.
        """
        self.release()
        # OpenCV does not say what it cannot write.
        if self._times and self._path.suffix == ".mp4" and frame_count(self._path) != len(self._times):
            raise InputError("the video could not be written whole; free some space, or choose --no-video")
        times = np.array(self._times) - self._times[0] if self._times else np.zeros(0)
        # OpenCV writes frames that all last alike.
        if (np.abs(times - np.arange(len(times)) / self._fps) > 0.25 / self._fps).any():
            set_frame_times(self._path, times)

    def release(self) -> None:
        """Let go of the file, whole or not."""
        self._writer.release()
