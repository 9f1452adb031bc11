"""Decoding processes: ordered results, a bounded number in flight, and a file that kills its process is named, not fatal.

Requests and findings go through pipes as lines of JSON. Pixels do not: the processes write them into memory that they share with
this one, which is a ring of as many chunks as may be in flight.
"""

import mmap
import os
import selectors
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, cast

from .decode import Recipe
from .process import Process, Request
from .worker import TASKS, Answer, Memory

AHEAD = 4  # requests for each process: it never waits for this one
IN_PROCESS = 128  # so few files are done before a process has started


def cores() -> int:
    """The cores that affinity and the container's quota leave to this process."""
    import joblib  # here, because the decoding processes have no use for it

    return joblib.cpu_count()


def shared_file() -> int:
    """The descriptor of a file that has no name and, where the system can do that, lives in memory alone."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("vaekit")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Pool:
    """`workers` decoding processes (0: this process), started at the first request; use it in a `with`.

    `meanwhile` is called when they have their hands full of pictures, if it comes to that.
    """

    def __init__(self, workers: int, meanwhile: Callable[[], object] = lambda: None):
        self.workers = workers
        self.meanwhile = meanwhile
        self.flights = max(AHEAD * workers, 1)
        self.shared = shared_file()
        self.memory: Memory = bytearray()
        self.processes: list[Process] = []
        self.queue: deque[Request] = deque()  # what no process has been asked yet

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.child.kill()
        for process in self.processes:
            process.close()
        os.close(self.shared)

    def decode(self, root: str, chunks: Sequence[Sequence[str]], recipe: Recipe) -> Iterator[tuple[list[Any], memoryview]]:
        """For each chunk what `worker.decode_chunk` says of its files, and the bytes of their pictures, good until the next.

        Each file has a place; where it is no good picture, what lies there means nothing.
        """
        rows = max(map(len, chunks), default=0)
        if chunks:
            os.ftruncate(self.shared, self.flights * rows * recipe.nbytes)
            self.memory = mmap.mmap(self.shared, 0)
        options = {"recipe": asdict(recipe)}

        def requests() -> Iterator[Request]:
            for number, names in enumerate(chunks):
                if self.workers and number == self.flights - 1:
                    self.meanwhile()
                yield Request("decode", root, names, number % self.flights * rows, options)

        pictures = memoryview(self.memory)
        for its, answer in self.run(requests()):
            yield answer["results"], pictures[its.row * recipe.nbytes : (its.row + len(its.names)) * recipe.nbytes]

    def survey(self, root: str, chunks: Iterable[Sequence[str]], whole: bool) -> Iterator[list[Any]]:
        """`worker.survey_chunk` of each chunk of names."""
        for _, answer in self.run(Request("survey", root, names, 0, {"whole": whole}) for names in chunks):
            yield answer["seen"]

    def run(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answers in the order of the requests; a request is only taken when one less than `flights` are under way."""
        if not self.workers:
            for its in requests:
                yield its, TASKS[its.task](self.memory, its.root, its.names, its.row, **its.options)
            return
        flying: deque[Request] = deque()
        try:
            for request in requests:
                flying.append(request)
                self.queue.append(request)
                self.feed()
                if len(flying) == self.flights:
                    yield flying[0], self.result(flying[0])
                    flying.popleft()
            while flying:
                yield flying[0], self.result(flying[0])
                flying.popleft()
        finally:
            self.queue.clear()  # where no more answers are wanted

    def feed(self) -> None:
        """Hand out what is in the queue."""
        while len(self.processes) < self.workers:
            self.processes.append(Process(self.shared))
        while self.queue:
            process = min(self.processes, key=lambda its: len(its.waiting))
            if len(process.waiting) == AHEAD:
                break
            process.ask(self.queue.popleft())

    def result(self, request: Request) -> Answer:
        while (answer := request.answer) is None:
            with selectors.DefaultSelector() as selector:
                for process in self.processes:
                    selector.register(process, selectors.EVENT_READ)
                heard = [cast(Process, key.fileobj) for key, _ in selector.select()]
            for process in heard:
                try:
                    process.listen()
                except EOFError:
                    self.bury(process)
            self.feed()
        return answer

    def bury(self, process: Process) -> None:
        """Another process gets what a dead one left undone."""
        self.processes.remove(process)
        process.close()
        if process.waiting:
            suspect = process.waiting.popleft()
            self.queue.extendleft(reversed([*suspect.survive(), *process.waiting]))


def pool_for(files: int, workers: int | None, meanwhile: Callable[[], object] = lambda: None) -> Pool:
    """As many processes as cores (or `workers`), none for a few files."""
    if workers is None:
        workers = 0 if files <= IN_PROCESS else min(cores(), -(-files // 64))
    return Pool(workers, meanwhile)
