"""From a source of pictures to a Dataset: survey, ingest, index; all of it comes from the cache the next time."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..files import sweep, write_json
from .cache import kept_json, key_of, locked, writing
from .chunks import Source
from .dataset import Dataset
from .decode import Recipe
from .index import Tables, Wish, index_of
from .ingest import Progress, ingest
from .pool import Pool
from .scan import Scan

KEPT_SIDE = 128  # pixels: pictures up to this size keep it when none is asked for
DEFAULT_SIZE = 64
SURVEY_CHUNK = 128
SURVEYED = 1000  # pictures whose sizes are looked at where nobody knows how many there are


@dataclass(frozen=True)
class Ingested:
    """Decoded pictures in the cache, and what was asked for, with the size and channels that they got."""

    wish: Wish
    folder: Path
    entry: dict[str, Any]

    def dataset(self, name: str, source: str, made_from: Any, listing: Callable[[], tuple[Scan, Tables]]) -> Dataset:
        """These pictures, with what is known of them (see `index_of`)."""
        index = index_of(made_from, listing, self.entry, self.wish, self.folder)
        wish = replace(self.wish, splits=index.pop("fractions"))
        return Dataset(
            name=name,
            pixels=np.memmap(self.folder / "pixels.u8", np.uint8, "r", shape=tuple(self.entry["shape"])),
            description={"source": source, **json.loads(json.dumps(asdict(wish)))},
            **index,
        )


def ingested(source: Source, wish: Wish, cache: Path, *, pool: Pool, progress: Progress | None) -> Ingested:
    """The pictures of a source as they are wished for. Raises DataError, VaekitError."""
    recipe = recipe_of(source, wish, cache / "surveys" / f"{source.key}.json", pool)
    target = cache / "pixels" / key_of(source.key, asdict(recipe))
    entry = ingest(source, recipe, target, pool=pool, progress=progress)
    return Ingested(replace(wish, size=(recipe.height, recipe.width), channels=recipe.channels), target, entry)


def recipe_of(source: Source, wish: Wish, kept: Path, pool: Pool) -> Recipe:
    """The wish, completed by what the files' headers say.

    Size: that of nine in ten pictures where it is at most 128 x 128, else 64 x 64. Channels: 1 where all are grey, else 3.
    """
    size, channels = wish.size, wish.channels
    if size is None or channels is None:
        seen = survey(source, kept, pool, sizes=size is None, colours=channels is None)
        size, channels = size or seen["size"], channels or seen["channels"]
    height, width = size
    return Recipe(height, width, channels, wish.crop)


def survey(source: Source, kept: Path, pool: Pool, *, sizes: bool, colours: bool) -> dict[str, Any]:
    """The size and the channels that pictures have where none are asked for; each None where it was never looked for."""
    seen = surveyed(kept)
    if (seen["size"] or not sizes) and (seen["channels"] or not colours):
        return seen
    with writing(kept.parent), locked(kept.with_suffix(".lock")):
        sweep(kept.parent)
        seen = surveyed(kept)  # another process may have looked while this one waited
        sizes, colours = sizes and not seen["size"], colours and not seen["channels"]
        if sizes or colours:
            seen |= looked_at(source, pool, sizes, colours)
            write_json(kept, seen)
    return seen


def looked_at(source: Source, pool: Pool, sizes: bool, colours: bool) -> dict[str, Any]:
    """One coloured picture settles the channels, and enough large ones the size: of most folders few files are opened. Out of
    tars the first `SURVEYED` pictures settle the size."""
    counts: Counter[tuple[int, int]] = Counter()
    coloured = large = 0
    most = source.count or SURVEYED
    for pictures in pool.survey(source.root, source.chunks(SURVEY_CHUNK), whole=sizes):
        for height, width, colour in pictures:
            coloured += colour
            if counts.total() < most:
                counts[height, width] += 1
                large += max(height, width) > KEPT_SIDE
        if (coloured or not colours) and (large > 0.1 * most or counts.total() >= most or not sizes):
            break
    return ({"size": common_size(counts)} if sizes else {}) | ({"channels": 3 if coloured else 1} if colours else {})


def surveyed(kept: Path) -> dict[str, Any]:
    return kept_json(kept, "size", "channels") or {"size": None, "channels": None}


def common_size(counts: Counter[tuple[int, int]]) -> tuple[int, int]:
    small = [(-count, size) for size, count in counts.items() if max(size) <= KEPT_SIDE]
    count, size = min(small, default=(0, (DEFAULT_SIZE, DEFAULT_SIZE)))
    return size if -count >= 0.9 * counts.total() else (DEFAULT_SIZE, DEFAULT_SIZE)
