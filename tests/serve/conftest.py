"""What tests of the server share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import facekd

pytest.importorskip("fastapi")
SAMPLE = Path(facekd.__file__).parent / "weights" / "sample.jpg"


@pytest.fixture(scope="module")
def served() -> Iterator[object]:
    """A server with the default settings."""
    from serving import serving

    with serving() as one:
        yield one


@pytest.fixture(scope="session")
def photo() -> bytes:
    """The sample picture with its six faces."""
    return SAMPLE.read_bytes()
