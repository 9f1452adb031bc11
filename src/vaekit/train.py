"""The training loop: a generator of steps. Whoever consumes it logs, saves, draws or stops.

Everything a step does is a function of (state, step number): the batch, the noise, the rate. So a run that is stopped and
resumed at any step goes on with the same bits.
"""

import math
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from . import world
from .batches import Batch, Batches, mix
from .execution import Execution, autocast
from .model import VAE
from .objectives import Objective
from .part import build, describe
from .terms import distortion, rate
from .trace import At, Trace
from .training import Training


@dataclass
class State:
    """Everything that training changes. Weights, their average, the optimiser, and where we are."""

    model: VAE
    objective: Objective
    average: VAE  # exponential moving average of the model's weights
    optimizer: torch.optim.AdamW
    step: int = 0  # steps taken
    images: int = 0  # images seen
    seconds: float = 0.0  # spent, over all sittings
    rate_scale: float = 1.0  # halved after a non-finite step
    notes: dict[str, Any] = field(default_factory=dict)  # plain JSON that the consumer keeps with the state

    @classmethod
    def start(cls, model: VAE, objective: Objective, training: Training, device: torch.device) -> "State":
        model, objective = model.to(device), objective.to(device)
        average = build(describe(model)).to(device).requires_grad_(False).eval()
        average.load_state_dict(model.state_dict())
        parameters = [p for p in (*model.parameters(), *objective.parameters()) if p.requires_grad]
        matrices = {"params": [p for p in parameters if p.dim() > 1]}
        others = {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0}  # biases and scales are not decayed
        optimizer = torch.optim.AdamW(
            [group for group in (matrices, others) if group["params"]],
            lr=training.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=training.weight_decay,
            fused=True,
        )
        return cls(model, objective, average, optimizer)

    def tensors(self) -> dict[str, Tensor]:
        """All of it that is tensors, by name."""
        named = {
            f"{owner}.{name}": tensor
            for owner in ("model", "objective", "average")
            for name, tensor in getattr(self, owner).state_dict().items()
        }
        for index, moments in self.optimizer.state_dict()["state"].items():
            named |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
        return named

    def position(self) -> dict[str, Any]:
        """All of it that is not: plain JSON."""
        names = ("step", "images", "seconds", "rate_scale", "notes")
        return {name: getattr(self, name) for name in names}

    def restore(self, tensors: dict[str, Tensor], position: dict[str, Any]) -> None:
        """Become the state that `tensors` and `position` came from."""
        owned: dict[str, dict[str, Tensor]] = {"model": {}, "objective": {}, "average": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            owner, _, rest = name.partition(".")
            owned[owner][rest] = tensor
        for owner in ("model", "objective", "average"):
            getattr(self, owner).load_state_dict(owned[owner])
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in owned["optimizer"].items():
            index, _, rest = name.partition(".")
            like = weights[int(index)] if tensor.dim() else tensor  # the fused optimiser wants a weight's memory layout
            moments.setdefault(int(index), {})[rest] = torch.empty_like(like, device=tensor.device).copy_(tensor)
        self.optimizer.load_state_dict({"state": moments, "param_groups": self.optimizer.state_dict()["param_groups"]})
        for name, value in position.items():
            setattr(self, name, deepcopy(value))


@dataclass(frozen=True)
class Step:
    """One optimisation step, after it was taken. Reading `values` waits for the device."""

    number: int  # counted from 1
    images: int  # images seen, this batch included
    fraction: float  # of the budget that is spent
    learning_rate: float
    names: tuple[str, ...]  # loss and its weighted parts as "loss/<term>"; distortion, rate, elbo; gradient_norm
    tensor: Tensor  # (len(names),), on the device

    @property
    def values(self) -> dict[str, float]:
        return dict(zip(self.names, self.tensor.tolist(), strict=True))


class NonFinite(Exception):
    """A step whose loss or gradient is not a finite number. Neither it nor a later one was taken."""

    def __init__(self, step: int, where: str, batch: Batch):
        super().__init__(f"Step {step}: {where}.")
        self.step, self.where, self.batch = step, where, batch


def train(state: State, batches: Batches, training: Training, execution: Execution) -> Iterator[Step]:
    """Yield after every step until the budget is spent; the state is whole at every yield.

    Raises NonFinite, with the weights as they were before that step.
    """
    model = state.model
    observers: list[Any] = [part for part in model.modules() if hasattr(part, "observe")]

    def look(pixels: Tensor, at: At) -> tuple[dict[str, Tensor], list[Tensor]]:
        terms, trace = losses(model, state.objective, seen(pixels, training), at, execution)
        return terms, [part.observe(trace) for part in observers]  # not the trace: it would keep every activation alive

    forward = execution.compiled(look)
    trained: list[Tensor] = [*model.parameters(), *state.objective.parameters()]
    live: list[Tensor] = list(model.parameters())
    averaged: list[Tensor] = list(state.average.parameters())
    guard = Guard(execution.device)
    training.epoch = training.epoch or len(batches.rows)
    began, before = time.monotonic(), state.seconds
    model.train()
    for batch in batches.since(state.step):
        fraction = training.fraction(state.images, state.seconds)
        if fraction >= 1:
            break
        torch.manual_seed(mix(training.seed, state.step))  # the noise of a step depends on its number, not on the past
        state.optimizer.zero_grad(set_to_none=True)
        with world.dealt():
            terms, observed = forward(batch.pixels, At(state.images))
            (terms["loss"] / batch.pixels[0].numel()).backward()  # nats per pixel value: gradients of one size at any resolution
        gradients = [weight.grad for weight in trained if weight.grad is not None]
        values = torch.stack(list(terms.values())).detach()
        world.average([*gradients, values])
        norm = nn.utils.get_total_norm(gradients)
        guard.watch(state.step, values[0], norm, state.optimizer, training.clip)
        if state.step % guard.every == 0:
            guard.check(state, batches, training, execution)
        learning_rate = state.rate_scale * training.rate_at(state.images, fraction)
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate
        state.optimizer.step()
        for part, statistic in zip(observers, observed, strict=True):
            part.absorb(statistic, batches.size)
        state.step += 1
        state.images += batches.size
        move_average(averaged, live, training.keep(batches.size, state.images))
        for mean, buffer in zip(state.average.buffers(), model.buffers(), strict=True):
            mean.copy_(buffer)
        state.seconds = before + world.same(time.monotonic() - began)
        fraction = training.fraction(state.images, state.seconds)
        names = (*terms, "gradient_norm")
        yield Step(state.step, state.images, fraction, learning_rate, names, torch.cat([values, norm.detach()[None]]))
    guard.check(state, batches, training, execution)


class Guard:
    """Clips gradients, and lets no step through from the first non-finite one on, without waiting for the device.

    The fused optimiser divides the gradients by `grad_scale` and skips its step where `found_inf` is not 0.
    """

    def __init__(self, device: torch.device):
        self.every = 1 if device.type == "cpu" else 50  # steps between two looks, each of which waits for the device
        self.first = torch.full((), -1, dtype=torch.int64, device=device)  # the step that was not finite

    @torch.no_grad()
    def watch(self, step: int, loss: Tensor, norm: Tensor, optimizer: Any, clip: float) -> None:
        bad = ~torch.isfinite(loss + norm)
        self.first = torch.where(bad & (self.first < 0), step, self.first)
        optimizer.grad_scale = (norm / clip).clamp_min(1.0)
        optimizer.found_inf = (self.first >= 0).float()

    def check(self, state: State, batches: Batches, training: Training, execution: Execution) -> None:
        """Raises NonFinite where a step was not finite."""
        step = int(self.first)
        if step >= 0:
            batch = batches.at(step)
            raise NonFinite(step, explain(state, batch, step, training, execution), batch)


def losses(model: VAE, objective: Objective, x: Tensor, at: At, execution: Execution) -> tuple[dict[str, Tensor], Trace]:
    """The loss, its parts, and the plain ELBO beside them: batch means in nats per image."""
    with autocast(execution):
        t = model(execution.laid_out(x), objective.samples)
        terms = {f"loss/{name}": term.mean() for name, term in objective(t, at).items()}
    loss = torch.stack(list(terms.values())).sum()
    with torch.no_grad():
        return {"loss": loss, **terms, **bound(t)}, t


def bound(t: Trace) -> dict[str, Tensor]:
    """Distortion, rate and ELBO without any weight, so that runs with different objectives compare; batch means, nats per image.

    A plain autoencoder has no rate and no ELBO.
    """
    d = distortion(t).mean()
    if any(group.p is None for group in t.groups):
        return {"distortion": d}
    r = rate(t).mean()
    return {"distortion": d, "rate": r, "elbo": -(d + r)}


def picture(pixels: Tensor, flip: bool = False, binarize: bool = False) -> Tensor:
    """uint8 (B, C, H, W) to float in [0, 1]; with `flip`, half of the pictures mirrored.

    With `binarize`, x ~ Bernoulli(pixel / 255), drawn anew at every call: dynamic binarisation (Salakhutdinov & Murray, 2008).
    """
    if flip:
        mirrored = world.uniform((len(pixels), 1, 1, 1), 0, pixels.float()) < 0.5
        pixels = torch.where(mirrored, pixels.flip(-1), pixels)
    x = pixels.float() / 255
    return (world.uniform(x.shape, 0, x) < x).float() if binarize else x


def seen(pixels: Tensor, training: Training) -> Tensor:
    """A batch as this training sees it."""
    return picture(pixels, training.flip, training.binarize)


def move_average(averaged: list[Tensor], live: list[Tensor], keep: float) -> None:
    with torch.no_grad():
        get_ema_multi_avg_fn(keep)(averaged, live, None)


@torch.no_grad()
def calibrate(model: VAE, pixels: Callable[[slice], Tensor], count: int, seed: int = 0) -> None:
    """Let the parts that keep a statistic of the model, such as the optimal sigma, take it from this model over `count` images.

    The averaged weights need it: no training batch ever went through them. `pixels(slice)` gives uint8 images on the device.
    """
    keepers: list[Any] = [part for part in model.modules() if hasattr(part, "calibrate")]
    for part in keepers:
        part.calibrate(t for _, t in traces(model, pixels, chunks(count), seed))


@torch.no_grad()
def validate(model: VAE, objective: Objective, pixels: Callable[[slice], Tensor], count: int, seed: int = 0) -> dict[str, float]:
    """Means over `count` images: distortion, rate, ELBO and the objective at its final weights, `loss`, in nats per image; MSE.

    In fp32 with one z per image from a fixed seed; several processes share the work. `pixels(slice)` gives uint8 images on the
    device. The global generator is left as it was.
    """
    found: dict[int, dict[str, float]] = {}
    for start, t in traces(model, pixels, chunks(count)[world.here.rank :: world.here.size], seed):
        loss = torch.stack([term.mean() for term in objective(t, At(math.inf)).values()]).sum()
        errors = {"mse": (t.px.mean[0] - t.x).square().mean()}
        found[start] = {name: value.item() * len(t.x) for name, value in {**bound(t), **errors, "loss": loss}.items()}
    sums = dict(sorted(item for part in world.gathered(found) for item in part.items()))  # in one order, whoever found them
    return {name: sum(values[name] for values in sums.values()) / count for name in sums[0]}


def chunks(count: int) -> list[slice]:
    return [slice(start, min(start + VALIDATION_BATCH, count)) for start in range(0, count, VALIDATION_BATCH)]


def traces(model: VAE, pixels: Callable[[slice], Tensor], parts: list[slice], seed: int) -> Iterator[tuple[int, Trace]]:
    """Where each part begins, and its trace, z from a fixed seed; the global generator is as it was when they are through."""
    device = next(model.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for part in parts:
            torch.manual_seed(mix(seed, 1, part.start))
            yield part.start, model(picture(pixels(part)))


VALIDATION_BATCH = 256


def explain(state: State, batch: Batch, step: int, training: Training, execution: Execution) -> str:
    """Which term and which layer went wrong first; runs the step once more, slowly."""
    model, first = state.model, []

    def look(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and not torch.isfinite(output).all() and not first:
                first.append(name)

        return hook

    hooks = [part.register_forward_hook(look(name)) for name, part in model.named_modules() if name]
    try:
        torch.manual_seed(mix(training.seed, step))
        with world.dealt():
            terms, _ = losses(model, state.objective, seen(batch.pixels, training), At(state.images), execution)
    finally:
        for hook in hooks:
            hook.remove()
    bad = [name for name, term in terms.items() if "/" in name and not torch.isfinite(term)]
    named = dict(model.named_parameters())
    weights = [name for name, weight in named.items() if not torch.isfinite(weight).all()]
    gradients = [name for name, weight in named.items() if weight.grad is not None and not torch.isfinite(weight.grad).all()]
    backwards = [name.rpartition(".")[0] for name in weights[:1] + gradients[::-1]]  # a gradient goes from the last layer back
    layer = next(iter(first + backwards), "none")
    term = ", ".join(bad) or "every term is finite, its gradient is not"
    return f"non-finite term: {term}; first non-finite layer: {layer}"
