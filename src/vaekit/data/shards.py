"""The tars that one word names: a file, a folder of them, a pattern with braces, an address."""

import io
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import DataError, UsageError
from . import remote
from .cache import stamp
from .quarantine import printable

BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d{1,18})\.\.(\d{1,18})")
MOST = 100_000  # tars of one pattern
AT_ONCE = 16  # servers' answers waited for
BUFFER = 1 << 20


@dataclass(frozen=True)
class Shard:
    """One tar, on a disk or on a server."""

    name: str  # below what all of them have in common
    address: str
    size: int  # bytes
    state: list[Any]  # what tells one state of it from another without reading it

    def open(self) -> io.BufferedReader:
        """Its bytes. Raises OSError or DataError, also while they are read."""
        if is_address(self.address):
            return io.BufferedReader(remote.Remote(self.address, self.size, self.state), BUFFER)
        return io.BufferedReader(io.FileIO(self.address), BUFFER)


def is_address(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def expanded(pattern: str) -> list[str]:
    """`a{0..2}` as a0, a1, a2, `a{08..10}` as a08, a09, a10, `{a,b}` as a, b; several braces in every combination."""
    parts = BRACES.split(pattern)  # text and what stands in braces, by turns
    ways = [choices(part, pattern) if place % 2 else [part] for place, part in enumerate(parts)]
    if (count := prod(map(len, ways))) > MOST:
        raise UsageError(f"{pattern} names {count:,} tars. Expected {MOST:,} at most. Give fewer.")
    return ["".join(words) for words in product(*ways)]


def choices(inside: str, pattern: str) -> Sequence[str]:
    found = RANGE.fullmatch(inside)
    if found:
        first, last = found.groups()
        width = len(first) if first.startswith("0") else 0
        if not int(first) <= int(last) < int(first) + MOST:
            raise UsageError(
                f"{{{inside}}} in {pattern} is no range of at most {MOST:,} numbers. Write for example {{000..009}}."
            )
        return [f"{number:0{width}d}" for number in range(int(first), int(last) + 1)]
    return inside.split(",")


def shards_at(addresses: Sequence[str], root: str | None = None) -> list[Shard]:
    """What is there, without reading it; named by the path below `root`, or below the folder that they share.

    Raises DataError where one is missing, or cannot be had.
    """
    addresses = list(dict.fromkeys(addresses))
    paths = ["".join(urlsplit(its)[1:3]) if is_address(its) else its for its in addresses]
    if len(set(paths)) < len(paths):
        paths = [its.partition("://")[2] for its in addresses]  # told apart by what follows the path
    root = root or os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120 (also those of addresses)
    with ThreadPoolExecutor(AT_ONCE, "shards") as pool:
        found = list(pool.map(size_and_state, addresses))
    return [
        Shard(printable(path.removeprefix(root).lstrip("/")), address, size, state)
        for path, address, (size, state) in zip(paths, addresses, found, strict=True)
    ]


def size_and_state(address: str) -> tuple[int, list[Any]]:
    if is_address(address):
        return remote.described(address)
    try:
        its = stamp(Path(address))
    except OSError as error:
        raise DataError(f"The tar {address} cannot be read: {error.strerror}. Expected a file. Check the path.") from None
    return its[1], its
