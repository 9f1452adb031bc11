"""The page while something else changes: a run that trains or is computed with, and a studio that is closed."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from studio.pages import CHROMIUM, FITTED, go, listen, point, served, until
from vaekit import Run, cook, fit, open_data, start

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
FASTER = "(() => { const wait = setTimeout; globalThis.setTimeout = (work, ms) => wait(work, ms / 50); })()"


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


def test_a_run_that_goes_on_is_seen_by_a_page_that_was_open(page, run):
    page.evaluate(FASTER)
    go(page, "Run")
    expect(page.locator(".card")).to_contain_text("finished")
    about = run.description
    run.describe(about | {"status": "running"})
    try:
        expect(page.locator(".card")).to_contain_text("running")
        expect(page.locator(".film figure")).to_have_count(1)
    finally:
        run.describe(about)


def test_what_is_computed_of_the_same_weights_takes_nothing_away(page, run):
    go(page, "Edit")
    page.get_by_role("slider", name="Dark").fill("1.5")
    page.get_by_role("button", name="Pin", exact=True).click()
    expect(page.locator(".pin")).to_have_count(1)
    parts = page.evaluate("studio.run.manifest.parts")
    vectors = run.path / "attributes.safetensors"
    before = vectors.stat()
    os.utime(vectors, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    try:
        go(page, "Map")
        until(page, f"studio.run.manifest.parts !== '{parts}'")
        expect(page.locator(".plane")).to_be_visible()
        go(page, "Edit")
        expect(page.locator(".pin")).to_have_count(1)
        expect(page.get_by_role("slider", name="Dark")).to_have_value("1.5")
        page.evaluate("void delete studio.run.manifest.vectors.Dark")
        go(page, "Map")
        expect(page.locator(".plane")).to_be_visible()
        go(page, "Edit")
        expect(page.locator(".pin")).to_have_count(1)
        assert page.evaluate("studio.edit.now.alphas") == {}, "there is no such vector any more"
    finally:
        os.utime(vectors, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture(scope="module")
def going_on(place, tmp_path_factory) -> Iterator[tuple[str, Run]]:
    """The address of a studio of a run that gets other weights, and the run."""
    copy = tmp_path_factory.mktemp("going-on") / "shapes"
    shutil.copytree(place, copy)
    with served(copy) as found:
        yield found, Run.open(copy)


def test_samples_over_time_outlive_the_view_and_the_page(chromium, going_on):
    address, run = going_on
    page = chromium.new_page()
    page.goto(address)
    expect(page.locator(".plane")).to_be_visible(timeout=60_000)
    page.evaluate(FASTER)
    go(page, "Run")
    expect(page.locator(".film figure")).to_have_count(1)
    run.save_weights(run.load_model("cpu"), images=50_000)
    expect(page.locator(".film figure")).to_have_count(2, timeout=30_000)
    go(page, "Sample")
    expect(page.locator(".sheet button").first).to_be_visible(timeout=60_000)
    go(page, "Run")
    expect(page.locator(".film figure")).to_have_count(2)
    page.reload()
    expect(page.locator(".film figure")).to_have_count(2)
    expect(page.locator(".film figcaption").last).to_have_text("50,000")
    page.close()


def test_a_page_that_is_behind_opens_the_run_by_itself(chromium, going_on):
    address, run = going_on
    context = chromium.new_context(viewport={"width": 1200, "height": 800})
    page, other = context.new_page(), context.new_page()
    page.goto(address)
    expect(page.locator(".plane")).to_be_visible(timeout=60_000)
    until(page, FITTED)
    before = page.evaluate("studio.run.manifest.state")
    run.save_weights(run.load_model("cpu"), images=60_000)
    other.goto(address.partition("?")[0])
    expect(other.locator(".plane")).to_be_visible(timeout=60_000)
    page.bring_to_front()
    page.mouse.move(*point(page, 7))
    until(page, f"studio.run.manifest.state !== '{before}' && studio.shown !== null")
    until(page, FITTED)
    page.mouse.move(*point(page, 40))
    expect(page.locator(".side .told")).to_contain_text("nats")
    context.close()


def test_a_run_without_weights_begins_with_how_it_goes_and_its_map_waits(chromium, tmp_path):
    data = open_data("digits")
    given = {"net": "mlp", "latent": 3, "images": 2000, "threads": 1, "compile": "off", "precision": "fp32", "tune": False}
    run = start(tmp_path / "new", data, cook("vae", data.image, given))
    page, complaints = chromium.new_page(), []
    listen(page, complaints)
    with served(run.path) as address:
        page.goto(address)
        expect(page.locator(".runs .card")).to_contain_text("0 images seen")
        go(page, "Map")
        expect(page.locator("main")).to_contain_text("has no weights yet")
        fit(run, data)
        expect(page.locator(".plane")).to_be_visible(timeout=60_000)
        assert not complaints
        page.close()


def test_a_studio_that_was_closed_is_told_of_once_and_lastingly(chromium, place):
    page = chromium.new_page(viewport={"width": 1200, "height": 800})
    with served(place) as address:
        page.goto(address)
        expect(page.locator(".plane")).to_be_visible(timeout=60_000)
        until(page, FITTED)
        page.mouse.move(*point(page, 7))
        expect(page.locator(".side .told")).to_contain_text("nats")
    for other in (3, 40, 90):
        page.mouse.move(*point(page, other))
        expect(page.locator("#notes .note")).to_have_count(1)
    expect(page.locator("#notes")).to_contain_text(f"vaekit studio {place.resolve()}")
    assert "fetch" not in (page.locator("#said").text_content() or "")
    page.close()


def test_a_run_that_cannot_be_read_leaves_the_others_alone(page):
    told = {"name": "broken", "status": "unreadable", "error": "run.json is no JSON"}
    broken = told | {"findings": [], "metrics": {}, "state": None, "parts": None}
    other = page.context.new_page()
    other.route("**/api/runs", lambda route: route.fulfill(json=[*route.fetch().json(), broken]))
    other.goto(f"{page.url.partition('#')[0]}#/runs")
    expect(other.locator(".card")).to_have_count(2)
    expect(other.locator(".card").last).to_contain_text("run.json is no JSON")
    expect(other.locator(".chart").first).to_be_visible()
    other.close()


def test_a_long_log_is_drawn_and_many_runs_are_told_apart(page):
    found = page.evaluate(
        "async () => { const { chart } = await import('studio/runs.js');"
        " const long = Array.from({ length: 130000 }, (_, i) => [i, Math.sin(i)]);"
        " const short = Array.from({ length: 8 }, () => [[0, 1], [9, 2]]);"
        " const drawn = chart('loss', [long, ...short], Array.from('ABCDEFGHI'));"
        " const ink = (line) => ['stroke', 'stroke-dasharray'].map((name) => line.querySelector('path').getAttribute(name));"
        " const lines = Array.from(drawn.querySelectorAll('g'));"
        " return lines.map((line) => [line.querySelector('title').textContent, String(ink(line))]); }"
    )
    names, inks = zip(*found, strict=True)
    assert "".join(names) == "ABCDEFGHI"
    assert len(set(inks)) == 9
