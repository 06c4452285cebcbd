"""Hooks of mkdocs: what the site shows beyond the files in docs/.

- The project's own CONTRIBUTING.md and CHANGELOG.md become pages; links to them work here and on a code host alike.
- The notebooks become pages, with the outputs they were saved with.
- Each abbreviation of the glossary shows its meaning where the pointer rests on it, on every page.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
PROJECT = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}  # page: file beside docs/
GLOSSARY = "explanation/glossary.md"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the project's files and the notebooks as pages."""
    pages = {page: project_page(ROOT / name) for page, name in PROJECT.items()}
    for notebook in sorted((DOCS / "notebooks").glob("*.ipynb")):
        pages[f"notebooks/{notebook.stem}.md"] = notebook_page(json.loads(notebook.read_text(encoding="utf-8")))
    for page, text in pages.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Point links to the project's files at their pages, and add the abbreviations."""
    here = posixpath.dirname(page.file.src_uri)
    for target, name in PROJECT.items():
        markdown = re.sub(rf"\]\((\.\./)+{re.escape(name)}", f"]({posixpath.relpath(target, here or '.')}", markdown)
    if page.file.src_uri == GLOSSARY:
        return markdown
    terms = abbreviations((DOCS / GLOSSARY).read_text(encoding="utf-8"))
    return markdown + "\n\n" + "\n".join(f"*[{term}]: {meaning}" for term, meaning in terms.items()) + "\n"


def project_page(path: Path) -> str:
    """Return a file that lies beside docs/ as a page of docs/: its links to docs/X become links to X."""
    return path.read_text(encoding="utf-8").replace("](docs/", "](")


def abbreviations(glossary: str) -> dict[str, str]:
    """Return the abbreviations of the glossary's first section, each with its meaning in plain text."""
    section = glossary.split("\n## ")[1]
    entries = re.findall(r"^(\S[^\n]*)\n:   ((?:[^\n]+\n(?:    )?)+)", section, re.MULTILINE)
    plain = {term: re.sub(r"\[([^\]]+)\]\([^)]*\)|[`*]", r"\1", " ".join(text.split())) for term, text in entries}
    return {name.strip(): text for term, text in plain.items() for name in term.split(",")}


def notebook_page(notebook: dict[str, Any]) -> str:
    """Return a notebook as Markdown: texts, code, and the outputs it was saved with."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        parts += [shown for output in cell["outputs"] if (shown := output_block(output))]
    return "\n\n".join(parts) + "\n"


def output_block(output: dict[str, Any]) -> str:
    """Return one output of a cell: a picture as itself, all else as text."""
    data = output.get("data", {})
    for kind in ("image/jpeg", "image/png"):
        if kind in data:
            return f'<img alt="output" src="data:{kind};base64,{"".join(data[kind]).strip()}">'
    text = "".join(output.get("text", data.get("text/plain", "")))
    return f"```{{ .text .output }}\n{text.rstrip()}\n```" if text and output.get("name") != "stderr" else ""
