"""One optimisation step: forward, backward, clipping, AdamW and the average of the weights.

`Apart` takes it as torch's own pieces; `Whole` compiles all of it into one graph, in which nothing is read or written twice;
`Sharded` is for weights of which every process holds a piece. All compute the same. `stacked.py` takes those of several models at
once.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim.swa_utils import get_ema_multi_avg_fn

from . import world
from .execution import Execution
from .shards import held
from .state import State
from .trace import At, Trace
from .training import Training

Seen = tuple[Tensor, Tensor]  # uint8 images (B, C, H, W), and what a conditional model is told of them (B, Y)
Look = Callable[[nn.Module, nn.Module, Seen, At], tuple[dict[str, Tensor], Trace]]  # model, objective: terms


class Stepper:
    """Takes steps on a state: all of a step but its bookkeeping. `look` computes the terms of a batch, first the loss."""

    def __init__(self, state: State, training: Training, execution: Execution, look: Look):
        self.state, self.training, self.execution, self.look = state, training, execution, look
        self.observers = observers_of(state.model, state.objective)
        stored, means = state.model.state_dict().keys(), dict(state.average.named_buffers())
        # One that is not stored is a constant: a resumed run has it from the description.
        self.buffers = [(means[name], buffer) for name, buffer in state.model.named_buffers() if name in stored]
        self.names: tuple[str, ...] = ()  # of what a step gives, known after the first
        self.begin()

    def begin(self) -> None:
        raise NotImplementedError

    def advance(self, seen: Seen, images: Tensor, rate: float, keep: float) -> tuple[Tensor, list[Tensor] | None]:
        """Change weights, moments and averages; the values of `names`, and what the observers saw, None where nothing changed."""
        raise NotImplementedError

    def __call__(self, seen: Seen, images: int, rate: float, keep: float) -> Tensor:
        """One step on a batch, with `images` seen before it: the values of `names`, on the device.

        rate: of learning. keep: what the average keeps of itself. A loss or gradient that is not finite leaves finite weights.
        """
        pixels, _ = seen
        values, observed = self.advance(seen, torch.full((), float(images), device=pixels.device), rate, keep)
        if observed is not None:
            self.absorb(observed, len(pixels) * world.here.size)
        return values

    def absorb(self, observed: list[Tensor], images: int) -> None:
        """Let the observers take in what they saw, and the average what is no weight."""
        for part, statistic in zip(self.observers, observed, strict=True):
            part.absorb(statistic, images)
        if self.buffers:
            torch._foreach_copy_([mean for mean, _ in self.buffers], [buffer for _, buffer in self.buffers])  # pyright: ignore[reportPrivateImportUsage]


def odd(norm: Tensor, training: Training) -> dict[str, Tensor]:
    """Whether steps whose gradients have these norms are skipped, where the settings ask for it: {"skipped": 1 or 0}."""
    return {} if training.skip_above is None else {"skipped": (norm > training.skip_above).to(norm.dtype)}


def observers_of(*owners: nn.Module) -> list[Any]:
    """The parts that keep a statistic of training: `observe` says what of a trace, `absorb` takes it in."""
    return [part for owner in owners for part in owner.modules() if hasattr(part, "observe") and not hasattr(part, "frozen")]


def scaled(loss: Tensor, pixels: Tensor) -> Tensor:
    """Nats per pixel value: gradients of one size at any resolution."""
    return loss / pixels[0].numel()


class Apart(Stepper):
    """The step in pieces: the terms, compiled or not, torch's autograd, and its fused optimiser."""

    def begin(self) -> None:
        model, objective = self.state.model, self.state.objective
        terms_of, observers, training = self.look, self.observers, self.training

        # Without `self`, which would then hold itself, and with it a copy of all weights until the collector comes by.
        def look(seen: Seen, images: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
            terms, trace = terms_of(model, objective, seen, training.at(images))
            return terms, [part.observe(trace) for part in observers]  # not the trace: it would keep every activation alive

        self.forward = self.execution.compiled(look)
        self.live: list[Tensor] = [held(p) for p in model.parameters()]
        self.averaged: list[Tensor] = [held(p) for p in self.state.average.parameters()]
        self.bad = torch.zeros((), device=self.execution.device)

    def advance(self, seen: Seen, images: Tensor, rate: float, keep: float) -> tuple[Tensor, list[Tensor] | None]:
        optimizer: Any = self.state.optimizer
        optimizer.zero_grad(set_to_none=True)
        with world.dealt():
            terms, observed = self.state.together(self.forward, seen, images)
            scaled(terms["loss"], seen[0]).backward()
        values = torch.stack(list(terms.values())).detach()
        with torch.no_grad():
            gradients = self.state.gradients()
            norm = self.unite(gradients, values)
            found = odd(norm, self.training) | {"gradient_norm": norm}
            self.names = (*terms, *found)
            self.bad = torch.maximum(self.bad, (~torch.isfinite(values[0] + norm)).float())
            taken = torch.cat([values, torch.stack(list(found.values()))])
            if taken.device.type == "cpu" and self.bad:
                return taken, None
            scale = (norm / self.training.clip).clamp_min(1.0)
            skip = torch.maximum(self.bad, found["skipped"]) if "skipped" in found else self.bad
            if taken.device.type == "mps":  # its fused kernel looks at neither
                if skip:
                    return taken, None if self.bad else observed
                for g in gradients:
                    g.div_(scale)
            else:
                optimizer.grad_scale = scale  # the fused kernel divides by it
                optimizer.found_inf = skip  # and leaves its step out where this is not 0: no wait for the device
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            if "skipped" in found:  # a skipped step counts: see `Whole`
                counts = [moments["step"] for moments in optimizer.state.values()]
                torch._foreach_add_(counts, [skip - self.bad] * len(counts))  # pyright: ignore[reportPrivateImportUsage]
            if "skipped" in found and taken.device.type == "cpu" and found["skipped"]:
                return taken, observed  # on a GPU, which is not waited for, the average goes on towards the weights as they are
            get_ema_multi_avg_fn(keep)(self.averaged, self.live, None)
        return taken, observed

    def unite(self, gradients: list[Tensor], values: Tensor) -> Tensor:
        """Make gradients and values those of the whole batch; the norm of the whole gradient."""
        world.average([*gradients, values])
        return nn.utils.get_total_norm(gradients)


class Sharded(Apart):
    """The step in pieces, where a process holds a piece of most weights; their gradients come united and cut."""

    def unite(self, gradients: list[Tensor], values: Tensor) -> Tensor:
        whole = [g for g in gradients if not g.dim()]
        mine = nn.utils.get_total_norm([g for g in gradients if g.dim()])
        square = mine.square() * world.here.size  # of which the mean is the sum
        world.average([*whole, values, square])
        return (square + nn.utils.get_total_norm(whole).square()).sqrt()


class Whole(Stepper):
    """The step as one compiled graph. It keeps its moments in the optimiser's own state, so that a run can go on either way."""

    def begin(self) -> None:
        torch._dynamo.config.trace_autograd_ops = True  # else torch.autograd.grad would break the graph
        self.both = nn.ModuleDict({"model": self.state.model, "objective": self.state.objective})
        self.weights = {name: p for name, p in self.both.named_parameters() if p.requires_grad}
        means = dict(zip(dict(self.state.model.named_parameters()), self.state.average.parameters(), strict=True))
        self.means = [means.get(name.removeprefix("model.")) for name in self.weights]
        groups = self.state.optimizer.param_groups
        decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
        self.decay = [decay[id(p)] for p in self.weights.values()]
        self.betas, self.epsilon = groups[0]["betas"], groups[0]["eps"]
        moments = self.state.optimizer.state
        for p in self.weights.values():
            if not moments[p]:
                moments[p].update(step=torch.zeros(()), exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
        self.first = [moments[p]["exp_avg"] for p in self.weights.values()]
        self.second = [moments[p]["exp_avg_sq"] for p in self.weights.values()]
        self.taken = int(next(iter(moments.values()))["step"])
        self.counts = torch.full((len(self.weights),), float(self.taken))  # steps taken, once for every weight
        for p, count in zip(self.weights.values(), self.counts, strict=True):
            moments[p]["step"] = count
        self.ones = torch.ones(31, device=self.execution.device)
        self.looking = Looking(self.both, self.look, self.observers)
        self.graph = self.execution.compiled(self.whole, whole=True)

    def whole(self, seen: Seen, images: Tensor, numbers: Tensor) -> tuple[Tensor, list[Tensor]]:
        leaves = {name: p.detach().clone().requires_grad_() for name, p in self.weights.items()}
        terms, observed = functional_call(self.looking, inner(leaves), (seen, self.training.at(images)))
        found = torch.autograd.grad(scaled(terms["loss"], seen[0]), list(leaves.values()), allow_unused=True)
        with torch.no_grad():
            norm = torch.stack([g.square().sum() for g in found if g is not None]).sum().sqrt()
            told = odd(norm, self.training) | {"gradient_norm": norm}
            self.names = (*terms, *told)
            taken = torch.isfinite(terms["loss"]) & (told["skipped"] == 0 if "skipped" in told else True)
            factor = self.factor(torch.where(taken, norm, torch.nan))
            moves = (factor > 0).to(norm.dtype)  # a step that is not finite is not taken
            ours = zip(self.weights.values(), found, self.first, self.second, self.means, self.decay, strict=True)
            for p, g, first, second, mean, decay in ours:
                if g is not None:
                    g = clipped(g, factor)  # noqa: PLW2901
                    settings = {"mean": mean, "decay": decay, "betas": self.betas, "numbers": numbers}
                    adamw(p, g, first, second, moves=moves, **settings)
            self.counts += 1
            return torch.stack([*terms.values(), *told.values()]), observed

    def factor(self, norm: Tensor) -> Tensor:
        """What clipping makes of a gradient: min(1, clip / norm), for norms (...,) as in torch.nn.utils.

        A reduction over 32 numbers is computed once; one over a few would be inlined into the loop over every weight.
        """
        return torch.cat([(self.training.clip / (norm + 1e-6))[..., None], self.ones.expand(*norm.shape, -1)], -1).amin(-1)

    def numbers(self, rate: float, keep: float, device: torch.device) -> Tensor:
        """What `adamw` wants to know of the step that comes now, which is counted."""
        self.taken += 1
        root = math.sqrt(1 - self.betas[1] ** self.taken)
        numbers = [rate * root / (1 - self.betas[0] ** self.taken), self.epsilon * root, rate, 1 - keep]
        return torch.tensor(numbers, device=device)

    def advance(self, seen: Seen, images: Tensor, rate: float, keep: float) -> tuple[Tensor, list[Tensor]]:
        return self.graph(seen, images, self.numbers(rate, keep, images.device))


def clipped(g: Tensor, factor: Tensor) -> Tensor:
    """The gradient times a factor, which is 0 or nan where the gradient's norm is not finite: then 0."""
    return torch.where(factor > 0, g * factor, 0.0)


def adamw(
    p: Tensor,
    g: Tensor,
    first: Tensor,
    second: Tensor,
    *,
    mean: Tensor | None,
    decay: float | Tensor,
    betas: tuple[float, float],
    numbers: Tensor,
    moves: Tensor | float = 1.0,
) -> None:
    """Weights, both moments, and the average of the weights after a step with the gradient g. `moves` 0: all stay as they are.

    Loshchilov & Hutter (2019), algorithm 2, with the bias corrections brought into the rate and epsilon.
    https://arxiv.org/abs/1711.05101
    """
    rate, epsilon, learning_rate, forget = numbers.unbind()
    first.copy_(first + (g - first) * (moves * (1 - betas[0])))
    second.copy_(second + (g * g - second) * (moves * (1 - betas[1])))
    p.copy_(p * (1 - moves * learning_rate * decay) - moves * rate * (first / (second.sqrt() + epsilon)))
    if mean is not None:
        mean.copy_(mean + (p - mean) * (moves * forget))


class Looking(nn.Module):
    """The terms of a batch as one module, whose weights can be given from outside."""

    def __init__(self, both: nn.ModuleDict, look: Look, observers: list[Any]):
        super().__init__()
        self.both, self.look, self.observers = both, look, observers

    def forward(self, seen: Seen, at: At) -> tuple[dict[str, Tensor], list[Tensor]]:
        terms, trace = self.look(self.both["model"], self.both["objective"], seen, at)
        return terms, [part.observe(trace) for part in self.observers]


def inner(leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"both.{name}": leaf for name, leaf in leaves.items()}
