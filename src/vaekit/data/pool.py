"""Decoding processes: ordered results, a bounded number in flight, and a file that kills its process is named, not fatal.

Plain child processes with pipes, not `multiprocessing`: a script needs no `if __name__ == "__main__"`, and nothing but Pillow and
NumPy is imported in them.
"""

import os
import queue
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..errors import VaekitError
from . import quarantine as q
from .worker import TASKS, Answer, receive, send

ADVICE = "Expected `python -c 'import vaekit.data'` to work in a new process. Mend that, or pass workers=0 to decode in this one."
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # NumPy's, in each process
IN_PROCESS = 128  # so few files are done before a process has started


def cores() -> int:
    """The cores that affinity and the container's quota leave to this process."""
    import joblib  # here, because the decoding processes have no use for it

    return joblib.cpu_count()


class Process:
    """One decoding process."""

    def __init__(self) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        search = os.pathsep.join(dict.fromkeys(str(Path(path).absolute()) for path in sys.path))
        try:
            self.child = subprocess.Popen(
                [sys.executable, "-P", "-c", "from vaekit.data.worker import serve; serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                env={**os.environ, "PYTHONPATH": search, **ONE_THREAD},
            )
        except OSError as error:
            self.errors.close()
            raise VaekitError(f"A decoding process did not start: {error}. {ADVICE}") from None
        try:
            receive(cast(BinaryIO, self.child.stdout))
        except EOFError:
            told = self.words()
            self.close()
            raise VaekitError(f"A decoding process did not start: {told}. {ADVICE}") from None

    def ask(self, task: str, arguments: dict[str, Any]) -> Answer:
        """Raises EOFError or BrokenPipeError where the process died over it."""
        send(cast(BinaryIO, self.child.stdin), {"task": task, "arguments": arguments})
        return receive(cast(BinaryIO, self.child.stdout))

    def words(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def close(self) -> None:
        self.child.kill()
        for stream in (self.child.stdout, self.child.stdin):
            try:
                cast(BinaryIO, stream).close()
            except BrokenPipeError:
                continue  # it died with a request unread
        self.child.wait()
        self.errors.close()


class Pool:
    """`workers` decoding processes (0: this process), started at the first chunk; use it in a `with`."""

    def __init__(self, workers: int):
        self.workers = workers
        self.idle: queue.SimpleQueue[Process | None] = queue.SimpleQueue()
        self.threads = ThreadPoolExecutor(max(workers, 1), thread_name_prefix="decode")
        self.processes: list[Process] = []
        self.closed = False
        for _ in range(workers):
            self.idle.put(None)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True
        self.threads.shutdown(wait=False, cancel_futures=True)
        for process in self.processes:
            process.child.kill()  # wakes the thread that waits for it
        self.threads.shutdown(wait=True)
        for process in self.processes:
            process.close()

    def run(self, task: str, chunks: Iterable[dict[str, Any]], lost: Callable[[str, dict[str, Any]], Answer]) -> Iterator[Answer]:
        """Answers in the order of the chunks, two per process in flight; `lost` answers for a chunk whose process died."""
        if not self.workers:
            for arguments in chunks:
                yield TASKS[task](**arguments)
            return
        flying: deque[Future[Answer]] = deque()
        for arguments in chunks:
            flying.append(self.threads.submit(self.one, task, arguments, lost))
            if len(flying) >= 2 * self.workers:
                yield flying.popleft().result()
        while flying:
            yield flying.popleft().result()

    def one(self, task: str, arguments: dict[str, Any], lost: Callable[[str, dict[str, Any]], Answer]) -> Answer:
        try:
            return self.attempt(task, arguments)
        except (EOFError, BrokenPipeError):
            return lost(task, arguments)

    def attempt(self, task: str, arguments: dict[str, Any]) -> Answer:
        if self.closed:
            raise CancelledError
        process = self.idle.get()
        alive = None
        try:
            if process is None:
                process = Process()
                self.processes.append(process)
            answer = process.ask(task, arguments)
            alive = process
            return answer
        finally:
            self.idle.put(alive)

    def decode(self, root: str, chunks: Iterable[Sequence[str]], recipe: dict[str, Any]) -> Iterator[Answer]:
        """`worker.decode_chunk` of each chunk of names."""
        return self.run(
            "decode", ({"root": root, "names": list(names), "recipe": recipe} for names in chunks), self.decode_singly
        )

    def survey(self, root: str, chunks: Iterable[Sequence[str]]) -> Iterator[Answer]:
        """`worker.survey_chunk` of each chunk of names."""
        return self.run("survey", ({"root": root, "names": list(names)} for names in chunks), self.survey_singly)

    def decode_singly(self, task: str, arguments: dict[str, Any]) -> Answer:
        """Find the file that killed the process."""
        results, pictures = [], []
        for name in arguments["names"]:
            try:
                answer, picture = self.attempt(task, {**arguments, "names": [name]})
                results += answer["results"]
                pictures.append(picture)
            except (EOFError, BrokenPipeError):
                results.append([q.CRASH, "the decoding process died over it"])
        return {"results": results}, b"".join(pictures)

    def survey_singly(self, task: str, arguments: dict[str, Any]) -> Answer:
        answer: dict[str, Any] = {"sizes": [], "coloured": 0}
        for name in arguments["names"]:
            try:
                one, _ = self.attempt(task, {**arguments, "names": [name]})
            except (EOFError, BrokenPipeError):
                continue  # the decoding that follows names it
            answer = {"sizes": answer["sizes"] + one["sizes"], "coloured": answer["coloured"] + one["coloured"]}
        return answer, b""


def pool_for(files: int, workers: int | None) -> Pool:
    """As many processes as cores (or `workers`), none for a few files."""
    if workers is None:
        workers = 0 if files <= IN_PROCESS else min(cores(), -(-files // 64))
    return Pool(workers)
