"""Video in and out."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from facekd.errors import InputError
from facekd.runtime.mp4 import set_frame_times
from facekd.runtime.video import FrameFolder, Video, VideoWriter


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
    path.write_bytes(data.replace(b"edts", b"free"))  # the edit list says how long it was
    return path


def test_frames_that_last_differently_have_their_own_times(tmp_path: Path) -> None:
    video = Video(retimed(write(tmp_path / "a.mp4", list(range(0, 240, 40))), [(3, 0.01), (3, 0.09)]))
    np.testing.assert_allclose([time for time, _ in video], [0, 0.01, 0.02, 0.03, 0.12, 0.21], atol=1e-3)


def test_written_frames_keep_their_times(tmp_path: Path) -> None:
    """50 frames at 25 a second, then every fifth: 6 seconds, all of which are shown."""
    times = [*np.arange(50) / 25, *(2 + np.arange(20) / 5)]
    writer = VideoWriter(tmp_path / "a.mp4", 25, (64, 48))
    for index, seconds in enumerate(times):
        writer.add(np.full((48, 64, 3), index * 3, np.uint8), 7.5 + seconds)  # the first is shown at once
    writer.close()
    video = Video(tmp_path / "a.mp4")
    assert video.count / video.fps == pytest.approx(6, abs=1e-3)
    read = list(video)
    np.testing.assert_allclose([seconds for seconds, _ in read], times, atol=1e-3)
    np.testing.assert_allclose([frame.mean() for _, frame in read], np.arange(70) * 3, atol=8)
    lengths = [
        struct.unpack_from(">I", (tmp_path / "a.mp4").read_bytes().partition(name)[2], offset)[0]
        for name, offset in ((b"mvhd", 16), (b"tkhd", 20), (b"elst", 8))
    ]
    assert lengths == [6000] * 3  # in thousandths, what players show


def test_times_only_of_files_that_are_understood(tmp_path: Path) -> None:
    for content in (b"", b"no video at all", (16).to_bytes(4, "big") + b"moov" + bytes(8)):
        (tmp_path / "a.mp4").write_bytes(content)
        with pytest.raises(InputError, match="--no-video"):
            set_frame_times(tmp_path / "a.mp4", np.array([0, 1.0]))
        assert (tmp_path / "a.mp4").read_bytes() == content


def folder_of_frames(folder: Path, count: int) -> Path:
    """Write frames of brightness 0, 10, 20, ... under names whose natural order is not that of the alphabet."""
    folder.mkdir()
    for index in range(count):
        Image.new("L", (64, 48), index * 10).save(folder / f"frame{index}.png")
    return folder


def test_a_folder_of_frames(tmp_path: Path) -> None:
    folder = folder_of_frames(tmp_path / "frames", 12)
    (folder / "notes.txt").write_text("not a photo")
    Image.new("L", (64, 48)).save(folder / "frame3.landmarks.jpg")  # drawn by `detect`
    folder_of_frames(folder / "another video", 3)
    frames = FrameFolder(folder, fps=10)
    assert (frames.fps, frames.count, frames.size, frames.live) == (10, 12, (64, 48), False)
    assert frames.skipped == [folder / "notes.txt"]
    times, values = zip(*[(seconds, frame[5, 5].tolist()) for seconds, frame in frames], strict=True)
    np.testing.assert_allclose(times, np.arange(12) / 10)
    assert values == tuple([10 * index] * 3 for index in range(12))


def test_bad_frames_of_a_folder_keep_their_time(tmp_path: Path) -> None:
    folder = folder_of_frames(tmp_path / "frames", 5)
    (folder / "frame0.png").write_bytes(b"damaged")
    Image.new("L", (48, 64)).save(folder / "frame2.png")
    frames = FrameFolder(folder, fps=4)
    assert frames.size == (64, 48)  # of the first that can be read
    read = list(frames)
    assert [seconds for seconds, _ in read] == [0, 0.25, 0.5, 0.75, 1]
    assert [isinstance(frame, InputError) for _, frame in read] == [True, False, True, False, False]
    assert "frame0.png" in str(read[0][1])
    assert "frame2.png has 48 x 64 pixels, but the frames of this folder 64 x 48" in str(read[2][1])
    (tmp_path / "outer" / "frames").parent.mkdir()
    folder.rename(tmp_path / "outer" / "frames")
    with pytest.raises(InputError, match="holds no photo; those of folders within"):
        FrameFolder(tmp_path / "outer")


@pytest.mark.skipif(cv2.__version__.startswith("4.1") and cv2.__version__ < "4.13", reason="OpenCV counts evenly there")
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


def test_damage_that_opencv_stops_at_ends_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Capture:
        """Two frames, and then an error of OpenCV's own."""

        count = 0

        def read(self) -> tuple[bool, np.ndarray]:
            self.count += 1
            if self.count > frames:
                raise cv2.error("chunk.m_size <= 67108864")
            return True, np.zeros((4, 6, 3), np.uint8)

        def get(self, which: int) -> float:
            return 0.0

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", lambda source: Capture())
    (tmp_path / "a.avi").write_bytes(b"RIFF")
    frames = 2
    assert len(list(Video(tmp_path / "a.avi"))) == 2
    frames = 0
    with pytest.raises(InputError, match="holds no video that can be decoded"):
        Video(tmp_path / "a.avi")
