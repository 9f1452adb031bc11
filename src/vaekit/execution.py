"""Where and how a step runs: device, precision, memory layout, threads, compiled or not."""

import ctypes
import inspect
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import joblib
import torch
from torch import Tensor, nn

from . import world
from .convolutions import by_patches
from .errors import UsageError
from .objectives import Objective
from .training import Training

DEVICES = ("auto", "cpu", "cuda", "mps")
MODES = {"on": None, "whole": None, "reduce-overhead": "reduce-overhead", "max-autotune": "max-autotune"}  # torch.compile's
FORMATS = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
    "patches": torch.channels_last,  # and convolutions as products of patches where that is faster
}


@dataclass(frozen=True)
class Execution:
    """One way to run a step."""

    device: torch.device
    precision: str = "fp32"
    layout: str = "contiguous"  # of images and of what convolutions make of them
    compile: str = "off"
    threads: int = 1
    deterministic: bool = False

    def describe(self) -> dict[str, Any]:
        return asdict(self) | {"device": str(self.device)}

    def __str__(self) -> str:
        compiled = {"off": "not compiled", "on": "compiled", "whole": "compiled whole"}.get(
            self.compile, f"compiled ({self.compile})"
        )
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return ", ".join([str(self.device), self.precision, *[self.layout] * (self.layout != "contiguous"), threads, compiled])

    def apply(self, *modules: nn.Module) -> None:
        """Set what is kept per process, and lay out the weights and convolutions of `modules`."""
        keep_memory()
        torch.set_num_threads(self.threads)
        torch.use_deterministic_algorithms(self.deterministic)
        for module in modules:
            by_patches(module, self.layout == "patches")
            for weight in module.parameters():
                if weight.dim() == 4 and not weight.is_contiguous(memory_format=FORMATS[self.layout]):
                    weight.data = weight.data.contiguous(memory_format=FORMATS[self.layout])

    def compiled(self, function: Callable, *, whole: bool = False, constant: bool = False) -> Callable:
        """The function as this execution compiles it, anew for every number of threads that it is called with.

        One kernel for any number of threads would divide even the smallest loop among them. `whole`: a method as one graph, for
        an object whose settings never change. `constant`: the weights stay as they are, so they are laid out for products once.
        """
        if self.compile == "off":
            return function
        mode = MODES[self.compile]
        options: dict[str, Any] = dict(torch._inductor.list_mode_options(mode)) if mode else {}
        if whole:
            function = apart(function)
            options["guard_filter_fn"] = partial(can_change, function)
        found: dict[int, Callable] = {}

        def run(*inputs: Any) -> Any:
            threads = torch.get_num_threads()
            if threads not in found:
                options["cpp.threads"] = threads
                # Sizes never change; torch would guess that they do where another model was compiled before.
                found[threads] = torch.compile(function, fullgraph=whole, dynamic=False, options=dict(options))
            try:
                if not constant:
                    return found[threads](*inputs)
                with torch._inductor.config.patch(freezing=True):  # pyright: ignore - no option, because dynamo asks for it, too
                    return found[threads](*inputs)
            except torch._dynamo.exc.Unsupported as error:  # pyright: ignore[reportAttributeAccessIssue]
                reason = str(error).splitlines()[0]
                raise UsageError(
                    f"This model's step cannot be compiled whole ({reason}). Leave it in pieces: --compile on."
                ) from error

        return run

    def laid_out(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in this execution's memory layout."""
        return images.contiguous(memory_format=FORMATS[self.layout])


KEPT = 1 << 30  # bytes of freed memory that stay with a process, at most
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # glibc's malloc.h


def keep_memory() -> None:
    """Let freed memory stay with this process, where its C library is glibc and knows how.

    A step needs arrays of many MB, which malloc would hand back to the system, to get them anew for the next step with every page
    zeroed again: a tenth of the time that convolutions take. One heap for all threads, as only that of the first is kept so.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_THRESHOLD, KEPT)
        mallopt(M_TRIM_THRESHOLD, KEPT)


@contextmanager
def flushed() -> Iterator[None]:
    """Within it numbers below 1e-38 are 0, in this thread and in those that torch starts for it.

    The moments of weights that seldom see a lit pixel fade into such numbers, which made a step take twice as long.
    """
    kept = bool(torch.full((1,), 1e-30) * 1e-10)  # nobody says how it was
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(not kept)


def for_this_world(execution: Execution) -> Execution:
    """The same for one process. Several never take a step as one graph: their gradients meet between backward and update."""
    return replace(execution, compile="on") if execution.compile == "whole" and world.here.size > 1 else execution


def apart(function: Callable) -> Callable:
    """The same method with a code of its own: graphs are kept per code, where another model's would be found."""
    inner: Any = function.__func__  # pyright: ignore[reportFunctionMemberAccess]
    copied = FunctionType(inner.__code__.replace(), inner.__globals__, inner.__name__, inner.__defaults__, inner.__closure__)
    return MethodType(copied, function.__self__)  # pyright: ignore[reportFunctionMemberAccess]


def can_change(function: Callable, guards: Sequence[Any]) -> list[bool]:
    """Which of a graph's assumptions a call must check: those on what it gives. The model and its settings stay as they are."""
    given = inspect.signature(function).parameters
    owners = [re.match(r"(?:L\[')?(\w*)", guard.name) for guard in guards]  # at.images, in older torch L['at'].images
    return [not owner or not owner[1] or owner[1] in given for owner in owners]


def autocast(execution: Execution) -> torch.autocast:
    return torch.autocast(execution.device.type, torch.bfloat16, enabled=execution.precision == "bf16")


def multiplies_bf16(device: torch.device) -> bool:
    """Whether this device is known to have instructions for products of bf16; without them fp32 is faster."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = torch.cpu.get_capabilities() if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities") else {}
    return any(known.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def find_device(name: str) -> torch.device:
    """ "auto" is a GPU where there is one. Raises UsageError for a device that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = f"it is none of {', '.join(DEVICES)}"  # torch would name a score of others
        if name.partition(":")[0] in DEVICES:
            reason = str(error).splitlines()[0]
        raise UsageError(f"Device {name!r} cannot be used: {reason.rstrip('.')}. Try --device cpu or --device auto.") from error
    return torch.device(name)


def available_threads() -> int:
    """What OMP_NUM_THREADS says, else the processors that affinity and the container's quota leave to this process."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted):
        return int(wanted)
    return joblib.cpu_count()


def can_compile() -> bool:
    return shutil.which(os.environ.get("CXX", "c++")) is not None


def settle(training: Training) -> Execution:
    """What the settings decide without timing anything. Raises UsageError where several processes are asked for one graph."""
    if training.compile == "whole" and world.here.size > 1:
        raise UsageError("Several processes cannot take a step as one graph: give --compile on, or leave it to the clock.")
    return Execution(
        device=find_device(training.device),
        precision="bf16" if training.precision == "bf16" else "fp32",
        layout="contiguous" if training.layout == "auto" else training.layout,
        compile="off" if training.compile == "auto" else training.compile,
        threads=training.threads or available_threads(),
        deterministic=training.deterministic,
    )


def check_sharding(training: Training, objective: Objective) -> None:
    """Raises UsageError where these settings leave nothing to shard, or ask for what sharded weights cannot do."""
    if objective.pulls or objective.weighs:
        asked = "takes a gradient within the step" if objective.pulls else "asks how large weights are"
        raise UsageError(f"{type(objective).__name__} {asked}, which sharded weights cannot give. Leave out --shard.")
    if world.here.size == 1:
        raise UsageError(
            "--shard deals the weights to several processes, and this is one. Start them: torchrun --nproc-per-node 2 ..."
        )
    for flag, value, plain in (("--compile", training.compile, "off"), ("--layout", training.layout, "contiguous")):
        if value not in ("auto", plain):
            raise UsageError(f"Sharded weights cannot take {flag} {value}. Leave out --shard, or give {flag} {plain}.")
    if not training.batch_size:
        raise UsageError("With --shard nothing is found by measuring, so --batch-size auto finds no batch. Give its images.")


# A run that goes on, perhaps on another machine than it began on

CHOSEN = frozenset(("execution", "speed", "gain", "memory", "jointly"))  # in run.json: what was found on the device


def where_it_was(description: dict[str, Any], training: Training, say: Callable[[str], None]) -> dict[str, Any]:
    """What run.json says of a run, without how its steps ran where that was on a device which is not here.

    Raises UsageError where that device was asked for, or the bits that it computes.
    """
    if "execution" not in description:
        return description
    before = description["execution"]["device"]
    try:
        find_device(before)
    except UsageError as error:
        if description.get("status") == "finished":  # it takes no step any more, and stays what it was
            return description | {"execution": description["execution"] | {"device": "auto"}}
        if training.deterministic or training.device != "auto":
            asked = "--deterministic" if training.deterministic else f"--device {training.device}"
            raise UsageError(
                f"The run began on {before} with {asked}, and this machine has no such device. Go on where there is one, or "
                "train into another folder."
            ) from error
        say(f"The run began on {before}, which is not here. It goes on on {find_device('auto')}: its bits may differ.")
        return {name: value for name, value in description.items() if name not in CHOSEN}
    return description


def as_it_was(execution: Execution, training: Training, say: Callable[[str], None]) -> Execution:
    """How a run's steps ran, or as much of it as this machine can do. What was asked for stays, and so do deterministic bits."""
    changes: dict[str, Any] = {}
    if training.threads is None and execution.threads > available_threads():
        changes["threads"] = available_threads()
    if training.compile == "auto" and execution.compile != "off" and not can_compile():
        changes["compile"] = "off"
    if training.deterministic or not changes:
        return for_this_world(execution)
    told = ", ".join(f"{name} {value} instead of {getattr(execution, name)}" for name, value in changes.items())
    say(f"Here the run goes on with {told}: its bits may differ.")
    return for_this_world(replace(execution, **changes))
