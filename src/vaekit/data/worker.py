"""What runs in a decoding process: places of files in, findings out as JSON lines, and pixels into memory shared with the parent.

A file is a name under the folder `root`, or [offset, bytes] in the open file `root`, which is memory that the parent shares.

The process ends with its parent, because stdin then ends. It imports neither the caller's `__main__` nor torch nor NumPy.
"""

import json
import mmap
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import blake2b
from io import BufferedReader, BytesIO
from typing import Any, BinaryIO

from . import quarantine as q
from .decode import Broken, Recipe, decode, header

READ_BYTES = 1 << 16
Answer = dict[str, list[Any]]
Memory = mmap.mmap | bytearray


def decode_chunk(memory: Memory, root: str | int, names: Sequence[Any], row: int, recipe: dict[str, Any]) -> Answer:
    """Per file the hash of its bytes or [reason, detail]; the picture of the k-th name goes to the place `row` + k."""
    results = []
    target = Recipe(**recipe)
    for place, name in enumerate(names, row):
        try:
            data = content(root, name)
            memory[place * target.nbytes : (place + 1) * target.nbytes] = decode(data, target)
            results.append(blake2b(data, digest_size=16).hexdigest())
        except OSError as error:
            results.append([q.UNREADABLE, error.strerror or str(error)])
        except Broken as broken:
            results.append([broken.reason, broken.detail])
    return {"results": results}


def content(root: str | int, name: Any) -> bytes:
    """The bytes of a file, at two thirds of what a file object costs."""
    if isinstance(root, int):
        offset, length = name
        return os.pread(root, length, offset)
    file = os.open(f"{root}/{name}", os.O_RDONLY)
    try:
        parts = []
        while part := os.read(file, READ_BYTES):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(file)


def survey_chunk(_memory: Memory, root: str | int, names: Sequence[Any], _row: int, whole: bool) -> Answer:
    """[height, width, coloured] of each picture that opens, by its header; up to the first coloured one if not `whole`."""
    seen = []
    for name in names:
        try:
            with head_of(root, name) as file:
                head = header(file)
        except (OSError, Broken):
            continue  # the decoding that follows names it
        seen.append([head.height, head.width, not head.grey])
        if not (whole or head.grey):
            break
    return {"seen": seen}


def head_of(root: str | int, name: Any) -> BufferedReader:
    """A file whose first bytes are wanted."""
    return BufferedReader(BytesIO(content(root, name))) if isinstance(root, int) else open(f"{root}/{name}", "rb")


TASKS: dict[str, Callable[..., Answer]] = {"decode": decode_chunk, "survey": survey_chunk}
LOST: dict[str, Answer] = {"decode": {"results": [[q.CRASH, "the decoding process died over it"]]}, "survey": {"seen": []}}


def serve(shared: int) -> None:
    """Answer the requests on stdin; pixels go to the file with the descriptor `shared`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # nothing may print between the answers
    memory: Memory = bytearray()
    with suppress(BrokenPipeError):
        send(answers, {})
        for line in requests:
            task, root, names, row, options = json.loads(line)
            if task == "decode" and not memory:
                memory = mmap.mmap(shared, 0)
            send(answers, TASKS[task](memory, root, names, row, **options))
    os._exit(0)  # the parent is gone; a flush at exit would raise once more


def send(stream: BinaryIO, message: Any) -> None:
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()
