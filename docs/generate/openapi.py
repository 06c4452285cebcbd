"""Write docs/reference/openapi.json, the schema of the API of `facekd serve`: `python docs/generate/openapi.py`."""

from __future__ import annotations

import json
from pathlib import Path

from facekd.files import write_text
from facekd.serve.app import Service, create_app
from facekd.serve.settings import ServeSettings

SCHEMA = Path(__file__).parents[1] / "reference" / "openapi.json"


def schema() -> str:
    """Return the schema as JSON. The package's version is left out: a release does not change the API."""
    values = create_app(Service(ServeSettings())).openapi()
    values["info"]["version"] = "1"
    return json.dumps(values, indent=1) + "\n"


if __name__ == "__main__":
    write_text(SCHEMA, schema())
