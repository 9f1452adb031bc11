"""What a longer visit meets: the keyboard alone, many maps, two runs, pages of others."""

import os
import shutil
import socket
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from playwright.sync_api import expect

from studio.conftest import TOKEN, running
from studio.pages import CHROMIUM, FITTED, go, served, until
from vaekit.studio import Wish, application

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")


class Foreign(SimpleHTTPRequestHandler):
    """A page of somebody else."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>another</title>")

    def log_message(self, *_):
        """Nobody reads it."""


class Recorded:
    """An application whose answers are written down: what was asked, and the status."""

    def __init__(self, app):
        self.app, self.answers = app, []

    async def __call__(self, scope, receive, send):
        async def said(message):
            if message["type"] == "http.response.start":
                self.answers.append((scope["method"], scope["path"], message["status"]))
            await send(message)

        await self.app(scope, receive, said)


@pytest.fixture
def recorded(place, executor) -> Iterator[tuple[str, Recorded]]:
    """The address of a studio, and what it answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = f"127.0.0.1:{listener.getsockname()[1]}"
        app = Recorded(application([place], executor=executor, token=TOKEN, hosts=frozenset({here}), wish=Wish(points=20)))
        with running(app, listener):
            yield f"http://{here}", app


def test_tab_alone_leads_through_the_editor_and_is_never_lost(page):
    """From the top of the page to a slider, back through what was done, and on: focus is nowhere lost."""
    page.get_by_role("button", name="Understood").press("Enter")

    def tab_to(holds: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate(f"document.activeElement.{holds}"):
                return
        raise AssertionError(f"Tab never comes to {holds}")

    tab_to("matches('.plane')")
    page.keyboard.press("Enter")  # the middle of the map, where nothing was pointed at
    expect(page.locator(".edit")).to_be_visible()
    tab_to("matches('.sliders input')")
    before = page.evaluate("studio.edit.now.alphas")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("studio.edit.now.alphas") != before
    page.keyboard.press("Shift+Tab")
    for _ in range(60):
        if page.evaluate("document.activeElement.textContent === 'Undo'"):
            break
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.textContent") == "Redo"
    assert page.evaluate("studio.edit.now.alphas") == before
    tab_to("textContent === 'Pin'")
    page.keyboard.press("Enter")
    expect(page.locator(".pin")).to_have_count(1)


def test_a_map_that_is_left_leaves_its_place_on_the_card(page):
    """A browser has some 16 such places, and complains, which ends the test, when they are gone."""
    for _ in range(20):
        go(page, "Edit")
        expect(page.locator(".edit")).to_be_visible()
        go(page, "Map")
        expect(page.locator(".plane")).to_be_visible()
    until(page, FITTED)


def test_a_vector_of_other_weights_is_gone_though_another_run_was_looked_at_meanwhile(chromium, place, tmp_path):
    runs = [tmp_path / name for name in ("first", "second")]
    for run in runs:
        shutil.copytree(place, run)
    with served(*runs) as address:
        page = chromium.new_page()
        page.goto(address)
        expect(page.locator(".plane")).to_be_visible(timeout=60_000)
        page.evaluate("studio.addVector('A to B', new Float32Array(4), new Float32Array(4).fill(1))")
        expect(page.get_by_role("slider", name="A to B")).to_be_visible()
        page.get_by_role("combobox", name="Run", exact=True).select_option("second")
        until(page, "studio.run?.name === 'second'")
        os.utime(runs[0] / "weights.safetensors")
        page.get_by_role("combobox", name="Run", exact=True).select_option("first")
        expect(page.locator("#said")).to_contain_text("first has changed")
        go(page, "Edit")
        expect(page.get_by_role("slider", name="Big")).to_be_visible()
        assert page.get_by_role("slider", name="A to B").count() == 0
        page.close()


def test_a_page_of_another_origin_gets_nothing(chromium, recorded):
    """In the browser that has the cookie: neither by fetch, nor as a picture or a script, nor by a socket.

    A browser hides from a page whether it was refused; what the studio answered shows it.
    """
    base, app = recorded
    context = chromium.new_context()
    own = context.new_page()
    own.goto(f"{base}/?token={TOKEN}")
    expect(own.locator(".plane")).to_be_visible(timeout=60_000)
    assert own.evaluate("fetch('/api/runs/shapes/pictures/0').then((its) => its.status)") == 200
    own.close()  # it asks for more
    app.answers.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Foreign) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        other = context.new_page()
        other.goto(f"http://127.0.0.1:{server.server_port}/")
        got = other.evaluate(
            """async (base) => {
              const told = (start) => new Promise((resolve) => start(() => resolve("got"), () => resolve("refused")));
              const element = (name, more) => (got, refused) =>
                document.body.append(Object.assign(document.createElement(name), { onload: got, onerror: refused }, more));
              const fetched = (how) => fetch(`${base}/api/runs`, how).then((its) => its.status || "refused", () => "refused");
              return [
                await fetched({ credentials: "include" }),
                await fetched({ credentials: "include", mode: "no-cors" }),
                await fetched({ credentials: "include", method: "POST", mode: "no-cors", body: "x" }),
                await told(element("img", { src: `${base}/api/runs/shapes/pictures/0` })),
                await told(element("script", { src: `${base}/static/app.js` })),
                await told((open, closed) =>
                  Object.assign(new WebSocket(base.replace("http", "ws")), { onopen: open, onerror: closed })),
              ];
            }""",
            base,
        )
        assert set(got) == {"refused"}
        assert app.answers == [
            ("GET", "/api/runs", 403),
            ("GET", "/api/runs", 403),
            ("POST", "/api/runs", 403),
            ("GET", "/api/runs/shapes/pictures/0", 403),
            ("GET", "/static/app.js", 403),
            ("GET", "/", 403),
        ]
        context.close()
        server.shutdown()
