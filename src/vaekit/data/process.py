"""One decoding process, and what it is asked.

A plain child process with pipes, not `multiprocessing`: a script needs no `if __name__ == "__main__"`, and nothing is imported in
it but what decoding takes.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..errors import VaekitError
from .worker import LOST, Answer, send

ADVICE = (
    "Expected `python -c 'import vaekit.data.worker'` to work in a new process. "
    "Mend that, or pass workers=0 to decode in this one."
)
DEADLY = 2  # processes that die over one file alone: one may have been killed by somebody else, who was short of memory
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # NumPy's, in each process


@dataclass
class Request:
    """One of `worker.TASKS` over some names."""

    task: str
    root: str | int
    names: Sequence[Any]  # see `worker`
    row: int  # the place of the first name's picture in the shared memory
    options: dict[str, Any]
    nbytes: int = 0  # of files, in memory until it is answered
    answered: Answer | None = None
    parts: list["Request"] = field(default_factory=list)  # that answer in its stead
    deaths: int = 0  # of processes that had no other name to do

    @property
    def answer(self) -> Answer | None:
        """None while a process is at it."""
        if not self.parts:
            return self.answered
        answers = [answer for part in self.parts if (answer := part.answer) is not None]
        if len(answers) < len(self.parts):
            return None
        return {key: [each for answer in answers for each in answer[key]] for key in LOST[self.task]}

    def survive(self) -> list["Request"]:
        """What to ask after a process died over this: one name at a time, and nothing more where one proved deadly."""
        if len(self.names) > 1:
            self.parts = [replace(self, names=[name], row=row) for row, name in enumerate(self.names, self.row)]
            return self.parts
        self.deaths += 1
        if self.deaths < DEADLY and self.names:
            return [self]
        self.answered = {key: its[: len(self.names)] for key, its in LOST[self.task].items()}
        return []


class Process:
    """One decoding process, the requests it has not answered yet, and the files it shares: its pixels are in the first."""

    def __init__(self, *shared: int) -> None:
        self.waiting: deque[Request] = deque()
        self.ready = False
        self.rest = b""
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        search = os.pathsep.join(dict.fromkeys(str(Path(path).absolute()) for path in sys.path))
        try:
            self.child = subprocess.Popen(
                [sys.executable, "-P", "-c", f"from vaekit.data.worker import serve; serve({shared[0]})"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                env={**os.environ, "PYTHONPATH": search, **ONE_THREAD},
                pass_fds=shared,
            )
        except OSError as error:
            self.errors.close()
            raise VaekitError(f"A decoding process did not start: {error}. {ADVICE}") from None

    def fileno(self) -> int:
        """Where its answers come from, for `select`."""
        return cast(BinaryIO, self.child.stdout).fileno()

    def ask(self, request: Request) -> None:
        self.waiting.append(request)
        with suppress(BrokenPipeError):  # that it died is told by the end of its answers
            send(cast(BinaryIO, self.child.stdin), [request.task, request.root, request.names, request.row, request.options])

    def listen(self) -> None:
        """Take the answers that have come. Raises EOFError where the process died, VaekitError where it never lived."""
        data = os.read(self.fileno(), 1 << 16)
        if not data and not self.ready:
            raise VaekitError(f"A decoding process did not start: {self.words()}. {ADVICE}")
        if not data:
            raise EOFError("the decoding process died")
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            if self.ready:
                self.waiting.popleft().answered = json.loads(line)
            self.ready = True  # its first line says no more than that

    def words(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def close(self) -> None:
        self.child.kill()
        for stream in (self.child.stdout, self.child.stdin):
            with suppress(BrokenPipeError):  # it died with a request unread
                cast(BinaryIO, stream).close()
        self.child.wait()
        self.errors.close()
