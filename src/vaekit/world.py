"""The processes that train one model together, as torchrun starts them; a process alone is a world of one.

A batch belongs to the whole world. While it is `dealt`, each process holds an equal run of its images, draws the random numbers
of the whole batch and keeps those of its own images, and a mean over images is the mean over the whole batch, its gradient too.
So what a step computes does not depend on how many processes take it.
"""

import contextlib
import gc
import importlib
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store, _abort_process_group, _set_pg_timeout
from torch.distributed.rendezvous import rendezvous

from .errors import UsageError, VaekitError

PATIENCE = timedelta(hours=2)  # the first process may be decoding pictures while the others wait
SILENCE = timedelta(minutes=5)  # of a process among steps, after which it is taken for lost


@dataclass
class World:
    """Which of how many processes this is."""

    rank: int = 0
    size: int = 1
    dealt: bool = False  # whether a tensor with an image dimension is this process's share of a batch
    wait: timedelta = PATIENCE  # for others
    mesh: Any = None  # all processes as torch's sharding wants them, once it was asked for

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0


here = World()


@contextlib.contextmanager
def join() -> Iterator[World]:
    """Meet the other processes where torchrun started this one; leave them at the end.

    Nothing may hold sharded weights any more by then.

    Raises VaekitError where another one is lost on the way: it died, or nothing comes from it any more.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield here
        return
    apiece = 0 < int(os.environ.get("LOCAL_WORLD_SIZE", "1")) <= torch.cuda.device_count()  # a GPU for each process here
    if apiece:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # Its functions take the group they find at import as their default. Imported later, as compilers do, they would keep the
    # group and its threads beyond its end, and a thread that outlives Python aborts the process (torch 2.13).
    importlib.import_module("torch.distributed.nn.functional")
    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    backend = "cuda:nccl,cpu:gloo" if apiece else "gloo"
    dist.init_process_group(backend, store=fresh(store, rank, size), rank=rank, world_size=size, timeout=PATIENCE)
    here.rank, here.size, whole = rank, size, False
    try:
        yield here
        meet()  # none takes its end of a connection away while another still uses it
        whole = True
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        reason = str(error).partition("] ")[2].partition(". ")[0] or error
        raise VaekitError(
            f"Lost another of the {size} processes ({reason}). Look for what it said itself, or at its host and the network. "
            "What was saved stays: run the same command again, on every host."
        ) from error
    finally:
        here.rank, here.size = 0, 1
        let_go()
        if apiece and not whole:
            _abort_process_group()  # a plain end would wait for kernels whose peer is gone
        else:
            dist.destroy_process_group()


def mesh(kind: str) -> Any:
    """All processes, with devices of this kind, as torch's sharding wants them."""
    if here.mesh is None:
        here.mesh = importlib.import_module("torch.distributed.device_mesh").init_device_mesh(kind, (here.size,))
    return here.mesh


def let_go() -> None:
    """Make nothing hold the group: its threads would outlive it. Sharded modules hold each other, torch's caches their mesh, and
    an error on its way out holds all that its functions knew."""
    if here.mesh is None:
        return
    error = sys.exc_info()[1]
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    here.mesh._pg_registry.clear()
    here.mesh = None
    gc.collect()


def fresh(store: Store, rank: int, size: int) -> Store:
    """A part of torchrun's store that is new to this start of the job, agreed on by all processes.

    Where a killed process makes torchrun start all of them again, they find the store as the others left it, with addresses at
    which nobody listens any more (torch 2.13). The first process names a new part, and goes on answering until all have it.
    Raises VaekitError where one never comes.
    """
    name = uuid4().hex
    if rank:
        store.set(f"vaekit/asking/{rank}", name)
        name = store.get(f"vaekit/answer/{name}").decode()
        store.set(f"vaekit/met/{name}/{rank}", "")
        return PrefixStore(name, store)
    late = time.monotonic() + PATIENCE.total_seconds()
    while missing := [other for other in range(1, size) if not store.check([f"vaekit/met/{name}/{other}"])]:
        if time.monotonic() > late:
            raise VaekitError(
                f"Of the {size} processes, {', '.join(map(str, missing))} did not come within {PATIENCE}. Look for what they "
                "said themselves, or at their host and the network; run the same command again, on every host."
            )
        for other in range(1, size):
            if store.check([f"vaekit/asking/{other}"]):
                store.set(f"vaekit/answer/{store.get(f'vaekit/asking/{other}').decode()}", name)
        time.sleep(0.05)
    return PrefixStore(name, store)


@contextlib.contextmanager
def prompt() -> Iterator[None]:
    """Within it, a process that is silent for `SILENCE` is taken for lost; without it, others wait for it with `PATIENCE`."""
    with waiting(SILENCE):
        yield


@contextlib.contextmanager
def patient() -> Iterator[None]:
    """Within it, as the first process writes what may take long, the others wait with `PATIENCE`; all leave it together."""
    with waiting(PATIENCE):
        yield
        meet()


@contextlib.contextmanager
def waiting(time: timedelta) -> Iterator[None]:
    """Within it, processes wait so long for each other."""
    if here.size == 1:
        yield
        return
    before, here.wait = here.wait, time
    _set_pg_timeout(time)
    try:
        yield
    finally:
        here.wait = before
        _set_pg_timeout(before)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Within it, this process works by itself: nothing waits for the others."""
    before = here.size
    here.size = 1
    try:
        yield
    finally:
        here.size = before


@contextlib.contextmanager
def dealt() -> Iterator[None]:
    """Within it, tensors with an image dimension are this process's share of a batch of the whole world."""
    before, here.dealt = here.dealt, here.size > 1
    try:
        yield
    finally:
        here.dealt = before


@contextlib.contextmanager
def undealt() -> Iterator[None]:
    """Within it, where a batch is dealt, tensors are those of the whole batch all the same, in every process."""
    before, here.dealt = here.dealt, False
    try:
        yield
    finally:
        here.dealt = before


def share(batch: int) -> slice:
    """This process's images of a batch of so many. Raises UsageError where they cannot be dealt equally."""
    if batch % here.size:
        raise UsageError(
            f"A batch of {batch} images cannot be dealt equally to {here.size} processes. Give a multiple: --batch-size "
            f"{-(-batch // here.size) * here.size}"
        )
    each = batch // here.size
    return slice(here.rank * each, (here.rank + 1) * each)


# Random numbers


def normal(shape: Sequence[int], images: int, like: Tensor) -> Tensor:
    """Standard normal numbers of this shape, whose dimension `images` counts images, with the type and device of `like`."""
    return kept(torch.randn(whole(shape, images), dtype=like.dtype, device=like.device), images)


def uniform(shape: Sequence[int], images: int, like: Tensor) -> Tensor:
    """Numbers from [0, 1) of this shape, whose dimension `images` counts images, with the type and device of `like`."""
    return kept(torch.rand(whole(shape, images), dtype=like.dtype, device=like.device), images)


def whole(shape: Sequence[int], images: int) -> list[int]:
    sizes = list(shape)
    if here.dealt:
        sizes[images] *= here.size
    return sizes


def kept(drawn: Tensor, images: int) -> Tensor:
    if not here.dealt:
        return drawn
    each = drawn.shape[images] // here.size
    return drawn.narrow(images, here.rank * each, each)


# Means over the whole batch
#
# Operations of torch's own kind: a compiler that looked into them would keep the group in its graph, and the group's threads
# beyond Python's end, which aborts the process (torch 2.13).


@torch.library.custom_op("vaekit::total", mutates_args=())
def total(t: Tensor) -> Tensor:
    """The sum over all processes. Each process's loss depends on it, so its gradient is the sum of theirs."""
    t = t.contiguous().clone()
    dist.all_reduce(t)
    return t


@total.register_fake
def _(t: Tensor) -> Tensor:
    return torch.empty_like(t, memory_format=torch.contiguous_format)


total.register_autograd(lambda _, gradient: total(gradient))


def mean(t: Tensor) -> Tensor:
    """A mean over a share's images, made the mean over the whole batch."""
    return total(t) / here.size if here.dealt else t


@torch.library.custom_op("vaekit::union", mutates_args=())
def union(t: Tensor) -> Tensor:
    """The shares of all processes, one after another; what each process's loss says of them adds up in its gradient."""
    parts = [torch.empty_like(t, memory_format=torch.contiguous_format) for _ in range(here.size)]
    dist.all_gather(parts, t.contiguous())
    return torch.cat(parts)


@union.register_fake
def _(t: Tensor) -> Tensor:
    return t.new_empty(here.size * t.shape[0], *t.shape[1:])


union.register_autograd(lambda _, gradient: total(gradient)[share(len(gradient))])


def united(t: Tensor) -> Tensor:
    """What a share's images have, (B, ...), made that of all images of the batch."""
    return union(t) if here.dealt else t


def own(t: Tensor) -> Tensor:
    """Of what all images of the batch have, (B, ...), that of this share's images."""
    return t[share(len(t))] if here.dealt else t


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Replace tensors, such as gradients, by their means over all processes; all travel together."""
    if here.size == 1:
        return
    flat = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(flat)
    flat /= here.size
    parts = flat.split([t.numel() for t in tensors])
    torch._foreach_copy_(list(tensors), [part.view_as(t) for t, part in zip(tensors, parts, strict=True)])  # pyright: ignore[reportPrivateImportUsage]


# Agreement


def meet() -> None:
    """Wait until every process is here."""
    if here.size > 1:
        dist.barrier()


def agree(value: Any) -> Any:
    """The first process's value, in every process."""
    if here.size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def same(number: float) -> float:
    """The first process's number, in every process: quick enough for every step."""
    if here.size == 1:
        return number
    box = torch.tensor(number, dtype=torch.float64)
    dist.broadcast(box, src=0)
    return box.item()


def clock() -> float:
    """Seconds, by the first process's clock: what depends on it happens in all processes."""
    return same(time.perf_counter())


def some(flag: bool) -> bool:
    """Whether it is so in any process."""
    if here.size == 1:
        return flag
    box = torch.tensor(int(flag))
    dist.all_reduce(box, op=dist.ReduceOp.MAX)
    return bool(box)


def gathered(value: Any) -> list[Any]:
    """Every process's value, in the order of their ranks."""
    if here.size == 1:
        return [value]
    values: list[Any] = [None] * here.size
    dist.all_gather_object(values, value)
    return values
