"""The scripts beside the documentation, as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

GENERATE = Path(__file__).resolve().parents[2] / "docs" / "generate"


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", GENERATE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    """docs/generate/figures.py."""
    return _script("figures")


@pytest.fixture(scope="module")
def results() -> ModuleType:
    """docs/generate/results.py."""
    return _script("results")


@pytest.fixture(scope="module")
def quick() -> ModuleType:
    """docs/generate/quick.py."""
    return _script("quick")


@pytest.fixture(scope="module")
def settings() -> ModuleType:
    """docs/generate/settings.py."""
    return _script("settings")


@pytest.fixture(scope="module")
def cli() -> ModuleType:
    """docs/generate/cli.py."""
    return _script("cli")


@pytest.fixture(scope="module")
def schematics() -> ModuleType:
    """docs/generate/schematics.py."""
    return _script("schematics")
