"""The example of each label format on its page, read as it stands: all are of one face."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from facekd.data import folder
from facekd.data.dataset import Annotation
from facekd.data.folder import Options
from facekd.data.formats.registry import FORMATS
from facekd.markup import MarkUp

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "label-formats.md").read_text(encoding="utf-8")
SECTIONS = {name: text for name, text in re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)}
WITHOUT_BOXES = ("pts",)


def example(name: str) -> tuple[str, str]:
    """The name of the file, and what it holds."""
    file = re.search(r"`([\w/]+\.\w+)`", SECTIONS[name])
    block = re.search(r"^```\w+\n(.*?)^```", SECTIONS[name], re.MULTILINE | re.DOTALL)
    assert file and block
    return file[1], block[1]


def row(name: str) -> list[str]:
    """The format's row in the table at the top."""
    (line,) = re.findall(rf"^\| \[`{name}`\].*$", PAGE, re.MULTILINE)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_format_has_a_section_and_a_row() -> None:
    for name in FORMATS:
        assert name in SECTIONS and len(row(name)) == 5


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("asked", ["auto", "by name"])
def test_the_example_is_read_as_the_page_says(tmp_path: Path, name: str, asked: str) -> None:
    (yaml_block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    markup = MarkUp.from_dict(yaml.safe_load(yaml_block))
    file, text = example(name)
    beside = {"pts": "a.jpg", "yolo-pose": "images/a.jpg"}
    photo = tmp_path / beside.get(name, "photos/a.jpg")
    photo.parent.mkdir(exist_ok=True)
    Image.new("RGB", (640, 480)).save(photo)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text, encoding="utf-8")
    (face,) = folder.read(tmp_path, markup, Options("auto" if asked == "auto" else name))
    assert isinstance(face, Annotation), face
    np.testing.assert_allclose(face.points, [[120.5, 96], [180, 95.5], [150, 160]], atol=1e-5)
    if row(name)[4]:
        assert face.visible is not None and face.visible.tolist() == [True, True, False]
    else:
        assert face.visible is None
    if name in WITHOUT_BOXES:
        assert face.box is None
    else:
        np.testing.assert_allclose(face.box, [100, 70, 200, 180], atol=1e-5)
    assert (face.split == "test") == (name in ("csv", "cvat"))
    assert face.subsets == {"csv": ("full", "glasses", "dark"), "cvat": ("full",)}.get(name, ())
