"""What the page computes itself: the arithmetic of codes, and as one file all of the model."""

import re
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from studio.pages import CHROMIUM, go, listen, settled, until
from vaekit import cli, decode, encode, read_image
from vaekit.latent import path
from vaekit.studio.bundle import as_bytes

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")


def test_the_arithmetic_of_the_page_is_the_library_s(page):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 5)).astype(np.float32)
    for kind in ("lerp", "slerp"):
        way = page.evaluate(
            "async ([a, b, kind]) => { const { along } = await import('studio/space.js');"
            " return Array.from({ length: 9 }, (_, i) => Array.from(along([a, b], i / 8, kind))); }",
            [a.tolist(), b.tolist(), kind],
        )
        np.testing.assert_allclose(way, path(a, b, 9, kind), atol=1e-5)
    points = rng.standard_normal((400, 2)).astype(np.float32)
    asked = [*rng.standard_normal((20, 2)).tolist(), [9.0, -9.0], [0.0, 30.0]]
    found = page.evaluate(
        "async ([points, asked]) => { const { Grid } = await import('studio/space.js');"
        " const grid = new Grid(Float32Array.from(points.flat()));"
        " return asked.map(([x, y]) => grid.nearest(x, y, 6).map((its) => its.place)); }",
        [points.tolist(), asked],
    )
    for (x, y), places in zip(asked, found, strict=True):
        distances = np.linalg.norm(points - np.float32([x, y]), axis=1)
        np.testing.assert_allclose(distances[places], np.sort(distances)[:6], rtol=1e-5)


def test_points_on_a_line_and_from_far_away_are_found_at_once(page):
    """One latent: all points have y = 0, and a grid of their area would have millions of cells."""
    took = page.evaluate(
        "async () => { const { Grid } = await import('studio/space.js');"
        " const points = Float32Array.from({ length: 40000 }, (_, i) => (i % 2 ? 0 : Math.sin(i)));"
        " const grid = new Grid(points);"
        " const found = [[0, 0.5], [9, 9], [-3, 0], [0.3, -1e6], [1e30, -1e30]].map(([x, y]) => grid.nearest(x, y, 3).length);"
        " return [found, grid.usual >= 0, grid.starts.length]; }"
    )
    assert took[0] == [3, 3, 3, 3, 3]
    assert took[1]
    assert took[2] < 100_000


def test_a_polygon_holds_what_is_inside(page):
    rng = np.random.default_rng(1)
    points = rng.uniform(-2, 2, (500, 2))
    found = page.evaluate(
        "async ([points]) => { const { inside } = await import('studio/space.js');"
        " return inside(Float32Array.from(points.flat()), [[-1, -1], [1, -1], [1, 1], [0, 0], [-1, 1]]); }",
        [points.tolist()],
    )
    x, y = points.astype(np.float32).T
    expected = (np.abs(x) < 1) & (y > -1) & (y < np.abs(x))
    assert found == np.flatnonzero(expected).tolist()


def export(place: Path, kind: str, target: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["export", str(place), kind, str(target)])
    assert stop.value.code == 0


@pytest.fixture(scope="module")
def exported(place, tmp_path_factory) -> str:
    """The address of the same studio as one file."""
    file = tmp_path_factory.mktemp("export") / "shapes.html"
    export(place, "--html", file)
    return file.as_uri()


@pytest.fixture
def offline(chromium, exported) -> Iterator[Page]:
    """That file, opened from disk without a network."""
    context = chromium.new_context(viewport={"width": 1200, "height": 800}, offline=True)
    made, complaints = context.new_page(), []
    listen(made, complaints)
    made.on("request", lambda request: complaints.append(request.url) if request.url.startswith("http") else None)
    made.goto(exported)
    expect(made.locator(".plane")).to_be_visible(timeout=60_000)
    until(made, "studio.first !== undefined")
    yield made
    assert not complaints
    context.close()


def test_the_exported_page_computes_what_torch_did(offline, run):
    until(offline, "studio.run.agreed !== undefined")
    assert offline.evaluate("studio.run.agreed") <= 2
    z = np.random.default_rng(2).standard_normal((3, 4)).astype(np.float32)
    found = offline.evaluate("async (z) => Array.from(await studio.run.decode(Float32Array.from(z.flat())))", z.tolist())
    expected = as_bytes(decode(run.load_model(), z)).reshape(-1, 3).astype(int)
    assert np.abs(np.array(found).reshape(-1, 4)[:, :3] - expected).max() <= 2


def test_the_exported_page_edits_its_own_pictures_from_their_exact_codes(offline, run):
    """The pictures themselves are there as thumbnails alone."""
    go(offline, "Edit")
    expect(offline.locator(".edit .told").first).to_have_text("picture 0")
    mu = encode(run.load_model(), run.open_data().pixels[:1])[0]
    np.testing.assert_allclose(offline.evaluate("Array.from(studio.edit.base)"), mu, atol=1e-3)


def test_the_exported_page_edits_a_file_offline(offline, place, run):
    go(offline, "Edit")
    file = place.parent / "pictures" / "squares" / "09.png"
    offline.get_by_label("Open a picture file").set_input_files(file)
    expect(offline.locator(".edit .told").first).to_have_text("09.png")
    mu = offline.evaluate("Array.from(studio.edit.base)")
    model = run.load_model()
    np.testing.assert_allclose(mu, encode(model, read_image(file, model.image)[None])[0], atol=0.05)
    before = settled(offline, ".stage figure:nth-child(3) canvas")
    offline.get_by_role("slider", name="Dark").fill("3")
    settled(offline, ".stage figure:nth-child(3) canvas", unlike=before)


def test_the_exported_page_samples_and_has_no_run_view(offline):
    assert offline.get_by_role("link", name="Run", exact=True).count() == 0
    go(offline, "Sample")
    expect(offline.locator(".sheet button")).to_have_count(32)
    offline.locator(".sheet button").first.click()
    expect(offline.locator(".near figure")).to_have_count(7)


def test_the_exported_page_records_a_film(offline):
    go(offline, "Edit")
    for count in (1, 2):
        offline.get_by_role("button", name="Pin", exact=True).click()
        expect(offline.locator(".pin")).to_have_count(count)
        offline.get_by_role("button", name="Another picture").click()
        expect(offline.locator("#said")).to_contain_text("Opened picture")
    with offline.expect_download() as download:
        offline.get_by_role("button", name=re.compile("Save (MP4|WEBM)")).click()
    film = download.value.path().read_bytes()
    assert film[4:8] == b"ftyp" if download.value.suggested_filename == "morph.mp4" else film[:4] == b"\x1a\x45\xdf\xa3"
    assert len(film) > 2000


@pytest.fixture(scope="module")
def hosted(place, tmp_path_factory) -> Iterator[str]:
    """The address of the same page as files, in a folder of a plain web server."""
    home = tmp_path_factory.mktemp("site")
    export(place, "--dir", home / "some" / "shapes")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=home)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/some/shapes/"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Nobody reads it."""


def test_the_page_as_files_computes_the_same(chromium, hosted):
    context = chromium.new_context(viewport={"width": 1200, "height": 800})
    page, complaints = context.new_page(), []
    listen(page, complaints)
    page.on(
        "request",
        lambda request: complaints.append(request.url) if not request.url.startswith((hosted, "blob:", "data:")) else None,
    )
    page.goto(hosted)
    until(page, "globalThis.studio?.run?.agreed !== undefined")
    assert page.evaluate("studio.run.agreed") <= 2
    go(page, "Sample")
    expect(page.locator(".sheet button")).to_have_count(32)
    assert not complaints
    context.close()


def test_what_could_not_be_loaded_can_be_loaded_again(chromium, hosted):
    context = chromium.new_context(viewport={"width": 1200, "height": 800})
    page = context.new_page()
    for part in ("wasm", "decoder"):
        page.route(f"**/data/{part}.bin", lambda route: route.abort())
    page.goto(hosted)
    expect(page.get_by_role("alert")).to_be_visible()
    page.unroute("**/data/wasm.bin")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".plane")).to_be_visible()
    expect(page.locator("#said")).not_to_be_empty()  # that the decoder is missing
    page.unroute("**/data/decoder.bin")
    found = page.evaluate("studio.run.decode(new Float32Array(studio.run.latent)).then((its) => its.length)")
    assert found == 4 * 16 * 16
    context.close()
