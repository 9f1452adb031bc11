"""Open a folder of pictures: scan, survey, ingest, index. All but the scan come from the cache the next time."""

import gc
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..files import sweep, write_json
from . import celeba
from .cache import kept_json, key_of, writing
from .dataset import Dataset
from .decode import Recipe
from .index import Wish, index_of, tables_of
from .ingest import Progress, ingest
from .pool import Pool, pool_for
from .scan import Scan, scan

KEPT_SIDE = 128  # pixels: pictures up to this size keep it when none is asked for
DEFAULT_SIZE = 64
SURVEY_CHUNK = 128


@contextmanager
def uncollected() -> Iterator[None]:
    """Let the cycle collector rest: names and findings are many and none is garbage, and a pass over all that torch holds in the
    midst of them takes longer than opening a folder again."""
    resting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if resting:
            gc.enable()


@uncollected()
def open_folder(
    root: Path, wish: Wish, cache: Path, *, name: str, source: str, progress: Progress | None, workers: int | None
) -> Dataset:
    """A folder of pictures, or one in CelebA's layout, as a Dataset called `name`. Raises DataError, VaekitError."""
    faces = celeba.pictures(root)
    found = scan(root, faces or "")
    tables = tables_of(root, found.names, faces is not None, wish)
    listing = key_of(str(root), found.names, found.stamps)
    with ThreadPoolExecutor(1, "tables") as beside:

        def read_tables() -> None:
            beside.submit(lambda: tables.attributes_of)  # what is wrong with them is told when they are wanted

        with pool_for(len(found.names), workers, meanwhile=read_tables) as pool:  # starts processes when there is something to do
            recipe = recipe_of(root, found, wish, cache / "surveys" / f"{listing}.json", pool)
            target = cache / "pixels" / key_of(listing, asdict(recipe))
            entry = ingest(root, found.names, recipe, target, pool=pool, progress=progress)
    index = index_of(found, entry, tables, wish, target)
    wish = replace(wish, size=(recipe.height, recipe.width), channels=recipe.channels, splits=index.pop("fractions"))
    return Dataset(
        name=name,
        pixels=np.memmap(target / "pixels.u8", np.uint8, "r", shape=tuple(entry["shape"])),
        description={"source": source, **json.loads(json.dumps(asdict(wish)))},
        **index,
    )


def recipe_of(root: Path, found: Scan, wish: Wish, kept: Path, pool: Pool) -> Recipe:
    """The wish, completed by what the files' headers say.

    Size: that of nine in ten pictures where it is at most 128 x 128, else 64 x 64. Channels: 1 where all are grey, else 3.
    """
    size, channels = wish.size, wish.channels
    if size is None or channels is None:
        seen = survey(root, found.names, kept, pool, sizes=size is None, colours=channels is None)
        size, channels = size or seen["size"], channels or seen["channels"]
    height, width = size
    return Recipe(height, width, channels, wish.crop)


def survey(root: Path, names: Sequence[str], kept: Path, pool: Pool, *, sizes: bool, colours: bool) -> dict[str, Any]:
    """The size and the channels that a folder has where none are asked for; each None where it was not looked for.

    One coloured picture settles the channels, and enough large ones the size: of most folders few files are opened.
    """
    seen = kept_json(kept, "size", "channels") or {"size": None, "channels": None}
    sizes, colours = sizes and seen["size"] is None, colours and seen["channels"] is None
    if not (sizes or colours):
        return seen
    counts: Counter[tuple[int, int]] = Counter()
    coloured = large = 0
    chunks = (names[i : i + SURVEY_CHUNK] for i in range(0, len(names), SURVEY_CHUNK))
    for pictures in pool.survey(str(root), chunks, whole=sizes):
        for height, width, colour in pictures:
            counts[height, width] += 1
            coloured += colour
            large += max(height, width) > KEPT_SIDE
        if (coloured or not colours) and (large > 0.1 * len(names) or not sizes):
            break
    seen["size"] = common_size(counts) if sizes else seen["size"]
    seen["channels"] = (3 if coloured else 1) if colours else seen["channels"]
    with writing(kept.parent):
        sweep(kept.parent)
        write_json(kept, seen)
    return seen


def common_size(counts: Counter[tuple[int, int]]) -> tuple[int, int]:
    small = [(-count, size) for size, count in counts.items() if max(size) <= KEPT_SIDE]
    count, size = min(small, default=(0, (DEFAULT_SIZE, DEFAULT_SIZE)))
    return size if -count >= 0.9 * counts.total() else (DEFAULT_SIZE, DEFAULT_SIZE)
