"""Writing files so that a reader, or a machine that loses power, only ever sees the old one or the new one; and where to."""

import json
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from .errors import DataError

HOST = sha256(socket.gethostname().encode()).hexdigest()[:8]
TEMPORARY = re.compile(r"\.tmp-([0-9a-f]{8})-(\d+)$")  # whose it is: a host, and a process there
DAY = 24 * 60 * 60  # seconds


def cache_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """`given`, else $VAEKIT_CACHE, else $XDG_CACHE_HOME/vaekit, else ~/.cache/vaekit; not created."""
    if given or (given := os.environ.get("VAEKIT_CACHE")):
        return Path(given).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "vaekit"


def file_name(name: str) -> str:
    """A name that any file system takes, different for different names: an attribute may be called "Rock/Pop"."""
    plain = re.sub(r"[^\w.=-]+", "-", name)[:60]
    return plain if plain == name else f"{plain}-{sha256(name.encode(errors='surrogateescape')).hexdigest()[:6]}"


def write_atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file to a temporary name, fsync it and rename it into place.

    Raises OSError when the disk is full or the folder cannot be written; the old file is then untouched.
    """
    with placed(path) as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


@contextmanager
def placed(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes its place when the body is through. Not durable: good for what can be made again."""
    temporary = beside(path)
    try:
        with open(temporary, "wb") as file:
            yield file
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say what did not fit
        raise
    finally:
        with suppress(FileNotFoundError):  # only left over when the write failed
            temporary.unlink()


def beside(path: Path) -> Path:
    """The temporary name of a file, which says who writes it: a process number means nothing on another host."""
    return path.with_name(f"{path.name}.tmp-{HOST}-{os.getpid()}")


def keep(path: Path, kept: Path) -> None:
    """Give what a file holds now another name, under which it stays when the file is replaced."""
    temporary = beside(kept)
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:  # the file system has no links; what else may be wrong is wrong with a copy, too
        with open(path, "rb") as source:
            write_atomic(kept, lambda file: shutil.copyfileobj(source, file, 1 << 20))
        return
    temporary.replace(kept)
    temporary.unlink(missing_ok=True)  # a rename between two names of one file does nothing
    sync_folder(kept.parent)


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed writers left behind; those of living processes stay.

    Who lives on another host is not known here: what was written there goes when it is a day old.
    """
    for leftover in folder.rglob("*.tmp-*"):
        owner = TEMPORARY.search(leftover.name)
        if owner is None:
            continue
        with suppress(FileNotFoundError):  # its writer was through with it
            here, age = owner[1] == HOST, time.time() - leftover.stat().st_mtime
            if (here and not psutil.pid_exists(int(owner[2]))) or (not here and age > DAY):
                leftover.unlink()


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    write_atomic(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file. Raises DataError on a file that holds none, OSError on one that cannot be read."""
    try:
        value = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}. Restore it from a copy, or make it again.") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} holds no JSON object. Restore it from a copy, or make it again.")
    return value
