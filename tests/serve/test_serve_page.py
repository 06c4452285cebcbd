"""The server's page in a real browser: Debian's Chromium, headless, driven by Playwright."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import facekd
from facekd.images import read_image
from facekd.pts import read_pts
from facekd.runtime.results import RecordWriter
from serving import Served, serving

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
SAMPLE = Path(facekd.__file__).parent / "weights" / "sample.jpg"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]

_DROP = """([name, content]) => {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
    const event = new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
    document.getElementById("drop").dispatchEvent(event);
}"""
# Where the points are seen, in pixels of the photo: measured on the screen against the edges of the picture.
_SEEN = """(card) => {
    const image = card.querySelector("img");
    const edge = image.getBoundingClientRect();
    return [...card.querySelectorAll("circle.point")].map((circle) => {
        const box = circle.getBoundingClientRect();
        return [((box.left + box.right) / 2 - edge.left) / edge.width * image.naturalWidth - 0.5,
                ((box.top + box.bottom) / 2 - edge.top) / edge.height * image.naturalHeight - 0.5];
    });
}"""


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the browser's camera sees: the sample's first faces."""
    picture = cv2.imread(str(SAMPLE))[:320, :640]
    file = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    file.write_bytes(cv2.imencode(".jpg", picture)[1].tobytes() * 3)
    return file


@pytest.fixture(scope="module")
def browser(camera: Path) -> Iterator[Any]:
    options = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    options.append(f"--use-file-for-fake-video-capture={camera}")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, served: Served) -> Iterator[Any]:
    """The page; errors of its scripts and requests to other hosts fail the test."""
    opened = browser.new_page(viewport={"width": 1100, "height": 800})
    opened.set_default_timeout(60_000)
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    # Browsers write a line of their own about each answer that is an error.
    expected = "Failed to load resource"
    opened.on("console", lambda m: faults.append(m.text) if m.type == "error" and expected not in m.text else None)
    own = (served.url, "blob:", "data:")
    opened.on("request", lambda asked: None if asked.url.startswith(own) else faults.append(asked.url))
    opened.goto(served.url)
    opened.wait_for_selector("#model option", state="attached")
    yield opened
    opened.close()
    assert faults == []


def drop(page: Any, name: str, content: bytes) -> Any:
    """Drop a file and wait for its points; returns its card."""
    page.evaluate(_DROP, [name, base64.b64encode(content).decode()])
    card = page.locator(".card").last
    card.locator("circle.point").first.wait_for(state="attached")
    card.evaluate("(card) => card.querySelector('img').decode()")
    return card


def save(page: Any, button: str) -> bytes:
    """Press a download's button; returns the file."""
    with page.expect_download() as download:
        page.click(button)
    return Path(download.value.path()).read_bytes()


def check_points(page: Any, name: str, content: bytes) -> None:
    """Drop a photo: its points are seen where Python finds them."""
    card = drop(page, name, content)
    expected = [face.points for face in facekd.Landmarker(threads=1).detect(content)]
    seen = np.array(card.evaluate(_SEEN)).reshape(-1, 68, 2)
    assert len(seen) == len(expected) > 0
    np.testing.assert_allclose(seen, expected, atol=1)
    assert np.abs(seen - expected).mean() < 0.2


def test_a_dropped_portrait_shows_68_points_where_python_finds_them(page: Any, shared_data: Path) -> None:
    check_points(page, "portrait.jpg", (shared_data / "portraits" / "portrait_00.jpg").read_bytes())


def test_a_dropped_picture_shows_the_points_of_all_faces(page: Any) -> None:
    check_points(page, "sample.jpg", SAMPLE.read_bytes())
    assert "6 faces" in page.inner_text(".card h2") and page.locator(".card tbody tr").count() == 6


def test_points_have_the_colours_of_their_confidence_and_contours(page: Any) -> None:
    card = drop(page, "sample.jpg", SAMPLE.read_bytes())
    (first, *_) = facekd.Landmarker(threads=1).detect(SAMPLE)
    colours = card.evaluate(
        "(card) => [...card.querySelectorAll('.point')].slice(0, 68).map((c) => c.getAttribute('fill'))"
    )
    scale = np.array([(230, 40, 30), (255, 190, 40), (40, 200, 255)])  # facekd.drawing's
    expected = np.stack([np.interp(first.confidence, [0, 0.5, 1], channel) for channel in scale.T], axis=-1)
    found = [[int(value) for value in colour[4:-1].split()] for colour in colours]
    np.testing.assert_allclose(found, expected, atol=1.5)
    assert card.locator("path.contour").count() == 6 * len(first.markup.contours)
    page.uncheck("#show-contours")
    assert not card.locator("path.contour").first.is_visible()


def test_the_pointer_and_the_keys_show_numbers(page: Any) -> None:
    card = drop(page, "sample.jpg", SAMPLE.read_bytes())
    card.locator("circle.point").nth(36).hover(force=True)
    assert card.locator("text.one").text_content() == "36"
    assert "point 36 (left eye), confidence" in card.locator(".readout").inner_text()
    page.mouse.move(0, 0)
    card.locator(".stage").focus()
    for key, shown in (("ArrowRight", "0"), ("ArrowRight", "1"), ("ArrowLeft", "0")):
        page.keyboard.press(key)
        assert card.locator("text.one").text_content() == shown
    page.keyboard.press("Escape")
    assert card.locator("text.one").count() == 0


def test_downloads_are_the_files_that_python_writes(page: Any, tmp_path: Path) -> None:
    grey = cv2.imencode(".png", np.full((64, 64, 3), 128, np.uint8))[1].tobytes()
    drop(page, 'a "photo", 1.jpg', SAMPLE.read_bytes())
    page.evaluate(_DROP, ["no-face.png", base64.b64encode(grey).decode()])
    page.get_by_text("No face was found").wait_for()
    records = json.loads(save(page, "#save-json"))
    faces = facekd.Landmarker(threads=1).detect(SAMPLE)
    assert [record["photo"] for record in records] == ['a "photo", 1.jpg', "no-face.png"]
    np.testing.assert_allclose([face["points"] for face in records[0]["faces"]], [f.points for f in faces], atol=0.02)
    text = io.StringIO()
    writer = RecordWriter(text, "csv", faces[0].markup, "photo")
    for record in records:
        writer.write(record)
    written, expected = (
        list(csv.reader(io.StringIO(each))) for each in (save(page, "#save-csv").decode(), text.getvalue())
    )
    assert written[0] == expected[0] and len(written) == len(expected) == 8
    for row, other in zip(written[1:], expected[1:], strict=True):  # 12.0 is 12 in JavaScript
        assert [row[0], *map(_number, row[1:])] == [other[0], *map(_number, other[1:])]
    with zipfile.ZipFile(io.BytesIO(save(page, "#save-pts"))) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert names == ['a "photo", 1.pts', *(f'a "photo", 1.face{i}.pts' for i in range(2, 7))]
        for name, face in zip(names, records[0]["faces"], strict=True):
            (tmp_path / "one.pts").write_bytes(archive.read(name))
            np.testing.assert_allclose(read_pts(tmp_path / "one.pts"), face["points"], atol=1e-9)
    (tmp_path / "one.pts").write_bytes(save(page, ".card tbody tr:nth-child(2) button"))
    np.testing.assert_allclose(read_pts(tmp_path / "one.pts"), records[0]["faces"][1]["points"], atol=1e-9)


def _number(text: str) -> float | str:
    return float(text) if text else text


def test_settings_count_for_the_photos_that_are_there(page: Any) -> None:
    card = drop(page, "sample.jpg", SAMPLE.read_bytes())
    page.select_option("#markup", "five5")
    playwright.expect(card.locator("circle.point")).to_have_count(30)
    page.select_option("#model", "facekd-68-lite")
    playwright.expect(card.locator("circle.point")).to_have_count(30)
    assert page.input_value("#markup") == "five5" and card.locator("circle.point").count() == 30


def test_a_bad_photo_says_why(page: Any) -> None:
    page.evaluate(_DROP, ["no.jpg", base64.b64encode(b"no photo").decode()])
    page.locator(".card .error").wait_for()
    assert "is no image that can be read" in page.inner_text(".card .error")


def test_the_camera_is_followed(page: Any) -> None:
    page.click("#tab-webcam")
    page.click("#camera")
    shown = re.compile(r"^[1-9][0-9.]* frames/s, [0-9]+ ms, 2 faces; yaw")
    playwright.expect(page.locator("#speed")).to_have_text(shown, timeout=60_000)
    assert page.locator("#live circle.point").count() == 2 * 68
    size = page.evaluate(
        "[document.querySelector('#live canvas').width, document.querySelector('#live canvas').height]"
    )
    assert size == [640, 320]
    points = page.evaluate(
        "[...document.querySelectorAll('#live circle')].map((c) => [c.cx.baseVal.value, c.cy.baseVal.value])"
    )
    photo = np.ascontiguousarray(read_image(SAMPLE)[:320, :640])
    expected = sorted((face.points for face in facekd.Landmarker(threads=1).detect(photo)), key=lambda p: p[0, 0])
    found = sorted(np.array(points).reshape(2, 68, 2), key=lambda p: p[0, 0])
    np.testing.assert_allclose(found, expected, atol=4)  # the camera's own compression is in between
    page.click("#camera")
    assert page.locator("#live canvas").count() == 0 and page.inner_text("#camera") == "Start the camera"


def test_the_keyboard_is_enough(page: Any) -> None:
    page.locator("#tab-photos").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#panel-webcam").is_visible() and not page.locator("#panel-photos").is_visible()
    page.keyboard.press("ArrowLeft")
    page.locator("#sample").focus()
    page.keyboard.press("Enter")
    page.locator(".card circle.point").first.wait_for(state="attached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_a_phone_and_is_readable_in_the_dark(page: Any, scheme: str, width: int) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 740})
    drop(page, "sample.jpg", SAMPLE.read_bytes())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground, ink = (
        np.mean([int(v) for v in page.evaluate(f"getComputedStyle(document.body).{what}")[4:-1].split(",")])
        for what in ("backgroundColor", "color")
    )
    assert (ground < 60 and ink > 200) if scheme == "dark" else (ground > 200 and ink < 60)


def test_the_api_s_page_shows_the_whole_schema_without_help_from_elsewhere(page: Any, served: Served) -> None:
    page.goto(f"{served.url}/docs")
    page.wait_for_selector("section")
    schema, text = served.get("/openapi.json").json(), page.inner_text("main")
    for path in schema["paths"]:
        assert path in text
    for name in ("min_score", "FacesAnswer", "request_id", "curl -F photo=@photo.jpg"):
        assert name in text


def test_a_token_is_asked_for_once(browser: Any) -> None:
    with serving(models=("facekd-68-lite",), token="secret") as served:
        page = browser.new_page()
        page.goto(served.url)
        page.locator("#ask").wait_for()
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        playwright.expect(page.locator("#token")).to_have_value("")
        page.locator("#ask").wait_for()
        page.fill("#token", "secret")
        page.keyboard.press("Enter")
        page.wait_for_selector("#model option", state="attached")
        drop(page, "sample.jpg", SAMPLE.read_bytes())
        page.reload()
        page.wait_for_selector("#model option", state="attached")
        assert not page.locator("#ask").is_visible()
        page.close()
