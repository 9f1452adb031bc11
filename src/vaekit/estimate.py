"""What a training will need, told before its first step: parameters, memory, time."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .batches import Batches
from .model import VAE
from .objectives import Objective
from .trace import At
from .training import Training

COPIES = 5  # of every weight: itself, its gradient, two moments of Adam, its average


@dataclass(frozen=True)
class Estimate:
    """Counts, bytes and seconds."""

    parameters: int
    memory: int  # bytes at the peak of a step, images on the device included
    seconds: float  # for the whole budget
    speed: float  # images per second, measured


def estimate(model: VAE, objective: Objective, training: Training, batches: Batches, speed: float) -> Estimate:
    """From one image's pass and the measured images per second. What autograd keeps for the backward pass is counted exactly."""
    parameters = sum(p.numel() for p in model.parameters())
    held = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    images = batches.resident.numel() if batches.resident is not None else 0
    kept = 2 * kept_for_backward(model, objective) * batches.size  # and as much again for the gradients that flow back
    return Estimate(parameters, COPIES * held + kept + images, training.seconds_at(speed), speed)


def kept_for_backward(model: VAE, objective: Objective) -> int:
    """Bytes per image that the forward pass keeps, weights not counted, each storage once."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    storages: dict[int, int] = {}
    keep_alive: list[Tensor] = []  # or a freed storage's address would be counted for its successor

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
            keep_alive.append(tensor)
        return tensor

    device = next(model.parameters()).device
    images = 2  # one alone could take another path through a batched kernel
    with torch.random.fork_rng(devices=[]), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        t = model(torch.rand(images, *model.image, device=device), objective.samples)
        torch.stack([term.mean() for term in objective(t, At(0)).values()]).sum()
    return sum(storages.values()) // images
