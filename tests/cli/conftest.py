from pathlib import Path

import pytest
from tiny_student import write_student


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run that holds no more than a student."""
    return write_student(tmp_path / "run")
