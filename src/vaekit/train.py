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
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in owned["optimizer"].items():
            index, _, rest = name.partition(".")
            moments.setdefault(int(index), {})[rest] = tensor.clone()  # the optimiser would change the given one
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
    tensors: dict[str, Tensor]  # (): loss and its weighted parts as "loss/<term>"; distortion, rate, elbo; gradient_norm

    @property
    def values(self) -> dict[str, float]:
        return dict(zip(self.tensors, torch.stack(list(self.tensors.values())).tolist(), strict=True))


class NonFinite(Exception):
    """A step whose loss or gradient is not a finite number. The step was not taken."""

    def __init__(self, step: int, where: str, batch: Batch):
        super().__init__(f"Step {step}: {where}.")
        self.step, self.where, self.batch = step, where, batch


def train(state: State, batches: Batches, training: Training, execution: Execution) -> Iterator[Step]:
    """Yield after every step until the budget is spent; the state is whole at every yield.

    Raises NonFinite, before the weights are touched.
    """
    model = state.model
    forward = execution.compiled(
        lambda pixels, at: losses(model, state.objective, picture(pixels, training.flip, training.binarize), at, execution)
    )
    observers: list[Any] = [part for part in model.modules() if hasattr(part, "observe")]
    trained: list[Tensor] = [*model.parameters(), *state.objective.parameters()]
    live: list[Tensor] = list(model.parameters())
    averaged: list[Tensor] = list(state.average.parameters())
    training.epoch = training.epoch or len(batches.rows)
    began, before = time.monotonic(), state.seconds
    model.train()
    for batch in batches.since(state.step):
        fraction = training.fraction(state.images, state.seconds)
        if fraction >= 1:
            return
        torch.manual_seed(mix(training.seed, state.step))  # the noise of a step depends on its number, not on the past
        terms, trace = forward(batch.pixels, At(state.images))
        state.optimizer.zero_grad(set_to_none=True)
        (terms["loss"] / batch.pixels[0].numel()).backward()  # nats per pixel value: gradients of one size at any resolution
        norm = nn.utils.get_total_norm([weight.grad for weight in trained if weight.grad is not None])
        if not torch.isfinite(norm + terms["loss"].detach()):
            raise NonFinite(state.step, explain(state, batch, training, execution), batch)
        nn.utils.clip_grads_with_norm_(trained, training.clip, norm)
        learning_rate = state.rate_scale * training.rate_at(state.images, fraction)
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate
        state.optimizer.step()
        for part in observers:
            part.observe(trace)
        state.step += 1
        state.images += len(batch.rows)
        move_average(averaged, live, training.keep(len(batch.rows), state.images))
        for mean, buffer in zip(state.average.buffers(), model.buffers(), strict=True):
            mean.copy_(buffer)
        state.seconds = before + time.monotonic() - began
        logged = {name: term.detach() for name, term in terms.items()} | {"gradient_norm": norm.detach()}
        yield Step(state.step, state.images, training.fraction(state.images, state.seconds), learning_rate, logged)


def losses(model: VAE, objective: Objective, x: Tensor, at: At, execution: Execution) -> tuple[dict[str, Tensor], Trace]:
    """The loss, its parts, and the plain ELBO beside them: batch means in nats per image."""
    with autocast(execution):
        t = model(x, objective.samples)
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
        mirrored = torch.rand(len(pixels), 1, 1, 1, device=pixels.device) < 0.5
        pixels = torch.where(mirrored, pixels.flip(-1), pixels)
    x = pixels.float() / 255
    return (torch.rand_like(x) < x).float() if binarize else x


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
        part.calibrate(traces(model, pixels, count, seed))


@torch.no_grad()
def validate(model: VAE, objective: Objective, pixels: Callable[[slice], Tensor], count: int, seed: int = 0) -> dict[str, float]:
    """Means over `count` images: distortion, rate, ELBO and the objective at its final weights, `loss`, in nats per image; MSE.

    In fp32 with one z per image from a fixed seed. `pixels(slice)` gives uint8 images on the device. The global generator is
    left as it was.
    """
    totals: dict[str, float] = {}
    for t in traces(model, pixels, count, seed):
        loss = torch.stack([term.mean() for term in objective(t, At(math.inf)).values()]).sum()
        errors = {"mse": (t.px.mean[0] - t.x).square().mean()}
        for name, value in {**bound(t), **errors, "loss": loss}.items():
            totals[name] = totals.get(name, 0.0) + value.item() * len(t.x)
    return {name: total / count for name, total in totals.items()}


def traces(model: VAE, pixels: Callable[[slice], Tensor], count: int, seed: int) -> Iterator[Trace]:
    """Traces of `count` images in batches, z from a fixed seed; the global generator is as it was when they are through."""
    device = next(model.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for start in range(0, count, VALIDATION_BATCH):
            torch.manual_seed(mix(seed, 1, start))
            yield model(picture(pixels(slice(start, min(start + VALIDATION_BATCH, count)))))


VALIDATION_BATCH = 256


def explain(state: State, batch: Batch, training: Training, execution: Execution) -> str:
    """Which term and which layer went wrong first; runs the step once more, slowly."""
    model, first = state.model, []

    def look(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and not torch.isfinite(output).all() and not first:
                first.append(name)

        return hook

    hooks = [part.register_forward_hook(look(name)) for name, part in model.named_modules() if name]
    try:
        torch.manual_seed(mix(training.seed, state.step))
        terms, _ = losses(
            model, state.objective, picture(batch.pixels, training.flip, training.binarize), At(state.images), execution
        )
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
