"""How fast the studio is: from a slider to pixels, a map of a million points, and 200 clients at once.

    python benchmarks/studio.py RUN [--seconds 60] [--clients 200] [--out benchmarks]

RUN is a finished run with attributes of 64 x 64 pictures, such as demo/faces. Everything happens in headless Chromium and over
loopback on this machine: the browser, the server and the clients share its cores.
"""

import argparse
import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil
from machine import load, write_results
from playwright.sync_api import Page, sync_playwright

from vaekit import Run, open_data

FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
MOVES, POINTS = 300, 1_000_000
TARGETS = {"browser": 16.0, "server": 30.0}  # ms, p95 from slider to pixels
# One move after the other, each when the picture of the one before it was painted.
SLIDE = """async (moves) => {
  const slider = document.querySelector('.sliders input');
  studio.delays = [];
  for (let i = 0; i < moves; i++) {
    slider.value = 4 * Math.sin(i / 20);
    slider.dispatchEvent(new Event('input'));
    while (studio.delays.length <= i) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return studio.delays;
}"""
PAN = """async () => {
  const { view, redraw } = studio.shown.probe;
  studio.frames = [];
  for (let i = 0; i < 60; i++) {
    view.x += 0.01 / view.scale;
    redraw();
    await new Promise(requestAnimationFrame);
  }
  return studio.frames;
}"""


@contextmanager
def served(run: Path, *more: str) -> Iterator[tuple[str, psutil.Process]]:
    """The address of a studio, and its process."""
    command = [sys.executable, "-m", "vaekit", "studio", str(run), "--no-browser", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), psutil.Process(process.pid)
        process.terminate()


def p(share: float, values: list[float]) -> float:
    return round(float(np.quantile(values, share)), 2)


def until(page: Page, holds: str) -> None:
    """Wait until an expression is true. Playwright's own way evaluates a text, which the page's policy forbids."""
    while not page.evaluate(holds):
        page.wait_for_timeout(20)


def slide(page: Page, address: str) -> list[float]:
    page.goto(f"{address}#/edit")
    page.wait_for_selector(".sliders input", timeout=120_000)
    page.wait_for_timeout(1500)
    return page.evaluate(SLIDE, MOVES)


def page_figures(run: Path, place: Path) -> dict[str, Any]:
    file = place / "page.html"
    subprocess.run([sys.executable, "-m", "vaekit", "export", str(run), "--html", str(file)], check=True, capture_output=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        with served(run) as (address, _):
            context = browser.new_context()
            context.new_page().goto(address)  # the token becomes a cookie
            over_loopback = slide(context.new_page(), address.partition("?")[0])
        offline = browser.new_context(offline=True)
        ready = []
        for _ in range(5):
            page = offline.new_page()
            page.goto(file.as_uri(), wait_until="commit")
            until(page, "globalThis.studio?.first !== undefined")
            ready.append(page.evaluate("studio.first"))
            page.close()
        here = slide(offline.new_page(), file.as_uri())
        browser.close()
    return {
        "slider to pixels over loopback, ms, p50 and p95": [p(0.5, over_loopback), p(0.95, over_loopback)],
        "slider to pixels in the browser, ms, p50 and p95": [p(0.5, here), p(0.95, here)],
        "exported page, MB": round(file.stat().st_size / 1e6, 2),
        "exported page, points": min(len(Run.open(run).open_data()), 20_000),
        "exported page, first frame after, ms, all": [round(its) for its in ready],
    }


def map_figures(place: Path) -> dict[str, Any]:
    digits, rng = open_data("digits").pixels, np.random.default_rng(0)
    many = digits[rng.integers(len(digits), size=POINTS)].astype(np.int16) + rng.integers(-20, 21, (POINTS, 1, 8, 8))
    np.save(place / "million.npy", many.clip(0, 255).astype(np.uint8)[:, 0])
    quick = ["--net", "mlp", "--latent", "2", "--images", "20000", "--no-report"]
    command = [sys.executable, "-m", "vaekit", "train", str(place / "million.npy"), "--out", str(place / "million"), *quick]
    subprocess.run(command, check=True, capture_output=True)
    with sync_playwright() as playwright, served(place / "million", "--points", str(POINTS)) as (address, _):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page()
        page.goto(address, timeout=600_000)
        until(page, "globalThis.studio?.first !== undefined")
        page.wait_for_timeout(1000)
        arrived = page.evaluate(
            "Math.max(...performance.getEntriesByType('resource')"
            ".filter((its) => /arrays/.test(its.name) && !/thumbs/.test(its.name))"
            ".map((its) => its.responseEnd))"
        )
        first, frames = page.evaluate("studio.first"), page.evaluate(PAN)
        count = page.evaluate("studio.run.manifest.count")
        browser.close()
    return {
        "points on the map": count,
        "first frame after the data, ms": round(first - arrived),
        "JavaScript of a frame, ms, p50 and p95": [p(0.5, frames), p(0.95, frames)],
    }


async def clients(address: str, count: int, seconds: float, latent: int) -> tuple[list[float], list[str]]:
    """Latencies in ms, and what went wrong, of clients that each decode one code after the other."""
    base, _, token = address.partition("/?token=")
    name = httpx2.get(f"{base}/api/runs", headers={"authorization": f"Bearer {token}"}).json()[0]["name"]
    found: list[float] = []
    errors: list[str] = []
    end = time.monotonic() + seconds
    headers = {"authorization": f"Bearer {token}", "content-type": "application/octet-stream"}
    limits = httpx2.Limits(max_connections=count, max_keepalive_connections=count)

    async def one(client: httpx2.AsyncClient, seed: int) -> None:
        rng = np.random.default_rng(seed)
        while time.monotonic() < end:
            began = time.perf_counter()
            try:
                z = rng.standard_normal(latent).astype("<f4").tobytes()
                got = await client.post(f"{base}/api/runs/{name}/decode", content=z)
            except httpx2.HTTPError as error:
                errors.append(type(error).__name__)
                continue
            found.append(1000 * (time.perf_counter() - began))
            if got.status_code != 200:
                errors.append(str(got.status_code))

    async with httpx2.AsyncClient(headers=headers, limits=limits, timeout=60) as client:
        await asyncio.gather(*(one(client, seed) for seed in range(count)))
    return found, errors


def load_figures(run: Path, count: int, seconds: float) -> dict[str, Any]:
    latent, figures = Run.open(run).load_model("cpu").latent, {}
    for name, more, long in (("batched", (), seconds), ("unbatched", ("--batch", "1"), seconds / 3)):
        with served(run, *more) as (address, process):
            asyncio.run(clients(address, 4, 2, latent))  # the model is loaded, the map is made
            before = process.memory_info().rss
            found, errors = asyncio.run(clients(address, count, long, latent))
            after = process.memory_info().rss
        figures |= {
            f"{name}: pictures a second": round(len(found) / long, 1),
            f"{name}: latency, ms, p50 and p99": [p(0.5, found), p(0.99, found)],
            f"{name}: errors": len(errors),
            f"{name}: MB of the server before and after": [round(before / 1e6), round(after / 1e6)],
        }
    figures["batching gives, times"] = round(figures["batched: pictures a second"] / figures["unbatched: pictures a second"], 2)
    return {f"{count} clients, {name}" if "batched" in name else name: value for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    before = load()
    with tempfile.TemporaryDirectory() as place:
        figures = page_figures(given.run, Path(place)) | map_figures(Path(place))
    figures |= load_figures(given.run, given.clients, given.seconds)
    about = Run.open(given.run).description
    figures["run"] = f"{about['data']['name']}, {'x'.join(map(str, about['data']['image']))}"
    text = (
        f"Asked: p95 from slider to pixels below {TARGETS['browser']:g} ms in the browser, {TARGETS['server']:g} over loopback; "
        "first frame of a million points within 3 s of their arrival, below 2 ms of JavaScript a frame; the exported page ready "
        "within 1.5 s; no error with 200 clients, and three times the pictures by batching. WebGL is drawn in software here."
    )
    command = f"python benchmarks/studio.py RUN --seconds {given.seconds:g} --clients {given.clients}"
    print(write_results(given.out, "studio", command, figures, load_before=before, text=text).read_text())


if __name__ == "__main__":
    main()
