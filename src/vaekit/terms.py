"""The terms objectives are made of: pure functions of a trace, in nats per image, (B,)."""

import torch
from torch import Tensor

from . import world
from .trace import Trace


def distortion(t: Trace) -> Tensor:
    """-log p(x | z), summed over pixels, mean over the K samples of z."""
    return -t.log_px.mean(0)


def rate(t: Trace) -> Tensor:
    """KL(q(z | x) || p(z)), summed over latents and groups."""
    return sum((group.kl for group in t.groups), t.x.new_zeros(()))


def rate_above(t: Trace, free_bits: float, per: str) -> Tensor:
    """The rate with every latent's (or group's) batch mean raised to at least `free_bits` nats.

    Kingma et al. (2016), eq. 15: below that, a latent costs nothing and gets no gradient. https://arxiv.org/abs/1606.04934
    """
    if per == "group":
        means = torch.stack([group.kl.mean() for group in t.groups])
    else:
        means = torch.cat([group.kl_per_latent().mean(0) for group in t.groups])
    return world.mean(means).clamp_min(free_bits).sum().expand(t.x.shape[0])


def mse(t: Trace) -> Tensor:
    """Mean squared error of an image, over its pixel values; the mean over the K samples."""
    return (t.px.mean - t.x).square().mean((2, 3, 4)).mean(0)


def rmse(t: Trace) -> Tensor:
    """Root mean squared error of an image; the mean over the K samples."""
    return (t.px.mean - t.x).square().mean((2, 3, 4)).clamp_min(1e-12).sqrt().mean(0)  # the root has no gradient at 0
