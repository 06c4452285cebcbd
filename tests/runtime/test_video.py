"""Video in and out."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from facekd.errors import InputError
from facekd.runtime.video import Video, VideoWriter


def write(path: Path, values: list[int], fps: float = 20.0) -> Path:
    writer = VideoWriter(path, fps, (64, 48))
    for value in values:
        writer.add(np.full((48, 64, 3), (value, 0, 0), np.uint8))
    writer.close()
    return path


def test_written_frames_are_read_back(tmp_path: Path) -> None:
    video = Video(write(tmp_path / "a b.mp4", [40, 120, 200]))
    assert (video.fps, video.count, video.size, video.live) == (20.0, 3, (64, 48), False)
    frames = list(video)
    np.testing.assert_allclose([time for time, _ in frames], [0, 0.05, 0.1])
    np.testing.assert_allclose([frame[24, 32] for _, frame in frames], [[v, 0, 0] for v in (40, 120, 200)], atol=8)


def retimed(path: Path, entries: list[tuple[int, float]], fps: float = 20.0) -> Path:
    """Change how long the frames of an mp4 file last: pairs of how many and seconds, in its box `stts`."""
    data = bytearray(path.read_bytes())
    table = data.index(b"stts") + 8
    (unit,) = struct.unpack_from(">I", data, table + 8)  # of a frame, in the file's unit of time
    values = [value for count, lasts in entries for value in (count, round(lasts * fps * unit))]
    data[table : table + 12] = struct.pack(f">{1 + len(values)}I", len(entries), *values)
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"):  # the boxes about it grow
        place = data.index(name) - 4
        struct.pack_into(">I", data, place, struct.unpack_from(">I", data, place)[0] + 8 * (len(entries) - 1))
    path.write_bytes(data)
    return path


def test_frames_that_last_differently_have_their_own_times(tmp_path: Path) -> None:
    video = Video(retimed(write(tmp_path / "a.mp4", list(range(0, 240, 40))), [(3, 0.01), (3, 0.09)]))
    np.testing.assert_allclose([time for time, _ in video], [0, 0.01, 0.02, 0.03, 0.12, 0.21], atol=1e-3)


def test_times_of_real_videos(shared_data: Path) -> None:
    times = [time for time, _ in Video(shared_data / "videos" / "pyfeat_face_noface.mov")]
    assert times[0] == 0 and times[-1] == pytest.approx(6.3604, abs=1e-3)  # 169 frames, at 26.4 a second by the header
    np.testing.assert_allclose(times[1:4], [1 / 30, 2 / 30, 0.1], atol=1e-3)


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([0, 0, 0, 0], [0, 0.05, 0.1, 0.15]),  # none
        ([-1, -1, -1, -1], [0, 0.05, 0.1, 0.15]),  # not supported
        ([50, 100, 150, 200], [0, 0.05, 0.1, 0.15]),  # of the next frame
        ([1400, 1430, 1500, 1510], [0, 0.03, 0.1, 0.11]),  # as a camera started
        ([0, 30, 60, 0], [0, 0.03, 0.06, 0.11]),  # the last frame of some MPEG files
    ],
)
def test_decoders_that_stamp_frames_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stamps: list[float], times: list[float]
) -> None:
    class Stamped:
        def __init__(self, path: str) -> None:
            self.capture, self.stamps = decoder(path), iter(stamps)

        def read(self) -> tuple[bool, np.ndarray]:
            self.stamp = next(self.stamps, 0)
            return self.capture.read()

        def get(self, what: int) -> float:
            return self.stamp if what == cv2.CAP_PROP_POS_MSEC else self.capture.get(what)

        def release(self) -> None:
            self.capture.release()

    decoder = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Stamped)
    video = Video(write(tmp_path / "a.mp4", [40, 80, 120, 160]))
    np.testing.assert_allclose([time for time, _ in video], times, atol=1e-9)


def test_a_cut_video_ends_where_it_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "a.avi", list(range(0, 200, 4)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 1 <= len(list(Video(path))) < 50


def test_frames_of_another_size_are_fitted(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", 20.0, (64, 48))
    writer.add(np.zeros((96, 128, 3), np.uint8))
    writer.close()
    assert Video(tmp_path / "a.mp4").size == (64, 48)


@pytest.mark.parametrize("content", [b"", b"no video"])
def test_what_is_no_video(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(InputError, match="no video that can be decoded"):
        Video(tmp_path / "a.mp4")


def test_missing_videos_and_cameras(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no video"):
        Video(tmp_path / "none.mp4")
    with pytest.raises(InputError, match="camera 97 gives no picture"):
        Video("97")
    with pytest.raises(InputError, match="no video can be written"):
        VideoWriter(tmp_path / "no folder" / "a.mp4", 20, (64, 48))
