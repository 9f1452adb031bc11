"""The terms objectives are made of: pure functions of a trace, in nats per image, (B,)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from . import world
from .distributions import LOG_2PI, Gaussian, exactly, full_precision
from .errors import UsageError
from .likelihoods import check_weighed
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


def squares(t: Trace) -> Tensor:
    """Squared error of an image, summed over its pixel values; the mean over the K samples."""
    return (t.px.mean - t.x).square().sum((2, 3, 4)).mean(0)


def code_norm(t: Trace) -> Tensor:
    """|z|^2 / 2, the mean over the K samples."""
    return sum((group.z.square().sum(-1).mean(0) / 2 for group in t.groups), t.x.new_zeros(()))


def jacobian_norm(t: Trace) -> Tensor:
    """The squared Frobenius norm of the Jacobian of the decoded picture by z, (B,), along one random direction of pictures.

    |v J|^2 with v of independent standard normal numbers is |J|^2 in the mean (Hutchinson, 1990). The trace's z must be one that
    gradients are computed by.
    """
    group, learning = t.group, torch.is_grad_enabled()
    with torch.enable_grad():
        mean = t.px.mean
        direction = world.normal(mean.shape, 1, mean)
        (pulled,) = torch.autograd.grad((mean * direction).sum(), group.z, create_graph=learning, retain_graph=True)
    return pulled.square().sum(-1).mean(0)


# Importance weights


def log_joint(t: Trace) -> Tensor:
    """log p(x, z) = log p(x | z) + log p(z), (K, B). Raises UsageError where K samples cannot be weighed by it."""
    check_weighed(len(t.log_px), t.px)
    return t.log_px + sum(group.log_p for group in t.groups)


def log_weights(t: Trace) -> Tensor:
    """log w = log p(x, z) - log q(z | x), (K, B). UsageError of points, too."""
    check_weighed(len(t.log_px), t.px)
    return t.log_px - sum(group.log_ratio for group in t.groups)


def mean_of_weights(log_w: Tensor, over: int = 0) -> Tensor:
    """The log of the mean of exp(log_w) over a dimension."""
    return log_w.logsumexp(over) - math.log(log_w.shape[over])


def settled_log_q(t: Trace) -> Tensor:
    """log q(z | x), (K, B), whose gradient reaches the encoder through z alone, not through q's parameters."""
    q = gaussian(t, "A gradient through z alone")
    return Gaussian(q.mean.detach(), q.log_var.detach(), q.dims).log_prob(t.group.z)


def through_z(weighed: Tensor, t: Trace) -> Tensor:
    """A term (B,) whose gradient is what the sum of `weighed` (K, B) sends through z to the encoder, and reaches nothing else."""
    z = t.group.z
    if not z.requires_grad:
        return weighed.new_zeros(weighed.shape[1:])
    (pull,) = torch.autograd.grad(weighed.sum(), z, retain_graph=True)
    return (pull.detach() * z).sum((0, -1))


def valued(surrogate: Tensor, value: Tensor) -> Tensor:
    """A term with this value and the gradient of the surrogate."""
    return value.detach() + surrogate - surrogate.detach()


# The codes of a batch


def gaussian(t: Trace, who: str) -> Gaussian:
    """q(z | x) of a model with one group of latents. Raises UsageError where it is no diagonal Gaussian."""
    if len(t.groups) != 1 or not isinstance(t.groups[0].q, Gaussian):
        raise UsageError(f"{who} needs one diagonal Gaussian q(z | x); this model has {kinds(t)}. Use DiagonalGaussian.")
    return t.groups[0].q


def kinds(t: Trace) -> str:
    return ", ".join(type(group.q).__name__ for group in t.groups)


def decomposed_rate(t: Trace, images: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """MI, total correlation and dimension-wise KL, whose sum is log q(z | x) - log p(z) at the drawn z; (B,) each.

    log q(z) over a training split of so many `images` by minibatch stratified sampling (Chen et al., 2018, appendix C.2); 0: the
    batch is taken for all of them.
    """
    q, group = gaussian(t, "The total correlation"), t.group
    loc, log_var = world.united(q.mean), world.united(q.log_var.expand_as(q.mean))  # (B', D), of the whole batch
    z = group.z[:, :, None]  # (K, B, 1, D)
    each = -0.5 * ((z - loc).square() * (-log_var).exp() + log_var + LOG_2PI)  # log q(z_d | x_j), (K, B, B', D)
    log_weight = world.own(stratified(len(loc), images, like=loc))[..., None]
    log_qz = (log_weight[..., 0] + each.sum(-1)).logsumexp(2)  # (K, B)
    log_product = (log_weight + each).logsumexp(2).sum(-1)
    parts = group.log_q - log_qz, log_qz - log_product, log_product - group.log_p
    return parts[0].mean(0), parts[1].mean(0), parts[2].mean(0)


def stratified(batch: int, images: int, like: Tensor) -> Tensor:
    """log of the weight of image j in the estimate of q(z) at image i's z, (batch, batch); every row's weights add up to 1."""
    if images <= batch:
        return like.new_full((batch, batch), -math.log(batch))
    others = max(batch - 1, 1)
    weights = like.new_full((batch, batch), 1 / others)
    rows = torch.arange(batch, device=like.device)
    weights[rows, (rows + 1) % batch] = (images - others) / (images * others)
    weights[rows, rows] = 1 / images if batch > 1 else 1.0
    return weights.log()


def imq(distances: Tensor, latent: int) -> Tensor:
    """Sum of inverse multiquadratics C / (C + d) with C = 2 D s (Tolstikhin et al., 2018, section 4), d squared distances."""
    return sum((c / (c + distances) for c in (2 * latent * s for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0))), distances * 0)


def rbf(distances: Tensor, latent: int) -> Tensor:
    """exp(-d / D^2), d squared distances (Zhao et al., 2019, their code: the mean over latents, over their number)."""
    return (-distances / latent**2).exp()


KERNELS: dict[str, Callable[[Tensor, int], Tensor]] = {"imq": imq, "rbf": rbf}


def mmd(t: Trace, kernel: str) -> Tensor:
    """MMD^2 between the codes of the batch, the first sample of each, and as many draws of the prior, unbiased; a number."""
    z, p = world.united(t.group.z[0]), world.united(t.group.dream())
    k, n = KERNELS[kernel], len(z)
    others = 1 - torch.eye(n, dtype=z.dtype, device=z.device)

    def among(a: Tensor) -> Tensor:
        return (k(squared_distances(a, a), a.shape[-1]) * others).sum() / max(n * (n - 1), 1)

    return among(z) + among(p) - 2 * k(squared_distances(z, p), z.shape[-1]).mean()


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Between all pairs of rows, (A, B)."""
    a, b = full_precision(a), full_precision(b)
    with exactly(a):
        return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp_min(0)
