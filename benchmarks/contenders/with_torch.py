"""The best plain torch loop that we could write for the same step: the loss, AdamW, clipping, an average of the weights.

Each trick can be left out (`--without`), so that a result file can say what it brings. Without "one graph" it is the loop that
most people would call fast: autocast, torch.compile, fused AdamW, `foreach` average.
"""

from collections.abc import Callable, Iterator
from math import prod, sqrt

import numpy as np
import torch
import torch._dynamo.config
from contest import BATCH, Clock, Task, enter
from nets import Net
from torch import Tensor, nn
from torch.func import functional_call

from vaekit.convolutions import by_patches

RATE, BETAS, EPSILON, DECAY, CLIP, KEEP = 1e-3, (0.9, 0.99), 1e-8, 1e-4, 1.0, 0.999
TRICKS = {
    "one graph": "forward, backward, clipping, AdamW and the average compiled as one graph, whose assumptions are not checked",
    "no scalars inside": "bias corrections are inputs, the clip factor a reduction: else every vector computes them again",
    "channels last": "convolutions over (B, H, W, C)",
    "no denormals": "below 1e-38 is 0: moments of weights that seldom see a lit pixel fade into such numbers, which are slow",
    "patches": "biases outside the convolutions, small maps as matrix products of patches (vaekit.convolutions)",
}


def losses(out: Tensor, mu: Tensor, log_var: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of squared errors and KL, means over the batch."""
    recon = (out.float().sigmoid() - x.float()).square().sum() / len(x)
    return recon, 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum() / len(x)


def usual(net: Net, data: Tensor, layout: torch.memory_format) -> Callable[[Tensor], Tensor]:
    """A step as it is usually written."""
    live = list(net.parameters())
    average = [weight.detach().clone() for weight in live]
    groups = [
        {"params": [weight for weight in live if weight.dim() > 1], "weight_decay": DECAY},
        {"params": [weight for weight in live if weight.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=BETAS, eps=EPSILON, fused=True)

    @torch.compile
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        x = (x.float() / 255).to(memory_format=layout)
        with torch.autocast("cpu", torch.bfloat16):
            return losses(*net(x, torch.randn(len(x), net.head.out_features // 2)), x)

    def step(chosen: Tensor) -> Tensor:
        recon, kl = forward(data[chosen])
        optimizer.zero_grad()
        ((recon + kl) / data[0].numel()).backward()
        nn.utils.clip_grad_norm_(live, CLIP)
        optimizer.step()
        torch._foreach_lerp_(average, [weight.detach() for weight in live], 1 - KEEP)
        return torch.stack([recon.detach(), kl.detach()])

    return step


def one_graph(net: Net, data: Tensor, layout: torch.memory_format, lean: bool) -> Callable[[Tensor], Tensor]:
    """The whole step as one compiled function of indices and scalars; bf16 weights are cast within."""
    torch._dynamo.config.trace_autograd_ops = True  # else torch.autograd.grad breaks the graph
    names = [name for name, _ in net.named_parameters()]
    master = [weight.detach().clone() for weight in net.parameters()]
    first, second, average = [[torch.zeros_like(w) for w in master] for _ in range(2)] + [[w.clone() for w in master]]
    ones = torch.ones(31)  # a reduction over 32 numbers is computed once; over 8 or fewer it would be inlined into every loop

    @torch.compile(fullgraph=True, options={"guard_filter_fn": torch.compiler.skip_all_guards_unsafe})
    def whole(chosen: Tensor, scalars: Tensor, steps: Tensor) -> Tensor:
        x = (data[chosen].bfloat16() / 255).to(memory_format=layout)
        weights = [(w.bfloat16() if w.dim() > 1 else w.clone()).requires_grad_() for w in master]
        with torch.autocast("cpu", torch.bfloat16):
            named = dict(zip(names, weights, strict=True))
            out, mu, log_var = functional_call(net, named, (x, torch.randn(len(x), net.head.out_features // 2)))
        recon, kl = losses(out, mu, log_var, x)
        gradients = [g.float() for g in torch.autograd.grad((recon + kl) / data[0].numel(), weights)]
        with torch.no_grad():
            norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
            if lean:
                clip = torch.cat([(CLIP / (norm + 1e-6)).reshape(1), ones]).amin()
                rate, epsilon = scalars[0], scalars[1]
            else:
                clip, corrected = (CLIP / (norm + 1e-6)).clamp(max=1), (1 - BETAS[1] ** steps).sqrt()
                rate, epsilon = RATE * corrected / (1 - BETAS[0] ** steps), EPSILON * corrected
            for w, m, v, mean, g in zip(master, first, second, average, gradients, strict=True):
                g = g * clip  # noqa: PLW2901
                m.copy_(m + (g - m) * (1 - BETAS[0]))
                v.copy_(v * BETAS[1] + g * g * (1 - BETAS[1]))
                w.copy_((w * (1 - RATE * DECAY) if w.dim() > 1 else w) - rate * (m / (v.sqrt() + epsilon)))
                mean.copy_(mean + (w - mean) * (1 - KEEP))
        return torch.stack([recon.detach(), kl.detach(), norm])

    taken = 0

    def step(chosen: Tensor) -> Tensor:
        nonlocal taken
        taken += 1
        corrected = sqrt(1 - BETAS[1] ** taken)
        scalars = torch.tensor([RATE * corrected / (1 - BETAS[0] ** taken), EPSILON * corrected])
        return whole(chosen, scalars, torch.tensor(float(taken)))

    return step


def shuffled(count: int) -> Iterator[Tensor]:
    """Indices of batches, without end."""
    while True:
        yield from torch.randperm(count)[: count - count % BATCH].split(BATCH)


def train(task: Task, pixels: np.ndarray, clock: Clock, tricks: list[str]) -> dict:
    torch.manual_seed(0)
    torch.set_flush_denormal("no denormals" in tricks)
    net, data, images = Net(task.name, task.image, task.latent), torch.from_numpy(np.array(pixels)), 0
    parameters = sum(weight.numel() for weight in net.parameters())
    layout = torch.channels_last if "channels last" in tricks else torch.contiguous_format
    net.to(memory_format=layout)
    by_patches(net, "patches" in tricks)
    lean = "no scalars inside" in tricks
    step = one_graph(net, data, layout, lean) if "one graph" in tricks else usual(net, data, layout)
    with clock:
        for chosen in shuffled(len(data)):
            recon = step(chosen)[0]
            images += BATCH
            clock.mark(images)
    told = f"squared error of a value {recon.item() / prod(task.image):.4f} after {images:,} images"
    how = f"bf16, threads {torch.get_num_threads()}, {', '.join(tricks)}; {told}"
    return {"parameters": parameters, "how": how}


if __name__ == "__main__":
    enter(train, tuple(TRICKS))
