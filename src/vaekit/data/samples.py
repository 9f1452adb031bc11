"""Samples out of a tar, in WebDataset's form: files with the same path up to the first dot of their name are one sample.

https://github.com/webdataset/webdataset: `n01/0123.jpg`, `n01/0123.cls` and `n01/0123.json` stand one after the other. They are a
picture, its label, and its row of a table, in which each value of the .json is a cell.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from . import quarantine as q
from .decode import SUFFIXES, UNSUPPORTED_SUFFIXES, Broken
from .quarantine import Finding, printable
from .scan import fault_of
from .tar import Member, Stream, members

TOLD = (".cls", ".json", ".txt")
TOLD_BYTES = 1 << 20  # of such a file, at most
TOLD_KEYS = 256  # of a sample
CELL = 200  # characters: a longer text describes one picture, not kinds of them


@dataclass
class Sample:
    """One sample: its picture, and what it says of it: the text of a cell, or None where the value can be none."""

    key: str
    name: str = ""
    content: bytes | None = None
    cells: dict[str, str | None] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)  # the files that say something


class Samples:
    """The samples of the tar `file` that have a picture, in order; what else it holds is noted in `odd` and `ignored`."""

    def __init__(self, shard: str, file: Stream):
        self.shard, self.file = shard, file
        self.odd: list[Finding] = []
        self.ignored: Counter[str] = Counter()
        self.met: set[str] = set()

    def __iter__(self) -> Iterator[Sample]:
        sample = Sample("")
        within = self.shard  # the place of what is being read
        try:
            for member in members(self.file):
                place = clean(member.name)
                folder, _, base = place.rpartition("/")
                if member.folder:
                    continue
                if not base or base.startswith(".") or "__MACOSX" in place.split("/"):
                    self.ignored["hidden"] += 1
                    continue
                key = f"{folder}/{base.partition('.')[0]}"
                if key != sample.key:
                    yield from self.finished(sample)
                    sample = Sample(key)
                within = f"{self.shard}::{place}"
                self.take(sample, within, member)
                within = self.shard
        except Broken as broken:
            self.odd.append(Finding(within, broken.reason, f"the tar is cut or damaged here: {broken.detail}"))
        yield from self.finished(sample)

    def finished(self, sample: Sample) -> Iterator[Sample]:
        if sample.content is not None:
            yield sample
        else:
            self.odd += [Finding(name, q.ROW_ALONE, "no picture stands beside it") for name in sample.told]

    def take(self, sample: Sample, name: str, member: Member) -> None:
        """Put a member where it belongs; only what is wanted is read."""
        _, dot, ending = name.rpartition("/")[2].rpartition("::")[2].rpartition(".")
        suffix = (dot + ending).lower()
        fault = None
        if suffix in SUFFIXES:
            fault = fault_of(member.regular, member.size) or self.again(sample)
            if not fault:
                sample.name, sample.content = name, member.content()
                self.met.add(sample.key)
        elif suffix in UNSUPPORTED_SUFFIXES:
            fault = q.UNSUPPORTED, f"{suffix} is not read; convert it to jpg or png"
        elif suffix in TOLD and member.regular:
            fault = tell(sample, name, suffix, member)
        else:
            self.ignored[suffix or "without suffix"] += 1
        if fault:
            self.odd.append(Finding(name, *fault))

    def again(self, sample: Sample) -> tuple[str, str] | None:
        if sample.content is not None:
            return q.SECOND, f"{sample.name} is the picture of this sample"
        return (q.REPEATED, "a picture with this name came before in this tar") if sample.key in self.met else None


def tell(sample: Sample, name: str, suffix: str, member: Member) -> tuple[str, str] | None:
    """Add to a sample what a file says of it; the answer is what is wrong with the file."""
    if suffix != ".txt":
        sample.told.append(name)
    if member.size > TOLD_BYTES:
        return q.ROW_BROKEN, f"{member.size:,} bytes, the limit is {TOLD_BYTES:,}"
    try:
        cells = sample.cells | cells_of(suffix, member.content())
    except (ValueError, RecursionError) as error:
        return q.ROW_BROKEN, str(error)
    if len(cells) > TOLD_KEYS:
        return q.ROW_BROKEN, f"{len(cells)} values, the limit is {TOLD_KEYS}"
    sample.cells = cells
    return None


def clean(name: str) -> str:
    """A member's path, of which nothing but a name is ever made: without what leads elsewhere, and printable."""
    return "/".join(part for part in printable(name).split("/") if part not in ("", ".", ".."))


def cells_of(suffix: str, content: bytes) -> dict[str, str | None]:
    """What a .cls, .txt or .json says. Raises ValueError or RecursionError where it says nothing that can be read."""
    if suffix != ".json":
        return {suffix[1:]: cell(content.decode())}
    value = json.loads(content)
    if not isinstance(value, dict):
        raise ValueError("it is no object")
    return {printable(key)[:CELL]: cell(its) for key, its in value.items() if its is not None}


def cell(value: Any) -> str | None:
    """The text that a table would have in its place: None where the value is nested or long."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int | float):
        return str(value)
    return printable(value.strip()) if isinstance(value, str) and len(value) <= CELL else None
