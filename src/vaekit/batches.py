"""Batches of images, as a function of the step alone: whoever knows (seed, step) knows the batch, so a resumed run needs no more.

Images stay uint8 until they are on the device. They live there when they fit; else they are read in windows (windows.py), and a
thread gathers batches ahead of time. Where several processes share the work, each takes its share of a batch.
"""

import math
import queue
import threading
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

from . import world
from .windows import Windows, is_mapped, rows_of

SHARE_OF_MEMORY = 0.25  # of the device's free memory that the images may take
COPIED = 4096  # images to the device at once
AHEAD = 3  # batches gathered before they are needed
# Of control groups of either version: the files of the limit and of what is held, and the name of idle file pages in memory.stat.
V1 = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
V2 = "memory.max", "memory.current", "inactive_file"


def mix(*numbers: int) -> int:
    """One seed from several, such that neighbours share nothing, by SplitMix64 (Steele, Lea & Flood, 2014)."""
    mixed = 0
    for number in numbers:
        mixed = (mixed ^ number) + 0x9E3779B97F4A7C15 & WORD
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & WORD
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & WORD
        mixed ^= mixed >> 31
    return mixed >> 1


WORD = 2**64 - 1


@dataclass(frozen=True)
class Batch:
    """B images of the training split: this process's share of a batch."""

    rows: np.ndarray  # (B,) int64, rows of Dataset.pixels
    pixels: Tensor  # (B, C, H, W) uint8, on the device
    known: Tensor  # (B, Y), on the device: what a conditional model is told; Y = 0 for any other


class Batches:
    """An endless sequence of shuffled batches; an epoch visits every row once, save a rest too small for a batch.

    pixels: (N, C, H, W) uint8, an array or a memory map. rows: the images to use, (n,), sorted; one may be there several times.
    windowed: whether they are shuffled window by window; None: where they do not fit on the device. The order of the images
    depends on it. known: (N, Y), what a conditional model is told of each image.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        rows: np.ndarray,
        size: int,
        seed: int,
        device: torch.device,
        *,
        windowed: bool | None = None,
        known: np.ndarray | None = None,
    ):
        self.rows, self.seed, self.device, self.windows = rows, seed, device, None
        self.known = torch.from_numpy(np.empty((pixels.shape[0], 0), np.float32) if known is None else known).to(device)
        self.resize(size)
        room = fits(pixels, rows, device)
        self.windowed = not room if windowed is None else windowed
        held = room and not self.windowed
        self.mapped = held and device.type == "cpu" and world.here.size > 1 and is_mapped(pixels)
        once, self.places = np.unique(rows, return_inverse=True)
        self.resident = mapped(pixels) if self.mapped else resident(pixels, once, device) if held else None
        if self.windowed:
            self.windows = self.dealt(seed, pixels)
        self.source = pixels
        self.epoch, self.order, self.lock = -1, np.empty(0, np.int64), threading.Lock()

    def resize(self, size: int) -> None:
        """Make batches of so many images, or of all that can be dealt where there are fewer."""
        dealt = len(self.rows) // world.here.size * world.here.size
        self.size = min(size, dealt or len(self.rows))  # of the whole batch
        self.share = world.share(self.size)
        self.per_epoch = len(self.rows) // self.size
        if self.windows:
            self.windows.deal(self.size, self.share)

    @property
    def count(self) -> int:
        """How many images there are."""
        return len(np.unique(self.rows))

    @property
    def told(self) -> int:
        """Of how many of them anything is known."""
        return int((~self.known[np.unique(self.rows)].isnan()).any(1).sum())

    def dealt(self, seed: int, pixels: np.ndarray) -> Windows:
        """Windows in the order of a seed that hold what this process takes."""
        windows = Windows(pixels, self.rows, seed)
        windows.deal(self.size, self.share)
        return windows

    def reseeded(self, seed: int) -> "Batches":
        """The same images in the order of another seed; those on the device are shared."""
        other = copy(self)
        other.seed, other.epoch, other.lock = seed, -1, threading.Lock()
        if self.windows:
            other.windows = self.dealt(seed, self.source)
        return other

    def at(self, step: int) -> Batch:
        """The batch of a step, counted from 0. Several threads may ask at once: one gathers ahead while another looks back."""
        with self.lock:
            return self.gathered(step)

    def gathered(self, step: int) -> Batch:
        epoch, position = divmod(step, self.per_epoch)
        if epoch != self.epoch:
            self.epoch = epoch
            shuffled = np.random.default_rng([self.seed, epoch]).permutation
            self.order = self.windows.order(epoch) if self.windows else shuffled(len(self.rows))
        chosen = self.order[position * self.size : (position + 1) * self.size][self.share]
        rows = self.rows[chosen]
        known = self.known.index_select(0, torch.from_numpy(rows).to(self.device))
        if self.resident is not None:
            places = torch.from_numpy(rows if self.mapped else self.places[chosen]).to(self.device)
            # Faster than within a compiled step, which would gather value by value.
            return Batch(rows, self.resident.index_select(0, places), known)
        images = self.windows.take(chosen) if self.windows else rows_of(self.source, rows)
        return Batch(rows, torch.from_numpy(images).to(self.device), known)

    def since(self, step: int) -> Iterator[Batch]:
        """Batches from a step on, without end."""
        if self.resident is not None:
            while True:
                yield self.at(step)
                step += 1
        yield from ahead(self, step)


def fits(pixels: np.ndarray, rows: np.ndarray, device: torch.device) -> bool:
    """Whether the chosen images would take a small enough share of the device's free memory."""
    return len(rows) * int(np.prod(pixels.shape[1:])) <= SHARE_OF_MEMORY * free_memory(device)


def resident(pixels: np.ndarray, rows: np.ndarray, device: torch.device) -> Tensor:
    """The chosen images on the device, (n, C, H, W) uint8."""
    held = torch.empty((len(rows), *pixels.shape[1:]), dtype=torch.uint8, device=device)
    for start in range(0, len(rows), COPIED):
        held[start : start + COPIED] = torch.from_numpy(rows_of(pixels, rows[start : start + COPIED]))
    return held


def mapped(pixels: np.ndarray) -> Tensor:
    """All images of a memory map, which the processes of one machine then hold once for all of them."""
    whole: Any = pixels
    return torch.from_numpy(np.memmap(whole.filename, np.uint8, "c", whole.offset, whole.shape))  # "c": torch wants to write


def ahead(batches: Batches, step: int) -> Iterator[Batch]:
    """Batches gathered by a thread, so that reading the disk overlaps with the step; the thread ends with the iterator."""
    ready: queue.Queue[Batch | BaseException] = queue.Queue(AHEAD)
    closed = threading.Event()

    def put(item: Batch | BaseException) -> bool:
        while not closed.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def gather() -> None:
        try:
            if device is not None:
                torch.cuda.set_device(device)
            now = step
            while put(batches.at(now)):
                now += 1
        except BaseException as error:  # noqa: BLE001 - it is raised again where the batch is asked for
            put(error)

    # A new thread begins with the first GPU, and this process may have another one.
    device = torch.cuda.current_device() if batches.device.type == "cuda" and batches.device.index is None else None
    thread = threading.Thread(target=gather, name="vaekit-gather", daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed.set()
        thread.join()


# Memory


def free_memory(device: torch.device) -> int:
    """Bytes that nobody holds yet: of a GPU, or of this machine within the limits of a container or a job."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(min(psutil.virtual_memory().available, left_by_groups()))


def left_by_groups(told: Path = Path("/proc/self/cgroup"), home: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that the limits of this process's control groups leave, inf without any. `told`: which ones they are; `home`: all.

    A limit holds for all groups below its own, so each one above this process's counts. In a container the topmost one there is
    may be the container's, whatever path the kernel has for it.
    """
    left = math.inf
    for line in told.read_text().splitlines() if told.exists() else []:  # only Linux has them
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, files = home, V2
        elif "memory" in controllers.split(","):
            top, files = home / "memory", V1
        else:
            continue
        own = PurePosixPath(path)
        left = min(left, *(left_in(top / group.relative_to("/"), *files) for group in (own, *own.parents)))
    return left


def left_in(group: Path, limit: str, held: str, cache: str) -> float:
    """Bytes that one control group may still take, inf where it has no limit."""
    try:
        most, now = ((group / name).read_text() for name in (limit, held))
    except OSError:  # no such group here, or the topmost of a machine, which has no limit
        return math.inf
    if most.strip() == "max":
        return math.inf
    about = group / "memory.stat"
    lines = about.read_text().splitlines() if about.exists() else []
    idle = sum(int(line.split()[1]) for line in lines if line.startswith(f"{cache} "))  # given back when memory is asked for
    return max(int(most) - int(now) + idle, 0)
