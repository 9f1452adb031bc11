"""How a browser is opened: by an address that works once, because all on a machine can read what a command is started with."""

from importlib import import_module
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient

from vaekit.studio import serve

command = import_module("vaekit.cli.studio")


def test_an_address_for_a_browser_opens_the_page_one_time(place, monkeypatch):
    apps, said, once = [], [], []
    monkeypatch.setattr("vaekit.studio.server.uvicorn.Server.run", lambda its, **_: apps.append(its.config.app))
    serve([place], opened=said.append, browser=once.append)
    (app,), (printed,), (single,) = apps, said, once
    base, _, token = printed.partition("/?token=")
    assert single.startswith(f"{base}/?once=")
    assert token not in single

    def browser() -> TestClient:
        return TestClient(app, base_url=base, follow_redirects=False)

    mine, late = browser(), browser()
    assert mine.get(single, headers={"host": "evil.example"}).status_code == 403, "it is not used up by that"
    assert mine.get(single).headers["refresh"] == "0; url=/"
    assert mine.get("/api/runs").status_code == 200
    assert late.get(single).status_code == 401
    assert late.get("/api/runs").status_code == 401
    assert mine.get(single).status_code == 200, "who is in stays in"
    for _ in range(2):
        assert browser().get(printed).status_code == 200


def test_who_opens_no_browser_has_no_such_address(place, monkeypatch):
    apps, said = [], []
    monkeypatch.setattr("vaekit.studio.server.uvicorn.Server.run", lambda its, **_: apps.append(its.config.app))
    serve([place], opened=said.append)
    base = said[0].partition("/?")[0]
    for once in ("", "None"):
        assert TestClient(apps[0], base_url=base).get(f"/?once={once}").status_code == 401


@pytest.mark.parametrize("wanted", [True, False])
def test_a_browser_is_started_without_the_token(monkeypatch, capsys, tmp_path, wanted):
    def serve_now(_, *, opened, browser, **__):
        if browser:
            browser("http://here/?once=nonce")
        opened("http://here/?token=secret")

    shown: list[str] = []
    monkeypatch.setattr(command, "serve", serve_now)
    monkeypatch.setattr(command, "show", shown.append)
    now = lambda _, work, given: SimpleNamespace(start=lambda: work(*given))  # noqa: E731
    monkeypatch.setattr(command.threading, "Timer", now)
    command.studio([tmp_path], browser=wanted)
    assert shown == ["http://here/?once=nonce"] * wanted
    assert capsys.readouterr().out == "http://here/?token=secret\n"


def test_beside_a_training_too(monkeypatch, capsys):
    shown: list[str] = []
    monkeypatch.setattr(command, "beside", lambda *_: (None, "http://here/?token=secret", "http://here/?once=nonce"))
    monkeypatch.setattr(command, "show", shown.append)
    command.open_beside([], None)
    assert shown == ["http://here/?once=nonce"]
    assert "token=secret" in capsys.readouterr().err
