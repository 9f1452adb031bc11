"""What the tests of the page do with one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PIXELS = "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
PAINTED = (
    "(() => { const c = document.querySelector('canvas.terrain');"
    " return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.reduce((all, each) => (31 * all + each) | 0, 0); })()"
)  # a print of the terrain
FITTED = "studio.shown?.probe?.view.scale > 1"  # the map knows its size


BESIDE = ("willReadFrequently", "No available adapters")  # of pixels that a test reads; of a machine without a graphics card


def listen(page: Page, complaints: list[str]) -> None:
    """Hear what a page complains of, but not what the browser tells BESIDE."""

    def told(line: ConsoleMessage) -> None:
        if line.type in ("error", "warning") and not any(words in line.text for words in BESIDE):
            complaints.append(line.text)

    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", told)


def go(page: Page, view: str) -> None:
    page.get_by_role("link", name=view, exact=True).click()


def pixels(page: Page, selector: str) -> np.ndarray:
    """RGBA bytes of the first such canvas."""
    return np.array(page.locator(selector).first.evaluate(PIXELS), np.uint8).reshape(-1, 4)


def until(page: Page, holds: str) -> None:
    """Wait until an expression is true. Playwright's own way evaluates a text, which the page's policy forbids."""
    for _ in range(2000):
        if page.evaluate(holds):
            return
        page.wait_for_timeout(30)
    raise AssertionError(f"never: {holds}")


def settled(page: Page, selector: str, count: int = 256, unlike: np.ndarray | None = None) -> np.ndarray:
    """The `count` pixels of a canvas when nothing paints it any more; not those that it had before, where others must come."""
    before = pixels(page, selector)
    for _ in range(125):
        page.wait_for_timeout(60)
        now = pixels(page, selector)
        if len(now) == count and np.array_equal(now, before) and (unlike is None or not np.array_equal(now, unlike)):
            return now
        before = now
    raise AssertionError(f"{selector} is painted again and again, or never anew")


def point(page: Page, place: int) -> tuple[float, float]:
    """Where a picture is on the screen."""
    x, y = page.evaluate(
        "i => { const { toPixel, points } = studio.shown.probe; return toPixel(points[2 * i], points[2 * i + 1]); }", place
    )
    box = page.locator(".plane").bounding_box()
    assert box is not None
    return box["x"] + x, box["y"] + y


@contextmanager
def served(*runs: Path) -> Iterator[str]:
    """The address of a studio of these runs, in a process of its own; it may not have said anything else at the end."""
    command = [sys.executable, "-m", "vaekit", "studio", *map(str, runs), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:  # a test that fails would wait for it
            process.terminate()
        _, told = process.communicate(timeout=20)
    assert "Traceback" not in told
    assert "rror" not in told, told


def shut_out(page: Page) -> list[tuple[str, list[str]]]:
    """What keeps somebody out who cannot see, hear or point, and where it is."""
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    serious = [its for its in found.response["violations"] if its["impact"] in ("serious", "critical")]
    return [(its["id"], [node["html"][:120] for node in its["nodes"]]) for its in serious]
