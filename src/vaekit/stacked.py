"""One optimisation step of several models at once: the same training with other seeds, or other numbers in the objective.

What the models have of a kind, weights, moments or averages, is one matrix, a model a row, and each model's own tensors are views
into its row: a state reads, saves and validates as ever, and a step is one pass over everything.

Shapes: S models, P numbers in a row, B images.
"""

import copy
from collections.abc import Iterable, Sequence
from itertools import accumulate

import torch
from torch import Tensor
from torch.func import functional_call

from .errors import UsageError
from .execution import Execution
from .objectives import Objective
from .part import numbers_of
from .state import State
from .step import Look, Looking, Seen, Whole, adamw, clipped, inner, observers_of, odd, scaled
from .training import Training

ALIGNED = 16  # numbers: where a tensor may begin in a row, as vector units and tensor cores like it


class Stacked:
    """Takes steps on S states whose models have one description, with the maths of `Whole`, compiled or not.

    The numbers of their objectives may differ, such as beta.

    A step that is not finite for one of them leaves its weights finite, and the others alone. The noise is drawn for all at once.
    Raises UsageError for an objective that takes a gradient within the step: none would reach it here.
    """

    def __init__(self, states: Sequence[State], training: Training, execution: Execution, look: Look):
        if states[0].objective.pulls:
            kind = type(states[0].objective).__name__
            raise UsageError(
                f"{kind} takes a gradient within the step, which several models at once cannot give. Train one by one."
            )
        self.alone = [Whole(state, training, execution, look) for state in states]
        self.example = self.alone[0]
        self.rows = Rows(self.example.weights.values())
        self.first, self.second = (self.rows.matrix([getattr(its, kind) for its in self.alone]) for kind in ("first", "second"))
        self.means = self.rows.matrix([means_of(its) for its in self.alone])
        self.weights = self.rows.matrix([its.weights.values() for its in self.alone])
        weighed = zip(self.example.weights.values(), self.example.decay, strict=True)
        self.decay = self.rows.matrix([[torch.full_like(p, decay) for p, decay in weighed]])  # (1, P)
        objective, numbers = with_own_numbers([state.objective for state in states], execution.device)
        self.buffers = inner(stack_buffers(self.alone) | {f"objective.{name}": values for name, values in numbers.items()})
        both = torch.nn.ModuleDict({"model": states[0].model, "objective": objective})
        self.looking = Looking(both, look, observers_of(both))
        self.names: tuple[str, ...] = ()  # of what a step gives, known after the first
        self.graph = execution.compiled(self.whole, whole=True)

    def whole(self, seen: Seen, images: Tensor, numbers: Tensor) -> tuple[Tensor, list[Tensor]]:
        leaves = [view.detach().requires_grad_() for view in self.rows.views(self.weights)]
        given = inner(dict(zip(self.example.weights, leaves, strict=True))) | self.buffers
        terms, observed = torch.vmap(self.look, (0, 0, None), randomness="different")(given, seen, images)
        found = torch.autograd.grad(scaled(terms["loss"].sum(), seen[0][0]), leaves, allow_unused=True)
        with torch.no_grad():
            for decay, g in zip(self.rows.views(self.decay), found, strict=True):
                if g is None:  # the objective has no use for this weight, which then stays as it is
                    decay.zero_()
            gradient = self.rows.joined(found, len(seen[0]))
            norm = gradient.square().sum(1).sqrt()  # (S,)
            told = odd(norm, self.example.training) | {"gradient_norm": norm}
            self.names = (*terms, *told)
            g = clipped(gradient, self.example.factor(norm)[:, None])
            settings = {"mean": self.means, "decay": self.decay, "betas": self.example.betas, "numbers": numbers}
            moves = 1 - told["skipped"][:, None] if "skipped" in told else 1.0
            adamw(self.weights, g, self.first, self.second, moves=moves, **settings)
            return torch.stack([*terms.values(), *told.values()], 1), observed

    def look(self, given: dict[str, Tensor], seen: Seen, images: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
        """What one model has to say about its images."""
        return functional_call(self.looking, given, (seen, self.example.training.at(images)))

    def __call__(self, seen: Seen, images: int, rate: float, keep: float) -> Tensor:
        """One step on a batch for each model, (S, B, ...): the values of `names`, (S, names), on the device. See `Stepper`."""
        pixels, _ = seen
        numbers = self.example.numbers(rate, keep, pixels.device)
        values, observed = self.graph(seen, torch.full((), float(images), device=pixels.device), numbers)
        for model, its in enumerate(self.alone):
            its.taken = self.example.taken
            its.counts += 1
            its.absorb([statistic[model] for statistic in observed], pixels.shape[1])
        return values


class Rows:
    """Where each tensor of a model lies in its row."""

    def __init__(self, tensors: Iterable[Tensor]):
        self.shapes = [t.shape for t in tensors]
        sizes = [-(-shape.numel() // ALIGNED) * ALIGNED for shape in self.shapes]
        *self.starts, self.length = accumulate(sizes, initial=0)

    def views(self, matrix: Tensor) -> list[Tensor]:
        """Each tensor of all models, (S, ...), in the memory of a matrix (S, P)."""
        places = zip(self.starts, self.shapes, strict=True)
        return [matrix.narrow(1, start, shape.numel()).view(len(matrix), *shape) for start, shape in places]

    def matrix(self, models: Sequence[Iterable[Tensor]]) -> Tensor:
        """The matrix (S, P) of the tensors of S models, which become views into it."""
        tensors = [list(each) for each in models]
        matrix = tensors[0][0].new_zeros(len(tensors), self.length)
        for each, view in zip(zip(*tensors, strict=True), self.views(matrix), strict=True):
            settle(each, view)
        return matrix

    def joined(self, found: Sequence[Tensor | None], models: int) -> Tensor:
        """The matrix (S, P) of tensors (S, ...), with 0 where there is none."""
        like = next(t for t in found if t is not None)
        parts = []
        for t, start, end in zip(found, self.starts, [*self.starts[1:], self.length], strict=True):
            given = [] if t is None else [t.reshape(models, -1)]
            rest = end - start - sum(part.shape[1] for part in given)
            parts += [*given, *[like.new_zeros(models, rest)] * (rest > 0)]
        return torch.cat(parts, 1)


@torch.no_grad()
def settle(tensors: Sequence[Tensor], stack: Tensor) -> None:
    """Let the tensors of S models move, with their values, into a stack (S, ...)."""
    for t, place in zip(tensors, stack, strict=True):
        t.data = place.copy_(t)


def means_of(model: Whole) -> list[Tensor]:
    """The average of each weight; a weight of the objective has none, and gets one that nobody reads."""
    pairs = zip(model.weights.values(), model.means, strict=True)
    return [p.detach().clone() if mean is None else mean for p, mean in pairs]


def stack_buffers(models: Sequence[Whole]) -> dict[str, Tensor]:
    """The buffers that may differ between models, (S, ...) each, of which the models' own become views."""
    named = [dict(its.both.named_buffers()) for its in models]
    changing = {id(buffer) for its in models for part in its.observers for buffer in part.buffers()}
    stacks = {}
    for name, buffer in named[0].items():
        each = [buffers[name] for buffers in named]
        if id(buffer) in changing or not all(torch.equal(buffer, other) for other in each):
            stacks[name] = buffer.new_empty(len(each), *buffer.shape)
            settle(each, stacks[name])
    return stacks


def with_own_numbers(objectives: Sequence[Objective], device: torch.device) -> tuple[Objective, dict[str, Tensor]]:
    """A copy of the first whose numbers are buffers where the others have other ones, and the numbers of all, (S,) each."""
    example, each = copy.deepcopy(objectives[0]), [numbers_of(objective) for objective in objectives]
    found = {}
    for name in each[0]:
        values = [its[name] for its in each]
        if len(set(values)) > 1:
            place, _, field = name.rpartition(".")
            part = example.get_submodule(place)
            delattr(part, field)
            found[name] = torch.tensor(values, device=device)
            part.register_buffer(field, found[name][0])
    return example, found
