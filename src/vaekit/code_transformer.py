"""The second stage of models of codes: a transformer that says how probable each code is, given those before it.

The two stages: van den Oord et al. (2017), section 3.3, https://arxiv.org/abs/1711.00937, with attention (Vaswani et al., 2017,
https://arxiv.org/abs/1706.03762) in the place of their PixelCNN. Attention goes over places; the codes of one place follow each
other by a net of their own, as in the RQ-Transformer (Lee et al., 2022, section 3.2, https://arxiv.org/abs/2203.01941), whose
attention within a place is a sum here: ten codes a place would make sequences ten times as long.

Shapes: B images, N places with L codes each, T = N L codes in all, place after place; W the width.
"""

from collections.abc import Sequence
from itertools import accumulate
from math import prod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .distributions import Density, Space
from .errors import UsageError
from .part import Count
from .posteriors import Discrete
from .priors import Prior

TOGETHER = 256  # sequences that are drawn at once


class Past(NamedTuple):
    """What a layer keeps of the places before: keys and values, (B, heads, N, W / heads), of which `known` are there."""

    keys: Tensor
    values: Tensor
    known: int


class Layer(nn.Module):
    """Attention to what came before, then a net for each place, each added to its normalised input."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.net = wide(width)

    def forward(self, h: Tensor, past: Past | None = None) -> Tensor:
        """h (B, N, W): all places at once, or with a `past`, which keeps it, the one after it (B, 1, W)."""
        q, k, v = self.attend(self.first(h)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if past:
            upto = past.known + 1
            past.keys[:, :, past.known], past.values[:, :, past.known] = k[:, :, 0], v[:, :, 0]
            k, v = past.keys[:, :, :upto], past.values[:, :, :upto]
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=past is None)
        h = h + self.join(seen.transpose(1, 2).flatten(2))
        return h + self.net(self.second(h))


def wide(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


class CodeTransformer(Prior):
    """p(codes) = prod_t p(code_t | code_1 ... code_(t-1)). `levels`: the L numbers of values of a place's codes."""

    space = Space.CODES

    levels: tuple[int, ...]
    places: Count
    width: Count = 128
    depth: Count = 4
    heads: Count = 4

    starts: ClassVar[Tensor]  # a buffer, (T,): where each code's values begin among those of a place

    def __post_init__(self):
        if min(self.levels, default=0) < 1 or self.width % self.heads:
            given = f"levels={self.levels}, width={self.width}, heads={self.heads}"
            wanted = "levels of 1 or more, one for each code of a place, and a width that is a multiple of the heads"
            raise UsageError(f"CodeTransformer got {given}. Give it {wanted}.")
        *starts, values = accumulate(self.levels, initial=0)
        self.register_buffer("starts", torch.tensor(starts * self.places), persistent=False)
        self.value = nn.Embedding(values, self.width)
        self.position = nn.Parameter(0.02 * torch.randn(self.places, self.width))
        self.order = nn.Parameter(0.02 * torch.randn(len(self.levels), self.width))
        self.layers = nn.ModuleList(Layer(self.width, self.heads) for _ in range(self.depth))
        self.chosen = nn.Embedding(values, self.width)  # for the codes of the same place
        self.norm, self.between, self.final = (nn.LayerNorm(self.width) for _ in range(3))
        self.within = wide(self.width)
        self.last = nn.ModuleList(nn.Linear(self.width, size) for size in self.levels)
        nn.init.normal_(self.value.weight, std=0.02)

    @property
    def codes(self) -> int:
        """T."""
        return self.places * len(self.levels)

    def log_p(self, codes: Tensor) -> Tensor:
        """log p(code_t | those before) of codes (B, T), in nats, (B, T)."""
        values, chosen = (of(codes + self.starts).unflatten(1, (self.places, -1)) for of in (self.value, self.chosen))
        h = F.pad(values.sum(2)[:, :-1], (0, 0, 1, 0)) + self.position  # each place sees the values of the one before it
        for layer in self.layers:
            h = layer(h)
        chosen = F.pad(chosen.cumsum(2)[:, :, :-1], (0, 0, 1, 0))  # (B, N, L, W), before each code
        wanted = codes.unflatten(1, (self.places, -1))
        nats = [
            F.cross_entropy(self.logits(h, chosen[:, :, at], at).transpose(1, 2), wanted[:, :, at], reduction="none")
            for at in range(len(self.levels))
        ]
        return -torch.stack(nats, 2).flatten(1)

    def logits(self, h: Tensor, chosen: Tensor, at: int) -> Tensor:
        """Of the values of a place's code number `at`; h and the sum of what stands for the codes before it there, (..., W)."""
        h = self.norm(h) + chosen + self.order[at]
        return self.last[at](self.final(h + self.within(self.between(h))))

    @torch.no_grad()
    def drawn(self, n: int) -> Tensor:
        """n sequences, (n, T), code after code."""
        if n > TOGETHER:
            return torch.cat([self.drawn(min(TOGETHER, n - start)) for start in range(0, n, TOGETHER)])
        kept = self.position.new_empty(self.depth, 2, n, self.heads, self.places, self.width // self.heads)
        before, codes = self.position.new_zeros(n, self.width), []
        for place in range(self.places):
            h = (before + self.position[place])[:, None]
            for layer, (keys, values) in zip(self.layers, kept, strict=True):
                h = layer(h, Past(keys, values, place))
            before, chosen = torch.zeros_like(before), torch.zeros_like(before)
            for at in range(len(self.levels)):
                logits = self.logits(h[:, 0], chosen, at)
                codes.append(torch.multinomial(logits.float().softmax(-1), 1)[:, 0])
                it = codes[-1] + self.starts[at]
                before, chosen = before + self.value(it), chosen + self.chosen(it)
        return torch.stack(codes, 1)

    def nats(self, z: Tensor, model=None) -> Tensor:
        """Of codes (B, T) instead of what they stand for."""
        return -self.log_p(z).sum(1)

    def forward(self, model=None):
        coder = getattr(model, "posterior", None)
        if not isinstance(coder, Discrete) or tuple(coder.levels) != tuple(self.levels):
            raise UsageError(f"These are probabilities of codes with {self.levels} values; the model has no such codes.")
        return Written(self, coder)


class Written(Density):
    """What the codes of a CodeTransformer stand for, an event is (N * D,)."""

    def __init__(self, part: CodeTransformer, coder: Discrete):
        self.part, self.coder = part, coder
        super().__init__(part.position.new_empty(()).expand(part.latent), 1)

    @property
    def mean(self) -> Tensor:
        raise UsageError("Codes have no mean to draw around: leave the temperature at 1.")

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        codes = self.part.drawn(prod(sample_shape)).unflatten(1, (self.part.places, -1))
        there = next(self.coder.parameters()).device
        return self.coder.entries(codes.to(there)).flatten(-2).reshape(*sample_shape, -1)
