"""Find the pictures of a folder by name, without opening one."""

import os
import re
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from operator import itemgetter
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
    walk = Walk(root, found, met)
    walk.through(under)
    walk.pictures.sort(key=itemgetter(0))
    found.names = [name for name, _, _ in walk.pictures]
    found.stamps = [(size, changed) for _, size, changed in walk.pictures]
    found.findings.sort()
    if not (found.names or found.tars):
        kinds = ", ".join(f"{count} {printable(kind)}" for kind, count in sorted(found.ignored.items()))
        others = f" ({kinds})" if kinds else ""
        odd = "\n" + q.Quarantine(found.findings).summary() if found.findings else ""
        raise DataError(
            f"There is no picture in {root / under}{others}. Expected jpg, png, webp, bmp, gif or tiff files there "
            f"or in subfolders. Name the folder that holds the pictures.{odd}"
        )
    return found


@dataclass
class Walk:
    """One way through all folders under `root`; what it meets goes into `pictures` and, for the rest, into `found`."""

    root: Path
    found: Scan
    met: Callable[[int], object]
    pictures: list[tuple[str, int, int]] = field(default_factory=list)  # name, bytes, modification time in ns; in any order
    ahead: list[tuple[bool, str, tuple[int, int]]] = field(default_factory=list)  # folders: a link?, name, device and inode

    def through(self, folder: str) -> None:
        """Real folders come before links: what a link names too is met by its own name."""
        status = self.root.stat()
        entered = {(status.st_dev, status.st_ino)}
        self.enter(folder)
        while self.ahead:
            _, name, its = heappop(self.ahead)
            if its not in entered:
                entered.add(its)
                self.enter(name)

    def enter(self, folder: str) -> None:
        front = f"{folder}/" if folder else ""
        try:
            with os.scandir(self.root / folder) as listing:
                for entry in listing:  # nearly all of them good pictures, and many
                    if suffix_of(entry.name) in SUFFIXES and not hidden(entry.name) and (status := good_status(entry)):
                        self.pictures.append((front + entry.name, status.st_size, status.st_mtime_ns))
                        if len(self.pictures) % MET_AT_ONCE == 0:
                            self.met(len(self.pictures))
                    elif hidden(entry.name):
                        self.found.ignored["hidden"] += 1
                    else:
                        self.sort_out(front + entry.name, entry)
        except OSError as error:
            self.found.findings.append(Finding(folder or str(self.root), q.UNREADABLE, f"folder: {error.strerror or error}"))

    def sort_out(self, name: str, entry: os.DirEntry[str]) -> None:
        """What is no good picture."""
        found, suffix = self.found, suffix_of(entry.name)
        try:
            status = entry.stat()
        except OSError as error:
            if suffix in SUFFIXES:
                found.findings.append(Finding(name, q.UNREADABLE, error.strerror or str(error)))
            else:
                found.ignored[suffix or "without suffix"] += 1
            return
        if stat.S_ISDIR(status.st_mode):
            heappush(self.ahead, (entry.is_symlink(), name, (status.st_dev, status.st_ino)))
        elif suffix in SUFFIXES:
            fault = fault_of(stat.S_ISREG(status.st_mode), status.st_size) or (q.UNREADABLE, "its status could not be read")
            found.findings.append(Finding(name, *fault))
        elif suffix in UNSUPPORTED_SUFFIXES:
            found.findings.append(Finding(name, q.UNSUPPORTED, f"{suffix} is not read; convert it to jpg or png"))
        else:
            found.ignored[suffix or "without suffix"] += 1
            found.tars += [name] if TAR.search(name) and stat.S_ISREG(status.st_mode) else []


def suffix_of(name: str) -> str:
    """The ending with its dot, in small letters, "" of ".jpg": several times as fast as a Path, and files are many."""
    stem, dot, ending = name.rpartition(".")
    return (dot + ending).lower() if stem else ""


def hidden(name: str) -> bool:
    return name[0] == "." or name == "__MACOSX"


def good_status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """The status of a file that can be read, None for anything else."""
    try:
        status = entry.stat()
    except OSError:
        return None  # `sort_out` tells what it says
    return None if fault_of(stat.S_ISREG(status.st_mode), status.st_size) else status


def fault_of(regular: bool, size: int) -> tuple[str, str] | None:
    """Why a file with a picture's name is not even read."""
    if not regular:
        return q.NOT_IMAGE, "not a regular file"
    return (q.HUGE, f"{size:,} bytes, the limit is {FILE_LIMIT:,}") if size > FILE_LIMIT else None


def strays_of(names: list[str]) -> list[str]:
    """The few pictures, a tenth at most, that lie beside two subfolders or more and so keep them from being labels."""
    parts = [PACKED.sub("", name).split("/") for name in names]
    few = [name for name, part in zip(names, parts, strict=True) if len(part) == 1]
    kinds = {part[0] for part in parts if len(part) > 1}
    return few if len(kinds) > 1 and 10 * len(few) <= len(names) else []


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
