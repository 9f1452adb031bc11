"""Open a folder of pictures: scan, survey, ingest, index. All but the scan come from the cache the next time."""

import gc
import json
from collections.abc import Iterator, Sequence
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
SURVEY_CHUNK = 512


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
    tables = tables_of(root, faces is not None, wish)
    listing = key_of(str(root), found.names, found.stamps)
    with pool_for(len(found.names), workers) as pool:  # starts its processes when there is something to do
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
        seen = survey(root, found, kept, pool)
        channels = channels or (3 if seen["coloured"] else 1)
        size = size or common_size(seen["sizes"])
    return Recipe(size[0], size[1], channels, wish.crop)


def survey(root: Path, found: Scan, kept: Path, pool: Pool) -> dict[str, Any]:
    """Sizes [[height, width, count], ...], most common first, and the number of coloured pictures; kept in the file `kept`."""
    if before := kept_json(kept, "sizes", "coloured"):
        return before
    counts: dict[tuple[int, int], int] = {}
    coloured = 0
    chunks = [found.names[i : i + SURVEY_CHUNK] for i in range(0, len(found.names), SURVEY_CHUNK)]
    for answer, _ in pool.survey(str(root), chunks):
        coloured += answer["coloured"]
        for height, width, count in answer["sizes"]:
            counts[height, width] = counts.get((height, width), 0) + count
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    seen = {"sizes": [[h, w, count] for (h, w), count in ranked], "coloured": coloured}
    with writing(kept.parent):
        sweep(kept.parent)
        write_json(kept, seen)
    return seen


def common_size(sizes: Sequence[Sequence[int]]) -> tuple[int, int]:
    if sizes:
        height, width, count = sizes[0]
        if max(height, width) <= KEPT_SIDE and count >= 0.9 * sum(its for _, _, its in sizes):
            return height, width
    return DEFAULT_SIZE, DEFAULT_SIZE
