"""Weights of which every process of a world holds a piece, for models that do not fit into one of them: torch's FSDP2.

A tensor is cut along its first dimension, a piece for each process; so are its gradient, its moments and its average. The pieces
of a layer are brought together while it computes, and its gradient is averaged over the processes and cut as it leaves. ZeRO,
stage 3 (Rajbhandari et al., 2020), https://arxiv.org/abs/1910.02054; FSDP (Zhao et al., 2023), https://arxiv.org/abs/2304.11277.

Elsewhere nothing is cut, and every function here gives back what it was given.
"""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from . import world
from .part import Part

UNIT = 1_000_000  # weights of layers that are brought together at once; fewer are not worth a message of their own


class Gathered(nn.Module):
    """Modules, and where their weights are whole: `gathered(function, ...)` calls the function with all of them brought together.

    Those of the layers that were cut into units of their own come only while the unit computes.
    """

    def __init__(self, *modules: nn.Module):
        super().__init__()
        self.modules_held = nn.ModuleList(modules)

    def forward(self, function: Callable[..., Any], *inputs: Any) -> Any:
        return function(*inputs)


def cut(gathered: Gathered, layered: Iterable[nn.Module], device: torch.device) -> None:
    """Let every process keep its piece of all weights, on the device. Layers within `layered` are used by calling them, and come
    one by one; a weight of no dimension, such as a learned scale, stays whole."""
    from torch.distributed.fsdp import fully_shard

    # FSDP warns of layers that return views: nothing here writes into what a layer returned.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)
    scalars = {p for p in gathered.parameters() if not p.dim()}
    for scalar in scalars:
        scalar.data = scalar.data.to(device)
    how: dict[str, Any] = {
        "mesh": world.mesh(device.type),
        "reshard_after_forward": True,
        "ignored_params": scalars,
    }

    def units(module: nn.Module) -> int:
        """Make units of the layers within; how many weights are in none."""
        left = sum(p.numel() for p in module.parameters(recurse=False)) + sum(units(layer) for layer in module.children())
        if left < UNIT or isinstance(module, Part | nn.ModuleList | nn.ModuleDict):  # a unit changes its class, a part must not
            return left
        fully_shard(module, **how)
        return 0

    for module in layered:
        units(module)
    fully_shard(gathered, **how)


def is_cut(t: Tensor) -> bool:
    return hasattr(t, "full_tensor")


def held(t: Tensor) -> Tensor:
    """What this process has of it, in the same memory."""
    return t.detach().to_local() if is_cut(t) else t  # pyright: ignore[reportAttributeAccessIssue]


def whole(t: Tensor) -> Tensor:
    """All of it, in every process; all of them must ask."""
    return t.full_tensor() if is_cut(t) else t  # pyright: ignore[reportAttributeAccessIssue]


def piece(t: Tensor, like: Tensor) -> Tensor:
    """What this process keeps of a whole tensor, where `like` is cut as it shall be."""
    if not is_cut(like):
        return t
    pieces = t.chunk(like.device_mesh.size())  # pyright: ignore[reportAttributeAccessIssue]
    return pieces[world.here.rank] if world.here.rank < len(pieces) else t[:0]


def joined(t: Tensor, like: Tensor) -> Tensor:
    """The tensor of which the processes hold the pieces `t`, cut as `like`."""
    if not is_cut(like) or not t.dim():
        return t
    from torch.distributed.tensor import DTensor

    cut: Any = like
    return DTensor.from_local(t, cut.device_mesh, cut.placements, run_check=False, shape=cut.shape, stride=cut.stride())
