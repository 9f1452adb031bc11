"""Threads for work that takes long or much memory, and how much of it may wait."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from .batching import Busy

T = TypeVar("T")


class Lane:
    """Threads of their own for one kind of work, of which `most` may wait or be under way; more raises Busy."""

    def __init__(self, name: str, *, threads: int = 1, most: int):
        self.executor = ThreadPoolExecutor(threads, name)
        self.most, self.taken = most, 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place, from before what is worked on is read: waiting takes memory too. For the event loop's thread alone."""
        if self.taken >= self.most:
            raise Busy("Too much is waiting to be computed. Try again in a moment.")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    async def run(self, work: Callable[..., T], *given: Any) -> T:
        """The result of `work`, for somebody who holds a place."""
        return await asyncio.get_running_loop().run_in_executor(self.executor, work, *given)

    async def __call__(self, work: Callable[..., T], *given: Any) -> T:
        """As `run`, with a place as long as it takes."""
        with self.place():
            return await self.run(work, *given)
