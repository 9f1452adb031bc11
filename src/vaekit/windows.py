"""Shuffling images that do not fit into memory: whole blocks are read from the disk in random order, a window of them at a time.

A window is some tens of blocks from all over the file, read one after another and shuffled together; an epoch visits every
window. Memory holds the window in use, the one before it for a batch that began there, and the next one while a thread reads it.
How good the shuffle is: a batch-mate comes from the same block with probability 1 / (blocks in a window), where a full shuffle
of n images has (images in a block) / n; neighbours in the file do not stay neighbours, and each epoch mixes other blocks.
"""

import mmap
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

BLOCK_BYTES = 1 << 20
WINDOW_BYTES = 64 << 20


@dataclass(frozen=True)
class Plan:
    """One epoch: which blocks are read together, and in which order their images are seen."""

    epoch: int
    windows: list[np.ndarray]  # the numbers of their blocks, sorted as the file has them
    window_of: np.ndarray  # (blocks,), the window of each block
    order: np.ndarray  # (n,), places in `rows`
    mine: list[np.ndarray]  # of each window: the places that this process takes, sorted


def is_mapped(pixels: np.ndarray) -> bool:
    """Whether it is a whole memory map: its file has the same bytes, from `offset` on."""
    return isinstance(pixels, np.memmap) and isinstance(pixels.base, mmap.mmap) and pixels.flags.c_contiguous


def rows_of(pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A copy of some rows (n,), as contiguous bytes, that leaves no page of a memory map in this process's memory."""
    found = np.ascontiguousarray(pixels[rows])
    let_go(pixels)
    return found


def let_go(pixels: np.ndarray) -> None:
    """Unmap the pages of a memory map, which count as this process's memory; the system still caches their file."""
    base: Any = pixels
    if not isinstance(base, np.memmap) or base.mode != "r" or not hasattr(mmap, "MADV_DONTNEED"):
        return  # of a map that may be written to, unmapped pages can lose what was written
    while isinstance(base, np.ndarray):  # the map is below any views of it
        base = base.base
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)


class Windows:
    """Reads images (n, C, H, W) uint8 of an array or a memory map, of which `rows` (n,), sorted, are wanted."""

    def __init__(self, pixels: np.ndarray, rows: np.ndarray, seed: int):
        self.pixels, self.rows, self.seed = pixels, rows, seed
        self.mapped = is_mapped(pixels)
        image = int(np.prod(pixels.shape[1:]))
        self.block = max(1, BLOCK_BYTES // image)  # images
        self.count = -(-len(rows) // self.block)  # blocks
        self.span = max(1, WINDOW_BYTES // (self.block * image))  # blocks in a window
        self.reader = ThreadPoolExecutor(1, thread_name_prefix="vaekit-window")
        self.deal(1, slice(0, 1))

    def deal(self, batch: int, share: slice) -> None:
        """Hold a share of every batch of so many images only, as the processes of a world do."""
        self.batch, self.share = batch, share
        self.held: dict[tuple[int, int], Future[tuple[np.ndarray, np.ndarray]]] = {}
        self.plan = self.planned(0)

    def planned(self, epoch: int) -> Plan:
        rng = np.random.default_rng([self.seed, epoch])
        shuffled = rng.permutation(self.count)
        windows = [np.sort(shuffled[start : start + self.span]) for start in range(0, self.count, self.span)]
        window_of = np.empty(self.count, np.int64)
        parts, mine, begun = [], [], 0
        for number, blocks in enumerate(windows):
            window_of[blocks] = number
            places = rng.permutation(self.places(blocks))
            in_batch = (begun + np.arange(len(places))) % self.batch
            parts.append(places)
            mine.append(np.sort(places[(in_batch >= self.share.start) & (in_batch < self.share.stop)]))
            begun += len(places)
        return Plan(epoch, windows, window_of, np.concatenate(parts), mine)

    def order(self, epoch: int) -> np.ndarray:
        """The places (n,) in `rows` of an epoch, window after window."""
        if self.plan.epoch != epoch:
            self.plan = self.planned(epoch)
        return self.plan.order

    def take(self, places: np.ndarray) -> np.ndarray:
        """The images at some of this process's places in the order that was asked for last, a copy."""
        wanted = self.plan.window_of[places // self.block]
        out = np.empty((len(places), *self.pixels.shape[1:]), np.uint8)
        for number in np.unique(wanted):
            here = wanted == number
            inside, images = self.window(int(number)).result()
            out[here] = images[np.searchsorted(inside, places[here])]
        if wanted.max() + 1 < len(self.plan.windows):
            self.window(int(wanted.max()) + 1)
        return out

    def window(self, number: int) -> Future[tuple[np.ndarray, np.ndarray]]:
        """A window that is held or being read; the oldest beyond three is let go."""
        key = self.plan.epoch, number
        if key not in self.held:
            while len(self.held) >= 3:
                self.held.pop(next(iter(self.held)))
            self.held[key] = self.reader.submit(self.read, self.plan.windows[number], self.plan.mine[number])
        return self.held[key]

    def places(self, blocks: np.ndarray) -> np.ndarray:
        """The places in some blocks, sorted where these are."""
        all_of = (blocks[:, None] * self.block + np.arange(self.block)).ravel()
        return all_of[all_of < len(self.rows)]

    def read(self, blocks: np.ndarray, mine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places in some blocks, both sorted, and their images."""
        images = np.empty((len(mine), *self.pixels.shape[1:]), np.uint8)
        for block in blocks:
            begin, end = np.searchsorted(mine, (block * self.block, (block + 1) * self.block))
            if begin < end:
                rows = self.rows[mine[begin:end]]
                images[begin:end] = self.run(int(rows[0]), int(rows[-1]) + 1)[rows - rows[0]]
        let_go(self.pixels)
        return mine, images

    def run(self, start: int, stop: int) -> np.ndarray:
        """Consecutive rows. A memory map's file is read, not mapped: pages that are mapped count as this process's memory."""
        if not self.mapped:
            return self.pixels[start:stop]
        image = int(np.prod(self.pixels.shape[1:]))
        place = self.pixels.offset + start * image  # pyright: ignore[reportAttributeAccessIssue]
        read = np.fromfile(self.pixels.filename, np.uint8, (stop - start) * image, offset=place)  # pyright: ignore
        return read.reshape(stop - start, *self.pixels.shape[1:])

    def close(self) -> None:
        self.reader.shutdown(cancel_futures=True)
