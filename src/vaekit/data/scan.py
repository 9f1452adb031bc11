"""Find the pictures of a folder by name, without opening one."""

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import DataError
from . import quarantine as q
from .decode import FILE_LIMIT, SUFFIXES, UNSUPPORTED_SUFFIXES
from .quarantine import Finding, printable
from .splits import TEST, TRAIN, UNKNOWN, VALIDATION

TAR = re.compile(r"\.(tar|tar\.gz|tgz)$", re.IGNORECASE)
PACKED = re.compile(r"[^/]*\.(tar|tar\.gz|tgz)::", re.IGNORECASE)  # the tar in the name of a picture that comes out of one
MET_AT_ONCE = 64
UNLABELLED = ("unlabelled", "unlabeled")  # the name of a folder that is no label
OFFICIAL = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
    "testing": TEST,
}


@dataclass
class Scan:
    """The pictures under a folder, sorted by name, with what tells one state of them from another."""

    names: list[str] = field(default_factory=list)  # relative to the folder, with "/"
    stamps: list[tuple[int, int]] = field(default_factory=list)  # bytes, modification time in ns
    findings: list[Finding] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    tars: list[str] = field(default_factory=list)


def scan(root: Path, under: str = "", met: Callable[[int], object] = lambda files: None) -> Scan:
    """All pictures under `root` (or its subfolder `under`); every real folder is entered once, so links cannot loop.

    `met` is called with how many there are already, now and then. Raises DataError where there is neither one nor a tar.
    """
    found = Scan()
    entered: set[tuple[int, int]] = set()
    status = root.stat()
    entered.add((status.st_dev, status.st_ino))
    pictures = []
    for picture in walk(root, under, entered, found):
        pictures.append(picture)
        if len(pictures) % MET_AT_ONCE == 0:
            met(len(pictures))
    pictures.sort()
    found.names = [name for name, _ in pictures]
    found.stamps = [its for _, its in pictures]
    found.findings.sort()
    if not (found.names or found.tars):
        kinds = ", ".join(f"{count} {printable(kind)}" for kind, count in sorted(found.ignored.items()))
        others = f" ({kinds})" if kinds else ""
        odd = "\n" + q.Quarantine(tuple(found.findings)).summary() if found.findings else ""
        raise DataError(
            f"There is no picture in {root / under}{others}. Expected jpg, png, webp, bmp, gif or tiff files there "
            f"or in subfolders. Name the folder that holds the pictures.{odd}"
        )
    return found


def walk(root: Path, folder: str, entered: set[tuple[int, int]], found: Scan) -> Iterator[tuple[str, tuple[int, int]]]:
    try:
        with os.scandir(root / folder) as listing:
            entries = sorted(
                listing, key=lambda entry: (entry.is_symlink(), entry.name)
            )  # what a link names twice is met by its own name
    except OSError as error:
        found.findings.append(Finding(folder or str(root), q.UNREADABLE, f"folder: {error.strerror or error}"))
        return
    for entry in entries:
        name = f"{folder}/{entry.name}" if folder else entry.name
        stem, dot, ending = entry.name.rpartition(".")  # faster than a Path, for each of many files
        suffix = (dot + ending).lower() if stem else ""
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            found.ignored["hidden"] += 1
            continue
        try:
            status = entry.stat()
        except OSError as error:
            if suffix in SUFFIXES:
                found.findings.append(Finding(name, q.UNREADABLE, error.strerror or str(error)))
            else:
                found.ignored[suffix or "without suffix"] += 1
            continue
        if stat.S_ISDIR(status.st_mode):
            if (status.st_dev, status.st_ino) not in entered:
                entered.add((status.st_dev, status.st_ino))
                yield from walk(root, name, entered, found)
        elif suffix in SUFFIXES and (fault := fault_of(stat.S_ISREG(status.st_mode), status.st_size)):
            found.findings.append(Finding(name, *fault))
        elif suffix in SUFFIXES:
            yield name, (status.st_size, status.st_mtime_ns)
        elif suffix in UNSUPPORTED_SUFFIXES:
            found.findings.append(Finding(name, q.UNSUPPORTED, f"{suffix} is not read; convert it to jpg or png"))
        else:
            found.ignored[suffix or "without suffix"] += 1
            found.tars += [name] if TAR.search(name) and stat.S_ISREG(status.st_mode) else []


def fault_of(regular: bool, size: int) -> tuple[str, str] | None:
    """Why a file with a picture's name is not even read."""
    if not regular:
        return q.NOT_IMAGE, "not a regular file"
    return (q.HUGE, f"{size:,} bytes, the limit is {FILE_LIMIT:,}") if size > FILE_LIMIT else None


def labels_of(names: list[str]) -> tuple[np.ndarray | None, tuple[str, ...], np.ndarray | None]:
    """Labels (N,) from the first-level folders, their names, and the official side of each picture where the folders are splits.

    All pictures must be in subfolders, and there must be two labels or more. A folder called `unlabelled` is none: its pictures
    have -1, and beside train and test are there to train on. First-level folders called train, val and test
    (train and another at least) are splits; the labels are then one level below. A tar counts for the folder that it is in.
    """
    parts = [PACKED.sub("", name).split("/") for name in names]
    loose = [len(part) > 1 and part[0].lower() in UNLABELLED for part in parts]
    told = [part for part, without in zip(parts, loose, strict=True) if not without]
    official, level = None, 0
    tops = {part[0].lower() for part in told if len(part) > 1}
    sides = {OFFICIAL.get(top, UNKNOWN) for top in tops}
    if all(len(part) > 1 for part in told) and UNKNOWN not in sides and TRAIN in sides and len(sides) > 1:
        official, level = np.array([OFFICIAL.get(part[0].lower(), TRAIN) for part in parts]), 1
    kinds = sorted({part[level] for part in told if len(part) > level + 1 and part[level].lower() not in UNLABELLED})
    if len(kinds) < 2 or any(len(part) <= level + 1 for part in told):
        return None, (), official
    places = {kind: place for place, kind in enumerate(kinds)}
    labels = [-1 if without else places.get(part[level], -1) for part, without in zip(parts, loose, strict=True)]
    return np.array(labels, np.int64), tuple(kinds), official
