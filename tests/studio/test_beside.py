"""A studio beside a training: it answers while that goes on, stays until it is closed, and never outlives it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from pathlib import Path

import httpx2
import pytest

from vaekit.studio.beside import answer

TRAIN = ("train", "digits", "--net", "mlp", "--latent", "2", "--tune", "off", "--no-report", "--studio")


@contextmanager
def watched(*more: object) -> Iterator[tuple[subprocess.Popen, httpx2.Client]]:
    """A training, and somebody who asks its studio."""
    command = [sys.executable, "-W", "error", "-m", "vaekit", *TRAIN, *map(str, more)]
    env = os.environ | {"BROWSER": "true"}  # opens nothing
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        assert process.stderr is not None
        told = [next(line for line in process.stderr if line.startswith("studio"))]
        base, _, token = told[0].split()[1].partition("/?token=")
        with httpx2.Client(base_url=base, headers={"authorization": f"Bearer {token}"}) as client:
            try:
                yield process, client
            finally:
                process.kill()


def until_gone(client: httpx2.Client) -> None:
    for _ in range(200):
        try:
            client.get("/api/runs")
        except httpx2.TransportError:
            return
        time.sleep(0.1)
    raise AssertionError("the studio is still there")


def test_it_stays_open_when_the_training_is_done_until_it_is_interrupted(tmp_path):
    run: Path = tmp_path / "run"
    with watched("--images", 3000, "--out", run) as (process, client):
        assert process.stdout is not None
        assert process.stdout.readline() == f"{run}\n"
        (about,) = client.get("/api/runs").json()
        assert (about["name"], about["status"], about["images"] >= 3000) == ("run", "finished", True)
        assert client.get("/api/runs/run/now").headers["x-shape"] == "4,8,8,1"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        until_gone(client)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_it_ends_with_the_training_however_that_ends(tmp_path, number, code):
    with watched("--minutes", 30, "--out", tmp_path / "run") as (process, client):
        for _ in range(200):
            (about,) = client.get("/api/runs").json()
            if about["images"]:
                break
            time.sleep(0.1)
        assert about["images"] > 0
        assert about["status"] != "finished"
        process.send_signal(number)
        assert process.wait(30) == code
        until_gone(client)


def test_whatever_keeps_it_from_opening_is_told(monkeypatch, capsys):
    def serve(*_, **__):
        raise MemoryError("no room for a server")

    ended: list[int] = []
    monkeypatch.setattr(sys.modules[answer.__module__], "serve", serve)  # the package has a function of its name
    monkeypatch.setattr(os, "_exit", ended.append)
    heard, said = Pipe(duplex=False)
    answer([], said)
    good, word, once = heard.recv()
    assert (good, once, ended) == (False, "", [1])
    assert "MemoryError: no room for a server" in word
    assert "Traceback" in capsys.readouterr().err
