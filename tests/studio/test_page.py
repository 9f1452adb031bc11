"""The page in a real browser: a map that is decoded, a picture that is edited, and everything by keyboard too."""

import math
import re
from itertools import product

import numpy as np
import pytest
from playwright.sync_api import expect

from studio.pages import CHROMIUM, FITTED, PAINTED, go, pixels, point, settled, shut_out, until
from vaekit import decode, encode
from vaekit.studio.bundle import as_bytes

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
VIEW = "(() => { const { x, y, scale } = studio.shown.probe.view; return [x, y, scale]; })()"
EDITED = ".stage figure:nth-child(3) canvas"


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


def test_a_place_without_a_picture_has_a_frame_for_one(page):
    """Before anything was pointed at both are empty, and nothing is said of how reliable it is."""
    figures, frames = page.locator(".pair figure"), page.locator(".pair .empty canvas")
    expect(figures).to_have_text(["Picture", "Reconstruction"])
    expect(frames).to_have_count(2)
    expect(frames.first).to_have_css("border-style", "dashed")
    left, right = (frames.nth(number).bounding_box() for number in (0, 1))
    assert left["width"] == left["height"] == right["width"] > 100
    expect(page.locator("meter")).to_be_hidden()
    page.mouse.move(*point(page, 7))
    expect(page.locator(".side .told")).to_contain_text("nats")
    expect(frames).to_have_count(0)
    expect(page.locator("meter")).to_be_visible()
    box = page.locator(".plane").bounding_box()
    page.mouse.move(box["x"] + 4, box["y"] + 4)
    expect(page.locator(".side .told")).to_contain_text("Nothing was there")
    expect(figures).to_have_text(["No picture here", "Decoded from here"])
    expect(frames).to_have_count(1)
    assert not pixels(page, ".pair canvas").any(), "the last picture is gone"


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
    expect(page.locator(".card .hint")).to_have_text(f"The whole examination: vaekit doctor {run.path}")
    expect(page.locator(".chart figcaption").first).to_have_text("ELBO, nats, over images seen")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1_000_000, "0 200k 400k 600k 800k 1M"),
        (0, 192, "0 50 100 150"),
        (-1463.2, -1207.9, "−1,450 −1,400 −1,350 −1,300 −1,250"),
        (3120, 5230, "3.5k 4k 4.5k 5k"),
        (-0.31, 0.04, "−0.3 −0.2 −0.1 0"),
        (71.83, 71.97, "71.85 71.9 71.95"),
        (2e-8, 7e-8, "2e−8 3e−8 4e−8 5e−8 6e−8 7e−8"),
    ],
)
def test_axes_have_round_numbers(page, low, high, expected):
    found = page.evaluate(
        "async (ends) => { const { ticks } = await import('studio/runs.js'); return ticks(...ends); }", [low, high]
    )
    assert " ".join(text for _, text in found) == expected
    assert all(low - 1e-9 * abs(low) <= value <= high + 1e-9 * abs(high) for value, _ in found)


def test_a_level_curve_is_drawn(page):
    ends = page.evaluate(
        "async () => { const { chart } = await import('studio/runs.js');"
        " return [0, -5, 1e6].map((level) => { const drawn = chart('loss', [[[0, level], [8, level]]], ['A']);"
        " return [drawn.querySelector('path').getAttribute('d'), drawn.querySelectorAll('text').length]; }); }"
    )
    for path, count in ends:
        assert "NaN" not in path
        assert count >= 6


def test_the_keyboard_is_enough(page):
    page.get_by_role("button", name="Understood").press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
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


def test_the_keyboard_goes_on_past_the_edge(page):
    page.locator(".plane").focus()
    until(page, FITTED)
    for _ in range(3):
        page.keyboard.press("+")
    x, y, scale = page.evaluate(VIEW)
    half = page.locator(".plane").evaluate("its => its.clientWidth") / 2
    steps = math.ceil(half / 60) + 2
    for _ in range(steps):
        page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate(VIEW) == pytest.approx([x + (60 * steps - half) / scale, y, scale])
    assert page.evaluate("studio.shown.probe.at.spot") == pytest.approx([x + 60 * steps / scale, y])


def test_digits_choose_a_view_only_where_nothing_else_has_the_focus(page):
    go(page, "Edit")
    page.get_by_role("slider", name="Dark").focus()
    page.keyboard.press("3")
    expect(page.locator(".edit")).to_be_visible()
    page.locator("main").focus()
    page.keyboard.press("3")
    expect(page.locator(".sample")).to_be_visible()
    page.get_by_role("link", name="Sample", exact=True).focus()
    page.keyboard.press("4")
    expect(page.locator(".runs")).to_be_visible()


def test_the_address_keeps_where_one_is_and_nonsense_in_it_does_no_harm(page):
    for _ in range(4):
        page.get_by_role("button", name="Zoom in").click()
    until(page, "location.hash.includes('zoom=5.06')")  # 1.5 ** 4
    scale = page.evaluate("studio.shown.probe.view.scale")
    page.reload()
    expect(page.locator(".plane")).to_be_visible()
    until(page, FITTED)
    assert page.evaluate("studio.shown.probe.view.scale") == pytest.approx(scale, rel=0.01)
    of_map = ("zoom=Infinity&x=NaN", "zoom=-3", "zoom=1e-300&x=1e300&y=-1e300&terrain=1", "zoom=1e300", "colour=nothing")
    of_edits = ("place=1e9", "place=-1&add=Nothing%3D9%26Dark%3Dx&latents=z%3D1%269%3D1", "add=Dark%3D1e999")
    of_samples = ("seed=3000000000", "seed=-1&prior=flow&temperature=hot&given=label%3D1")
    views = ("map", "edit", "sample", "runs", "nowhere")
    each = {"map": of_map, "edit": of_edits, "sample": of_samples}
    odds = [(view, odd) for view, its in each.items() for odd in its] + list(product(views, ["run=other"]))
    for view, odd in odds:
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


def test_a_million_points_show_where_they_are_crowded(page):
    """Means over some pixels in the middle of a Gaussian, and one and two standard deviations beside it."""
    middle, beside, far = page.evaluate(
        "async () => { const { Points } = await import('studio/points.js');"
        " const { Grid, opacity } = await import('studio/space.js');"
        " const count = 1e6; const points = new Float32Array(2 * count); let state = 1;"
        " const uniform = () => (state = (1664525 * state + 1013904223) >>> 0) / 2 ** 32;"
        " for (let i = 0; i < count; i++) {"
        "   const [length, angle] = [Math.sqrt(-2 * Math.log(1 - uniform())), 2 * Math.PI * uniform()];"
        "   points.set([length * Math.cos(angle), length * Math.sin(angle)], 2 * i); }"
        " const canvas = Object.assign(document.createElement('canvas'), { width: 600, height: 600 });"
        " canvas.style.cssText = 'position: fixed; width: 600px; height: 600px'; document.body.append(canvas);"
        " const drawn = new Points(canvas); const [scale, dot] = [75, 2];"
        " drawn.set('position', points); drawn.set('colour', new Uint8Array(4 * count).fill(255));"
        " drawn.draw({ x: 0, y: 0, scale }, dot, opacity(new Grid(points).layers(dot / scale)));"
        " const { gl } = drawn; const seen = new Uint8Array(4 * 81);"
        " const found = [0, 1, 2].map((sigmas) => {"
        "   gl.readPixels(296 + sigmas * scale, 296, 9, 9, gl.RGBA, gl.UNSIGNED_BYTE, seen);"
        "   return seen.reduce((sum, value, i) => sum + (i % 4 === 3 ? value / 81 : 0), 0); });"
        " drawn.close(); canvas.remove(); return found; }"
    )
    assert 250 > middle > beside + 15
    assert beside > far + 60
    assert far > 20


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


LONG = "select option, #top span, .told, .legend .kind, .slider .name, .leak, h3"  # what has names in it that somebody gave
READY = {"Map": ".plane", "Edit": ".stage", "Sample": ".sheet button", "Run": ".film figure"}


def open_view(page, view: str) -> None:
    """A view, until all of it is there."""
    go(page, view)
    expect(page.locator(READY[view]).first).to_be_visible()
    until(page, "!studio.shown.probe || studio.shown.probe.view.scale > 1")


def fill_view(page, view: str) -> None:
    """What comes into a view by its use: a group, pins, neighbours."""
    if view == "Map":
        page.locator(".plane").focus()
        for _ in range(5):
            page.keyboard.press("-")
        page.keyboard.press("l")
        expect(page.get_by_role("button", name="Keep as A")).to_be_visible()
    if view == "Edit":
        for count in (1, 2, 3):
            page.get_by_role("button", name="Pin", exact=True).click()
            expect(page.locator(".pin")).to_have_count(count)
    if view == "Sample":
        page.locator(".sheet button").first.click()
        expect(page.locator(".near figure")).to_have_count(7)


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nobody_is_shut_out(page, theme, width):
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": width, "height": 800})
    for view in READY:
        open_view(page, view)
        assert shut_out(page) == [], view
        fill_view(page, view)
        assert shut_out(page) == [], f"{view}, filled"


def test_it_fits_on_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 800})
    for view in READY:
        open_view(page, view)
        fill_view(page, view)
        page.evaluate(
            "([names, word]) => document.querySelectorAll(names).forEach((its) => (its.textContent = word))",
            [LONG, "a_name_of_an_attribute_or_a_file_" * 3],
        )
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
        wide = page.evaluate(
            "(() => { const main = document.querySelector('main'); return main.scrollWidth - main.clientWidth; })()"
        )
        assert wide <= 0, view
