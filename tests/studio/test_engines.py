"""What the page computes itself: the arithmetic of codes, and as one file all of the model."""

import gzip
import io
import re
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image, ImageCms
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import Error as PlaywrightError

from pictures import scene
from studio.pages import CHROMIUM, FLAGS, go, listen, settled, shut_out, until
from vaekit import cli, decode, encode, read_image
from vaekit.data.decode import Recipe
from vaekit.data.decode import decode as decode_file
from vaekit.latent import path
from vaekit.studio.bundle import GOLDEN, as_bytes

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
WEBGPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")


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


FITTED_FILE = (
    "async ([letters, run, crop]) => { const { bitmapOf, fitted } = await import('studio/fitted.js');"
    " const file = new Blob([Uint8Array.from(atob(letters), (c) => c.charCodeAt(0))], { type: 'image/png' });"
    " return Array.from(fitted(await bitmapOf(file), run, crop)); }"
)
CROPS = ("center", "stretch", "pad")


def png(pixels: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


def see_through() -> bytes:
    """A PNG of 600 x 400 that is more or less transparent, with a hole."""
    pixels = scene(3, 400, 600, 4)
    pixels[100:200, 150:300, 3] = 0
    pixels[250:, :100, 3] = 255
    return png(pixels)


def differences(page: Page, file: bytes, recipe: Recipe) -> np.ndarray:
    """Between what the page makes of a file and what Python does, of 255; colours of 4 channels as much as one sees of them."""
    channels, height, width = recipe.shape
    run = {"channels": channels, "height": height, "width": width}
    letters = b64encode(file).decode()
    found = np.array(page.evaluate(FITTED_FILE, [letters, run, recipe.crop]), float).reshape(height, width, 4)[..., :channels]
    expected = recipe.array(decode_file(file, recipe))[0].transpose(1, 2, 0).astype(float)
    if channels == 4:
        for each in (found, expected):
            each[..., :3] *= each[..., 3:] / 255
    return np.abs(found - expected)


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_picture_becomes_what_python_makes_of_it(page, crop, channels):
    """But for rounding, and for what Pillow leaves out where it averages whole pixels before it shrinks much (`reducing_gap`)."""
    for height, width in ((16, 16), (40, 24)):
        gap = differences(page, see_through(), Recipe(height, width, channels, crop))
        assert gap.mean() < 1
        assert gap.max() <= 8


@pytest.mark.parametrize("crop", CROPS)
def test_a_picture_of_the_right_size_stays_as_it_is_and_a_larger_one_is_cut_to_whole_pixels(page, crop):
    picture = png(scene(4, 20, 31))
    assert differences(page, picture, Recipe(20, 31, 3, crop)).max() == 0
    assert crop != "center" or differences(page, picture, Recipe(20, 16, 3, crop)).max() == 0


def test_a_colour_profile_changes_nothing(page):
    """Python does not mind them."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    straight = profile.replace(b"\x00\x02\x66\x66", b"\x00\x01\x00\x00")  # 2.4, the exponent of its curves, made 1
    assert straight != profile
    assert differences(page, png(scene(5, 20, 20), icc_profile=straight), Recipe(20, 20, 3)).max() == 0


def export(place: Path, kind: str, target: Path, *more: str) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["export", str(place), kind, str(target), *more])
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


def test_torch_the_server_and_the_exported_page_decode_the_same_codes_to_the_same_pictures(offline, page, run):
    until(offline, "studio.run.agreed !== undefined")
    assert offline.evaluate("studio.run.agreed") <= 2
    z = np.random.default_rng(2).standard_normal((3, 4)).astype(np.float32)
    expected = as_bytes(decode(run.load_model(), z)).reshape(-1, 3).astype(int)
    for engine, most in ((page, 1), (offline, 2)):
        found = engine.evaluate("async (z) => Array.from(await studio.run.decode(Float32Array.from(z.flat())))", z.tolist())
        assert np.abs(np.array(found).reshape(-1, 4)[:, :3] - expected).max() <= most


def same_picture(run, found: list[float], pixels: np.ndarray) -> bool:
    """Whether a code of the page decodes to what that of these pixels does: weights and codes have few bits there."""
    model = run.load_model()
    drawn = [as_bytes(decode(model, np.float32(mu)[None])).astype(int) for mu in (found, encode(model, pixels[None])[0])]
    return np.abs(drawn[0] - drawn[1]).max() <= 2


def test_the_exported_page_edits_its_own_pictures_from_their_own_codes(offline, run):
    """The pictures themselves are there as thumbnails alone."""
    go(offline, "Edit")
    expect(offline.locator(".edit .told").first).to_have_text("picture 0")
    assert same_picture(run, offline.evaluate("Array.from(studio.edit.base)"), run.open_data().pixels[0])


def test_the_exported_page_edits_a_file_offline(offline, place, run):
    go(offline, "Edit")
    file = place.parent / "pictures" / "squares" / "09.png"
    offline.get_by_label("Open a picture file").set_input_files(file)
    expect(offline.locator(".edit .told").first).to_have_text("09.png")
    mu = offline.evaluate("Array.from(studio.edit.base)")
    assert same_picture(run, mu, read_image(file, run.load_model().image))
    before = settled(offline, ".stage figure:nth-child(3) canvas")
    offline.get_by_role("slider", name="Dark").fill("3")
    settled(offline, ".stage figure:nth-child(3) canvas", unlike=before)


@pytest.mark.parametrize("crop", CROPS)
def test_the_exported_page_encodes_a_file_as_python_does(offline, run, tmp_path, crop):
    (tmp_path / "seen.png").write_bytes(see_through())
    found = offline.evaluate(
        "([letters, crop]) => { studio.run.manifest.crop = crop;"
        " const file = new Blob([Uint8Array.from(atob(letters), (c) => c.charCodeAt(0))], { type: 'image/png' });"
        " return studio.run.encode(file).then((mu) => Array.from(mu)); }",
        [b64encode(see_through()).decode(), crop],
    )
    model = run.load_model()
    np.testing.assert_allclose(found, encode(model, read_image(tmp_path / "seen.png", model.image, crop)[None])[0], atol=0.05)


def test_the_exported_page_keeps_nobody_out(offline):
    for view, ready in (("Map", ".plane"), ("Edit", ".stage"), ("Sample", ".sheet button")):
        go(offline, view)
        expect(offline.locator(ready).first).to_be_visible()
        assert shut_out(offline) == [], view


def test_the_exported_page_samples_and_has_no_run_view(offline):
    assert offline.get_by_role("link", name="Run", exact=True).count() == 0
    go(offline, "Sample")
    expect(offline.locator(".sheet button")).to_have_count(32)
    offline.locator(".sheet button").first.click()
    expect(offline.locator(".near figure")).to_have_count(7)


ASKED = """() => {
  const { run } = studio;
  const plain = run.decode.bind(run);
  globalThis.told = [];
  run.decode = (z) => {
    told.push(z.length / run.latent);
    setTimeout(() => told.push("others"));
    return plain(z);
  };
}"""  # how many codes are decoded at a time, and when anything else had its turn


def test_the_exported_page_answers_while_it_paints_the_terrain(offline):
    """Its networks run where everything else does."""
    until(offline, "studio.run.settled !== undefined && studio.shown.probe.view.scale > 1")
    offline.evaluate(ASKED)
    offline.get_by_role("button", name="Terrain").click()
    until(offline, "document.querySelector('canvas.terrain').getContext('2d').getImageData(9, 9, 1, 1).data[3] === 255")
    told = offline.evaluate("told")
    codes = [each for each in told if each != "others"]
    assert sum(codes) > 100
    assert max(codes) <= 4
    assert "others" in told[: len(codes) // 2], "not all of it before anything else"


def test_the_exported_page_keeps_no_details_of_its_thumbnails(offline):
    offline.evaluate("void (location.hash = '#/edit?place=3&details=1')")
    expect(offline.locator(".edit .told").first).to_have_text("picture 3")
    details = offline.get_by_role("button", name="Keep details")
    expect(details).to_be_disabled()
    expect(details).to_have_attribute("aria-pressed", "false")


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


@pytest.fixture(scope="module")
def carded(chromium) -> Iterator[Browser]:
    """A browser with a graphics card, if an imitation of one."""
    browser = chromium.browser_type.launch(executable_path=CHROMIUM, args=[*FLAGS, *WEBGPU])
    yield browser
    browser.close()


def engine_of(page: Page) -> str:
    until(page, "globalThis.studio?.run?.settled !== undefined")
    return page.evaluate("document.documentElement.dataset.engine")


def test_a_graphics_card_that_draws_the_same_decodes(carded, run, place, hosted, tmp_path):
    export(place, "--html", tmp_path / "page.html", "--webgpu")
    z = np.random.default_rng(3).standard_normal((3, 4)).astype(np.float32)
    expected = as_bytes(decode(run.load_model(), z)).reshape(-1, 3).astype(int)
    for address in (hosted, (tmp_path / "page.html").as_uri()):
        page, complaints = carded.new_page(), []
        page.on("pageerror", lambda error, complaints=complaints: complaints.append(str(error)))
        page.goto(f"{address}?engine=webgpu")
        assert engine_of(page) == "webgpu"
        found = page.evaluate("async (z) => Array.from(await studio.run.decode(Float32Array.from(z.flat())))", z.tolist())
        assert np.abs(np.array(found).reshape(-1, 4)[:, :3] - expected).max() <= 2
        assert not complaints
        page.close()


def test_an_imitation_of_a_graphics_card_is_not_taken_by_itself(carded, chromium, hosted):
    for browser in (carded, chromium):
        page = browser.new_page()
        page.goto(hosted)
        assert engine_of(page) == "wasm"
        page.close()


def test_a_graphics_card_that_draws_something_else_or_goes_away_is_left(carded, hosted):
    page = carded.new_page()
    black = gzip.compress(bytes(GOLDEN * 3 * 16 * 16))
    page.route("**/data/golden.bin", lambda route: route.fulfill(body=black, content_type="application/octet-stream"))
    page.goto(f"{hosted}?engine=webgpu")
    assert engine_of(page) == "wasm"
    page.unroute("**/data/golden.bin")
    page.reload()
    assert engine_of(page) == "webgpu"
    count = page.evaluate(
        "async () => { const its = await studio.run.network('decoder'); await its.session.release();"
        " return (await studio.run.decode(new Float32Array(studio.run.latent))).length; }"
    )
    assert count == 4 * 16 * 16
    assert engine_of(page) == "wasm"
    page.close()


def test_what_could_not_be_loaded_can_be_loaded_again(chromium, hosted):
    context = chromium.new_context(viewport={"width": 1200, "height": 800})
    page = context.new_page()
    parts = ("points", "wasm", "decoder")
    for part in parts:
        page.route(f"**/data/{part}.bin", lambda route: route.abort())
    page.goto(hosted)
    expect(page.get_by_role("alert")).to_be_visible()
    page.unroute("**/data/points.bin")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".plane")).to_be_visible()
    for part in parts[1:]:
        with pytest.raises(PlaywrightError, match="Nobody answers"):
            page.evaluate("studio.run.decode(new Float32Array(studio.run.latent))")
        page.unroute(f"**/data/{part}.bin")
    found = page.evaluate("studio.run.decode(new Float32Array(studio.run.latent)).then((its) => its.length)")
    assert found == 4 * 16 * 16
    context.close()


def test_a_browser_that_computes_otherwise_goes_on_saying_so(chromium, hosted):
    page = chromium.new_page()
    black = gzip.compress(bytes(GOLDEN * 3 * 16 * 16))
    page.route("**/data/golden.bin", lambda route: route.fulfill(body=black, content_type="application/octet-stream"))
    page.goto(hosted)
    expect(page.locator("#notes")).to_contain_text("Do not trust the pictures", timeout=60_000)
    go(page, "Sample")
    expect(page.locator(".sheet button")).to_have_count(32)
    expect(page.locator("#notes .note")).to_have_count(1)
    page.close()
