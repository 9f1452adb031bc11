"""Where decoded pictures are kept, under which key, and how two processes share them.

CACHE/surveys/KEY.json           sizes and colours of a list of files, by their headers
CACHE/pixels/KEY/pixels.u8       (N, C, H, W) bytes; only complete ones carry this name
CACHE/pixels/KEY/entry.json      shape, content hash, what was left out
CACHE/pixels/KEY/index-KEY.npz   labels, attributes and splits of one way to open them
CACHE/pixels/KEY.partial/        an ingest under way, or one that was killed and will go on
CACHE/arrays/KEY.json            content hash of a large .npy file
CACHE/folders/KEY                empty: a folder was opened before
CACHE/downloads/                 named data
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import VaekitError
from ..files import read_json

CODE = 4  # raise it when a recipe gives other pixels, or a file here another form, than before: every key changes


def key_of(*parts: Any) -> str:
    """A hash of plain JSON values and of the code version."""
    return sha256(json.dumps([CODE, *parts], sort_keys=True).encode()).hexdigest()[:32]


def stamp(path: Path) -> list[Any]:
    """What tells one state of a file from another without reading it."""
    status = path.stat()
    return [str(path.absolute()), status.st_size, status.st_mtime_ns]


def kept_json(path: Path, *keys: str) -> dict[str, Any] | None:
    """What a JSON file of the cache holds; None where it is missing or damaged, so that it is made again."""
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and value.keys() >= set(keys) else None


def kept_arrays(path: Path, *keys: str) -> dict[str, np.ndarray] | None:
    """What an .npz file of the cache holds; None where it is missing or damaged, so that it is made again."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
    except Exception:  # noqa: BLE001 (on bad bytes zipfile and NumPy may raise anything)
        return None
    return arrays if arrays.keys() >= set(keys) else None


@contextmanager
def writing(folder: Path, needed: int = 0) -> Iterator[None]:
    """Say what is wrong with the cache where it cannot be written, before (`needed` bytes) or while the body runs."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        status = os.statvfs(folder)
        if (free := status.f_bavail * status.f_frsize) < needed:
            raise VaekitError(
                f"The decoded pictures need {needed / 1e9:.2f} GB in {folder}, which has {free / 1e9:.2f} GB free. "
                "Free some space, choose a smaller size, or name another folder with VAEKIT_CACHE."
            )
        yield
    except OSError as error:
        raise VaekitError(
            f"The cache folder {folder} cannot be written: {error.strerror or error}. Expected space and the right to write. "
            "Mend it or name another with VAEKIT_CACHE; what is finished is kept, and the same command goes on there."
        ) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process; wait for whoever holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05)  # polled, so that Ctrl-C is heard
        yield
