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
from .batches import Batches
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

    def prepare(execution: Execution) -> Callable[[int], float]:
        return attempt(stepper(twin(state, training, execution), training, execution), (batch.pixels, batch.known))

    return prepare


def trial_together(states: Sequence[State], training: Training, batches: Sequence[Batches]) -> tuner.Trial:
    """As `trial`, of several states at once; the loss is the mean of theirs."""
    seen = abreast([its.at(state.step) for its, state in zip(batches, states, strict=True)])

    def prepare(execution: Execution) -> Callable[[int], float]:
        return attempt(stacked([twin(state, training, execution) for state in states], training, execution), seen)

    return prepare


def twin(state: State, training: Training, execution: Execution) -> State:
    copied = state.copy(training)
    execution.apply(copied.model, copied.average)
    return copied


def attempt(take: Callable[..., Tensor], seen: Seen) -> Callable[[int], float]:
    """A step that changes no weight: the loss with the noise of a seed."""

    def once(seed: int) -> float:
        torch.manual_seed(seed)
        with world.alone():
            return take(seen, 0, rate=0.0, keep=1.0)[..., 0].mean().item()

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
        except torch.OutOfMemoryError as error:
            if best:
                break
            raise UsageError(
                f"Not even {size} images fit into the memory of {batches.device}. Give smaller nets or pictures, or --batch-size "
                "with fewer."
            ) from error
        if found < WORTH_DOUBLING * speed:
            break
        best, speed = size, found
        after = peak_memory(batches.device)
        if 2 * (after - before) > SHARE_OF_MEMORY * free_memory(batches.device):  # what twice the batch would take more
            break
        before = max(before, after)
    batches.resize(world.agree(best))
    return batches.size


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


def free_memory(device: torch.device) -> int:
    """Bytes that nobody holds yet."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
