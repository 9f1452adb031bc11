"""The fastest way to run a step on this machine: timed on the real step before training, and watched while it goes on.

Beside a busy neighbour, two threads can be far slower than one: so threads are timed at every start, and timed again while
training whenever steps become slow. Precision, layout and compiling belong to the machine, and are remembered for as long as the
plain step is about as fast.
"""

import gc
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from json import dumps
from typing import Any, NamedTuple, TypeVar

import torch

from . import __version__, world
from .errors import DataError, UsageError
from .execution import Execution, available_threads, can_compile, settle
from .files import cache_folder, read_json, write_json
from .training import Training

WORTH_COMPILING = 240  # seconds of training below which a compiler's half a minute never pays
SECONDS_EACH = 0.6  # for timing one candidate
SEEDS = 3  # runs of the plain step that say how much an outcome changes with the noise alone
ALIKE = 1.3  # times as fast or as slow, up to which the plain step is that of the same machine, with the same neighbours

T = TypeVar("T")


class Outcome(NamedTuple):
    """What one step computes."""

    loss: float  # nats per image
    gradient_norm: float  # of nats per pixel value


CLOSE = Outcome(0.005, 0.05)  # of an outcome's own size: what rounding may change; bf16 rounds a gradient in every layer
Trial = Callable[[Execution], Callable[[int], Outcome]]  # an execution -> a seed -> what one step computes


@dataclass(frozen=True)
class Choice:
    """How steps will run, and how that was found."""

    execution: Execution
    speed: float  # images per second
    gain: float = 1.0  # over the plain way: fp32, all threads, not compiled
    remembered: bool = False


class Measured(NamedTuple):
    speed: float  # images per second
    outcomes: tuple[Outcome, ...]  # with the seeds 0, 1, ...


def choose(
    training: Training,
    trial: Trial,
    images: int,
    *,
    about: Any = None,
    convolves: bool = False,
    sharded: bool = False,
    runs: int = 1,
    say: Callable[[str], None] = lambda message: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Choice:
    """The fastest of the executions that the settings leave open and that compute what the plain step computes.

    `trial` takes one step over `images` images that changes nothing; `about` describes model and objective,
    so that the choice can be remembered; `convolves`: whether a memory layout matters; `runs`: how many trainings take that
    step at once. With `tune` off, in deterministic mode and for `sharded` weights, of which every process needs the others' for
    each step, nothing is chosen by the clock. Raises UsageError where not even the plain step fits into memory.
    """
    plain = settle(training)

    def timed(execution: Execution, seeds: int) -> Measured:
        return measure(trial, execution, images, seeds, world.clock if sharded else clock)

    try:
        measured = timed(plain, SEEDS)
    except torch.OutOfMemoryError as error:
        raise UsageError(
            f"A step over {images} images does not fit into the memory of {plain.device}. Give smaller nets or pictures, or "
            "--batch-size with fewer."
        ) from error
    if sharded or training.deterministic or not training.tune:
        return Choice(plain, measured.speed)
    search = Search(timed, plain, measured, say)
    if training.threads is None and plain.device.type == "cpu":
        for threads in halves(plain.threads):
            search.consider(threads=threads)
    before, compiling = search.speed, worth_compiling(runs * training.seconds_at(search.speed))
    key = key_of(training, plain, about, compiling)
    if known := remembered(key, before, say):
        search.consider(gain=0.0, **known)
    else:
        for change, gain in open_choices(training, plain, convolves, compiling, runs):
            search.consider(gain, **change)
        remember(key, search.execution, before)
    return Choice(search.execution, search.speed, search.speed / measured.speed, bool(known))


class Search:
    """One choice after another, each kept where it is faster and right."""

    def __init__(
        self, timed: Callable[[Execution, int], Measured], plain: Execution, measured: Measured, say: Callable[[str], None]
    ):
        self.timed, self.say = timed, say
        self.execution, self.speed, self.outcomes = plain, measured.speed, measured.outcomes
        self.tried = {plain}

    def consider(self, gain: float = 1.05, **change: Any) -> None:
        """Take the execution with this change where it is `gain` times faster."""
        candidate = replace(self.execution, **change)
        if candidate in self.tried:
            return
        self.tried.add(candidate)
        what = ", ".join(f"{name} {value}" for name, value in change.items())
        try:
            found = self.timed(candidate, 1)
        except Exception as error:  # noqa: BLE001 - a compiler that is there but broken must not end a training that can do without
            self.say(f"Not {what}: {type(error).__name__} while it was tried.")
            return
        if wrong := differing(found.outcomes[0], self.outcomes):
            self.say(f"Not {what}: its {wrong}.")
        elif found.speed > gain * self.speed:
            self.execution, self.speed = candidate, found.speed


def open_choices(
    training: Training, plain: Execution, convolves: bool, compiling: bool, runs: int
) -> Iterator[tuple[dict[str, str], float]]:
    """What the settings leave to the clock, with the gain that makes it worth it."""
    if training.precision == "auto" and plain.device.type != "mps":
        yield {"precision": "bf16"}, 1.05
    if training.layout == "auto" and convolves:
        yield {"layout": "channels_last"}, 1.05
        if plain.device.type == "cpu":
            yield {"layout": "patches"}, 1.05
            if training.precision == "auto":  # bf16 may pay with patches alone, whose products it is made for
                yield {"layout": "patches", "precision": "bf16"}, 1.05
    if training.compile == "auto" and compiling:
        if runs == 1:  # several at once are compiled whole or not at all
            yield {"compile": "on"}, 1.1
        if world.here.size == 1:  # gradients of several processes meet between backward and update
            yield {"compile": "whole"}, 1.05
        if plain.device.type == "cuda":
            yield {"compile": "reduce-overhead"}, 1.05  # CUDA graphs


def agrees(outcome: Outcome, plain: Sequence[Outcome]) -> bool:
    """Whether a step computes what the plain one computes, up to rounding and to what other noise would change."""
    return differing(outcome, plain) is None


def differing(outcome: Outcome, plain: Sequence[Outcome]) -> str | None:
    """What a step computes otherwise than the plain one, beyond rounding and what other noise would change, and by how much."""
    for name, close, value, others in zip(Outcome._fields, CLOSE, outcome, zip(*plain, strict=True), strict=True):
        centre = sum(others) / len(others)
        if not abs(value - centre) <= close * abs(centre) + 3 * (max(others) - min(others)):  # so that nan differs
            return f"{name.replace('_', ' ')} is {value:,.6g} where the plain step has {centre:,.6g}"
    return None


def halves(threads: int) -> list[int]:
    """8: 4, 2, 1."""
    return [threads >> i for i in range(1, threads.bit_length())]


def worth_compiling(seconds: float) -> bool:
    """Whether a compiler is here, and training goes on for so long that the time it takes comes back."""
    return can_compile() and seconds >= WORTH_COMPILING


def measure(
    trial: Trial, execution: Execution, images: int, seeds: int, clock: Callable[[], float] = time.perf_counter
) -> Measured:
    """Images per second of a step, the best of a few repeats, and what it computes."""
    run = trial(execution)
    try:
        outcomes = tuple(run(seed) for seed in range(seeds))
        best, spent = float("inf"), 0.0
        while spent < SECONDS_EACH:
            began = clock()
            run(0)  # its loss is read, so the device has finished
            took = clock() - began
            best, spent = min(best, took), spent + took
        return Measured(images / best, outcomes)
    finally:
        del run  # with its copy of all weights and moments
        if execution.compile != "off":
            gc.collect()  # compiled steps hold themselves
        if execution.device.type == "cuda":
            torch.cuda.empty_cache()


# What is remembered


def key_of(training: Training, plain: Execution, about: Any, compiling: bool) -> str:
    """Of the work and the machine it was timed on."""
    asked = [getattr(training, name) for name in ("batch_size", "precision", "layout", "compile", "flip", "freeze")]
    where = torch.cuda.get_device_name(plain.device) if plain.device.type == "cuda" else processor()
    parts = [asked, compiling, where, plain.threads, world.here.size, torch.__version__, __version__, about]
    return sha256(dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def processor() -> str:
    with suppress(OSError), open("/proc/cpuinfo") as lines:
        return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return platform.processor() or platform.machine()


def remembered(key: str, speed: float, say: Callable[[str], None]) -> dict[str, str] | None:
    """What was found when the plain step was about as fast as now; beside a busy neighbour other things pay."""
    try:
        known = read_json(cache_folder() / "tuned" / f"{key}.json")
        found = {name: known[name] for name in ("precision", "layout", "compile")}
        times = speed / known["plain_speed"]
    except (OSError, DataError, KeyError, TypeError, ZeroDivisionError):
        return None
    if 1 / ALIKE <= times <= ALIKE:
        return found
    say(f"Timed again: the plain step is {times:,.2f} times as fast as when its fastest way was found.")
    return None


def remember(key: str, execution: Execution, speed: float) -> None:
    """Keep what was found when the plain step had this speed, in images per second."""
    folder = cache_folder() / "tuned"
    with suppress(OSError):  # a cache that cannot be written costs seconds at the next start, no more
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{key}.json", execution.describe() | {"plain_speed": speed})


# While training


def attended(
    steps: Iterator[T],
    training: Training,
    execution: Execution,
    say: Callable[[str], None],
    passed: Callable[[], float] = lambda: 0.0,
) -> Iterator[T]:
    """The steps, with an eye on their speed where the number of threads is left open. `passed`: the budget's spent fraction."""
    if training.threads is not None or training.deterministic or execution.device.type != "cpu":
        return steps

    def worth(speed: float) -> bool:
        left = (1 - passed()) * training.seconds_at(speed * training.batch_size)
        return execution.compile == "off" or worth_compiling(left)

    return Attention(execution.threads, available_threads(), say, worth=worth).watch(steps)


class Attention:
    """Watches the speed of steps, and times other thread counts when steps have become slow or a neighbour may have left.

    `worth`: whether, at so many steps per second, a number of threads may be tried for which nothing is compiled yet.
    """

    WINDOW = 2.0  # seconds of steps that one speed is taken from
    SLOW = 0.6  # of the best speed seen
    REST = 20.0  # seconds until threads are timed again; doubled each time, up to LONGEST
    LONGEST = 300.0

    def __init__(
        self,
        threads: int,
        most: int,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        worth: Callable[[float], bool] = lambda speed: True,
    ):
        self.threads, self.most, self.say, self.clock, self.worth = threads, most, say, clock, worth
        self.counts = sorted({threads, most, *halves(most)})
        self.ready = {threads}  # counts for which steps were compiled, where they are
        self.rest, self.due = self.REST, clock() + self.REST
        self.best = 0.0  # steps per second
        self.found: dict[int, float] = {}

    def watch(self, steps: Iterator[T]) -> Iterator[T]:
        """The same steps; only the time that they take themselves is counted, and none that may compile for other threads."""
        count, spent, compiled = 0, 0.0, 0
        while True:
            began = self.clock()
            step = next(steps, None)
            if step is None:
                return
            if compiled == self.threads:
                count, spent = count + 1, spent + self.clock() - began
            compiled = self.threads
            if spent >= self.WINDOW:
                self.judge(count / spent)
                count, spent = 0, 0.0
            yield step

    def judge(self, speed: float) -> None:
        """Take in the speed of the last window, in steps per second."""
        self.best = max(self.best, speed)
        if self.found:
            self.found[self.threads] = speed
        elif self.clock() >= self.due and (speed < self.SLOW * self.best or self.threads != self.most):
            self.found = {self.threads: speed}
        if self.found:
            untried = self.untried(speed)
            if untried is None:
                self.decide()
            else:
                self.use(untried)

    def untried(self, speed: float) -> int | None:
        """A count beside the fastest found; None when both were tried. A compiled step is compiled for each, so they are few."""
        place = self.counts.index(max(self.found, key=lambda count: self.found[count]))
        beside = [count for count in self.counts[max(place - 1, 0) : place + 2] if count not in self.found]
        return next((count for count in beside if count in self.ready or self.worth(speed)), None)

    def decide(self) -> None:
        """Stay with the fastest; `found` begins with what was in use."""
        before, now = next(iter(self.found)), max(self.found, key=lambda count: self.found[count])
        if now != before:
            gain = self.found[now] / self.found[before]
            self.say(
                f"Threads: {now} instead of {before}, {gain:.1f} times as fast now that other work shares the processor or left."
            )
        self.use(now)
        self.found = {}
        self.rest = min(2 * self.rest, self.LONGEST)
        self.due = self.clock() + self.rest

    def use(self, threads: int) -> None:
        self.threads = threads
        self.ready.add(threads)
        torch.set_num_threads(threads)
