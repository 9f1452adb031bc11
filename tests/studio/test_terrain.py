"""The decoded plane behind the points: only for as long as somebody looks at it, in the colours of the theme."""

import pytest
from playwright.sync_api import expect

from studio.pages import CHROMIUM, FITTED, PAINTED, go, until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
MOVED = """() => {
  const { run, shown } = studio;
  const plain = run.decode.bind(run);
  globalThis.asked = 0;
  globalThis.done = new Promise((resolve) => {
    run.decode = async (...given) => {
      if (++asked === 2) shown.probe.view.x += 1; // without what asks for another terrain
      const found = await plain(...given);
      if (asked === 2) setTimeout(resolve);
      return found;
    };
  });
}"""
CONTEXTS = """
globalThis.contexts = new Set();
const plain = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
  const found = plain.call(this, kind, ...more);
  if (kind === "webgl2") contexts.add(found);
  return found;
};"""


def test_a_terrain_that_is_outdated_is_not_decoded_to_its_end(page):
    until(page, FITTED)
    before = page.evaluate(PAINTED)
    page.evaluate(MOVED)
    page.get_by_role("button", name="Terrain").click()
    page.evaluate("done")
    assert page.evaluate("asked") == 2
    assert page.evaluate(PAINTED) == before, "half of a terrain is none"


def test_fog_over_the_terrain_has_the_colour_of_the_theme(page):
    until(page, FITTED)
    prints = [page.evaluate(PAINTED)]
    for name in ("Terrain", "Reliability", "Dark or light"):
        page.get_by_role("button", name=name).click()
        until(page, f"{PAINTED} !== {prints[-1]}")
        prints.append(page.evaluate(PAINTED))
    page.get_by_role("button", name="Dark or light").click()
    until(page, f"{PAINTED} === {prints[2]}")


def test_a_map_that_fails_to_open_gives_its_place_on_the_card_back(chromium, address, page):
    context = chromium.new_context(storage_state=page.context.storage_state())
    failing = context.new_page()
    failing.add_init_script(CONTEXTS)
    failing.route("**/arrays/attribute*", lambda route: route.abort())
    failing.goto(f"{address.partition('?')[0]}#/map?colour=attribute:0")
    expect(failing.get_by_role("alert")).to_be_visible()
    until(failing, "contexts.size === 1 && [...contexts].every((gl) => gl.isContextLost())")
    failing.unroute("**/arrays/attribute*")
    failing.get_by_role("button", name="Try again").click()
    expect(failing.locator(".legend")).to_contain_text("with it")
    assert failing.evaluate("[...contexts].filter((gl) => !gl.isContextLost()).length") == 1
    go(failing, "Edit")
    until(failing, "[...contexts].every((gl) => gl.isContextLost())")
    context.close()
