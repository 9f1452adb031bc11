"""Where and how fast a step runs: device, precision, threads, compiled or not. Chosen by timing the real step."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import joblib
import torch

from .errors import UsageError
from .training import Training

WORTH_COMPILING = 240  # seconds of training below which a compiler's half a minute never pays
SECONDS_EACH = 0.6  # for timing one candidate


@dataclass(frozen=True)
class Execution:
    """One way to run a step."""

    device: torch.device
    precision: str = "fp32"
    compile: bool = False
    threads: int = 1
    deterministic: bool = False

    def describe(self) -> dict[str, Any]:
        return asdict(self) | {"device": str(self.device)}

    def apply(self) -> None:
        """Set what torch keeps per process."""
        torch.set_num_threads(self.threads)
        torch.use_deterministic_algorithms(self.deterministic)

    def compiled(self, function: Callable) -> Callable:
        return torch.compile(function) if self.compile else function


def autocast(execution: Execution) -> torch.autocast:
    return torch.autocast(execution.device.type, torch.bfloat16, enabled=execution.precision == "bf16")


def find_device(name: str) -> torch.device:
    """ "auto" is a GPU where there is one. Raises UsageError for a device that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"Device {name!r} cannot be used ({reason}). Try --device cpu or --device auto.") from error
    return torch.device(name)


def available_threads() -> int:
    """What OMP_NUM_THREADS says, else the processors that affinity and the container's quota leave to this process."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted):
        return int(wanted)
    return joblib.cpu_count()


def settle(training: Training) -> Execution:
    """What the settings decide without timing anything."""
    return Execution(
        device=find_device(training.device),
        precision="bf16" if training.precision == "bf16" else "fp32",
        compile=training.compile == "on",
        threads=training.threads or available_threads(),
        deterministic=training.deterministic,
    )


def choose(
    training: Training,
    step: Callable[[Execution], Callable[[], object]],
    images: int,
    say: Callable[[str], None] = lambda message: None,
) -> tuple[Execution, float]:
    """The fastest way to run the step among those the settings leave open, and its images per second.

    `step(execution)` gives a function that runs forward and backward once over `images` images and changes nothing. In
    deterministic mode nothing is chosen by the clock.
    """
    execution = settle(training)
    speed = measure(step, execution, images)
    if training.deterministic:
        return execution, speed

    def consider(candidate: Execution, gain: float = 1.05) -> None:
        nonlocal execution, speed
        try:
            other = measure(step, candidate, images)
        except Exception as error:  # noqa: BLE001 - a compiler that is there but broken must not end a training that can do without
            say(f"Not {'compiled' if candidate.compile else candidate.precision}: {type(error).__name__} while it was tried.")
            return
        if other > gain * speed:
            execution, speed = candidate, other

    if training.threads is None and execution.device.type == "cpu":
        for threads in halves(execution.threads):  # beside a busy neighbour, two threads can be 50 times slower than one
            consider(replace(execution, threads=threads))
    if training.precision == "auto" and execution.device.type != "mps":
        consider(replace(execution, precision="bf16"))
    if training.compile == "auto" and worth_compiling(training, speed):
        consider(replace(execution, compile=True), gain=1.1)
    return execution, speed


def halves(threads: int) -> list[int]:
    """8: 4, 2, 1."""
    return [threads >> i for i in range(1, threads.bit_length())]


def worth_compiling(training: Training, speed: float) -> bool:
    if shutil.which(os.environ.get("CXX", "c++")) is None:
        return False
    images = [n for n in (training.images, training.epochs and training.epochs * training.epoch) if n]
    seconds = [n / speed for n in images] + ([60 * training.minutes] if training.minutes else [])
    return min(seconds) >= WORTH_COMPILING


def measure(step: Callable[[Execution], Callable[[], object]], execution: Execution, images: int) -> float:
    """Images per second of forward and backward, the best of a few repeats."""
    execution.apply()
    run = step(execution)
    run()
    best, spent = float("inf"), 0.0
    while spent < SECONDS_EACH:
        began = time.perf_counter()
        run()
        if execution.device.type == "cuda":
            torch.cuda.synchronize()
        took = time.perf_counter() - began
        best, spent = min(best, took), spent + took
    return images / best
