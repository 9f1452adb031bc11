"""A run with labels and attributes, and the studio that shows it, in this process."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, Page, expect, sync_playwright

from commands import QUICK
from pictures import shapes_with_attributes
from studio.pages import CHROMIUM, FLAGS, listen, served, until
from vaekit import Run, cli
from vaekit.studio import application
from vaekit.studio.connections import Prompt

HOST, TOKEN = "127.0.0.1:8765", "the-token-of-the-tests"


def wait_for(holds: Callable[[], object]) -> None:
    """Wait until something of another thread is true."""
    for _ in range(6000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("that never came")


@contextmanager
def running(app, listener: socket.socket) -> Iterator[uvicorn.Server]:
    """An application at a real socket, as the studio's server would run it."""
    server = uvicorn.Server(uvicorn.Config(app, http=Prompt, lifespan="off", log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield server
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    """The folder of the run."""
    home = shapes_with_attributes(tmp_path_factory.mktemp("studio"))
    given = ["train", home / "pictures", "--attributes", home / "table.csv", "--out", home / "shapes", "--latent", 4, *QUICK]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaekit.tuner.SECONDS_EACH", 1e-9)  # nothing is timed
        with pytest.raises(SystemExit) as stop:
            cli.main([str(argument) for argument in given])
    assert stop.value.code == 0
    return home / "shapes"


@pytest.fixture(scope="session")
def run(place) -> Run:
    return Run.open(place)


@pytest.fixture(scope="session")
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.fixture(scope="session")
def studio(place, executor):
    return application([place], executor=executor, token=TOKEN, hosts=frozenset({HOST}))


@pytest.fixture(scope="session")
def client(studio) -> Iterator[TestClient]:
    """Whoever has the token."""
    with TestClient(studio, base_url=f"http://{HOST}", headers={"authorization": f"Bearer {TOKEN}"}) as made:
        yield made


@pytest.fixture
def stranger(studio) -> TestClient:
    """Whoever has not."""
    return TestClient(studio, base_url=f"http://{HOST}", follow_redirects=False)


@pytest.fixture(scope="session")
def address(place) -> Iterator[str]:
    """Where a studio of its own process is."""
    with served(place) as found:
        yield found


@pytest.fixture(scope="module")  # while Playwright is there, nobody else may run an event loop
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, address) -> Iterator[Page]:
    """The map, opened by the address that was printed. Whatever the page complains of ends the test."""
    context = chromium.new_context(viewport={"width": 1200, "height": 800}, accept_downloads=True)
    made, complaints = context.new_page(), []
    listen(made, complaints)
    made.goto(address)
    expect(made.locator(".plane")).to_be_visible(timeout=60_000)
    until(made, "studio.first !== undefined")  # the first frame
    yield made
    assert not complaints
    context.close()
