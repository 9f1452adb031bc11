"""How fast the studio is: from a slider to pixels, a map of a million points, and 200 clients at once.

    python benchmarks/studio.py RUN [--seconds 60] [--clients 200] [--out benchmarks]

RUN is a finished run with attributes of 64 x 64 pictures, such as demo/faces. Everything happens in headless Chromium and over
loopback on this machine: the browser, the server and the clients share its cores. The clients are
those of wrk (Debian: apt-get install wrk), which leave most of them to the server.
"""

import argparse
import json
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
from playwright.sync_api import Browser, Page, sync_playwright

from vaekit import Run, open_data

FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
MOVES, POINTS = 300, 1_000_000
PARTS = ("page", "map", "load")
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
        try:
            yield process.stdout.readline().strip(), psutil.Process(process.pid)
        finally:
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


def entered(browser: Browser, address: str) -> Page:
    """A new page for which the token has become a cookie, on another one: that goes on to another address by itself."""
    context = browser.new_context()
    context.new_page().goto(address)
    return context.new_page()


def page_figures(run: Path, place: Path) -> dict[str, Any]:
    file = place / "page.html"
    subprocess.run([sys.executable, "-m", "vaekit", "export", str(run), "--html", str(file)], check=True, capture_output=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        with served(run) as (address, _):
            over_loopback = slide(entered(browser, address), address.partition("?")[0])
        offline = browser.new_context(offline=True)
        ready = []
        for _ in range(5):
            page = offline.new_page()
            page.goto(file.as_uri(), wait_until="commit")
            until(page, "globalThis.studio?.run?.settled !== undefined")
            ready.append(page.evaluate("[studio.first, studio.run.settled]"))
            page.close()
        here = slide(offline.new_page(), file.as_uri())
        browser.close()
    return {
        "slider to pixels over loopback, ms, p50 and p95": [p(0.5, over_loopback), p(0.95, over_loopback)],
        "slider to pixels in the browser, ms, p50 and p95": [p(0.5, here), p(0.95, here)],
        "exported page, MB": round(file.stat().st_size / 1e6, 2),
        "exported page, points": min(len(Run.open(run).open_data()), 20_000),
        "exported page, first frame after, ms, all": [round(first) for first, _ in ready],
        "exported page, its decoder ready and compared with torch after, ms, all": [round(settled) for _, settled in ready],
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
        page = entered(browser, address)
        page.goto(address.partition("?")[0], timeout=600_000)
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


WRK = """
local bodies = {{ {bodies} }}
local at = 0
wrk.method = "POST"
wrk.headers["authorization"] = "Bearer {token}"
wrk.headers["content-type"] = "application/octet-stream"
function request()
  at = at % #bodies + 1
  return wrk.format(nil, "/api/runs/{name}/decode", nil, bodies[at])
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('{{"done": %d, "errors": %d, "p50": %.1f, "p99": %.1f}}\\n', summary.requests,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
"""


def loaded(address: str, process: psutil.Process, script: Path, count: int, seconds: float) -> dict[str, Any]:
    """What `count` clients found that each decode one code after the other, and the MB of the server every second."""
    base = address.partition("/?")[0]
    command = ["wrk", "-t1", f"-c{count}", f"-d{seconds:g}s", "--timeout", "60s", "-s", str(script), base]
    memory = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as wrk:
        while wrk.poll() is None:
            memory.append(process.memory_info().rss / 1e6)
            time.sleep(1)
        assert wrk.stdout is not None
        told = wrk.stdout.read()
    if wrk.returncode:
        raise SystemExit(f"wrk failed:\n{told}")
    return {**json.loads(told.splitlines()[-1]), "memory": memory}


def load_figures(run: Path, place: Path, count: int, seconds: float) -> dict[str, Any]:
    latent, figures, script = Run.open(run).load_model("cpu").latent, {}, place / "decode.lua"
    codes = np.random.default_rng(0).standard_normal((64, latent)).astype("<f4")
    bodies = ", ".join('"' + "".join(f"\\{byte:03d}" for byte in code.tobytes()) + '"' for code in codes)
    for name, more, long in (("batched", (), seconds), ("unbatched", ("--batch", "1"), max(seconds // 3, 1))):
        with served(run, *more) as (address, process):
            base, _, token = address.partition("/?token=")
            with httpx2.Client(base_url=base, headers={"authorization": f"Bearer {token}"}, timeout=600) as client:
                (known,) = client.get("/api/runs").json()
                client.get(f"/api/runs/{known['name']}/manifest")  # the model is loaded, the map is made
            script.write_text(WRK.format(bodies=bodies, token=token, name=known["name"]))
            loaded(address, process, script, count, 5)
            found = loaded(address, process, script, count, long)
        memory = found["memory"]
        figures |= {
            f"{name}: pictures a second": round(found["done"] / long, 1),
            f"{name}: latency, ms, p50 and p99": [found["p50"], found["p99"]],
            f"{name}: errors": found["errors"],
            f"{name}: MB of the server at the start, after a third, at the end": [
                round(memory[at]) for at in (0, len(memory) // 3, -1)
            ],
        }
    figures["batching gives, times"] = round(figures["batched: pictures a second"] / figures["unbatched: pictures a second"], 2)
    return {f"{count} clients, {name}" if "batched" in name else name: value for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    before = load()
    with tempfile.TemporaryDirectory() as place:
        parts = {
            "page": lambda: page_figures(given.run, Path(place)),
            "map": lambda: map_figures(Path(place)),
            "load": lambda: load_figures(given.run, Path(place), given.clients, given.seconds),
        }
        figures: dict[str, Any] = {}
        for part in given.parts:
            figures |= parts[part]()
            print(figures, file=sys.stderr)
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
