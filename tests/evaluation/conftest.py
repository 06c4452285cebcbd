from pathlib import Path

import pytest

from facekd.data.pack import Pack
from tiny_faces import POINTS, TRIANGLE, write_pack


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    return write_pack(tmp_path / "tiny.parquet", TRIANGLE, POINTS)
