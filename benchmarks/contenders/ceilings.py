"""What this machine can do: matrix products a second, large ones and those of the networks; and what a training step asks for.

python ceilings.py        prints one line of JSON
"""

import json
import time
from math import prod

import torch
from contest import BATCH, TASKS, Task
from nets import Net
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

LARGE = (1024, 2048, 4096)
ROWS = 8192  # of the largest product measured: beyond it the rate stays
COUNTED = 2  # images through the counter


def rate(dtype: torch.dtype, shapes: list[tuple[int, int, int]], seconds: float = 0.5) -> float:
    """GFLOP/s of (m, k) @ (k, n), one after another, the best of the repeats that fit into `seconds`."""
    pairs = [(torch.randn(m, k).to(dtype), torch.randn(n, k).to(dtype).t()) for m, k, n in shapes]
    best, spent = float("inf"), 0.0
    for a, b in pairs:
        a @ b
    while spent < seconds:
        began = time.perf_counter()
        for a, b in pairs:
            a @ b
        took = time.perf_counter() - began
        best, spent = min(best, took), spent + took
    return 2e-9 * sum(prod(shape) for shape in shapes) / best


def products(net: Net, image: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """The matrix products (m, k, n) of a forward pass over a batch, a convolution as its product of patches."""
    found: list[tuple[int, int, int]] = []

    def note(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(layer, nn.Linear):
            found.append((BATCH, layer.in_features, layer.out_features))
        elif isinstance(layer, nn.ConvTranspose2d):
            found.append((BATCH * prod(inputs[0].shape[2:]), layer.in_channels, prod(layer.weight.shape[1:])))
        elif isinstance(layer, nn.Conv2d):
            found.append((BATCH * prod(output.shape[2:]), prod(layer.weight.shape[1:]), layer.out_channels))

    hooks = [layer.register_forward_hook(note) for layer in net.modules()]
    with torch.no_grad():
        net(torch.zeros(COUNTED, *image), torch.zeros(COUNTED, net.head.out_features // 2))
    for hook in hooks:
        hook.remove()
    return [(min(m, ROWS), k, n) for m, k, n in found]


def step_flops(net: Net, image: tuple[int, int, int]) -> float:
    """FLOPs of forward and backward for one image, as torch's counter counts them: products and convolutions alone.

    A multiply-add is two. The gradient by the pictures is not computed, so it is not counted.
    """
    with FlopCounterMode(display=False) as counter:
        out, mu, log_var = net(torch.rand(COUNTED, *image), torch.zeros(COUNTED, net.head.out_features // 2))
        (out.sum() + mu.sum() + log_var.sum()).backward()
    return counter.get_total_flops() / COUNTED


def measure(task: Task) -> dict[str, float]:
    net = Net(task.name, task.image, task.latent)
    return {
        "MFLOP per image": step_flops(net, task.image) / 1e6,
        "bf16 GFLOP/s of its own products": rate(torch.bfloat16, products(net, task.image)),
    }


def main() -> None:
    found = {
        f"{name} GFLOP/s": max(rate(dtype, [(n, n, n)]) for n in LARGE)
        for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32))
    }
    print(json.dumps(found | {name: measure(task) for name, task in TASKS.items()}))


if __name__ == "__main__":
    main()
