"""Draw docs/figures/serve.jpg, the page of `facekd serve`: `python docs/generate/serve_page.py PHOTO ...`.

It is what Chromium shows of a server that this script starts: a screen in the light, a phone in the dark.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import sync_playwright

from facekd.files import atomic

FIGURE = Path(__file__).parents[1] / "figures" / "serve.jpg"
HEIGHT, GAP = 1000, 24


def main(photos: list[str]) -> None:
    """Start the server, take both pictures, and put them side by side."""
    command = [sys.executable, "-m", "facekd.cli", "serve", "--port", "0", "--no-log"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server, sync_playwright() as driver:
        found = re.search(r"http://\S+", next(line for line in server.stderr or () if "is ready" in line))
        assert found
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        pictures = []
        for width, scheme, files in ((1100, "light", photos[:1]), (390, "dark", photos[1:])):
            page = browser.new_page(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
            page.goto(found[0])
            page.wait_for_selector("#model option", state="attached")
            page.set_input_files("#files", files)
            for card in page.locator(".card").all():
                card.locator("circle.point").first.wait_for(state="attached")
                card.evaluate("(card) => card.querySelector('img').decode()")
            page.locator("circle.point").nth(36).hover(force=True)
            page.evaluate("scrollTo(0, innerWidth < 500 ? document.getElementById('settings').offsetTop : 0)")
            picture = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
            pictures += [picture, np.full((HEIGHT, GAP, 3), 255, np.uint8)]
        browser.close()
        server.terminate()
    with atomic(FIGURE) as temporary:
        cv2.imwrite(str(temporary), np.hstack(pictures[:-1]), [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main(sys.argv[1:])
