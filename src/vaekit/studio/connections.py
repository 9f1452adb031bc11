"""Connections that ask for nothing, stop asking, or do not read the answer are closed: a server has room for so many."""

import asyncio
import socket

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 512  # at once; a browser keeps a few
PATIENCE = 20.0  # seconds for the head of a request, each piece of a body, and of an answer; between requests uvicorn has its own
SLOWEST = 20_000  # bytes a second of a body that takes longer than that


class Prompt(H11Protocol):
    """uvicorn's, which waits for ever for a first request, the rest of a head and that of a body, and for whoever does not read
    its answer, and refuses whoever comes when MOST are there, whatever these do. Here the one that has been silent longest makes
    room, none that waits for an answer."""

    late: asyncio.TimerHandle | None = None
    heard = 0.0  # when something came last, by the loop's clock
    began = 0.0  # when the body that is being received did; 0: none is
    received = 0  # bytes of it
    unread: asyncio.TimerHandle | None = None  # while there is more to send than the client takes

    def connection_made(self, transport):
        super().connection_made(transport)
        # asyncio does so for sockets that were made with the protocol's number alone; else a body waits for the client to
        # acknowledge its head, which that puts off by 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wait()
        if len(self.connections) > MOST:
            idle = [its for its in self.connections if isinstance(its, Prompt) and its.is_idle and not its.transport.is_closing()]
            min(idle, key=lambda its: its.heard).transport.abort()  # if no other, then this one

    def data_received(self, data):
        super().data_received(data)
        if self.conn.their_state is h11.SEND_BODY:
            now = self.loop.time()
            self.began, self.received = self.began or now, self.received + len(data)
            self.wait(min(PATIENCE, self.began + PATIENCE + self.received / SLOWEST - now))
            return
        self.began, self.received = 0.0, 0
        if self.cycle is not None and not self.cycle.response_complete:
            self.forgive()
        elif self.late is None:
            self.wait()

    def pause_writing(self):
        super().pause_writing()
        self.watch(self.transport.get_write_buffer_size())

    def resume_writing(self):
        self.watched()
        super().resume_writing()

    def connection_lost(self, exc):
        self.forgive()
        self.watched()
        super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        """Whether nobody computes an answer for it, or nobody reads it."""
        return self.cycle is None or self.cycle.response_complete or self.unread is not None

    def wait(self, seconds: float | None = None) -> None:
        """Close it where nothing comes for some time from now on."""
        self.forgive()
        self.heard = self.loop.time()
        self.late = self.loop.call_later(PATIENCE if seconds is None else seconds, self.transport.close)

    def watch(self, left: int) -> None:
        """Give it up where none of the `left` bytes is taken for some time: closing would wait for all of them."""

        def look():
            now = self.transport.get_write_buffer_size()
            self.watch(now) if now < left else self.transport.abort()

        self.unread = self.loop.call_later(PATIENCE, look)

    def watched(self) -> None:
        """It is taken."""
        if self.unread is not None:
            self.unread.cancel()
            self.unread = None

    def forgive(self) -> None:
        """All that was waited for has come, or the connection has gone."""
        if self.late is not None:
            self.late.cancel()
            self.late = None
