"""Conditional VAEs: told what is known of an image, such as its label, they learn what is not.

Sohn et al. (2015), Learning structured output representation using deep conditional generative models,
https://papers.nips.cc/paper/5775. Some images' knowledge is withheld while training, so that one model also does without (Ho &
Salimans, 2022, https://arxiv.org/abs/2207.12598).

Shapes: B images, K samples, D latents; c (B, Y), a column for each label and each attribute, nan where it is not known.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from . import world
from .distributions import Gaussian, bounded, full_precision
from .errors import UsageError
from .likelihoods import FINEST, GaussianOfBatch
from .model import VAE, Model
from .part import Bounds, Count, Part, known
from .priors import Prior
from .trace import Trace


class Condition(Part):
    """What a model is told of an image: its label, 1 in a column of its own and 0 in those of the others; and attributes.

    `centre` and `spread`: mean and standard deviation of each attribute, so that all are told in one size. `shown`: of how many
    training images anything is told; None: of all.
    """

    labels: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    centre: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    shown: int | None = None

    shift: ClassVar[Tensor]  # buffers, (Y,)
    scale: ClassVar[Tensor]

    def __post_init__(self):
        if not self.names:
            raise UsageError("A conditional model was given neither labels nor attributes. Name what it is told.")
        if not len(self.attributes) == len(self.centre) == len(self.spread) or not all(size > 0 for size in self.spread):
            given = f"{len(self.attributes)} attributes, centre={self.centre} and spread={self.spread}"
            raise UsageError(f"A Condition got {given}; it needs one of each for every attribute, and spreads above 0.")
        even = len(self.labels)
        self.register_buffer("shift", torch.tensor([0.0] * even + list(self.centre)), persistent=False)
        self.register_buffer("scale", torch.tensor([1.0] * even + list(self.spread)), persistent=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns of c."""
        return (*self.labels, *self.attributes)

    @property
    def told(self) -> int:
        """How many numbers nets are told: of every column its value, and whether it is missing."""
        return 2 * len(self.names)

    def forward(self, c: Tensor | None = None) -> Tensor:
        """What nets are told, (B, 2 Y); without c (2 Y,), where nothing is known. Raises UsageError on another width."""
        if c is not None and c.shape[-1] != len(self.names):
            names = f"{', '.join(self.names[:5])}{', ...' if len(self.names) > 5 else ''}"
            raise UsageError(
                f"c has {c.shape[-1]} columns. This model is told of {len(self.names)}: {names}. Give a column for each."
            )
        c = torch.full_like(self.shift, torch.nan) if c is None else c.to(self.shift.dtype)
        missing = c.isnan()
        return torch.cat([torch.where(missing, 0.0, (c - self.shift) / self.scale), missing.to(c.dtype)], -1)

    def of(self, words: Mapping[str, str]) -> Tensor:
        """c (Y,) from {"label": its name} and {attribute: its value}. Raises UsageError on what it was never told of."""
        c = torch.full_like(self.shift, torch.nan)
        for name, value in words.items():
            if name == "label" and self.labels:
                if value not in self.labels:
                    raise UsageError(f"No label is named {value!r}. {known(value, self.labels)}")
                c[: len(self.labels)] = 0
                c[self.labels.index(value)] = 1
            elif name in self.attributes:
                try:
                    c[len(self.labels) + self.attributes.index(name)] = float(value)
                except ValueError as error:
                    raise UsageError(f"{name}={value!r} is no number. Give one, such as {name}=1.") from error
            else:
                names = (*(("label",) if self.labels else ()), *self.attributes)
                raise UsageError(f"This model was told nothing of {name!r}. {known(name, names)}")
        return c


class ConditionalNormal(Prior):
    """p(z | c) = N(mu(c), diag exp(log_var(c))), both linear in what is told: to each label a Gaussian of its own."""

    told: Count  # numbers

    def __post_init__(self):
        self.last = nn.Linear(self.told, 2 * self.latent)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, model=None, told: Tensor | None = None):
        with torch.autocast(self.last.weight.device.type, enabled=False):
            told = self.last.weight.new_zeros(self.told) if told is None else full_precision(told)
            mean, log_var = self.last(told).chunk(2, -1)
            return Gaussian(mean, bounded(log_var))


class Conditional(VAE):
    """q(z | x, c), p(x | z, c), and p(z) or p(z | c); every c may be None, or nan where it is not known.

    The encoder sees what it is told as a mark added to the image and to its features; the decoder beside the latents of each
    place, so its `latent` is places * (latents + condition.told). `withheld`: the share of training images of which nothing is
    told.
    """

    condition: Condition
    withheld: Annotated[float, Bounds(0, 1, below=True)] = 0.1

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.prior, ConditionalNormal) and self.prior.told != self.condition.told:
            given = f"told={self.prior.told}, and the condition says {self.condition.told} numbers"
            raise UsageError(f"The prior has {given}. Give both the same.")
        self.mark = nn.Linear(self.condition.told, self.image[0] * self.image[1] * self.image[2], bias=False)
        self.hint = nn.Linear(self.condition.told, self.posterior.features, bias=False)
        for start in (self.mark, self.hint):
            nn.init.zeros_(start.weight)

    @property
    def decoded(self) -> int:
        return self.latent + self.places * self.condition.told

    @property
    def coding(self) -> tuple[str, ...]:
        return ("encoder", "posterior", "mark", "hint")

    def withhold(self, c):
        if c is None or not self.withheld:
            return c
        return torch.where(world.uniform((len(c), 1), 0, c) < self.withheld, torch.nan, c)

    def features(self, x, c=None):
        told = self.condition(c)
        h, hint = self.encoder(x + self.mark(told).unflatten(-1, self.image)), self.hint(told)
        return h + (hint[..., None, :] if h.dim() == 3 else hint)

    def inputs(self, z, c=None):
        each = z.unflatten(-1, (self.places, -1))  # (K, B, N, D / N)
        told = self.condition(c)[..., None, :].to(z.dtype)
        return torch.cat([each, told.expand(*each.shape[:-1], -1)], -1).flatten(-2)

    def p_z(self, c=None):
        if isinstance(self.prior, ConditionalNormal):
            return self.prior(self, self.condition(c))
        return super().p_z()


@dataclass(frozen=True)
class Supposed(Trace):
    """A trace, and that of every image with every label."""

    c: Tensor  # (B, Y), one-hot, nan for an image without a label
    log_q: Tensor  # (B, Y), log q(y | x)
    each: Trace  # of B * Y images: the first with each label, then the second, ...
    share: float  # of images of which the model is told nothing in training

    @property
    def labelled(self) -> Tensor:
        """(B,)"""
        return ~self.c.isnan().any(1)

    @property
    def y(self) -> Tensor:
        """(B, Y), 0 for an image without a label."""
        return self.c.nan_to_num(0.0)


def supposed(model: Model, x: Tensor, samples: int, c: Tensor | None, log_q: Tensor) -> Supposed:
    """Each image with what is known of it, c (B, Y), and with every label; log_q (B, Y): how probable they are.

    Raises UsageError for a model that is told anything else.
    """
    if not isinstance(model, Conditional) or model.condition.attributes:
        raise UsageError(f"This needs a Conditional model that is told labels alone; it is a {type(model).__name__}.")
    labels = len(model.condition.labels)
    if log_q.shape[1] != labels:
        raise UsageError(
            f"The classifier tells {log_q.shape[1]} labels apart, and the model is told {labels}. Give both the same."
        )
    every = torch.eye(labels, device=x.device).repeat(len(x), 1)
    each = model(x.repeat_interleave(labels, 0), samples, every)
    t, c = model(x, samples, c), x.new_full((len(x), labels), torch.nan) if c is None else c
    if isinstance(each.px, GaussianOfBatch):  # the residual of decodings under other labels is not that of the model
        share = torch.where(c.isnan().any(1, keepdim=True), log_q.detach().exp(), c.nan_to_num(0.0)).flatten()
        errors = (each.x - each.px.mean).detach().square().mean((0, 2, 3, 4))
        variance = world.mean((share * errors).sum() / len(x)).clamp_min(FINEST**2)
        each = replace(each, px=each.px.at(variance))
    return Supposed(t.x, t.groups, t.px, c, log_q, each, model.withheld)
