"""Connections that ask for nothing, stop asking, or do not read the answer are closed: a server has room for so many."""

import asyncio
import socket

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 512  # at once; a browser keeps a few
PATIENCE = 20.0  # seconds for the head of a request, each piece of a body, and of an answer; between requests uvicorn has its own
SLOWEST = 20_000  # bytes a second of a body that takes longer than that
UNREAD = 256 << 20  # bytes of answers that nobody has taken yet, of all connections together


class Prompt(H11Protocol):
    """uvicorn's, which waits for ever for a first request, the rest of a head and that of a body, and for whoever does not read
    its answer, and refuses whoever comes when MOST are there, whatever these do. Here the one that has been silent longest makes
    room, none that waits for an answer; so too where UNREAD is in memory."""

    late: asyncio.TimerHandle | None = None
    heard = 0.0  # when something came last, by the loop's clock
    began = 0.0  # when the body that is being received did; 0: none is
    received = 0  # bytes of it
    unread: asyncio.TimerHandle | None = None  # while a part of an answer is not taken
    answered = False  # since then

    def connection_made(self, transport):
        super().connection_made(transport)
        # asyncio does so for sockets that were made with the protocol's number alone; else a body waits for the client to
        # acknowledge its head, which that puts off by 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(0)  # of a few bytes that nobody takes asyncio says nothing, and waits for ever to close
        self.wait()
        stay = [its for its in self.alike if not its.leaves]
        if len(stay) > MOST:
            stalest(stay).transport.abort()  # if no other, then this one

    def data_received(self, data):
        super().data_received(data)
        self.heard = self.loop.time()
        if self.conn.their_state is h11.SEND_BODY:
            self.began, self.received = self.began or self.heard, self.received + len(data)
            self.wait(min(PATIENCE, self.began + PATIENCE + self.received / SLOWEST - self.heard))
            return
        self.began, self.received = 0.0, 0
        if self.unread is not None or (self.cycle is not None and not self.cycle.response_complete):
            self.forgive()
        elif self.late is None:
            self.wait()

    def on_response_complete(self):
        """The next request is looked at when this answer has been taken: else its own would be in memory beside it."""
        if self.unread is None:
            super().on_response_complete()
        else:
            self.answered = True

    def pause_writing(self):
        super().pause_writing()
        self.watch(self.transport.get_write_buffer_size())
        behind = [its for its in self.alike if its.unread is not None]
        while sum(its.transport.get_write_buffer_size() for its in behind) > UNREAD:
            last = stalest(behind)
            last.transport.abort()
            behind.remove(last)

    def resume_writing(self):
        self.watched()
        super().resume_writing()
        if self.answered:
            self.answered = False
            self.loop.call_soon(super().on_response_complete)  # asyncio is not done with this

    def connection_lost(self, exc):
        self.forgive()
        self.watched()
        super().connection_lost(exc)

    @property
    def alike(self) -> "list[Prompt]":
        """All connections of this kind, with this one."""
        return [its for its in self.connections if isinstance(its, Prompt)]

    @property
    def is_idle(self) -> bool:
        """Whether nobody computes an answer for it, or nobody reads it."""
        return self.cycle is None or self.cycle.response_complete or self.unread is not None

    @property
    def leaves(self) -> bool:
        """Whether it has been closed, and nothing keeps it: one with an answer that is not taken stays."""
        return self.transport.is_closing() and not self.transport.get_write_buffer_size()

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


def stalest(some: list[Prompt]) -> Prompt:
    """The one that has been silent longest, of those that are idle."""
    return min((its for its in some if its.is_idle), key=lambda its: its.heard)
