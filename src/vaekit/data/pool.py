"""Decoding processes: ordered results, a bounded number in flight, and a file that kills its process is named, not fatal.

Requests and findings go through pipes as lines of JSON. Pixels do not: the processes write them into memory that they share with
this one, which is a ring of as many chunks as may be in flight. Files that come along, out of a tar, go the other way in a second
ring.
"""

import mmap
import os
import selectors
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import accumulate
from typing import Any, cast

from ..errors import VaekitError
from .chunks import CONTENT_BYTES, Chunk
from .decode import FILE_LIMIT, Recipe
from .process import Process, Request
from .worker import TASKS, Answer, Memory

AHEAD = 4  # requests for each process: it never waits for this one
IN_PROCESS = 128  # so few files are done before a process has started
BYTES_AHEAD = 256 << 20  # of files in flight, but for the last one
PLACE = CONTENT_BYTES + FILE_LIMIT  # bytes for the files of one chunk; what is not written takes no memory


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
    """Decoding processes, as many as `expect` finds right (0: this process), started at the first request or by `feed`.

    workers: how many, whatever is expected. `meanwhile` is called when they have their hands full of pictures, if it comes to
    that. Use it in a `with`.
    """

    def __init__(self, workers: int | None = None, meanwhile: Callable[[], object] = lambda: None):
        self.asked = workers
        self.workers = workers or 0
        self.meanwhile = meanwhile
        self.shared = shared_file()
        self.contents = os.fdopen(shared_file(), "w+b")
        self.memory: Memory = bytearray()
        self.processes: list[Process] = []
        self.queue: deque[Request] = deque()  # what no process has been asked yet

    @property
    def flights(self) -> int:
        """Chunks under way at once."""
        return max(AHEAD * self.workers, 1)

    def expect(self, files: int) -> None:
        """Be as many processes as cores, at most one for 64 files, and none for a few files."""
        if self.asked is None and files > IN_PROCESS:
            self.workers = min(cores(), -(-files // 64))

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.child.kill()
        for process in self.processes:
            process.close()
        os.close(self.shared)
        self.contents.close()

    def decode(
        self, root: str | None, chunks: Iterable[Chunk], most: int, recipe: Recipe
    ) -> Iterator[tuple[Chunk, list[Any], memoryview]]:
        """Each chunk, of `most` files at most, with what `worker.decode_chunk` says of them and the bytes of their pictures.

        These are good until the next. Each file has a place; where it is no good picture, what lies there means nothing.
        """
        os.ftruncate(self.shared, self.flights * most * recipe.nbytes)
        self.memory = mmap.mmap(self.shared, 0)
        taken: deque[Chunk] = deque()

        def requests() -> Iterator[Request]:
            for number, chunk in enumerate(chunks):
                if self.workers and number == self.flights - 1:
                    self.meanwhile()
                taken.append(chunk._replace(contents=None))
                place = number % self.flights
                yield self.request("decode", root, chunk, place, place * most, recipe=asdict(recipe))

        pictures = memoryview(self.memory)
        for its, answer in self.run(requests()):
            chunk = taken.popleft()
            yield chunk, answer["results"], pictures[its.row * recipe.nbytes : (its.row + len(chunk.names)) * recipe.nbytes]

    def survey(self, root: str | None, chunks: Iterable[Chunk], whole: bool) -> Iterator[list[Any]]:
        """`worker.survey_chunk` of each chunk."""
        requests = (
            self.request("survey", root, chunk, number % self.flights, whole=whole) for number, chunk in enumerate(chunks)
        )
        for _, answer in self.run(requests):
            yield answer["seen"]

    def request(self, task: str, root: str | None, chunk: Chunk, place: int, row: int = 0, **options: Any) -> Request:
        """What is asked of a process; contents are laid at a place of the ring where it finds them."""
        if root is not None or chunk.contents is None:
            return Request(task, root or "", chunk.names, row, options)
        self.contents.seek(place * PLACE)
        self.contents.writelines(chunk.contents)
        self.contents.flush()
        lengths = [len(content) for content in chunk.contents]
        spans = list(zip(accumulate(lengths, initial=place * PLACE), lengths, strict=False))
        return Request(task, self.contents.fileno(), spans, row, options, sum(lengths))

    def free(self, request: Request) -> None:
        """Give back the memory of large files; that of the others is used again."""
        if request.nbytes > 2 * CONTENT_BYTES and hasattr(mmap, "MADV_REMOVE"):  # elsewhere it is a file on a disk
            with mmap.mmap(self.contents.fileno(), request.nbytes, offset=request.names[0][0]) as pages:
                pages.madvise(mmap.MADV_REMOVE)

    def run(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Answer]]:
        """Answers in the order of the requests; one is only taken when less than `flights` and BYTES_AHEAD are under way.

        Where the requests end with an error, what is under way is answered first.
        """
        if not self.workers:
            for its in requests:
                yield its, TASKS[its.task](self.memory, its.root, its.names, its.row, **its.options)
                self.free(its)
            return
        flying: deque[Request] = deque()
        failures: list[VaekitError] = []
        try:
            for request in until_failure(requests, failures):
                flying.append(request)
                self.queue.append(request)
                self.feed()
                while len(flying) == self.flights or sum(its.nbytes for its in flying) > BYTES_AHEAD:
                    yield flying[0], self.result(flying[0])
                    self.free(flying.popleft())
            while flying:
                yield flying[0], self.result(flying[0])
                self.free(flying.popleft())
            if failures:
                raise failures[0]
        finally:
            self.queue.clear()  # where no more answers are wanted

    def feed(self) -> None:
        """Hand out what is in the queue."""
        while len(self.processes) < self.workers:
            self.processes.append(Process(self.shared, self.contents.fileno()))
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


def until_failure(requests: Iterable[Request], failures: list[VaekitError]) -> Iterator[Request]:
    try:
        yield from requests
    except VaekitError as error:
        failures.append(error)
