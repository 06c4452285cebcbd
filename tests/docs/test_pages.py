"""What a reader of the documentation follows: links, commands, settings, words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import facekd
from facekd.cli import build
from facekd.markup import MarkUp
from facekd.recipes.load import load
from facekd.recipes.schema import Recipe
from facekd.settings import checked
from facekd.study.config import Study

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
TEMPLATES = [*DOCS.glob("results/*/text.md")]
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if page not in TEMPLATES]
TEXTS = [ROOT / "README.md", *PAGES]
BY_NAME = pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.relative_to(ROOT).as_posix())


def without_code(text: str) -> str:
    """A page's prose: no fenced or indented blocks, no code within lines."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^    .*$", "", text, flags=re.MULTILINE))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as Python-Markdown makes them, and of the API's entries."""
    text = page.read_text()
    found = {
        re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    return found | set(re.findall(r"^::: (\S+)$", text, re.MULTILINE))


@BY_NAME
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if target.resolve().parent == DOCS / "notebooks":  # its page is made by docs/generate/site.py
            target = target.with_suffix(".ipynb")
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_stands_in_the_navigation() -> None:
    made_by_the_site = {"contributing.md", "changelog.md", "notebooks/detect.md", "notebooks/distill.md"}
    navigation = (ROOT / "mkdocs.yml").read_text().split("\nnav:")[1]
    listed = set(re.findall(r"([\w/.-]+\.md)$", navigation, re.MULTILINE))
    assert listed == {page.relative_to(DOCS).as_posix() for page in PAGES} | made_by_the_site


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> Iterator[list[str]]:
    """The `facekd` commands in a page's indented blocks, as words; comments are left out."""
    lines = re.findall(
        r"^    (?:torchrun .* -m facekd\.cli|facekd) (.+)$", page.read_text().replace("\\\n", " "), re.MULTILINE
    )
    for line in lines:
        if not line.isupper() and "[OPTIONS]" not in line:  # a usage line of the reference
            yield shlex.split(line, comments=True)


@BY_NAME
def test_commands_and_their_options_exist(page: Path) -> None:
    for name, *words in commands(page):
        if name.startswith("COMMAND"):
            continue
        shown = CliRunner().invoke(build(), [name, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
        assert shown.exit_code == 0, name
        for option in (word for word in words if word.startswith("-")):
            assert re.search(rf"(?<!\S){re.escape(option)}\b", shown.output), f"{name} {option}"


@BY_NAME
def test_commands_name_recipes_and_settings_that_exist(page: Path) -> None:
    for name, *words in commands(page):
        if name != "distill" or not words or words[0].isupper():
            continue
        changes = [value for option, value in pairwise(words) if option == "--set"]
        load(words[0], changes)


@BY_NAME
def test_settings_within_lines_exist(page: Path) -> None:
    """`--set student.epochs=14` and the like, in the text; what stands in one place is meant together."""
    for code in re.findall(r"`([^`]*--set [^`]*)`", page.read_text()):
        changes = re.findall(r"--set ([\w.-]+=\S+)", code)
        if changes != ["KEY=VALUE"]:
            load("quick", [change.replace("FILE", "file.safetensors") for change in changes])


@BY_NAME
def test_yaml_is_valid(page: Path) -> None:
    for text in blocks(page, "yaml"):
        values = yaml.safe_load(text)
        if "rows" in values:
            checked(Study, values, page.name)
        elif "stages" in values:
            checked(Recipe, {"name": "shown"} | values, page.name)
        elif "count" in values:
            assert MarkUp.from_dict(values).mirrors


@BY_NAME
def test_python_compiles_and_names_what_there_is(page: Path) -> None:
    for text in blocks(page, "python"):
        compile(text, page.name, "exec")
        for name in re.findall(r"\bfacekd\.([A-Za-z_]\w*)\(", text):
            assert hasattr(facekd, name), name


def test_the_api_pages_have_every_public_name() -> None:
    shown = "\n".join(page.read_text() for page in (DOCS / "reference" / "api").glob("*.md"))
    for name in facekd.__all__:
        assert name in ("__version__", "errors") or f"::: facekd.{name}\n" in shown, name


# Words of our own where the field has one, and settings of earlier versions.
OUR_WORDS = re.compile(
    r"\b(leans?|leaning|contestants?|by heart|likely shapes|look twice|looked at twice|second look|learn_val"
    r"|loss_options|expert_heatmap|student\.(sigma|weights|heatmap|rare|refine|expert|stop|clip|copies)\b|teaching\.\w+)\b"
)


@BY_NAME
def test_the_words_are_the_field_s(page: Path) -> None:
    found = OUR_WORDS.search(page.read_text())
    assert found is None, found


def test_every_abbreviation_is_in_the_glossary() -> None:
    glossary = (DOCS / "explanation" / "glossary.md").read_text()
    entries = re.findall(r"^(\S.*)\n:   ", glossary, re.MULTILINE)
    known = {name.strip() for entry in entries for name in entry.split(",")}
    names = "CC0 CVIU ICCV AMD EPYC UTF-8 API MB AFW LFPW JPEG AVIF PNG TIFF NVIDIA B3 OUT PACK"  # also of commands
    known |= set(names.split())
    unknown: set[str] = set()
    for page in PAGES:
        text = re.sub(r"\]\([^)]*\)|<[^>]*>", "", without_code(page.read_text()))
        unknown |= {
            f"{page.name}: {word}" for word in re.findall(r"\b[A-Z][A-Z0-9]+(?:-\d+)?\b", text) if word not in known
        }
    assert not unknown
