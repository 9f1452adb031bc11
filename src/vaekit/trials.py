"""Steps on a copy of the state, before the first real one: how fast the machine is, what it needs, and which batch suits it."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch
from torch import Tensor

from . import tuner, world
from .batches import Batches, free_memory
from .errors import UsageError
from .execution import Execution, settle
from .model import Model
from .state import State
from .step import Seen
from .train import abreast, calibrate, stacked, stepper, validate
from .training import Training

SIZES = tuple(2**i for i in range(4, 13))  # images, of a batch that is found by measuring
WORTH_DOUBLING = 1.1  # times the images a second, below which a smaller batch takes more steps for the same pictures
SHARE_OF_MEMORY = 0.8  # of what is free, that a batch found by measuring may take
EPOCH = 16  # steps at least


@dataclass(frozen=True)
class Estimate:
    """Counts, bytes and seconds."""

    parameters: int
    memory: int  # bytes, at the peak: of this process, or of the GPU's memory that it holds
    seconds: float  # for the whole budget
    speed: float  # images per second, measured


def estimate(model: Model, training: Training, speed: float, memory: int, runs: int = 1) -> Estimate:
    """What a training will take, told before its first step, where so many `runs` share the machine's speed."""
    return Estimate(sum(p.numel() for p in model.parameters()), memory, runs * training.seconds_at(speed), speed)


def trial(state: State, training: Training, batches: Batches) -> tuner.Trial:
    """Steps over the batch that comes next, on a copy of the state, and changing nothing."""
    batch = batches.at(state.step)

    def prepare(execution: Execution) -> Callable[[int], tuner.Outcome]:
        copied = twin(state, training, execution)
        return attempt(stepper(copied, training, execution), (batch.pixels, batch.known), copied)

    return prepare


def trial_together(states: Sequence[State], training: Training, batches: Sequence[Batches]) -> tuner.Trial:
    """As `trial`, of several states at once; the outcome is the mean of theirs."""
    seen = abreast([its.at(state.step) for its, state in zip(batches, states, strict=True)])

    def prepare(execution: Execution) -> Callable[[int], tuner.Outcome]:
        return attempt(stacked([twin(state, training, execution) for state in states], training, execution), seen)

    return prepare


def twin(state: State, training: Training, execution: Execution) -> State:
    """A copy to try things on, with the state's own average: no trial changes that, so there need be room for one only."""
    copied = state.copy(training)
    if not state.sharded:
        for mine, theirs in zip(copied.average.parameters(), state.average.parameters(), strict=True):
            mine.data = theirs.data
    execution.apply(copied.model, copied.average)
    return copied


def attempt(take: Callable[..., Tensor], seen: Seen, copied: State | None = None) -> Callable[[int], tuner.Outcome]:
    """A step that changes no weight: what it computes with the noise of a seed. `copied`: its state, which processes share."""

    def once(seed: int) -> tuner.Outcome:
        torch.manual_seed(seed)
        with world.alone():
            values = take(seen, 0, rate=0.0, keep=1.0)
        if copied and world.here.size > 1 and not copied.sharded:
            # The step alone did without what `world.average` needs: as much memory again as the gradients have.
            torch.cat([t.reshape(-1) for t in (*copied.gradients(), values)])
        loss, gradient_norm = values[..., [0, -1]].reshape(-1, 2).mean(0).tolist()
        return tuner.Outcome(loss, gradient_norm)

    return once


def rehearse(state: State, training: Training, execution: Execution, images: Callable[[slice], Seen], count: int) -> None:
    """Validate a copy of the state that took a step, over two batches of its `count` images, for the memory that it takes."""
    copied = twin(state, training, execution)
    step = stepper(copied, training, replace(execution, compile="off"))  # fills moments and gradients, as they will be
    with world.alone():
        step(images(slice(0, 2)), 0, rate=0.0, keep=1.0)
    few = min(count, 2 * state.model.at_once)  # what the second one takes is not always what the first one left
    copied.averaged(calibrate, copied.average, images, few, training.seed)
    copied.together(copied.averaged, validate, copied.average, copied.objective, images, few, training.seed)


def best_batch(state: State, training: Training, batches: Batches, clock: Callable[[], float] = time.perf_counter) -> int:
    """The smallest batch at which doubling it gains less than a tenth in images a second, or would not fit into memory."""
    execution, best, speed, before = settle(training), 0, 0.0, peak_memory(batches.device)
    execution.apply(state.model, state.average)
    for size in (each * world.here.size for each in SIZES):
        if best and size * EPOCH > len(batches.rows):
            break
        batches.resize(size)
        try:
            steps, images = trial(state, training, batches), batches.size // world.here.size
            found = tuner.measure(steps, execution, images, 1, clock).speed
        except torch.OutOfMemoryError:
            break
        if found < WORTH_DOUBLING * speed:
            break
        best, speed = size, found
        after = peak_memory(batches.device)
        if 2 * (after - before) > SHARE_OF_MEMORY * free_memory(batches.device):  # what twice the batch would take more
            break
        before = max(before, after)
    found = min(world.gathered(best))  # one that suits all processes
    if not found:
        raise UsageError(
            f"Not even {SIZES[0]} images fit into the memory of {batches.device}. Give smaller nets or pictures, or --batch-size "
            "with fewer."
        )
    batches.resize(found)
    return found


# Memory


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that this process has held so far, or held of the GPU's memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
