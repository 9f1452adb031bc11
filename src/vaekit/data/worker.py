"""What runs in a decoding process: chunks of files in, findings and pixels out. Requests come on stdin, answers go to stdout.

A message is the length of its JSON, its JSON, and the raw bytes that the JSON counts under "bytes". The process ends with its
parent, because stdin then ends. It imports neither the caller's `__main__` nor torch.
"""

import json
import os
import signal
import struct
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, BinaryIO

import numpy as np

from . import quarantine as q
from .decode import Broken, Recipe, decode, header

Answer = tuple[dict[str, Any], bytes]


def decode_chunk(root: str, names: Sequence[str], recipe: dict[str, Any]) -> Answer:
    """Per file the hash of its bytes or [reason, detail], and the pixels of the good ones, one after another."""
    results, pictures = [], []
    target = Recipe(**recipe)
    for name in names:
        try:
            with open(f"{root}/{name}", "rb") as file:
                data = file.read()
            pictures.append(decode(data, target))
            results.append(blake2b(data, digest_size=16).hexdigest())
        except OSError as error:
            results.append([q.UNREADABLE, error.strerror or str(error)])
        except Broken as broken:
            results.append([broken.reason, broken.detail])
    return {"results": results}, np.stack(pictures).tobytes() if pictures else b""


def survey_chunk(root: str, names: Sequence[str]) -> Answer:
    """How many pictures have which size, and how many are coloured, by their headers alone."""
    sizes: Counter[tuple[int, int]] = Counter()
    coloured = 0
    for name in names:
        try:
            with open(f"{root}/{name}", "rb") as file:
                head = header(file)
        except (OSError, Broken):
            continue  # the decoding that follows names it
        sizes[head.height, head.width] += 1
        coloured += not head.grey
    return {"sizes": [[h, w, count] for (h, w), count in sizes.items()], "coloured": coloured}, b""


TASKS: dict[str, Callable[..., Answer]] = {"decode": decode_chunk, "survey": survey_chunk}


def send(stream: BinaryIO, head: dict[str, Any], body: bytes = b"") -> None:
    text = json.dumps({**head, "bytes": len(body)}).encode()
    stream.write(struct.pack("<Q", len(text)) + text)
    stream.write(body)
    stream.flush()


def receive(stream: BinaryIO) -> Answer:
    """The next message. Raises EOFError where the other side is gone."""
    (length,) = struct.unpack("<Q", read_exactly(stream, 8))
    head = json.loads(read_exactly(stream, length))
    return head, read_exactly(stream, head["bytes"])


def read_exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError("the other process is gone")
    return data


def serve() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # nothing may print between the answers
    send(answers, {"ready": os.getpid()})
    while True:
        try:
            request, _ = receive(requests)
            send(answers, *TASKS[request["task"]](**request["arguments"]))
        except (EOFError, BrokenPipeError):
            os._exit(0)  # the parent is gone; a flush at exit would raise once more
