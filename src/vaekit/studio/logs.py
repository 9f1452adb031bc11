"""The log of a run, each line of which is read once: there may be a million, and every page asks all the time."""

import json
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ..doctor.live import Signs
from .thinned import Thinned

MOST_RECORDS = 2000  # of training, and of validation, in an answer that begins with the first line
MOST_BYTES = 1 << 20  # of lines in an answer that goes on; a longer one may stand at their end
NUMBERS = ("images", "seconds", "loss", "rate", "skipped")  # of a record, that are computed with

Record = dict[str, Any]


class Log:
    """What the lines of one log say, as far as they were read; a damaged one is left out."""

    def __init__(self, path: Path):
        self.path = path
        self.lock = threading.Lock()  # requests are answered by several threads
        self.begin()

    def begin(self) -> None:
        """Forget what was read."""
        self.file: int | None = None  # which one
        self.at, self.tail, self.lines = 0, b"", 0  # bytes, the last line and the number of lines that were read
        self.damaged = 0  # the number of the first line that is no record
        self.last: Record = {}
        self.signs = Signs()
        self.kept = {is_validation: Thinned[tuple[int, Record]](MOST_RECORDS) for is_validation in (False, True)}

    @contextmanager
    def read(self) -> Iterator[None]:
        """Read what was added, all where the file was cut or replaced, and let nobody go on while the body runs."""
        with self.lock:
            if self.path.exists():
                with open(self.path, "rb") as file:
                    if not self.goes_on(file):
                        self.begin()
                    self.file = os.fstat(file.fileno()).st_ino
                    file.seek(self.at)
                    for line in file:
                        if line.endswith(b"\n"):  # else it is still being written
                            self.add(line)
            else:
                self.begin()
            yield

    def goes_on(self, file: BinaryIO) -> bool:
        """Whether it is the one that was read, with more lines at most: a resumed training cuts its log, and adds to it."""
        file.seek(self.at - len(self.tail))
        return self.file in (None, os.fstat(file.fileno()).st_ino) and file.read(len(self.tail)) == self.tail

    def add(self, line: bytes) -> None:
        self.at, self.tail, self.lines = self.at + len(line), line, self.lines + 1
        record = record_of(line)
        if record is None:
            self.damaged = self.damaged or self.lines
            return
        self.last = record
        self.signs.add(record)
        self.kept[record["split"] == "validation"].add((self.lines, record))

    @property
    def damage(self) -> str | None:
        """What to do about a damaged line."""
        return f"{self.path} is damaged: line {self.damaged} is no record. Take it out." if self.damaged else None

    def answer(self, after: int) -> dict[str, Any]:
        """Records from a byte on, the byte that they begin at, and the one behind them.

        Of all records some, evenly spaced, where that byte begins no line of this log: what it was known by is no longer there.
        """
        with self.read():
            added = self.added(after) if 0 < after <= self.at else None
            if added is not None:
                records = [record for line in added.splitlines() if (record := record_of(line)) is not None]
                return {"records": list(map(finite, records)), "from": after, "at": after + len(added)}
            some = sorted((each for kept in self.kept.values() for each in kept.some), key=lambda each: each[0])
            return {"records": [finite(record) for _, record in some], "from": 0, "at": self.at}

    def added(self, after: int) -> bytes | None:
        """Whole lines from a byte on; None where it begins none."""
        with open(self.path, "rb") as file:
            file.seek(after - 1)
            if file.read(1) != b"\n":
                return None
            text = file.read(min(MOST_BYTES, self.at - after))
            return text if text[-1:] in (b"", b"\n") else text + file.readline()


def record_of(line: bytes) -> Record | None:
    """The record in a line; None where there is none that can be used."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not all(isinstance(found.get(name, 0), int | float) for name in NUMBERS):
        return None
    split = found.get("split")
    return found if isinstance(split, str) and (split != "validation" or "loss" in found) else None


def finite(record: Record) -> Record:
    """As JSON has it: null for a number that is not finite."""
    return {name: None if isinstance(its, float) and not math.isfinite(its) else its for name, its in record.items()}
