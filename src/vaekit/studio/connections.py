"""Connections that ask for nothing are closed, because a server keeps so many and no more: others would find no place."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE = 20.0  # seconds in which the head of a request has to come; between requests uvicorn has a patience of its own


class Prompt(H11Protocol):
    """uvicorn's, which waits for a connection's first request, and for the rest of a request's head, for ever."""

    late: asyncio.TimerHandle | None = None

    def connection_made(self, transport):
        super().connection_made(transport)
        self.late = self.loop.call_later(PATIENCE, self.timeout_keep_alive_handler)

    def data_received(self, data):
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self.forgive()
        elif self.late is None:
            self.late = self.loop.call_later(PATIENCE, self.timeout_keep_alive_handler)

    def connection_lost(self, exc):
        self.forgive()
        super().connection_lost(exc)

    def forgive(self) -> None:
        """A head has come, or the connection has gone."""
        if self.late is not None:
            self.late.cancel()
            self.late = None
