"""Files that the texts name are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# `src/facekd/shape.py`, `tests/runtime/`; not `src/facekd/recipes/*.yaml`, which is a pattern, nor `tests/X.py`.
_NAMED = re.compile(r"`((?:src|tests|benchmarks|docs|\.github)/[^`\s]*)`")
_STANDS_FOR_ANY = re.compile(r"[*<>{}]|/[A-Z]+\b")


def named(text: str) -> list[str]:
    """Return the paths within the repository that a text names in backticks."""
    return [path for path in _NAMED.findall(text) if not _STANDS_FOR_ANY.search(path)]


def test_paths_are_found_in_backticks() -> None:
    text = "`src/a.py`, `tests/b/`, src/c.py, `src/*.py`, `docs/NAME.md`, `src/d e`, `make test`, `docs/e.md`"
    assert named(text) == ["src/a.py", "tests/b/", "docs/e.md"]


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_exist(text: Path) -> None:
    paths = named(text.read_text(encoding="utf-8"))
    assert [path for path in paths if not (ROOT / path).exists()] == []
    if text.name == "CONTRIBUTING.md":
        assert len(paths) > 15
