"""Open tars of pictures, on a disk or behind http, in WebDataset's form: streamed once, decoded into the cache like a folder."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import DataError, VaekitError
from . import quarantine as q
from .cache import key_of, stamp
from .chunks import CONTENT_BYTES, Chunk
from .dataset import Dataset
from .index import Tables, Wish, table_asked
from .ingest import Progress
from .pictures import ingested
from .pool import Pool
from .quarantine import Finding
from .samples import Sample, Samples
from .scan import Scan
from .shards import Shard, shards_at
from .tables import CLASS, Columns, Table, by_columns
from .tar import unpacked

TOLD = "samples"  # the table of what the pictures' own files say, in messages
GUESSED = 1 << 14  # bytes of a picture, to tell how many processes are worth starting


class Tars:
    """The pictures of some tars, streamed from the first to the last."""

    root = None
    count = None

    def __init__(self, where: str, shards: Sequence[Shard]):
        self.where, self.shards = where, shards
        self.size = sum(shard.size for shard in shards)
        self.key = key_of([[shard.name, shard.address, shard.size, shard.state] for shard in shards])

    def chunks(self, most: int, start: tuple[int, int] | None = None) -> Iterator[Chunk]:
        """`start`: a shard, and the chunks of it that are known already. Raises DataError where a shard cannot be read."""
        first, known = start or (0, 0)
        before = sum(shard.size for shard in self.shards[:first])
        for place, shard in enumerate(self.shards[first:], first):
            try:
                for number, chunk in enumerate(self.chunks_of(place, most, before)):
                    if number >= known:
                        yield chunk
            except OSError as error:
                raise DataError(
                    f"The tar {shard.address} cannot be read: {error.strerror or error}. Expected a readable file. "
                    "What is decoded is kept: mend it, and the same command goes on there."
                ) from error
            before, known = before + shard.size, 0

    def chunks_of(self, place: int, most: int, before: int) -> Iterator[Chunk]:
        shard = self.shards[place]
        with shard.open() as raw:
            samples = Samples(shard.name, unpacked(raw))
            for number, (batch, last) in enumerate(batches(samples, most), 1):
                then = (place + 1, 0) if last else (place, number)
                read = shard.size if last else raw.tell()
                cells = [sample.cells for sample in batch]
                beside = {"cells": cells, "odd": samples.odd, "ignored": samples.ignored}
                contents = [sample.content or b"" for sample in batch]
                yield Chunk([sample.name for sample in batch], contents, then, (before + read) / max(self.size, 1), beside)
                samples.odd, samples.ignored = [], Counter()


def batches(samples: Iterable[Sample], most: int) -> Iterator[tuple[list[Sample], bool]]:
    """Samples that make a chunk, and whether they are the last ones, of which there may be none."""
    batch: list[Sample] = []
    weight = 0
    for sample in samples:
        if len(batch) == most or weight >= CONTENT_BYTES:
            yield batch, False
            batch, weight = [], 0
        batch.append(sample)
        weight += len(sample.content or b"")
    yield batch, True


def open_tars(
    addresses: Sequence[str],
    wish: Wish,
    cache: Path,
    *,
    name: str,
    source: str,
    progress: Progress | None,
    workers: int | None,
    root: str | None = None,
) -> Dataset:
    """Tars at these paths or addresses as a Dataset called `name`. Raises DataError, VaekitError."""
    tars = Tars(source, shards_at(addresses, root))
    given = table_asked(wish)
    with Pool(workers) as pool:
        pool.expect(tars.size // GUESSED)
        done = ingested(tars, wish, cache, pool=pool, progress=progress)
    journal = done.folder / "journal.jsonl"

    def listing() -> tuple[Scan, Tables]:
        found, told = listed(journal)
        return found, Tables(found.names, given, told=told)

    return done.dataset(name, source, [given and stamp(given)], listing)


def listed(journal: Path) -> tuple[Scan, Table | None]:
    """The pictures of an ingest that has ended, and what their own files said of them, as a table."""
    found, seen = Scan(), Counter[str]()
    unfit: set[str] = set()
    try:
        for chunk in chunks_in(journal):
            found.names += chunk.names
            found.findings += [Finding(*finding) for finding in chunk.beside["odd"]]
            found.ignored.update(chunk.beside["ignored"])
            for cells in chunk.beside["cells"]:
                seen.update(cells.keys())
                unfit.update(key for key, cell in cells.items() if cell is None)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VaekitError(
            f"The cache is damaged: {journal}: {error}. Remove the folder {journal.parent}; the same command makes it again."
        ) from error
    found.findings.sort()
    rare = {key for key, count in seen.items() if 2 * count < len(found.names) and key != CLASS}
    names = sorted(seen.keys() - unfit - rare, key=lambda key: (key != CLASS, key))  # of two columns of labels the first counts
    odd = [Finding(f"{TOLD}:{key}", q.COLUMN, "nested or long values") for key in sorted(unfit)]
    odd += [Finding(f"{TOLD}:{key}", q.COLUMN, "fewer than half of the pictures have it") for key in sorted(rare - unfit)]
    if not names:
        found.findings += odd
        return found, None
    files, columns = by_columns(rows_in(journal, names), len(names))
    return found, Table(files, Columns(Path(TOLD), tuple(names), columns), odd)


def chunks_in(journal: Path) -> Iterator[Chunk]:
    with open(journal, "rb") as lines:
        for line in lines:
            yield Chunk(*json.loads(line)["chunk"])


def rows_in(journal: Path, columns: Sequence[str]) -> Iterator[list[str]]:
    """The name of each picture that something is said of, and its cells."""
    for chunk in chunks_in(journal):
        for name, cells in zip(chunk.names, chunk.beside["cells"], strict=True):
            if cells:
                yield [name, *(cells.get(column) or "" for column in columns)]
