"""The generated pages of the reference are what their scripts give, and say what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from pydantic import Field

from facekd import run_folder
from facekd.data.pack_file import schema
from facekd.markup import FIVE, IBUG68, MARKUPS, convert
from facekd.runtime.card import ModelCard
from facekd.runtime.face import Face
from facekd.runtime.pose import head_pose
from facekd.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def test_the_settings_page_is_what_the_schema_gives(settings: ModuleType) -> None:
    assert settings.PAGE.read_text() == settings.page(), "run python docs/generate/settings.py"


def test_every_setting_has_a_description(settings: ModuleType) -> None:
    for group in (*settings.groups(settings.Recipe), *settings.groups(settings.Study)):
        for name, field in group.model_fields.items():
            assert field.description or settings._is_fixed(field), f"{group.__name__}.{name}"


def test_a_setting_shows_its_values_range_and_default(settings: ModuleType) -> None:
    class Inner(Settings):
        """Within."""

        kind: int = Field(3, ge=1, lt=9, description="of | 2 < 3 times *x*")

    class Outer(Settings):
        """Without."""

        inner: tuple[Inner, ...] | None = Field(None, description="more")
        needed: str = Field(description="given")

    assert settings.groups(Outer) == [Outer, Inner]
    assert r"| `kind` | whole number, ≥ 1, < 9 | `3` | of \| 2 &lt; 3 times \*x\* |" in settings.section(Inner)
    assert "| `inner` | list of [Inner](#inner) |  | more |" in settings.section(Outer)
    assert "| `needed` | text | *required* | given |" in settings.section(Outer)


def test_links_within_the_settings_page_lead_somewhere(settings: ModuleType) -> None:
    headings = re.findall(r"^### (.+)$", settings.page(), re.MULTILINE)
    anchors = {re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", settings.page())) <= anchors


def test_the_command_line_page_is_what_the_commands_give(cli: ModuleType) -> None:
    assert cli.PAGE.read_text() == cli.page(), "run python docs/generate/cli.py"


def test_the_command_line_page_has_every_option(cli: ModuleType) -> None:
    page = cli.page()
    assert "    facekd export RUN OUT [OPTIONS]" in page
    assert "| `--small-faces` |" in page and "| `--smooth` / `--no-smooth` | `on` |" in page
    assert "| `--set TEXT`... |  |" in page and "| `--model TEXT`, `-m TEXT` |" in page


@pytest.mark.slow
def test_the_drawings_are_what_their_script_gives(schematics: ModuleType) -> None:
    for path, text in schematics.files().items():
        assert path.read_text() == text, f"{path.name}: run python docs/generate/schematics.py"


@pytest.mark.parametrize("name", MARKUPS)
def test_schematic_faces_are_symmetric_as_the_mark_up_says(schematics: ModuleType, name: str) -> None:
    points = schematics.shapes()[name]
    assert points.shape == (MARKUPS[name].count, 2)
    np.testing.assert_allclose(points[list(MARKUPS[name].mirror)], points * (-1, 1), atol=1e-12)


def test_wflw_s_schematic_face_becomes_ibug_s(schematics: ModuleType) -> None:
    shapes = schematics.shapes()
    np.testing.assert_allclose(convert(shapes["wflw98"], MARKUPS["wflw98"], IBUG68), shapes["ibug68"], atol=1e-12)


@pytest.mark.parametrize("name", MARKUPS)
def test_no_number_covers_another_or_a_point(schematics: ModuleType, name: str) -> None:
    points = schematics.shapes()[name] * schematics.UNIT
    labels = schematics.labels(points, MARKUPS[name])
    size = np.array([16.0, 12.0])  # of a number of two digits
    apart = np.abs(labels[:, None] - labels) >= size
    assert (apart.any(axis=-1) | np.eye(len(labels), dtype=bool)).all()
    assert (np.abs(labels[:, None] - points) >= size / 2).any(axis=-1).all()


@pytest.mark.parametrize("angle", ["yaw", "pitch", "roll"])
@pytest.mark.parametrize("sign", [1, -1])
def test_turned_heads_are_drawn_with_the_signs_of_the_pose(schematics: ModuleType, angle: str, sign: int) -> None:
    face = schematics.ibug68()
    still, turned = (head_pose(100 * schematics.turned(face, **{angle: by}), IBUG68) for by in (0, 25 * sign))
    for name in ("yaw", "pitch", "roll"):
        change = getattr(turned, name) - getattr(still, name)
        assert 10 < change * sign < 40 if name == angle else abs(change) < 8, name


def table(heading: str) -> list[str]:
    """The names in the first column of a table of the page on file formats."""
    page = (ROOT / "docs" / "reference" / "files.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", page.split(f"## {heading}\n")[1].split("\n## ")[0], re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def test_the_page_on_files_has_the_keys_of_a_model_card() -> None:
    card = ModelCard("name", FIVE, 64, 1.2)
    assert sorted(table("Model card")) == sorted(card.to_dict())


def test_the_page_on_files_has_the_columns_of_a_pack() -> None:
    assert table("Pack") == schema(68).names


def test_the_page_on_files_has_the_files_of_a_run() -> None:
    names = {name.removeprefix("STAGE/").removesuffix("/") for name in table("Run")}
    constants = {value for key, value in vars(run_folder).items() if key.isupper() and isinstance(value, str)}
    assert names == constants


def test_the_page_on_files_shows_a_face_as_it_is_written() -> None:
    page = (ROOT / "docs" / "reference" / "files.md").read_text()
    shown = json.loads(re.search(r"```json\n(.*?)```", page, re.DOTALL)[1])
    written = Face(np.zeros(4, np.float32), 1.0, np.zeros((5, 2), np.float32), None, FIVE).to_dict()
    assert list(shown["faces"][0]) == list(written)
