"""What tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

# Small tensors gain nothing from threads, and threads that wait for each other lose much on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Some tests import ONNX Runtime before facekd does.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import hypothesis
import pytest

from longest_files import LONGEST

if TYPE_CHECKING:
    from facekd.data.pack import Pack

# The same examples each time, and no deadline: machines are noisy.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None, max_examples=50, database=None)
hypothesis.settings.load_profile("steady")

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("FACEKD_DATA", ROOT.parent / "shared" / "data"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; skip what needs real faces where they are not there.

    FACEKD_DATA names the folder that holds 300w/.
    """
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(LONGEST)))
    if DATA.is_dir():
        return
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason="no real faces here: set FACEKD_DATA"))


@pytest.fixture
def shared_data() -> Path:
    """The folder with 300w/, backbones/, portraits/ and videos/."""
    return DATA


# What the fixtures below need is imported by those that are asked for: most tests need none of it.


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a tiny model, with the arguments of `write_model`, into the test's folder."""
    from tiny_model import write_model

    return lambda name="tiny", **settings: write_model(tmp_path / f"{name}.onnx", **settings)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run that holds no more than a student."""
    from tiny_student import write_student

    return write_student(tmp_path / "run")


@pytest.fixture(scope="session")
def tiny_pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """Five white dots on a grey ground, moved about: 24 faces to train on, 6 for validation, 6 for the test."""
    from tiny_run import write_pack

    return write_pack(tmp_path_factory.mktemp("pack") / "tiny.parquet")


@pytest.fixture
def tiny_recipe(tmp_path: Path) -> Path:
    """The recipe's file."""
    from tiny_run import write_recipe

    return write_recipe(tmp_path / "tiny.yaml")
