"""The editor in a browser: a file of one's own, sliders, pins and their films."""

import re
import shlex
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from studio.pages import CHROMIUM, go, settled, until
from vaekit import encode, read_image
from vaekit.latent import edited
from vaekit.studio.api import Film
from vaekit.studio.bundle import as_bytes
from vaekit.studio.shown import MOST_BYTES

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
EDITED = ".stage figure:nth-child(3) canvas"
REBUILT = ".stage figure:nth-child(2) canvas"
PICTURE = ".stage figure:nth-child(1) canvas"
GIVEN = (
    "(letters) => { const bytes = Uint8Array.from(atob(letters), (c) => c.charCodeAt(0)); const all = new DataTransfer();"
    " all.items.add(new File([bytes], 'mine.png', { type: 'image/png' })); return all; }"
)


def opened(page, place) -> Path:
    """A picture file in the editor, whose edit may be copied."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    go(page, "Edit")
    file = place.parent / "pictures" / "circles" / "11.png"
    page.get_by_label("Open a picture file").set_input_files(file)
    expect(page.locator(".edit .told").first).to_have_text("11.png")
    return file


def test_a_file_of_ones_own_is_edited_and_back(page, place):
    go(page, "Edit")
    page.get_by_label("Open a picture file").set_input_files(place.parent / "pictures" / "squares" / "09.png")
    expect(page.locator(".edit .told").first).to_have_text("09.png")
    canvas = EDITED
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
    page.evaluate("void (Math.random = () => 0.4)")
    for count, another in enumerate((48, 96, 24), 1):
        page.get_by_role("button", name="Pin", exact=True).click()
        expect(page.locator(".pin")).to_have_count(count)
        page.get_by_role("button", name="Another picture").click()
        expect(page.locator("#said")).to_have_text(f"Opened picture {another}")
    button = page.get_by_role("button", name="Remove pin A").bounding_box()
    assert min(button["width"], button["height"]) >= 24, "a finger finds it"
    first = settled(page, "canvas.film")
    page.get_by_label("Along the way").fill("0.5")
    settled(page, "canvas.film", unlike=first)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save GIF").click()
    assert download.value.path().read_bytes()[:6] == b"GIF89a"
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator(".edit .told").first).to_have_text("A − B + C")


def test_the_terms_of_a_sum_stay_when_pins_come_and_go(page):
    go(page, "Edit")
    terms = [page.get_by_label(name, exact=True) for name in ("First", "minus", "plus")]
    for count in (1, 2, 3, 4):
        page.get_by_role("button", name="Pin", exact=True).click()
        expect(page.locator(".pin")).to_have_count(count)
        if count == 3:
            for term, chosen in zip(terms, "CAC", strict=True):
                term.select_option(label=chosen)
    chosen = lambda: [term.evaluate("its => its.selectedOptions[0].text") for term in terms]  # noqa: E731
    assert chosen() == ["C", "A", "C"]
    page.get_by_role("button", name="Remove pin B").click()
    assert chosen() == ["B", "A", "B"], "the same pins"
    page.get_by_role("button", name="Remove pin B").click()
    expect(page.locator(".pin")).to_have_count(2)
    expect(terms[0]).to_be_hidden()


LATE = """() => {
  const plain = studio.run.decode.bind(studio.run);
  studio.run.decode = async (...given) => {
    studio.run.decode = plain;
    const found = await plain(...given);
    await new Promise((resolve) => (globalThis.arrive = resolve));
    return found;
  };
}"""


def test_a_late_reconstruction_is_not_that_of_the_next_picture(page):
    go(page, "Edit")
    settled(page, EDITED)
    page.get_by_role("button", name="Keep details").click()
    page.evaluate("void (Math.random = () => 0.4)")
    page.evaluate(LATE)
    page.get_by_role("button", name="Another picture").click()
    until(page, "globalThis.arrive !== undefined")
    page.get_by_role("button", name="Another picture").click()
    expect(page.locator("#said")).to_have_text("Opened picture 96")
    mine = settled(page, REBUILT)
    page.evaluate("void arrive()")
    np.testing.assert_array_equal(settled(page, REBUILT), mine)
    picture, kept = (settled(page, canvas).astype(int) for canvas in (PICTURE, EDITED))
    assert np.abs(kept - picture).max() <= 1


def test_a_late_pin_keeps_the_name_of_its_picture(page):
    go(page, "Edit")
    settled(page, EDITED)
    page.evaluate("void (Math.random = () => 0.4)")
    before = page.locator(".edit .told").first.text_content()
    page.evaluate(LATE)
    page.get_by_role("button", name="Pin", exact=True).click()
    page.get_by_role("button", name="Another picture").click()
    expect(page.locator("#said")).to_contain_text("Opened picture")
    page.evaluate("void arrive()")
    expect(page.locator(".pin")).to_have_attribute("title", before)
    page.get_by_role("button", name="Remove pin A").press("Enter")
    expect(page.get_by_role("button", name="Pin", exact=True)).to_be_focused()


def test_a_late_pin_is_none_of_another_run(page):
    go(page, "Edit")
    settled(page, EDITED)
    page.evaluate(LATE)
    page.get_by_role("button", name="Pin", exact=True).click()
    until(page, "globalThis.arrive !== undefined")
    page.evaluate("void (studio.pins = [])")  # as where another run is chosen
    page.evaluate("void arrive()")
    assert page.evaluate("studio.pins.length") == 0


def test_what_was_done_can_be_copied_and_gives_that_picture(page, run, place):
    file = opened(page, place)
    page.get_by_role("slider", name="Big").fill("2")
    page.get_by_role("button", name="Copy as command").click()
    expect(page.locator("#said")).to_contain_text("does not know the folder of 11.png")
    assert page.evaluate("navigator.clipboard.readText()") == f"vaekit edit {run.path} 11.png --sigmas --add Big=2"
    page.get_by_role("slider", name="z1", exact=True).fill("-1.5")
    page.get_by_role("button", name="Copy as command").click()
    expect(page.locator("#said")).to_contain_text("Copy it as Python")
    page.get_by_role("button", name="Copy as Python").click()
    expect(page.locator("#said")).to_contain_text("does not know the folder of 11.png")
    found: dict = {}
    exec(page.evaluate("navigator.clipboard.readText()").replace("11.png", str(file)), found)
    shown = settled(page, EDITED)[:, :3]
    assert np.abs(as_bytes(found["picture"])[0].reshape(-1, 3).astype(int) - shown).max() <= 2


def test_details_are_kept(page, run, place):
    """x + dec(z + v) - dec(z): the picture itself where nothing is moved, and the same as the library's and the command's."""
    file = opened(page, place)
    model, (vectors, about) = run.load_model("cpu"), run.load_attributes()
    picture = read_image(file, model.image)[None]
    plain, original = settled(page, EDITED), picture[0].reshape(3, -1).T.astype(int)
    assert np.abs(plain[:, :3] - original).max() > 1
    page.get_by_role("button", name="Keep details").click()
    kept = settled(page, EDITED, unlike=plain)
    assert np.abs(kept[:, :3] - original).max() <= 1
    page.get_by_role("slider", name="Big").fill("2")
    step = 2 / about["attributes"]["Big"]["sigmas"] * vectors["Big"].numpy()
    expected = as_bytes(edited(model, picture, step, details=True))[0].reshape(-1, 3).astype(int)
    assert np.abs(settled(page, EDITED, unlike=kept)[:, :3] - expected).max() <= 3  # three roundings to bytes
    page.get_by_role("button", name="Copy as command").click()
    until(page, "navigator.clipboard.readText().then((text) => text.endsWith('11.png --sigmas --add Big=2 --details'))")
    page.get_by_role("button", name="Copy as Python").click()
    until(page, "navigator.clipboard.readText().then((text) => text.includes('np.clip'))")
    found: dict = {}
    exec(page.evaluate("navigator.clipboard.readText()").replace("11.png", str(file)), found)
    assert np.abs(as_bytes(found["picture"])[0].reshape(-1, 3).astype(int) - expected).max() <= 1
    page.get_by_role("button", name="Another picture").click()
    expect(page.locator(".edit .told").first).to_contain_text("picture")
    until(page, "location.href.includes('details=1')")
    page.get_by_role("button", name="Copy as Python").click()
    expect(page.locator("#said")).to_contain_text("Details are those of a picture file")


@pytest.mark.parametrize(("name", "word"), [("it's my $HOME.png", "it's my $HOME.png"), ("-3.png", "./-3.png")])
def test_a_command_names_the_file_that_it_began_with(page, run, place, name, word):
    opened(page, place)
    file = {"name": name, "mimeType": "image/png", "buffer": (place.parent / "pictures" / "squares" / "09.png").read_bytes()}
    page.get_by_label("Open a picture file").set_input_files(file)
    expect(page.locator(".edit .told").first).to_have_text(name)
    copy = page.get_by_role("button", name="Copy as command")
    copy.click()
    expect(page.locator("#said")).to_contain_text("nothing is moved yet")
    page.get_by_role("slider", name="Big").fill("2")
    copy.click()
    expect(page.locator("#said")).to_contain_text(f"does not know the folder of {name}")
    words = shlex.split(page.evaluate("navigator.clipboard.readText()"))
    assert words == ["vaekit", "edit", str(run.path), word, "--sigmas", "--add", "Big=2"]


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
    shown = settled(page, EDITED)[:, :3]
    assert np.abs(as_bytes(found["picture"])[0].reshape(-1, 3).astype(int) - shown).max() <= 2


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_a_picture_is_dropped_or_pasted(page, place, run, how):
    file = place.parent / "pictures" / "squares" / "09.png"
    go(page, "Edit")
    expect(page.locator(".edit .told").first).to_have_text("picture 0")
    given = page.evaluate_handle(GIVEN, b64encode(file.read_bytes()).decode())
    if how == "drop":
        page.locator(".drop").dispatch_event("drop", {"dataTransfer": given})
    else:
        page.evaluate(
            "(given) => void document.body.dispatchEvent("
            "new ClipboardEvent('paste', { clipboardData: given, bubbles: true, cancelable: true }))",
            given,
        )
    expect(page.locator(".edit .told").first).to_have_text("mine.png")
    model = run.load_model()
    mu = encode(model, read_image(file, model.image)[None])[0]
    np.testing.assert_allclose(page.evaluate("Array.from(studio.edit.base)"), mu, atol=1e-5)


def test_what_else_a_slider_moves_is_told_for_a_step_of_the_slider(page):
    """A stored leak is of alpha = 1, from the mean without to the mean with; a slider counts standard deviations of the codes."""
    page.evaluate(
        "void Object.assign(studio.run.manifest.vectors.Dark, { sigmas: 2.5, leak: { Dark: 1, Big: 0.5, Shade: -0.2 } })"
    )
    go(page, "Edit")
    slider = page.get_by_role("slider", name="Dark")
    expect(slider.locator("..").locator(".leak")).to_have_text("moves per σ: Big +0.20 σ")
    expect(slider).to_have_accessible_description(re.compile("moves per σ: Big [+]0.20 σ"))
    slider.fill("1.25")
    expect(slider).to_have_attribute("aria-valuetext", "+1.25 σ")


def test_an_attribute_that_may_be_an_accident_says_so(page):
    """One whose held-out interval holds 0, as the command line says it."""
    page.evaluate(
        "(() => { const { Dark, Big, Shade } = studio.run.manifest.vectors; Dark.interval = [-0.02, 0.5];"
        " Big.interval = [0.1, 0.5]; delete Shade.interval; })()"
    )
    go(page, "Edit")
    told = page.get_by_role("slider", name="Dark").locator("..").locator(".doubt")
    expect(told).to_have_text("perhaps an accident: held out, -0.020 to 0.50")
    expect(page.locator(".doubt")).to_have_count(1)


def test_what_is_edited_is_in_the_address(page):
    go(page, "Edit")
    page.evaluate("void (Math.random = () => 0.4)")
    page.get_by_role("button", name="Another picture").click()
    expect(page.locator(".edit .told").first).to_have_text("picture 48")
    first = settled(page, EDITED)
    page.get_by_role("slider", name="Dark").fill("1.5")
    page.get_by_role("slider", name="z1", exact=True).fill("-2")
    edited = settled(page, EDITED, unlike=first)
    until(page, "location.hash.includes('latents=1')")
    page.reload()
    expect(page.locator(".edit .told").first).to_have_text("picture 48")
    expect(page.get_by_role("slider", name="Dark")).to_have_value("1.5")
    expect(page.get_by_role("slider", name="z1", exact=True)).to_have_value("-2")
    assert np.abs(settled(page, EDITED).astype(int) - edited).max() <= 1
    go(page, "Map")
    expect(page.locator(".plane")).to_be_visible()
    go(page, "Edit")
    expect(page.get_by_role("slider", name="Dark")).to_have_value("1.5")
    page.get_by_role("button", name="Reset").click()
    until(page, "!location.hash.includes('add=') && !location.hash.includes('latents=')")


def test_a_film_through_many_pins_is_one_that_the_server_makes(page):
    go(page, "Edit")
    page.get_by_role("button", name="Pin", exact=True).click()
    expect(page.locator(".pin")).to_have_count(1)
    page.evaluate("void studio.pins.push(...Array.from({ length: 15 }, () => studio.pins[0]))")
    go(page, "Sample")
    expect(page.locator(".sheet button").first).to_be_visible()
    go(page, "Edit")
    expect(page.locator(".pin")).to_have_count(16)
    asked = []

    def answer(route):
        asked.append(Film.model_validate(route.request.post_data_json))
        route.fulfill(body=b"GIF89a", content_type="image/gif")

    page.route("**/film?*", answer)
    with page.expect_download():
        page.get_by_role("button", name="Save GIF").click()
    (film,) = asked
    assert 3 * len(film.z) * film.size**2 <= MOST_BYTES
    assert len(film.z) == 15 * film.fps + 1, "a leg takes a second"


def test_who_wants_less_motion_sees_a_morph_once(page):
    page.emulate_media(reduced_motion="reduce")
    go(page, "Edit")
    for count in (1, 2):
        page.get_by_role("button", name="Pin", exact=True).click()
        expect(page.locator(".pin")).to_have_count(count)
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("button", name="Play")).to_be_visible(timeout=30_000)
    expect(page.get_by_label("Along the way")).to_have_value("1")
