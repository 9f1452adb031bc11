"""The pictures of the studio in README and docs, by itself: python docs/studio_pictures.py demo/faces

Needs Chromium. Writes docs/pictures/studio-*.png and studio.gif.
"""

import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from vaekit.draw.animation import animation

FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
OUT = Path(__file__).parent / "pictures"
DESK, PHONE = {"width": 1280, "height": 820}, {"width": 390, "height": 844}
FRAMES = 24


def shot(page: Page, name: str) -> None:
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    image.quantize(192).save(OUT / f"studio-{name}.png", optimize=True)


def smiling(page: Page) -> None:
    """The slider of a smile, there and back."""
    slider = page.get_by_role("slider", name="Smiling")
    stage, frames = page.locator(".stage"), []
    for value in 3 * np.sin(np.linspace(0, 2 * np.pi, FRAMES, endpoint=False)):
        slider.fill(f"{value:.2f}")
        page.wait_for_timeout(250)
        frames.append(Image.open(io.BytesIO(stage.screenshot())).convert("RGB"))
    (OUT / "studio.gif").write_bytes(animation([its.quantize(128) for its in frames], "GIF", 12))


def main(run: Path) -> None:
    OUT.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "vaekit", "studio", str(run), "--no-browser", "--points", "6000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, sync_playwright() as playwright:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for theme, size in (("light", DESK), ("dark", DESK), ("phone", PHONE)):
            context = browser.new_context(
                viewport=size, color_scheme="dark" if theme == "dark" else "light", device_scale_factor=1
            )
            page = context.new_page()
            page.goto(address)
            page.wait_for_selector(".plane", timeout=300_000)
            page.get_by_role("button", name="Understood").click()
            page.get_by_role("button", name="Terrain").click()
            page.get_by_role("button", name="Reliability").click()
            page.mouse.move(size["width"] * 0.35, size["height"] * 0.5)
            page.wait_for_timeout(6000)
            shot(page, f"map-{theme}")
            for view, ready in (("edit", ".stage"), ("sample", ".sheet button"), ("runs", ".chart")):
                page.goto(f"{address.partition('?')[0]}#/{view}")
                page.wait_for_selector(ready)
                page.wait_for_timeout(1500)
                shot(page, f"{view}-{theme}")
                if (view, theme) == ("edit", "light"):
                    smiling(page)
            context.close()
        browser.close()
        process.terminate()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
