"""Connections that ask for nothing, or stop asking, are closed: a server has room for so many, and for fewer uploads."""

import asyncio
import socket

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 512  # at once; a browser keeps a few
PATIENCE = 20.0  # seconds for the head of a request, and for each further piece of its body; between requests uvicorn has its own


class Prompt(H11Protocol):
    """uvicorn's, which waits for ever for a first request, the rest of a head and that of a body, and refuses whoever comes when
    MOST are there, whatever these do. Here the one that has been silent longest makes room, none that waits for an answer."""

    late: asyncio.TimerHandle | None = None
    heard = 0.0  # when something came last, by the loop's clock

    def connection_made(self, transport):
        super().connection_made(transport)
        # asyncio does so for sockets that were made with the protocol's number alone; else a body waits for the client to
        # acknowledge its head, which that puts off by 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wait()
        if len(self.connections) > MOST:
            idle = [its for its in self.connections if isinstance(its, Prompt) and its.is_idle]
            min(idle, key=lambda its: its.heard).transport.close()  # if no other, then this one

    def data_received(self, data):
        super().data_received(data)
        if self.conn.their_state is h11.SEND_BODY:
            self.wait()
        elif not self.is_idle:
            self.forgive()
        elif self.late is None:
            self.wait()

    def connection_lost(self, exc):
        self.forgive()
        super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        """Whether nobody computes an answer for it."""
        return self.cycle is None or self.cycle.response_complete

    def wait(self) -> None:
        """Close it where nothing comes for some time from now on."""
        self.forgive()
        self.heard = self.loop.time()
        self.late = self.loop.call_later(PATIENCE, self.transport.close)

    def forgive(self) -> None:
        """All that was waited for has come, or the connection has gone."""
        if self.late is not None:
            self.late.cancel()
            self.late = None
