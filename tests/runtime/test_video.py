"""Video in and out."""

from __future__ import annotations

from pathlib import Path

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
