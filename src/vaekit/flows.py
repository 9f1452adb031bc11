"""Posteriors and priors by autoregressive flows, whose transformations are zuko's (Rozet et al.).

Shapes: K samples, B images, D latents.
"""

from collections.abc import Iterable
from typing import Annotated

import torch
from torch import Tensor, nn
from zuko.flows.autoregressive import MaskedAutoregressiveTransform
from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform, Transform

from .distributions import Flow, Gaussian, bounded, full_precision
from .part import Bounds, Count
from .posteriors import Posterior
from .priors import Prior

BINS = 8  # of a spline


def chain(
    latent: int, flows: int, width: int, *, context: int = 0, spline: bool = False, passes: int | None = None
) -> nn.ModuleList:
    """So many transformations, the latents in their order and in the opposite one by turns.

    `passes`: in how many steps one is undone, D where none is given.
    """
    shapes = [(BINS,), (BINS,), (BINS - 1,)] if spline else [(), ()]
    kind = MonotonicRQSTransform if spline else MonotonicAffineTransform
    with torch.device("cpu"):  # not on "meta", even where a recipe is only looked at: masks are counted as they are made
        order = torch.arange(latent)
        return nn.ModuleList(
            MaskedAutoregressiveTransform(
                latent,
                context,
                passes=passes,
                order=order.flip(0) if number % 2 else order,  # pyright: ignore[reportArgumentType] - any integers do
                univariate=kind,
                shapes=shapes,  # pyright: ignore[reportArgumentType]
                hidden_features=(width, width),
            )
            for number in range(flows)
        )


def through(transforms: Iterable[Transform], t: Tensor) -> tuple[Tensor, Tensor]:
    """t after all of them, and log |det| of the whole, in fp32 for an exact inverse."""
    with torch.autocast(t.device.type, enabled=False):
        t = full_precision(t)
        total = t.new_zeros(())
        for transform in transforms:
            t, log_det = transform.call_and_ladj(t)  # pyright: ignore[reportAttributeAccessIssue] - which zuko adds
            total = total + log_det
        return t, total


class InverseAutoregressive(Posterior):
    """q(z | x) = N(mu, diag exp(log_var)) pushed through inverse autoregressive flows (Kingma et al., 2016, section 3).

    A draw takes one pass a flow, the density of any other z takes D. With `spline` the flows are monotonic rational-quadratic
    splines within [-5, 5] (Durkan et al., 2019, https://arxiv.org/abs/1906.04032) instead of affine maps.
    https://arxiv.org/abs/1606.04934
    """

    latent: Annotated[int, Bounds(2)]
    flows: Count = 2
    width: Count = 128
    spline: bool = False

    def __post_init__(self):
        self.head = nn.Linear(self.features, 2 * self.latent)
        self.chain = chain(self.latent, self.flows, self.width, context=self.features, spline=self.spline)

    def forward(self, h):
        with torch.autocast(h.device.type, enabled=False):
            h = full_precision(h)
            mu, log_var = self.head(h).chunk(2, -1)
            there = [transform(h) for transform in self.chain]
            back = [transform.inv for transform in reversed(there)]
            base = Gaussian(mu, bounded(log_var))
            return Flow(base, lambda z: through(back, z), lambda u: through(there, u))


class SplineFlow(Prior):
    """p(z) by spline couplings, learned with the model: neural spline flows (Durkan et al., 2019).

    https://arxiv.org/abs/1906.04032
    """

    latent: Annotated[int, Bounds(2)]
    flows: Count = 3
    width: Count = 128

    def __post_init__(self):
        self.chain = chain(self.latent, self.flows, self.width, spline=True, passes=2)
        self.register_buffer("zero", torch.zeros(self.latent), persistent=False)

    def forward(self, model=None):
        there = [transform() for transform in self.chain]
        back = [transform.inv for transform in reversed(there)]
        zero: Tensor = self.zero  # pyright: ignore[reportAssignmentType]
        return Flow(Gaussian(zero, zero), lambda z: through(there, z), lambda u: through(back, u))
