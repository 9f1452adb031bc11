"""Nobody can keep a place at the server without asking for anything."""

import socket
import threading
import time
from collections.abc import Iterator

import httpx2
import pytest
import uvicorn

from vaekit.studio import connections


async def slow(scope, receive, send):
    """An answer that takes longer than a head may."""
    assert scope["type"] == "http"
    await connections.asyncio.sleep(0.6)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def port(monkeypatch) -> Iterator[int]:
    monkeypatch.setattr(connections, "PATIENCE", 0.3)
    config = uvicorn.Config(slow, http=connections.Prompt, lifespan="off", log_level="error", ws="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_does_not_come_ends_the_connection(port, sent):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent)
        assert connection.recv(1) == b""


def test_a_second_head_that_does_not_come_ends_it_too(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while not connection.recv(4096).endswith(b"ok"):
            pass
        connection.sendall(b"GET / ")
        assert connection.recv(1) == b""


def test_an_answer_may_take_its_time(port):
    with httpx2.Client() as client:
        for _ in range(2):
            assert client.get(f"http://127.0.0.1:{port}/").text == "ok"
