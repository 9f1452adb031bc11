"""Everything that training changes, and how it is put away and taken up again."""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .model import VAE
from .objectives import Objective
from .part import build, describe
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

    def copy(self, training: Training) -> "State":
        """Another one with the same weights and nothing else, to try things on."""
        device = next(self.model.parameters()).device
        twin = State.start(build(describe(self.model)), build(describe(self.objective)), training, device)
        twin.model.load_state_dict(self.model.state_dict())
        twin.objective.load_state_dict(self.objective.state_dict())
        return twin

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
