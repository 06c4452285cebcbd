"""What tests of bulk runs share."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import facekd

SAMPLE = Path(facekd.__file__).parent / "weights" / "sample.jpg"


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six photos with faces in two folders, one without a face, one that is none, and files that do not count."""
    folder, picture = tmp_path_factory.mktemp("photos"), cv2.imread(str(SAMPLE))
    for index in range(6):
        place = folder / ("a" if index < 3 else "b") / f"{index}.jpg"
        place.parent.mkdir(exist_ok=True)
        left, top = 320 * (index % 3), 320 * (index // 3)
        cv2.imwrite(str(place), picture[top : top + 320, left : left + 320])
    cv2.imwrite(str(folder / "grey.png"), np.full((64, 64, 3), 128, np.uint8))
    (folder / "none.jpg").write_bytes(b"no photo")
    (folder / "notes.txt").write_text("no photo either")
    (folder / ".hidden.jpg").write_bytes(SAMPLE.read_bytes())
    return folder
