"""Decode many files into one file of pixels: in order, in bounded memory, and so that a killed ingest goes on where it was.

Pixels are only ever appended, chunk by chunk, in the order of the names. After each chunk the journal gets one line with the row
count and the running hash of all pixels so far. Going on means: follow the journal as long as the pixels agree with it, cut both
files there, and continue. Nothing depends on the order in which the disk writes.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..files import sweep, sync_folder, write_json
from .cache import kept_json, locked, writing
from .decode import Recipe
from .pool import Pool
from .quarantine import Finding, Quarantine

CHUNK_BYTES = 4 << 20  # decoded bytes in one chunk, at most
SYNC_BYTES = 16 << 20  # the disk is told to write so often, while other pictures are decoded
Progress = Callable[[int, int], None]  # files done, files in all


@dataclass
class State:
    """How far an ingest is: whole chunks done, rows written, what was left out."""

    chunks: int = 0
    rows: int = 0
    hash: Any = field(default_factory=sha256)
    seen: dict[str, str] = field(default_factory=dict)  # hash of a file's bytes -> the first name that has it
    twins: dict[str, str] = field(default_factory=dict)  # a later name with the same bytes -> that first name
    findings: list[Finding] = field(default_factory=list)

    def add(self, names: Sequence[str], results: Sequence[Any]) -> list[int]:
        """Take one chunk's results; the answer is the places of the pictures that stay."""
        keep = []
        for place, (name, result) in enumerate(zip(names, results, strict=True)):
            if isinstance(result, list):
                self.findings.append(Finding(name, *result))
            elif result in self.seen:
                self.twins[name] = self.seen[result]
            else:
                self.seen[result] = name
                keep.append(place)
        self.chunks += 1
        self.rows += len(keep)
        return keep


def ingest(
    root: Path, names: Sequence[str], recipe: Recipe, target: Path, *, pool: Pool, progress: Progress | None
) -> dict[str, Any]:
    """Make the folder `target` with pixels.u8 and entry.json, where it does not stand yet; the answer is that entry.

    Raises DataError where no file can be decoded, VaekitError where the cache cannot be written.
    """
    if entry := complete(target):
        return entry
    partial = target.with_name(f"{target.name}.partial")
    with writing(target.parent), locked(target.with_name(f"{target.name}.lock")):
        if entry := complete(target):  # another process made it while this one waited
            return entry
        if target.exists():
            shutil.rmtree(target)
        partial.mkdir(exist_ok=True)
        sweep(partial)
        pixels = partial / "pixels.u8"
        there = pixels.stat().st_size if pixels.exists() else 0
        with writing(target.parent, recipe.nbytes * len(names) - there):
            state = write_pixels(root, names, recipe, partial, pool=pool, progress=progress)
        if not state.rows:
            shutil.rmtree(partial)
            raise DataError(
                f"None of the {len(names)} pictures in {root} can be decoded. Expected at least one good one. "
                f"What was found:\n{Quarantine(tuple(state.findings)).summary()}"
            )
        entry = {
            "shape": [state.rows, *recipe.shape],
            "hash": state.hash.hexdigest(),
            "recipe": asdict(recipe),
            "findings": [finding._asdict() for finding in state.findings],
            "twins": state.twins,
        }
        write_json(partial / "entry.json", entry)
        (partial / "journal.jsonl").unlink()
        partial.replace(target)
        sync_folder(target.parent)
        return entry


def write_pixels(
    root: Path, names: Sequence[str], recipe: Recipe, folder: Path, *, pool: Pool, progress: Progress | None
) -> State:
    pixels, journal = folder / "pixels.u8", folder / "journal.jsonl"
    chunks = cut(names, recipe)
    with open(pixels, "ab") as out, open(journal, "ab") as log, ThreadPoolExecutor(1, "sync") as disk:
        syncs: list[Future[None]] = []
        state = recover(pixels, journal, chunks, recipe.nbytes)
        out.truncate(state.rows * recipe.nbytes)
        done = sum(map(len, chunks[: state.chunks]))
        left = chunks[state.chunks :]
        for part, (results, pictures) in zip(left, pool.decode(str(root), left, recipe), strict=True):
            keep = state.add(part, results)
            kept = recipe.array(pictures)
            if len(keep) < len(part):
                kept = kept[keep]
            state.hash.update(kept)
            out.write(kept.data)
            out.flush()
            line = {"results": results, "rows": state.rows, "hash": state.hash.hexdigest()}
            log.write(json.dumps(line).encode() + b"\n")
            log.flush()
            if state.rows * recipe.nbytes > (len(syncs) + 1) * SYNC_BYTES:
                syncs.append(disk.submit(os.fsync, out.fileno()))
            done += len(part)
            if progress:
                progress(done, len(names))
        syncs.append(disk.submit(os.fsync, out.fileno()))
        for sync in syncs:
            sync.result()  # raises what the disk had to say
    return state


def cut(names: Sequence[str], recipe: Recipe) -> list[Sequence[str]]:
    size = int(np.clip(CHUNK_BYTES // recipe.nbytes, 1, 64))
    return [names[i : i + size] for i in range(0, len(names), size)]


def recover(pixels: Path, journal: Path, chunks: Sequence[Sequence[str]], picture: int) -> State:
    """The state after the last chunk whose journal line and pixels agree; the journal is cut behind it."""
    state, good = State(), 0
    with open(pixels, "rb") as data, open(journal, "rb+") as log:
        for names, line in zip(chunks, log, strict=False):
            if not line.endswith(b"\n"):
                break  # the process died while it wrote
            try:
                entry = json.loads(line)
                rows, digest, results = entry["rows"], entry["hash"], entry["results"]
            except (ValueError, TypeError, KeyError):
                break  # the machine died before the line reached the disk
            running = state.hash.copy()
            running.update(data.read((rows - state.rows) * picture))
            if running.hexdigest() != digest:
                break  # the machine died before the pixels reached the disk
            state.add(names, results)
            state.hash = running
            good += len(line)
        log.truncate(good)
    return state


def complete(target: Path) -> dict[str, Any] | None:
    """The entry of an ingest that ended here; None where none did, or where its files were damaged since."""
    entry, pixels = kept_json(target / "entry.json", "shape", "hash", "findings", "twins"), target / "pixels.u8"
    whole = entry is not None and pixels.exists() and pixels.stat().st_size == int(np.prod(entry["shape"]))
    return entry if whole else None
