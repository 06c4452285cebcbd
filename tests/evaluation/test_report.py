import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from facekd.data.pack import LabelledFace, Pack, PackWriter
from facekd.errors import InputError
from facekd.evaluation import page, report
from facekd.evaluation.protocol import Result, evaluate
from facekd.geometry import BoxTransform
from tiny_faces import POINTS, TRIANGLE, Detects, Oracle, write_pack

PIXELS = (0.32, 0.64, 0.96, 2.88)  # errors of 1, 2, 3 and 9 %


class Page(HTMLParser):
    """The words, table cells, pictures and references of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.files: list[str] = []
        self.links: list[str] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self._open = [*self._open, tag] if tag in ("td", "th", "small") else self._open
        self.files += [values["src"]] if tag == "img" and values.get("src") else []
        self.links += [values["href"]] if tag in ("a", "link") and values.get("href") else []
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "small":
            self.cells[-1] += data


def two_models(pack: Pack) -> list[Result]:
    better = evaluate(Oracle(pack, PIXELS), pack, model="teacher")
    return [better, evaluate(Oracle(pack, tuple(2 * p for p in PIXELS)), pack, model="<student>")]


@pytest.fixture
def results(pack: Pack) -> list[Result]:
    return two_models(pack)


@pytest.fixture
def quick_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that holds no more than its title, where the test is of the folder."""
    monkeypatch.setattr(page, "render", lambda content, galleries: content.title)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a report of two models that uses everything."""
    folder = tmp_path_factory.mktemp("report")
    return report.write(
        folder / "r",
        two_models(write_pack(folder / "tiny.parquet", TRIANGLE, POINTS)),
        title="A & B",
        notes=["Note."],
        wall_times={"teacher": 65.0},
        curves={"teacher": {"epoch": [1, 2], "loss": [2.0, 1.0], "validation NME, %": [9.0, 4.0]}},
    )


def test_the_page_holds_every_part(index: Path) -> None:
    text = index.read_text()
    seen = Page(text)
    assert "<title>A &amp; B</title>" in text
    assert "<p>Note.</p>" in text
    assert "4 faces of tiny, test split, mark-up triangle. Faces are cut by ground truth boxes." in text
    assert "inter-ocular distance (outer eye corners)" in text
    assert seen.cells[:6] == ["model", "full (4)", "common (3)", "challenge (1)", "FR@8", "AUC@8"]
    assert seen.cells[6:12] == ["teacher", "3.75", "2.00", "9.00", "25.00", "56.25"]
    assert seen.cells[12:16] == ["<student>", "7.50", "4.00", "18.00"]  # escaped, not a tag
    assert "teacher − <student>" in [" ".join(cell.split()) for cell in seen.cells]
    assert "1 min 05 s" in seen.cells
    assert all((index.parent / file).is_file() for file in seen.files) and seen.files
    assert seen.links == ["report.json"]


def test_plots_are_wellformed_and_apart(index: Path) -> None:
    text = index.read_text()
    drawn = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(drawn) == 3 + 1 + 2  # a CED per subset, contours, two curves
    for svg in drawn:
        ET.fromstring(svg)
        assert "#010203" not in svg and "currentColor" in svg
        assert set(re.findall(r'href="#([^"]+)"', svg)) <= set(re.findall(r' id="([^"]+)"', svg))
    ids = re.findall(r' id="([^"]+)"', " ".join(drawn))
    assert ids and len(ids) == len(set(ids))


def test_json_holds_the_figures(index: Path) -> None:
    content = json.loads((index.parent / "report.json").read_text())
    assert [one["model"] for one in content["results"]] == ["teacher", "<student>"]
    assert content["results"][0]["subsets"]["full"]["nme_inter_ocular"] == pytest.approx(3.75, abs=2e-3)
    (gap,) = content["differences"]
    assert (gap["first"], gap["second"], gap["count"]) == ("teacher", "<student>", 4)
    assert gap["nme"] == pytest.approx(-3.75, abs=2e-3)
    # All points are moved right: as far on each contour, for the eyes left and right cancel outwards.
    assert content["contours"]["teacher"]["eyes"]["distance"] == pytest.approx(3.75, abs=2e-3)
    assert content["contours"]["teacher"]["eyes"]["outwards"] == pytest.approx(0.0, abs=2e-3)
    assert (content["notes"], content["wall_times"]) == (["Note."], {"teacher": 65.0})
    assert content["curves"]["teacher"]["loss"] == [2.0, 1.0]


def test_both_kinds_of_boxes_and_missed_faces(pack: Pack, tmp_path: Path) -> None:
    def detect(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        boxes = np.array([[30, 36, 62, 68]] if image[0, 0, 0] < 140 else []).reshape(-1, 4)
        return boxes, np.ones(len(boxes))

    oracle = Oracle(pack, PIXELS, box_transform=BoxTransform())
    both = [evaluate(oracle, pack, model="net"), evaluate(oracle, pack, "detector", Detects(detect), model="net")]
    text = report.write(tmp_path / "r", both).read_text()
    seen = Page(text)
    assert "net (ground truth)" in seen.cells and "net (detector)" in seen.cells
    assert "<b>missed</b> face3.jpg" in text
    assert "ground truth or detector boxes" in text


def test_a_model_that_found_nothing_is_still_reported(pack: Pack, tmp_path: Path) -> None:
    nothing = np.zeros((0, 4)), np.zeros(0)
    blind = evaluate(
        Oracle(pack, box_transform=BoxTransform()), pack, "detector", Detects(lambda image: nothing), model="blind"
    )
    index = report.write(tmp_path / "r", [blind])
    assert "–" in Page(index.read_text()).cells
    assert json.loads((index.parent / "report.json").read_text())["contours"] == {"blind": {}}


@pytest.mark.slow
def test_curves_without_validation_faces_are_left_out(results: list[Result], tmp_path: Path) -> None:
    blind, seeing = ({"epoch": epochs, "validation NME, %": values} for epochs, values in (([], []), ([1, 2], [9, 4])))
    index = report.write(tmp_path / "both", results, curves={"blind": blind, "seeing": seeing})
    assert set(json.loads((index.parent / "report.json").read_text())["curves"]) == {"seeing"}
    assert "blind" not in index.read_text()
    assert "<h2>Training</h2>" not in report.write(tmp_path / "none", results, curves={"blind": blind}).read_text()


def test_occlusion_has_its_tables(tmp_path: Path) -> None:
    visible = np.array([[True, True, False]] * 4)
    pack = write_pack(tmp_path / "p.parquet", TRIANGLE, POINTS, visible)
    text = report.write(tmp_path / "r", [evaluate(Oracle(pack, PIXELS), pack)]).read_text()
    assert "<summary>visible points</summary>" in text and "<summary>occluded points</summary>" in text


@pytest.mark.usefixtures("quick_page")
def test_an_earlier_report_is_replaced_whole(results: list[Result], tmp_path: Path) -> None:
    folder = tmp_path / "r"
    report.write(folder, results)
    (folder / "faces" / "stale.jpg").touch()
    report.write(folder, results[:1], title="Second")
    assert not (folder / "faces" / "stale.jpg").exists()
    assert "Second" in (folder / "index.html").read_text()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["r"]


@pytest.mark.usefixtures("quick_page")
def test_a_failed_report_leaves_the_earlier_one(
    results: list[Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "r"
    report.write(folder, results, title="First")

    def fail(*arguments: object) -> str:
        raise OSError("no space left")

    monkeypatch.setattr(page, "render", fail)
    with pytest.raises(OSError, match="no space"):
        report.write(folder, results, title="Second")
    assert "First" in (folder / "index.html").read_text()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["r"]


@pytest.mark.parametrize(
    "files", [["report.json"], ["report.json", "thesis.tex"], ["index.html", "report.json", "thesis.tex"]]
)
def test_a_folder_that_is_no_report_is_kept(results: list[Result], tmp_path: Path, files: list[str]) -> None:
    (tmp_path / "mine").mkdir()
    for name in files:
        (tmp_path / "mine" / name).touch()
    with pytest.raises(InputError, match="not a report"):
        report.write(tmp_path / "mine", results)
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == sorted(files)


@pytest.mark.usefixtures("quick_page")
def test_the_folder_may_be_the_one_we_are_in(
    results: list[Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "r").mkdir()
    monkeypatch.chdir(tmp_path / "r")
    report.write(".", results)
    assert (tmp_path / "r" / "report.json").is_file()


def test_bad_input_is_refused(results: list[Result], pack: Pack, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one"):
        report.write(tmp_path / "r", [])
    with pytest.raises(InputError, match="a name for each model"):
        report.write(tmp_path / "r", [results[0], results[0]])
    some = pack.select(indices=[0, 1])
    with pytest.raises(InputError, match="same faces"):
        report.write(tmp_path / "r", [results[0], evaluate(Oracle(some), some, model="other")])
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.24, "4.2 s"), (59.97, "1 min 00 s"), (200, "3 min 20 s"), (3599.7, "1 h 00 min"), (3900, "1 h 05 min")],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert page.duration(seconds) == text


class Tags(HTMLParser):
    """The tags of a page, and the names of their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}


def test_names_from_files_are_words_and_no_markup(tmp_path: Path, index: Path) -> None:
    """Of photos, subsets, mark-ups and their contours, data sets, models, stages."""
    bad = "<script>alert(1)</script>\"><img src=x onerror='alert(2)'>"
    markup = replace(TRIANGLE, name=bad, contours=tuple(replace(each, name=bad) for each in TRIANGLE.contours))
    about = {"dataset": bad, "margin": 3.0, "size": 96, "jpeg_quality": 95, "terms": bad}
    with PackWriter(tmp_path / "bad.parquet", markup, **about) as writer:
        for i in range(4):
            image = np.full((96, 96, 3), 40 + 40 * i, np.uint8)
            face = LabelledFace(image, POINTS, f"{i}{bad}.jpg", "test", ("full", bad))
            writer.add(face)
    pack = Pack.open(tmp_path / "bad.parquet")
    results = [
        evaluate(Oracle(pack, tuple(k * p for p in PIXELS)), pack, model=f"{k}{bad}", bootstrap=100) for k in (1, 2)
    ]
    curves = {bad: {"epoch": [1, 2], bad: [2.0, 1.0]}}
    written = report.write(tmp_path / "r", results, title=bad, notes=[bad], wall_times={bad: 1.0}, curves=curves)
    text = written.read_text(encoding="utf-8")
    seen, harmless = Tags(text), Tags(index.read_text(encoding="utf-8"))
    assert "alert(1)" in text and seen.tags <= harmless.tags and seen.attributes <= harmless.attributes
    assert "script" not in seen.tags and "onerror" not in seen.attributes
    # Inside the drawings, too, which are XML of their own.
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        assert not [each for each in ET.fromstring(svg).iter() if each.tag.endswith(("script", "img"))]
    assert {path.parent for path in (tmp_path / "r").rglob("*.jpg")} <= {tmp_path / "r" / "faces"}
