"""Open a folder of pictures: scan, survey, ingest, index. All but the scan come from the cache the next time."""

import gc
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from . import celeba
from .cache import key_of, writing
from .chunks import Chunk
from .dataset import Dataset
from .index import Wish, tables_of
from .ingest import Progress
from .pictures import ingested
from .pool import Pool
from .scan import Scan, scan
from .tars import open_tars


class Folder:
    """The pictures of a scan, read by the decoding processes."""

    def __init__(self, root: Path, found: Scan):
        self.where = self.root = str(root)
        self.names = found.names
        self.count = len(found.names)
        self.key = key_of(str(root), found.names, found.stamps)

    def chunks(self, most: int, start: int | None = None) -> Iterator[Chunk]:
        for place in range(start or 0, self.count, most):
            names = self.names[place : place + most]
            then = place + len(names)
            yield Chunk(names, None, then, then / self.count, {})


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
    """A folder of pictures, in CelebA's layout or not, or of tars of them, as a Dataset called `name`.

    Raises DataError, VaekitError.
    """
    faces = celeba.pictures(root)
    opened = cache / "folders" / key_of(str(root))
    new = not opened.exists()
    early = new and os.environ.get("LOCAL_RANK", "0") == "0"  # of the processes of torchrun one decodes, while the others wait

    def start(files: int) -> None:
        if early:  # else there will hardly be anything to decode
            pool.expect(files)
            pool.feed()

    def read_tables() -> None:
        beside.submit(lambda: tables.attributes_of)  # what is wrong with them is told when they are wanted

    with ThreadPoolExecutor(1, "tables") as beside, Pool(workers, meanwhile=read_tables) as pool:
        found = scan(root, faces or "", met=start)
        if found.names:
            pool.expect(len(found.names))
            tables = tables_of(root, found.names, faces is not None, wish)
            done = ingested(Folder(root, found), wish, cache, pool=pool, progress=progress)
    if not found.names:
        paths = [str(root / tar) for tar in sorted(found.tars)]
        return open_tars(paths, wish, cache, name=name, source=source, progress=progress, workers=workers, root=str(root))
    if new:
        with writing(opened.parent):
            opened.touch()
    made_from = [tables.stamps(), sorted(found.ignored.items()), found.findings]
    return done.dataset(name, source, made_from, lambda: (found, tables))
