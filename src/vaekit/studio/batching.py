"""Requests of one moment share a forward pass."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np

from ..errors import VaekitError


class Busy(VaekitError):
    """More is waiting than can be done soon."""


STEP = 16  # rows of a pass: 1, 2, 4, 8, and multiples of this


class Waiting(NamedTuple):
    """Rows that somebody wants an answer for."""

    rows: np.ndarray
    answer: "asyncio.Future[np.ndarray]"


class Batcher:
    """Answers rows by `work`, (n, ...) to (n, ...), which is called with those of several requests together.

    While one pass is under way new requests gather; the next takes as many of them as `most` rows. One of more rows takes several
    passes, and a small one that comes meanwhile need not wait for all of them. `queue`: rows that may wait or be under way.
    """

    def __init__(self, work: Callable[[np.ndarray], np.ndarray], executor: Executor, *, most: int = 64, queue: int = 16_384):
        self.work, self.executor, self.most, self.queue = work, executor, most, queue
        self.waiting: deque[Waiting] = deque()
        self.asked = 0  # rows without an answer yet
        self.task: asyncio.Task[None] | None = None
        self.passes = 0  # forward passes so far

    async def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Raises Busy where too many rows wait already, and what `work` raises."""
        if self.asked + len(rows) > self.queue:
            raise Busy("Too much is waiting to be computed. Try again in a moment.")
        self.asked += len(rows)
        try:
            parts = [await self.part(rows[start : start + self.most]) for start in range(0, len(rows), self.most)]
        finally:
            self.asked -= len(rows)
        return np.concatenate(parts)

    async def part(self, rows: np.ndarray) -> np.ndarray:
        """The answer for rows of one pass."""
        answer: asyncio.Future[np.ndarray] = asyncio.get_running_loop().create_future()
        self.waiting.append(Waiting(rows, answer))
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self.drain())
        return await answer

    async def drain(self) -> None:
        loop = asyncio.get_running_loop()
        while self.waiting:
            taken = self.take()
            if not taken:
                continue
            self.passes += 1
            try:
                found = await loop.run_in_executor(self.executor, self.pass_of, np.concatenate([each.rows for each in taken]))
            except Exception as error:  # noqa: BLE001 (each of them hears of it)
                for each in taken:
                    if not each.answer.done():
                        each.answer.set_exception(error)
                continue
            ends = np.cumsum([len(each.rows) for each in taken])[:-1]
            for each, part in zip(taken, np.split(found, ends), strict=True):
                if not each.answer.done():
                    each.answer.set_result(part)

    def pass_of(self, rows: np.ndarray) -> np.ndarray:
        """Their answers, computed with the last row again up to a length that comes often: a network plans each new one anew.

        That takes time, and the plans memory.
        """
        size = 1 << (len(rows) - 1).bit_length() if len(rows) <= STEP else -(-len(rows) // STEP) * STEP
        more = min(size, self.most) - len(rows)
        return self.work(np.concatenate([rows, rows[-1:].repeat(more, 0)]))[: len(rows)]

    def take(self) -> list[Waiting]:
        """The oldest requests that fit into one pass; those that nobody waits for any more are left out."""
        taken: list[Waiting] = []
        rows = 0
        while self.waiting and rows + len(self.waiting[0].rows) <= self.most:
            each = self.waiting.popleft()
            if not each.answer.done():
                taken.append(each)
                rows += len(each.rows)
        return taken
