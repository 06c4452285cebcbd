"""Prints the oldest base dependencies that pyproject.toml allows, as constraints for pip."""

from __future__ import annotations

import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]

for requirement in PROJECT["dependencies"]:
    print(requirement.replace(">=", "==") + ".*")
