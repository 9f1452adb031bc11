"""Nobody can keep a place at the server without asking for anything."""

import io
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx2
import pytest
import uvicorn
from PIL import Image

from studio.conftest import running, wait_for
from vaekit.studio import connections


async def slow(scope, receive, send):
    """An answer that takes longer than a head may."""
    assert scope["type"] == "http"
    await connections.asyncio.sleep(0.6)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def large(scope, receive, send):
    """An answer that no buffer of a socket holds."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"20000000")]})
    await send({"type": "http.response.body", "body": bytes(20_000_000)})


@pytest.fixture
def port(monkeypatch) -> Iterator[int]:
    with serving(slow, monkeypatch) as (its, _):
        yield its


@pytest.fixture
def flooding(monkeypatch) -> Iterator[tuple[int, uvicorn.Server]]:
    with serving(large, monkeypatch) as found:
        yield found


@contextmanager
def serving(app, monkeypatch, buffer: int | None = None) -> Iterator[tuple[int, uvicorn.Server]]:
    """buffer: bytes that the system takes from the server before a client does, about."""
    monkeypatch.setattr(connections, "PATIENCE", 0.3)
    monkeypatch.setattr(connections, "SLOWEST", 1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        with running(app, listener) as server:
            yield listener.getsockname()[1], server


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_does_not_come_ends_the_connection(port, sent):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent)
        assert connection.recv(1) == b""


def test_a_head_without_end_ends_the_connection(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        with pytest.raises(ConnectionError):
            connection.sendall(b"".join(b"x-%d: %s\r\n" % (i, b"y" * 1000) for i in range(10_000)))


def test_a_second_head_that_does_not_come_ends_it_too(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while not connection.recv(4096).endswith(b"ok"):
            pass
        connection.sendall(b"GET / ")
        assert connection.recv(1) == b""


def test_a_body_that_does_not_come_ends_the_connection_and_one_that_comes_slowly_does_not(port):
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head + b"abc")
        assert connection.recv(1) == b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head)
        for _ in range(9):
            connection.sendall(b"x")
            time.sleep(0.1)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_body_that_trickles_ends_the_connection(port, monkeypatch):
    monkeypatch.setattr(connections, "SLOWEST", 1000)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        with suppress(ConnectionError):
            for _ in range(100):
                connection.sendall(b"x")
                time.sleep(0.1)
            pytest.fail("it goes on")


ONE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
MANY = 5000 * ONE


def unread(stack: ExitStack, port: int, asked: bytes = MANY) -> socket.socket:
    """A connection that asks, without end if nothing else is said, and reads nothing."""
    its = stack.enter_context(socket.socket())
    its.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    its.connect(("127.0.0.1", port))
    its.setblocking(False)
    with suppress(BlockingIOError):
        its.send(asked)
    return its


def open_at(server: uvicorn.Server) -> list[connections.Prompt]:
    return list(server.server_state.connections)


def test_whoever_does_not_read_the_answer_is_given_up(flooding):
    port, server = flooding
    with ExitStack() as stack:
        for _ in range(3):
            unread(stack, port)
        wait_for(lambda: any(its.unread for its in open_at(server)))
        wait_for(lambda: not open_at(server))
        assert httpx2.get(f"http://127.0.0.1:{port}/").status_code == 200


def test_whoever_does_not_read_makes_room(flooding, monkeypatch):
    port, server = flooding
    monkeypatch.setattr(connections, "MOST", 3)
    monkeypatch.setattr(connections, "PATIENCE", 60.0)
    with ExitStack() as stack:
        for _ in range(3):
            unread(stack, port)
        wait_for(lambda: sum(its.unread is not None for its in open_at(server)) == 3)
        assert httpx2.get(f"http://127.0.0.1:{port}/").status_code == 200


async def short(scope, receive, send):
    """An answer of which little stays where the system takes little: less than what asyncio calls much."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"40000")]})
    await send({"type": "http.response.body", "body": bytes(40_000)})


def test_a_few_bytes_that_nobody_reads_keep_no_place(monkeypatch):
    with serving(short, monkeypatch, buffer=4096) as (port, server), ExitStack() as stack:
        unread(stack, port, ONE)
        wait_for(lambda: any(its.transport.get_write_buffer_size() for its in open_at(server)))
        wait_for(lambda: not open_at(server))


def test_one_that_would_be_closed_if_somebody_read_makes_room(flooding, monkeypatch):
    port, server = flooding
    monkeypatch.setattr(connections, "MOST", 3)
    monkeypatch.setattr(connections, "PATIENCE", 60.0)
    with ExitStack() as stack:
        for _ in range(3):
            unread(stack, port, ONE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        wait_for(lambda: sum(its.transport.is_closing() for its in open_at(server)) == 3)
        assert httpx2.get(f"http://127.0.0.1:{port}/").status_code == 200


def test_answers_that_nobody_reads_take_so_much_memory_together(flooding, monkeypatch):
    port, server = flooding
    monkeypatch.setattr(connections, "UNREAD", 30_000_000)
    monkeypatch.setattr(connections, "PATIENCE", 600.0)
    with ExitStack() as stack:
        for _ in range(4):
            last = unread(stack, port).getsockname()
            wait_for(lambda last=last: [its.client for its in open_at(server) if its.unread] == [last])


def test_the_next_request_waits_until_the_answer_is_taken(monkeypatch):
    begun = []

    async def counted(scope, receive, send):
        begun.append(scope["client"])
        await large(scope, receive, send)

    with serving(counted, monkeypatch) as (port, server), ExitStack() as stack:
        monkeypatch.setattr(connections, "PATIENCE", 60.0)
        its = unread(stack, port, 3 * ONE)
        wait_for(lambda: any(its.unread for its in open_at(server)))
        assert httpx2.get(f"http://127.0.0.1:{port}/").status_code == 200  # it had time for another one
        assert begun.count(its.getsockname()) == 1
        its.settimeout(60)
        bodies = 0
        while bodies < 60_000_000:
            bodies += its.recv(1 << 20).count(0)
        assert begun.count(its.getsockname()) == 3


def test_a_stranger_asks_once(address):
    """Where a body comes with the question, closing could take the answer away."""
    base, *_ = address.partition("/?token=")
    host, port = base.removeprefix("http://").split(":")
    head = f"HTTP/1.1\r\nHost: {host}:{port}\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"GET /api/runs {head}\r\nGET /api/runs {head}\r\n".encode())
        said = b""
        with suppress(ConnectionError):
            while piece := connection.recv(4096):
                said += piece
        assert (said.count(b"HTTP/1.1 401"), said.count(b"connection: close")) == (1, 1)
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"POST /api/runs {head}Content-Length: 3\r\n\r\nabc".encode())
        said = connection.recv(4096)
        assert said.startswith(b"HTTP/1.1 401")
        assert b"connection: close" not in said


def test_where_no_room_is_left_the_one_that_was_silent_longest_goes(port, monkeypatch):
    monkeypatch.setattr(connections, "MOST", 4)
    monkeypatch.setattr(connections, "PATIENCE", 60.0)
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30)) for _ in range(4)]
        silent[0].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")  # waits for its answer: it is not silent
        assert httpx2.get(f"http://127.0.0.1:{port}/").text == "ok"
        assert silent[1].recv(1) == b""
        assert silent[0].recv(4096).startswith(b"HTTP/1.1 200")
        for still in silent[2:]:
            still.setblocking(False)
            with pytest.raises(BlockingIOError):
                still.recv(1)


def test_uploads_that_are_given_up_are_no_errors_and_keep_no_place(address):
    """What the studio says meanwhile is looked at when it ends."""
    base, _, token = address.partition("/?token=")
    host, port = base.removeprefix("http://").split(":")
    (run,) = httpx2.get(f"{base}/api/runs", headers={"authorization": f"Bearer {token}"}).json()
    head = f"POST /api/runs/{run['name']}/encode HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {token}\r\n"
    for _ in range(9):
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(f"{head}Content-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\nabc".encode())
            time.sleep(0.05)
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG")
    headers = {"authorization": f"Bearer {token}", "content-type": "application/octet-stream"}
    assert httpx2.post(f"{base}/api/runs/{run['name']}/encode", content=file.getvalue(), headers=headers).status_code == 200


def test_a_body_does_not_wait_until_the_client_has_acknowledged_its_head(port, monkeypatch):
    """Which a client puts off by 40 ms."""
    asked, plain = [], connections.Prompt.wait

    def wait(its, *given):
        asked.append(its.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        plain(its, *given)

    monkeypatch.setattr(connections.Prompt, "wait", wait)
    assert httpx2.get(f"http://127.0.0.1:{port}/").text == "ok"
    assert asked
    assert all(asked)


def test_an_answer_may_take_its_time(port):
    with httpx2.Client() as client:
        for _ in range(2):
            assert client.get(f"http://127.0.0.1:{port}/").text == "ok"
