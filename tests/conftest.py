"""What tests share."""

from __future__ import annotations

import os
from pathlib import Path

# Small tensors gain nothing from threads, and threads that wait for each other lose much on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest

# The same examples each time, and no deadline: machines are noisy.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None, max_examples=50, database=None)
hypothesis.settings.load_profile("steady")

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("FACEKD_DATA", ROOT.parent / "shared" / "data"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs real faces where they are not there (set FACEKD_DATA to the folder that holds 300w/)."""
    if DATA.is_dir():
        return
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason="no real faces here: set FACEKD_DATA"))


@pytest.fixture
def shared_data() -> Path:
    """The folder with 300w/, backbones/, portraits/ and videos/."""
    return DATA
