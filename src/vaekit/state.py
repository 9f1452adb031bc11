"""Everything that training changes, and how it is put away and taken up again."""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .errors import DataError, UsageError
from .model import Model, tuple_of
from .objectives import Objective
from .part import build, describe, known
from .shards import Gathered, cut, held, joined, piece
from .training import Training


@dataclass
class State:
    """Everything that training changes. Weights, their average, the optimiser, and where we are."""

    model: Model
    objective: Objective
    average: Model  # exponential moving average of the model's weights
    optimizer: torch.optim.AdamW  # of what this process holds of the weights
    held: dict[Tensor, Tensor]  # each trained weight: what this process holds of it
    together: Gathered  # model and objective: steps are taken within it
    averaged: Gathered  # the average: whoever uses it does so within this
    step: int = 0  # steps taken
    images: int = 0  # images seen
    seconds: float = 0.0  # spent, over all sittings
    rate_scale: float = 1.0  # halved after a non-finite step
    notes: dict[str, Any] = field(default_factory=dict)  # plain JSON that the consumer keeps with the state

    @classmethod
    def start(cls, model: Model, objective: Objective, training: Training, device: torch.device, shard: bool = False) -> "State":
        """Before the first step. `shard`: every process holds a piece of all weights, moments and averages.

        Raises UsageError where the objective does not fit the model: see `check_fit`.
        """
        together = placed(Gathered(model, objective), model, device, shard)
        average = build(describe(model)).requires_grad_(False).eval()
        for owner in (model, average):
            freeze(owner, training.freeze)
        check_fit(model, objective)
        averaged = placed(Gathered(average), average, device, shard)
        become(average, model)
        own: dict[Tensor, Tensor] = {p: nn.Parameter(held(p)) if shard else p for p in together.parameters() if p.requires_grad}
        parameters = list(own.values())
        matrices = {"params": [p for p in parameters if p.dim() > 1]}
        others = {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0}  # biases and scales are not decayed
        optimizer = torch.optim.AdamW(
            [group for group in (matrices, others) if group["params"]],
            lr=training.learning_rate,
            eps=1e-8 / math.prod(model.image),  # the usual one is for nats per image, of which a step takes the share of a value
            betas=objective.betas,
            weight_decay=training.weight_decay,
            fused=True,
        )
        return cls(model, objective, average, optimizer, own, together, averaged)

    @property
    def sharded(self) -> bool:
        return any(own is not p for p, own in self.held.items())

    def copy(self, training: Training) -> "State":
        """Another one with the same weights and nothing else, to try things on."""
        device = next(self.model.parameters()).device
        twin = State.start(build(describe(self.model)), build(describe(self.objective)), training, device, self.sharded)
        become(twin.together, self.together)
        return twin

    def gradients(self) -> list[Tensor]:
        """What this process holds of each gradient, where its own optimiser looks for it."""
        for p, own in self.held.items():
            if own is not p and p.grad is not None:
                own.grad, p.grad = held(p.grad), None
        return [own.grad for own in self.held.values() if own.grad is not None]

    @property
    def weights(self) -> list[Tensor]:
        """The trained weights in the optimiser's order, by which its moments are named."""
        of = {own: p for p, own in self.held.items()}
        return [of[own] for group in self.optimizer.param_groups for own in group["params"]]

    def tensors(self) -> dict[str, Tensor]:
        """All of it that is tensors, by name; those that are sharded are so here."""
        named = {
            f"{owner}.{name}": tensor
            for owner in ("model", "objective", "average")
            for name, tensor in getattr(self, owner).state_dict().items()
        }
        weights = self.weights
        for index, moments in self.optimizer.state_dict()["state"].items():
            named |= {f"optimizer.{index}.{name}": joined(value, weights[index]) for name, value in moments.items()}
        return named

    def position(self) -> dict[str, Any]:
        """All of it that is not: plain JSON."""
        names = ("step", "images", "seconds", "rate_scale", "notes")
        return {name: getattr(self, name) for name in names}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], position: dict[str, Any]) -> None:
        """Become the state that `tensors` and `position` came from, however many processes held it.

        Raises DataError where they are of another model.
        """
        weights, moments = self.weights, {}
        mine = {name: tensor for name, tensor in self.tensors().items() if not name.startswith("optimizer.")}
        moved = {name for name in tensors if name.startswith("optimizer.")}
        if mine.keys() != tensors.keys() - moved or any(tensor.shape != tensors[name].shape for name, tensor in mine.items()):
            raise DataError(
                "The snapshot is of another model than run.json describes. Restore both, or train into another folder."
            )
        for name, tensor in mine.items():
            held(tensor).copy_(piece(tensors[name], tensor))
        for name in moved:
            _, index, rest = name.split(".")
            of, value = weights[int(index)], tensors[name]
            kept, like = (piece(value, of), held(of)) if value.dim() else (value, value)
            # The fused optimiser wants a weight's memory layout.
            moments.setdefault(int(index), {})[rest] = torch.empty_like(like, device=value.device).copy_(kept)
        self.optimizer.load_state_dict({"state": moments, "param_groups": self.optimizer.state_dict()["param_groups"]})
        for name, value in position.items():
            setattr(self, name, deepcopy(value))


def check_fit(model: Model, objective: Objective) -> None:
    """Raises UsageError where the objective was made for other images or latents than the model has, wants a gradient that the
    likelihood does not pass on, or trains no learned prior.
    """
    name = type(objective).__name__
    for part in (objective, *objective.children()):
        for size in ("image", "latent"):
            given, wanted = getattr(part, size, None), getattr(model, size)
            if given is not None and tuple_of(given) != tuple_of(wanted):
                whose = name if part is objective else f"The {type(part).__name__} of {name}"
                raise UsageError(f"{whose} has {size}={given}, and the model {size}={wanted}. Give both the same {size}.")
    if model.likelihood.drawn and not objective.asks_density:
        raise UsageError(
            f"{name} compares pictures, but {type(model.likelihood).__name__} draws them pixel after pixel, which no gradient "
            "passes. Train it with ELBO, or another objective of log p(x | z)."
        )
    if model.learns_prior and not objective.trains_prior:
        prior = getattr(model, "prior", model)
        raise UsageError(
            f"{name} with these numbers has no rate, by which alone {type(prior).__name__} learns: its prior would stay as it "
            "began. Take StandardNormal, freeze the prior, or train with the rate: ELBO, or InfoVAE with alpha below 1."
        )


def freeze(model: Model, names: Sequence[str]) -> None:
    """Let the parts of the model with these names learn nothing; `codes` are those that decide where an image's code lies.

    Raises UsageError on a name that the model does not have.
    """
    learns = any(p.requires_grad for p in model.parameters())
    parts: dict[str, list[nn.Module]] = {name: [part] for name, part in model.named_children()}
    if model.coding:
        parts["codes"] = [getattr(model, name) for name in model.coding]
    for name in names:
        if name not in parts:
            raise UsageError(f"The model has no part {name!r} to freeze. {known(name, parts)}")
        for part in parts[name]:
            part.requires_grad_(False)
            for each in part.modules():
                vars(each)["frozen"] = True  # for parts that keep statistics
    if learns and not any(p.requires_grad for p in model.parameters()):
        raise UsageError(f"With {', '.join(names)} frozen nothing of the model is left to train. Freeze less.")


def placed(gathered: Gathered, model: Model, device: torch.device, shard: bool) -> Gathered:
    """On its device; every process has its piece, or all of it."""
    if not shard:
        return gathered.to(device)
    cut(gathered, model.layered, device)
    return gathered


@torch.no_grad()
def become(module: nn.Module, other: nn.Module) -> None:
    """Take over the weights of a module of the same kind, sharded in the same way."""
    for mine, theirs in zip(module.state_dict().values(), other.state_dict().values(), strict=True):
        held(mine).copy_(held(theirs))
