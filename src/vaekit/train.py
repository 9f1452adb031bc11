"""The training loop: a generator of steps. Whoever consumes it logs, saves, draws or stops.

Everything a step does is a function of (state, step number): the batch, the noise, the rate. So a run that is stopped and
resumed at any step goes on with the same bits.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from . import world
from .batches import Batch, Batches, mix
from .execution import Execution, autocast, for_this_world
from .model import Model
from .objectives import Objective
from .shards import held
from .stacked import Stacked
from .state import State
from .step import Apart, Look, Seen, Sharded, Stepper, Whole
from .terms import distortion, rate
from .trace import At, Trace
from .training import Training

END = At(math.inf)
Images = Callable[[slice], Tensor | Seen]  # uint8 (n, C, H, W) on the device; for a conditional model beside what is known


@dataclass(frozen=True)
class Step:
    """One optimisation step, after it was taken. Reading `values` waits for the device."""

    number: int  # counted from 1
    images: int  # images seen, this batch included
    fraction: float  # of the budget that is spent
    learning_rate: float
    names: tuple[str, ...]  # loss and its weighted parts as "loss/<term>"; distortion, rate, elbo; skipped; gradient_norm
    tensor: Tensor  # (len(names),), on the device
    look: Callable[[], None] = lambda: None  # raises NonFinite where this step or one before it was not finite

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
    take = stepper(state, training, execution)
    training.epoch, training.known = training.epoch or batches.count, training.known or batches.told
    every = look_every(execution)
    unseen: dict[int, Tensor] = {}  # steps whose values nobody looked at yet
    began, before = time.monotonic(), state.seconds
    state.model.train()

    def look() -> None:
        check(unseen, state, batches, training, execution)
        unseen.clear()

    for batch in batches.since(state.step):
        fraction = training.fraction(state.images, state.seconds)
        if fraction >= 1:
            break
        learning_rate = state.rate_scale * training.rate_at(state.images, fraction)
        sow(mix(training.seed, state.step), execution)  # the noise of a step depends on its number, not on the past
        values = take(
            (batch.pixels, batch.known), state.images, learning_rate, training.keep(batches.size, state.images + batches.size)
        )
        unseen[state.step] = values
        if len(unseen) >= every:
            look()
        state.step += 1
        state.images += batches.size
        state.seconds = before + world.same(time.monotonic() - began)
        fraction = training.fraction(state.images, state.seconds)
        yield Step(state.step, state.images, fraction, learning_rate, take.names, values, look)
    look()


def train_together(
    states: Sequence[State], batches: Sequence[Batches], trainings: Sequence[Training], execution: Execution
) -> Iterator[list[Step | NonFinite]]:
    """As `train`, for several states at the same step whose descriptions differ in their seeds alone: all of them step at once.

    Each state sees the batches it would see alone; the noise is drawn for all at once, a function of their seeds and the step.
    Yields for every state its step, or what went wrong: a state whose step was not finite is of no use any more, the others are
    whole. A step's `look` is about its own state, and tells once. Each one's `seconds` are its share of those spent.
    """
    first, training = states[0], trainings[0]
    take = stacked(states, training, execution)
    every = look_every(execution)
    unseen: list[dict[int, Tensor]] = [{} for _ in states]
    began, before = time.monotonic(), [state.seconds for state in states]

    def look(number: int) -> None:
        its, unseen[number] = unseen[number], {}
        check(its, states[number], batches[number], trainings[number], execution)

    looks = [partial(look, number) for number in range(len(states))]
    for state in states:
        state.model.train()
    for several in zip(*(its.since(first.step) for its in batches), strict=True):
        fraction, size = training.fraction(first.images, first.seconds), batches[0].size
        if fraction >= 1:
            break
        learning_rate = training.rate_at(first.images, fraction)
        sow(mix(*(each.seed for each in trainings), first.step), execution)
        values = take(abreast(several), first.images, learning_rate, training.keep(size, first.images + size)).unbind()
        for waiting, its in zip(unseen, values, strict=True):
            waiting[first.step] = its
        spent = (time.monotonic() - began) / len(states)
        for state, seconds in zip(states, before, strict=True):
            state.step, state.images, state.seconds = state.step + 1, state.images + size, seconds + spent
        fraction = training.fraction(first.images, first.seconds)
        steps: list[Step | NonFinite] = [
            Step(first.step, first.images, fraction, learning_rate, take.names, *its) for its in zip(values, looks, strict=True)
        ]
        if max(map(len, unseen)) >= every or fraction >= 1:
            for number, its_look in enumerate(looks):
                try:
                    its_look()
                except NonFinite as error:
                    steps[number] = error
        yield steps


def abreast(batches: Sequence[Batch]) -> Seen:
    """The batches of several models, (S, B, ...)."""
    return torch.stack([batch.pixels for batch in batches]), torch.stack([batch.known for batch in batches])


def stepper(state: State, training: Training, execution: Execution) -> Stepper:
    """What takes the steps of this training in this execution."""
    execution = for_this_world(execution)
    kind = Sharded if state.sharded else Whole if execution.compile == "whole" else Apart
    return kind(state, training, execution, looking(training, execution))


def stacked(states: Sequence[State], training: Training, execution: Execution) -> Stacked:
    """What takes the steps of several states at once."""
    return Stacked(states, training, execution, looking(training, execution))


def looking(training: Training, execution: Execution) -> Look:
    """What a step of this training computes."""

    def look(model: Any, objective: Any, batch: Seen, at: At) -> tuple[dict[str, Tensor], Trace]:
        pixels, known = batch
        return losses(model, objective, (seen(pixels, training), known), at, execution)

    return look


def sow(seed: int, execution: Execution) -> None:
    """Seed the generators that a step draws from; torch.manual_seed would also note where it was called, for absent devices."""
    torch.default_generator.manual_seed(seed)
    if execution.device.type == "cuda":
        with torch.cuda.device(execution.device):  # it may not be the first one
            torch.cuda.manual_seed(seed)
    elif execution.device.type == "mps":
        torch.mps.manual_seed(seed)


def check(unseen: dict[int, Tensor], state: State, batches: Batches, training: Training, execution: Execution) -> None:
    """Raises NonFinite where a loss or a gradient was not finite. Waits for the device."""
    for step, values in unseen.items():
        loss, *_, gradient_norm = values.tolist()
        if not math.isfinite(loss + gradient_norm):
            batch = batches.at(step)
            raise NonFinite(step, explain(state, batch, step, training, execution), batch)


def look_every(execution: Execution) -> int:
    """Steps between two looks at their values, which a GPU would be waited for."""
    return 1 if execution.device.type == "cpu" else 50


def losses(model: Model, objective: Objective, seen: Seen, at: At, execution: Execution) -> tuple[dict[str, Tensor], Trace]:
    """The loss, its parts, and the plain ELBO beside them: batch means in nats per image. `seen`: images in [0, 1], and what is
    known of them."""
    x, c = seen
    with autocast(execution):
        t = objective.look(model, execution.laid_out(x), model.withhold(c))
        terms = {f"loss/{name}": term.mean() for name, term in objective(t, at).items()}
    loss = torch.stack(list(terms.values())).sum()
    with torch.no_grad():
        return {"loss": loss, **terms, **bound(t)}, t


def bound(t: Trace) -> dict[str, Tensor]:
    """Distortion, rate and ELBO without any weight, so that runs with different objectives compare; batch means, nats per image.

    An autoencoder of points has no rate and no ELBO. Of a hierarchy "rate/1" is the rate of its top group, and so on down.
    """
    d = distortion(t).mean()
    if not all(group.has_rate for group in t.groups):
        return {"distortion": d}
    r = rate(t).mean()
    groups = {f"rate/{number}": group.kl.mean() for number, group in enumerate(t.groups, 1)} if len(t.groups) > 1 else {}
    return {"distortion": d, "rate": r, "elbo": -(d + r), **groups}


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
    return picture(pixels, training.flip, training.binarize == "dynamic")


@torch.no_grad()
def calibrate(model: Model, images: Images, count: int, seed: int = 0) -> None:
    """Let the parts that keep a statistic of the model, such as the optimal sigma, take it from this model over `count` images.

    The averaged weights need it: no training batch ever went through them.
    """
    keepers: list[Any] = [part for part in model.modules() if hasattr(part, "calibrate") and not hasattr(part, "frozen")]
    for part in keepers:
        part.calibrate(traces(lambda x, c: model(x, 1, c), images, chunks(count, model.at_once), seed))


@torch.no_grad()
def validate(model: Model, objective: Objective, images: Images, count: int, seed: int = 0, *, at: At = END) -> dict[str, float]:
    """Means over `count` images: distortion, rate, ELBO and the objective at its final weights, `loss`, in nats per image; MSE;
    and what else the objective measures.

    `at`: of how many images training is, for objectives that take a batch for a share of them. In fp32 with z from a fixed
    seed; several processes share the work. The global generator is left as it was.
    """

    def summed(t: Trace) -> dict[str, tuple[float, int]]:
        """Of each value its sum, and over how many images."""
        loss = torch.stack([term.mean() for term in objective(t, at).values()]).sum()
        means = {**bound(t), "mse": (t.px.mean[0] - t.x).square().mean(), "loss": loss}
        more = {name: (each.nansum().item(), int((~each.isnan()).sum())) for name, each in objective.measures(t, at).items()}
        return {name: (value.item() * len(t.x), len(t.x)) for name, value in means.items()} | more

    parts = chunks(count, max(1, model.at_once // objective.decodings))
    parts += parts[:1] * (-len(parts) % world.here.size)  # as many for each process: a layer may need all of them to compute
    mine = parts[world.here.rank :: world.here.size]
    each = map(
        summed, traces(partial(objective.look, model), images, mine, seed)
    )  # holds one trace at a time, where a loop would hold two
    found = {part.start: values for part, values in zip(mine, each, strict=True)}
    sums = {start: values for part in world.gathered(found) for start, values in part.items()}
    ordered = [sums[start] for start in sorted(sums)]  # whoever found them
    counted = {name: sum(values[name][1] for values in ordered) for name in ordered[0]}
    return {name: sum(values[name][0] for values in ordered) / images for name, images in counted.items() if images}


def chunks(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def traces(look: Callable[[Tensor, Tensor | None], Trace], images: Images, parts: list[slice], seed: int) -> Iterator[Trace]:
    """The trace of each part, z from a fixed seed; the global generator is as it was when they are through."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        for part in parts:
            torch.manual_seed(mix(seed, 1, part.start))
            yield look(*shown(images(part)))


def shown(found: Tensor | Seen) -> tuple[Tensor, Tensor | None]:
    """Images in [0, 1], and what is known of them."""
    pixels, known = (found, None) if isinstance(found, Tensor) else found
    return picture(pixels), known


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
            images = seen(batch.pixels, training), batch.known
            terms, _ = state.together(losses, model, state.objective, images, training.at(state.images), execution)
    finally:
        for hook in hooks:
            hook.remove()
    bad = [name for name, term in terms.items() if "/" in name and not torch.isfinite(term)]
    named = {name: state.held[p] if p in state.held else held(p) for name, p in model.named_parameters()}
    weights = [name for name, weight in named.items() if not torch.isfinite(weight).all()]
    gradients = [name for name, weight in named.items() if weight.grad is not None and not torch.isfinite(weight.grad).all()]
    backwards = [name.rpartition(".")[0] for name in weights[:1] + gradients[::-1]]  # a gradient goes from the last layer back
    layer = next(iter(first + backwards), "none")
    term = ", ".join(bad) or "every term is finite, its gradient is not"
    return f"non-finite term: {term}; first non-finite layer: {layer}"
