"""Decode many files into one file of pixels: in order, in bounded memory, and so that a killed ingest goes on where it was.

Pixels are only ever appended, chunk by chunk, in the order of the source. After each chunk the journal gets one line with the
chunk, the row count and the running hash of all pixels so far. Going on means: follow the journal as long as the pixels agree
with it, cut both files there, and continue where its last chunk says. Nothing depends on the order in which the disk writes.
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
from .chunks import Chunk, Source
from .decode import Recipe
from .pool import Pool
from .quarantine import Finding, Quarantine

CHUNK_BYTES = 4 << 20  # decoded bytes in one chunk, at most
SYNC_BYTES = 16 << 20  # the disk is told to write so often, while other pictures are decoded
Progress = Callable[[int, int], None]  # files done, files in all


@dataclass
class State:
    """How far an ingest is: pictures seen, rows written, where the source goes on, what was left out."""

    done: int = 0
    rows: int = 0
    then: Any = None
    hash: Any = field(default_factory=sha256)
    seen: dict[str, str] = field(default_factory=dict)  # hash of a file's bytes -> the first name that has it
    twins: dict[str, str] = field(default_factory=dict)  # a later name with the same bytes -> that first name
    findings: list[Finding] = field(default_factory=list)
    odd: list[Finding] = field(default_factory=list)  # what the source itself found

    def add(self, chunk: Chunk, results: Sequence[Any]) -> list[int]:
        """Take one chunk's results; the answer is the places of the pictures that stay."""
        keep = []
        for place, (name, result) in enumerate(zip(chunk.names, results, strict=True)):
            if isinstance(result, list):
                self.findings.append(Finding(name, *result))
            elif result in self.seen:
                self.twins[name] = self.seen[result]
            else:
                self.seen[result] = name
                keep.append(place)
        self.done += len(results)
        self.rows += len(keep)
        self.then = chunk.then
        self.odd += [Finding(*finding) for finding in chunk.beside.get("odd", ())]
        return keep


def ingest(source: Source, recipe: Recipe, target: Path, *, pool: Pool, progress: Progress | None) -> dict[str, Any]:
    """Make the folder `target` with pixels.u8 and entry.json, where it does not stand yet; the answer is that entry.

    Raises DataError where no file can be decoded, VaekitError where the cache cannot be written.
    """
    if entry := complete(target, source):
        return entry
    partial = target.with_name(f"{target.name}.partial")
    with writing(target.parent), locked(target.with_name(f"{target.name}.lock")):
        if entry := complete(target, source):  # another process made it while this one waited
            return entry
        if target.exists():
            shutil.rmtree(target)
        partial.mkdir(exist_ok=True)
        sweep(partial)
        pixels = partial / "pixels.u8"
        there = pixels.stat().st_size if pixels.exists() else 0
        with writing(target.parent, recipe.nbytes * (source.count or 0) - there):
            state = write_pixels(source, recipe, partial, pool=pool, progress=progress)
        if not state.rows:
            shutil.rmtree(partial)
            none = (
                f"None of the {state.done} pictures in {source.where} can be decoded"
                if state.done
                else (f"There is no picture in {source.where}")
            )
            raise DataError(
                f"{none}. Expected at least one good one. What was found:\n{Quarantine((*state.findings, *state.odd)).summary()}"
            )
        entry = {
            "shape": [state.rows, *recipe.shape],
            "hash": state.hash.hexdigest(),
            "recipe": asdict(recipe),
            "findings": [finding._asdict() for finding in state.findings],
            "twins": state.twins,
        }
        journal = partial / "journal.jsonl"
        if source.count is None:
            entry["journal"] = journal.stat().st_size
        else:
            journal.unlink()
        write_json(partial / "entry.json", entry)
        partial.replace(target)
        sync_folder(target.parent)
        return entry


def write_pixels(source: Source, recipe: Recipe, folder: Path, *, pool: Pool, progress: Progress | None) -> State:
    pixels, journal = folder / "pixels.u8", folder / "journal.jsonl"
    most = int(np.clip(CHUNK_BYTES // recipe.nbytes, 1, 64))
    with open(pixels, "ab") as out, open(journal, "ab") as log, ThreadPoolExecutor(1, "sync") as disk:
        syncs: list[Future[None]] = []
        state = recover(pixels, journal, recipe.nbytes)
        out.truncate(state.rows * recipe.nbytes)
        for chunk, results, pictures in pool.decode(source.root, source.chunks(most, state.then), most, recipe):
            keep = state.add(chunk, results)
            kept = recipe.array(pictures)
            if len(keep) < len(kept):
                kept = kept[keep]
            state.hash.update(kept)
            out.write(kept.data)
            out.flush()
            line = {"chunk": chunk, "results": results, "rows": state.rows, "hash": state.hash.hexdigest()}
            log.write(json.dumps(line).encode() + b"\n")
            log.flush()
            if state.rows * recipe.nbytes > (len(syncs) + 1) * SYNC_BYTES:
                syncs.append(disk.submit(os.fsync, out.fileno()))
            if progress and state.done:
                progress(state.done, round(state.done / chunk.share))
        syncs += [disk.submit(os.fsync, file.fileno()) for file in (out, log)]
        for sync in syncs:
            sync.result()  # raises what the disk had to say
    return state


def recover(pixels: Path, journal: Path, picture: int) -> State:
    """The state after the last chunk whose journal line and pixels agree; the journal is cut behind it."""
    state, good = State(), 0
    with open(pixels, "rb") as data, open(journal, "rb+") as log:
        for line in log:
            if not line.endswith(b"\n"):
                break  # the process died while it wrote
            try:
                entry = json.loads(line)
                chunk, rows, digest, results = Chunk(*entry["chunk"]), entry["rows"], entry["hash"], entry["results"]
            except (ValueError, TypeError, KeyError):
                break  # the machine died before the line reached the disk
            running = state.hash.copy()
            running.update(data.read((rows - state.rows) * picture))
            if running.hexdigest() != digest:
                break  # the machine died before the pixels reached the disk
            state.add(chunk, results)
            state.hash = running
            good += len(line)
        log.truncate(good)
    return state


def complete(target: Path, source: Source) -> dict[str, Any] | None:
    """The entry of an ingest that ended here; None where none did, or where its files were damaged since."""
    entry = kept_json(target / "entry.json", "shape", "hash", "findings", "twins")
    if entry is None:
        return None
    sizes = {"pixels.u8": int(np.prod(entry["shape"]))} | ({} if source.count else {"journal.jsonl": entry.get("journal")})
    whole = all((target / name).exists() and (target / name).stat().st_size == size for name, size in sizes.items())
    return entry if whole else None
