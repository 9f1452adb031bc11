"""The page in a real browser: a map that is decoded, a picture that is edited, and everything by keyboard too."""

import os
import re
from itertools import product

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from studio.pages import CHROMIUM, go, pixels, point, settled, until
from vaekit import decode, encode, read_image
from vaekit.studio.bundle import as_bytes

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
PAINTED = (
    "(() => { const c = document.querySelector('canvas.terrain');"
    " return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.reduce((all, each) => (31 * all + each) | 0, 0); })()"
)  # a print of the terrain
VIEW = "(() => { const { x, y, scale } = studio.shown.probe.view; return [x, y, scale]; })()"
FITTED = "studio.shown?.probe?.view.scale > 1"  # the map knows its size


def test_the_token_is_gone_from_the_address_and_nothing_else_is_loaded(page):
    assert "token" not in page.url
    loaded = page.evaluate("performance.getEntriesByType('resource').map((its) => new URL(its.name).host)")
    assert set(loaded) == {page.evaluate("location.host")}


def test_a_point_shows_its_picture_and_its_reconstruction(page, run):
    page.mouse.move(*point(page, 7))
    expect(page.locator(".side .told")).to_contain_text("nats")
    place = page.evaluate("studio.shown.probe.grid.nearest(...studio.shown.probe.points.slice(14, 16), 1)[0].place")
    data, model = run.open_data(), run.load_model()
    original = data.pixels[place].transpose(1, 2, 0)
    rebuilt = as_bytes(decode(model, encode(model, data.pixels[[place]])))[0]
    for number, expected in enumerate((original, rebuilt)):
        drawn = pixels(page, f".pair canvas >> nth={number}")[:, :3].astype(int)
        assert np.abs(drawn - expected.reshape(-1, 3)).max() <= 2


def test_empty_space_is_decoded_and_says_how_far_to_trust_it(page):
    box = page.locator(".plane").bounding_box()
    page.mouse.move(box["x"] + 4, box["y"] + 4)
    expect(page.locator(".side .told")).to_contain_text("Nothing was there")
    far = page.locator("meter").evaluate("its => its.value")
    page.mouse.move(*point(page, 3))
    expect(page.locator(".side .told")).to_contain_text("nats")
    assert far < page.locator("meter").evaluate("its => its.value") == 1


def test_the_button_beside_the_map_opens_what_it_shows(page):
    page.mouse.move(*point(page, 7))
    expect(page.locator(".side .told")).to_contain_text("nats")
    page.get_by_role("button", name="Edit this").click()  # the mouse leaves the map for it
    expect(page.locator(".edit .told").first).to_contain_text("picture")


def test_a_place_between_the_points_is_the_same_when_the_map_has_moved(page):
    box = page.locator(".plane").bounding_box()
    page.mouse.move(box["x"] + 4, box["y"] + 4)
    expect(page.locator(".side .told")).to_contain_text("Nothing was there")
    shown = page.evaluate("(() => { const { at, inverse } = studio.shown.probe; return Array.from(inverse.at(...at.spot)); })()")
    for _ in range(3):
        page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Edit this").click()
    expect(page.locator(".edit .told").first).to_have_text("a place of the map")
    assert page.evaluate("Array.from(studio.edit.base)") == shown


def test_points_are_coloured_and_the_address_says_by_what(page):
    page.get_by_label("Colour").select_option(label="Dark")
    expect(page.locator(".legend")).to_contain_text("with it")
    assert "colour=attribute" in page.url
    page.reload()
    expect(page.locator(".legend")).to_contain_text("with it")
    page.get_by_label("Colour").select_option("score")
    assert page.locator(".legend .scale").count() == 1


def test_the_terrain_is_painted_and_fog_over_it(page):
    terrain, fog = (page.get_by_role("button", name=name) for name in ("Terrain", "Reliability"))
    terrain.click()
    until(
        page,
        "(() => { const c = document.querySelector('canvas.terrain');"
        " return c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data[3] === 255; })()",
    )
    for toggle in (fog, terrain):
        before = page.evaluate(PAINTED)
        toggle.click()
        until(page, f"{PAINTED} !== {before}")


def test_two_groups_make_a_vector(page):
    for place, name in ((3, "A"), (90, "B")):
        page.mouse.move(*point(page, place))
        page.locator(".plane").focus()
        page.keyboard.press("l")
        expect(page.locator(".group h2")).to_contain_text("pictures")
        page.get_by_role("button", name=f"Keep as {name}").click()
    page.get_by_role("button", name=re.compile("Make a vector")).click()
    expect(page.get_by_role("slider", name="A to B")).to_be_visible()
    go(page, "Map")
    until(page, FITTED)
    page.mouse.move(*point(page, 40))
    page.locator(".plane").focus()
    page.keyboard.press("l")
    page.get_by_role("button", name=re.compile("Make a vector")).click()
    for name in ("A to B", "A to B 2"):
        expect(page.get_by_role("slider", name=name, exact=True)).to_be_visible()


def test_a_drag_with_shift_is_a_lasso(page):
    box = page.locator(".plane").bounding_box()
    corners = [(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99), (0.01, 0.02)]
    at = [(box["x"] + a * box["width"], box["y"] + b * box["height"]) for a, b in corners]
    page.keyboard.down("Shift")
    page.mouse.move(*at[0])
    page.mouse.down()
    for where in at[1:]:
        page.mouse.move(*where, steps=5)
    page.mouse.up()
    page.keyboard.up("Shift")
    expect(page.locator(".group h2")).to_have_text("120 pictures")
    expect(page.locator(".group canvas")).to_have_count(13)
    mean = settled(page, ".group canvas")
    new = [pixels(page, f".group canvas >> nth={place}") for place in (7, 8, 12)]
    assert all((mean != one).any() for one in new)


def test_a_file_of_ones_own_is_edited_and_back(page, place):
    go(page, "Edit")
    page.get_by_label("Open a picture file").set_input_files(place.parent / "pictures" / "squares" / "09.png")
    expect(page.locator(".edit .told").first).to_have_text("09.png")
    canvas = ".stage figure:nth-child(3) canvas"
    before = settled(page, canvas)
    slider = page.get_by_role("slider", name="Dark")
    slider.focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    edited = settled(page, canvas, unlike=before)
    for _ in range(30):
        page.keyboard.press("Control+z")
    np.testing.assert_array_equal(settled(page, canvas, unlike=edited), before)
    assert slider.evaluate("its => its === document.activeElement"), "the keyboard stays where it was"
    assert page.get_by_role("button", name="Undo").is_disabled()


def test_a_file_that_the_browser_cannot_draw_is_edited_all_the_same(page, place, run, tmp_path):
    file = tmp_path / "some.tiff"
    Image.open(place.parent / "pictures" / "squares" / "08.png").save(file)
    go(page, "Edit")
    given = page.get_by_label("Open a picture file")
    given.set_input_files(file)
    expect(page.locator("#said")).to_contain_text("cannot draw")
    assert given.input_value() == "", "the same file can be chosen again"
    expect(page.locator(".stage figure").first).to_be_hidden()
    model = run.load_model()
    mu = encode(model, read_image(file, model.image)[None])[0]
    np.testing.assert_allclose(page.evaluate("Array.from(studio.edit.base)"), mu, atol=1e-5)


def test_pins_are_morphed_and_saved(page):
    go(page, "Edit")
    for _ in range(3):
        count = page.locator(".pin").count()
        page.get_by_role("button", name="Pin", exact=True).click()
        expect(page.locator(".pin")).to_have_count(count + 1)
        page.get_by_role("button", name="Another picture").click()
        expect(page.locator("#said")).to_contain_text("Opened picture")
    first = settled(page, "canvas.film")
    page.get_by_label("Along the way").fill("0.5")
    settled(page, "canvas.film", unlike=first)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save GIF").click()
    assert download.value.path().read_bytes()[:6] == b"GIF89a"
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator(".edit .told").first).to_have_text("A − B + C")


def test_what_was_done_can_be_copied_and_gives_that_picture(page, run, place):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    go(page, "Edit")
    file = place.parent / "pictures" / "circles" / "11.png"
    page.get_by_label("Open a picture file").set_input_files(file)
    expect(page.locator(".edit .told").first).to_have_text("11.png")
    page.get_by_role("slider", name="Big").fill("2")
    page.get_by_role("button", name="Copy as command").click()
    expect(page.locator("#said")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == f"vaekit edit {run.path} PICTURE --sigmas --add Big=2"
    page.get_by_role("slider", name="z1", exact=True).fill("-1.5")
    page.get_by_role("button", name="Copy as command").click()
    expect(page.locator("#said")).to_contain_text("Copy it as Python")
    page.get_by_role("button", name="Copy as Python").click()
    expect(page.locator("#said")).to_have_text("Copied")
    found: dict = {}
    exec(page.evaluate("navigator.clipboard.readText()").replace("PICTURE", str(file)), found)
    shown = settled(page, ".stage figure:nth-child(3) canvas")[:, :3]
    assert np.abs(as_bytes(found["picture"])[0].reshape(-1, 3).astype(int) - shown).max() <= 2


def test_what_began_with_a_code_can_be_copied_too(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    go(page, "Edit")
    page.get_by_role("slider", name="Big").fill("2")
    page.get_by_role("button", name="Copy as command").click()
    expect(page.locator("#said")).to_contain_text("this began with picture 0")
    page.get_by_role("button", name="Copy as Python").click()
    expect(page.locator("#said")).to_have_text("Copied")
    found: dict = {}
    exec(page.evaluate("navigator.clipboard.readText()"), found)
    shown = settled(page, ".stage figure:nth-child(3) canvas")[:, :3]
    assert np.abs(as_bytes(found["picture"])[0].reshape(-1, 3).astype(int) - shown).max() <= 2


def test_other_weights_take_with_them_what_was_made_of_the_old_ones(page, run):
    go(page, "Edit")
    page.get_by_role("button", name="Pin", exact=True).click()
    expect(page.locator(".pin")).to_have_count(1)
    weights = run.path / "weights.safetensors"
    before = weights.stat()
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    try:
        go(page, "Map")
        expect(page.locator("#said")).to_contain_text("has changed", timeout=30_000)
        expect(page.locator(".plane")).to_be_visible()
        go(page, "Edit")
        expect(page.locator(".edit")).to_be_visible()
        expect(page.locator(".pin")).to_have_count(0)
    finally:
        os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_new_pictures_have_neighbours(page, run):
    go(page, "Sample")
    expect(page.locator(".sheet button")).to_have_count(32)
    first = settled(page, ".sheet canvas")
    page.get_by_role("button", name="Others").click()
    until(page, "location.hash.includes('seed=1')")
    settled(page, ".sheet canvas", unlike=first)
    page.locator(".sheet button").nth(4).click()
    expect(page.locator(".near figure")).to_have_count(7)
    learnt = len(run.open_data().splits["train"])
    expect(page.locator(".sample")).to_contain_text(f"of the {learnt} training pictures on the map, which has 120 of 120")
    page.get_by_role("button", name="Edit it").click()
    expect(page.locator(".edit .told").first).to_have_text("sample 5")


def test_a_run_shows_its_curves_and_figures(page, run):
    go(page, "Run")
    expect(page.locator(".chart").first).to_be_visible()
    expect(page.locator(".card")).to_contain_text("finished")
    expect(page.locator("table")).to_contain_text("bits per dim")
    assert page.locator("tbody tr").count() == len([name for name in run.metrics if not name.startswith("weight_")])


def test_a_run_that_goes_on_is_seen_by_a_page_that_was_open(page, run):
    page.evaluate("(() => { const wait = setTimeout; globalThis.setTimeout = (work, ms) => wait(work, ms / 50); })()")
    go(page, "Run")
    expect(page.locator(".card")).to_contain_text("finished")
    about = run.description
    run.describe(about | {"status": "running"})
    try:
        expect(page.locator(".card")).to_contain_text("running")
        expect(page.locator(".film figure")).to_have_count(1)
    finally:
        run.describe(about)


def test_the_keyboard_is_enough(page):
    page.get_by_role("button", name="Understood").press("Enter")
    page.keyboard.press("2")
    expect(page.locator(".edit")).to_be_visible()
    page.keyboard.press("3")
    expect(page.locator(".sample")).to_be_visible()
    page.keyboard.press("4")
    expect(page.locator(".runs")).to_be_visible()
    page.keyboard.press("1")
    expect(page.locator(".plane")).to_be_visible()
    page.locator(".plane").focus()
    until(page, FITTED)
    x, y, scale = page.evaluate(VIEW)
    left, up = 12 / scale, 60 / scale
    for key, spot in (("ArrowLeft", [x - left, y]), ("Shift+ArrowUp", [x - left, y + up])):
        page.keyboard.press(key)
        assert page.evaluate("studio.shown.probe.at.spot") == pytest.approx(spot)
        assert page.evaluate(VIEW) == [x, y, scale]
    for key, factor in (("+", 1.4), ("+", 1.4**2), ("-", 1.4)):
        page.keyboard.press(key)
        view = [x - left + left / factor, y + up - up / factor, scale * factor]  # the cross stays where it is on the screen
        assert page.evaluate(VIEW) == pytest.approx(view)
    page.keyboard.press("0")
    assert page.evaluate(VIEW) == pytest.approx([x, y, scale])
    page.keyboard.press("Enter")
    expect(page.locator(".edit")).to_be_visible()
    page.go_back()
    expect(page.locator(".plane")).to_be_visible()


def test_the_address_keeps_where_one_is_and_nonsense_in_it_does_no_harm(page):
    for _ in range(4):
        page.get_by_role("button", name="Zoom in").click()
    until(page, "location.hash.includes('zoom=')")
    scale = page.evaluate("studio.shown.probe.view.scale")
    page.reload()
    expect(page.locator(".plane")).to_be_visible()
    until(page, FITTED)
    assert page.evaluate("studio.shown.probe.view.scale") == pytest.approx(scale, rel=0.01)
    of_map = ("zoom=Infinity&x=NaN", "zoom=-3", "zoom=1e-300&x=1e300&y=-1e300&terrain=1", "zoom=1e300", "colour=nothing")
    of_samples = ("seed=3000000000", "seed=-1&prior=flow&temperature=hot&given=label%3D1")
    views = ("map", "edit", "sample", "runs", "nowhere")
    for view, odd in (*product(["map"], of_map), *product(["sample"], of_samples), *product(views, ["run=other"])):
        page.evaluate("void (globalThis.before = studio.shown)")
        page.goto(f"{page.url.partition('#')[0]}#/{view}?{odd}")
        until(page, "globalThis.studio?.shown && studio.shown !== globalThis.before")
        expect(page.locator(".map, .edit, .sample, .runs").first).to_be_visible()
        assert page.locator("[role=alert]").count() == 0


def test_the_skip_link_skips_and_stays(page):
    go(page, "Edit")
    expect(page.locator(".edit")).to_be_visible()
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".edit")).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "main"


def test_a_finger_looks_and_a_button_opens(chromium, address, page):
    context = chromium.new_context(
        viewport={"width": 390, "height": 800}, has_touch=True, storage_state=page.context.storage_state()
    )
    phone = context.new_page()
    phone.goto(address.partition("?")[0])
    expect(phone.locator(".plane")).to_be_visible()
    until(phone, FITTED)
    phone.touchscreen.tap(*point(phone, 7))
    expect(phone.locator(".side .told")).to_contain_text("nats")
    phone.get_by_role("button", name="Edit this").click()
    expect(phone.locator(".edit .told").first).to_contain_text("picture")
    context.close()


READY = {"Map": ".plane", "Edit": ".stage", "Sample": ".sheet button", "Run": ".film figure"}


def open_view(page, view: str) -> None:
    """A view, until all of it is there."""
    go(page, view)
    expect(page.locator(READY[view]).first).to_be_visible()
    until(page, "!studio.shown.probe || studio.shown.probe.view.scale > 1")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nobody_is_shut_out(page, theme):
    page.emulate_media(color_scheme=theme)
    for view in READY:
        open_view(page, view)
        found = Axe().run(page, options={"resultTypes": ["violations"]})
        serious = [its for its in found.response["violations"] if its["impact"] in ("serious", "critical")]
        assert not serious, [(view, its["id"], [node["html"][:120] for node in its["nodes"]]) for its in serious]


def test_it_fits_on_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 800})
    for view in READY:
        open_view(page, view)
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
        wide = page.evaluate(
            "(() => { const main = document.querySelector('main'); return main.scrollWidth - main.clientWidth; })()"
        )
        assert wide <= 0, view
