"""How probable a model finds pictures: a lower bound on log p(x) by importance sampling, tighter than the ELBO.

log p(x) >= E[log 1/K sum_k p(x | z_k) p(z_k) / q(z_k | x)], z_k ~ q(z | x) (Burda et al., 2016, eq. 8; there K = 5000).
https://arxiv.org/abs/1509.00519

Shapes: K samples of z, B images.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import world
from ..batches import mix
from ..distributions import Gaussian
from ..errors import UsageError
from ..execution import Execution, autocast
from ..ladder import Ladder, Rung
from ..model import Model
from ..posteriors import draw
from ..priors import ExemplarPrior, VampPrior, mixture
from ..train import Images, chunks, shown, sow

Seen = tuple[Tensor, Tensor | None]  # images (B, C, H, W) in [0, 1], and c

IMAGES, SAMPLES = 16, 64  # in a block of draws, and in one pass of the decoder, at most: the memory it takes, whatever K is
CLOSE = 0.02  # nats per image that the bound in bf16 may differ from fp32, the mean over the images compared
CHECKED = 16  # blocks of images on which it is compared


@dataclass(frozen=True)
class Bound:
    """A bound on log p(x) in nats per image, the mean over `images` of them."""

    log_px: Tensor  # (N,), the bound for every image, at all samples
    curve: dict[int, float]  # the mean bound after 1, 10, 100, ... and all samples
    effective: Tensor  # (N,), the effective sample size (sum w)^2 / sum w^2
    samples: int  # K
    seed: int
    precision: str
    seconds: float

    @property
    def value(self) -> float:
        return self.curve[self.samples]

    @property
    def interval(self) -> list[float] | None:
        """95 % for the mean over images, None of a single one."""
        return around(self.value, self.log_px.numpy())


def around(value: float, each: np.ndarray) -> list[float] | None:
    """95 % for the mean over images, of which `each` has one number; None of a single one, which tells of no others."""
    if len(each) < 2:
        return None
    error = 1.96 * float(each.std(ddof=1)) / len(each) ** 0.5
    return [value - error, value + error]


def proportion(share: float, count: int) -> list[float]:
    """95 % for a share of `count` images (Wilson, 1927)."""
    from scipy.stats import binomtest  # which takes longer to import than a training should have to wait for

    return [float(end) for end in binomtest(round(share * count), count).proportion_ci(method="wilson")]


@torch.no_grad()
def importance_bound(
    model: Model,
    images: Images,
    count: int,
    samples: int = 5000,
    *,
    seed: int = 0,
    execution: Execution | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Bound:
    """The bound at K = `samples` for `count` images, in memory that does not grow with K.

    In fp32, or as `execution` says: only the decoder makes use of bf16, after a comparison with fp32; q, p(z) and sums do not.
    Rounding makes another decoder, but its probabilities still sum to one: what is computed remains a bound. Several processes
    share the images. The draws of an image depend on `seed` and its place alone, not on `count`, `samples` or its neighbours.
    Raises UsageError for an autoencoder of points, and where bf16 differs from fp32 by more than CLOSE nats.
    """
    if not model.has_rate:
        raise UsageError("An autoencoder of points has no bound on p(x): q(z | x) is no density. Train a VAE.")
    if min(samples, count) < 1:
        raise UsageError(f"A bound was asked for over {count} images with {samples} samples; it needs 1 or more of both.")
    device = next(model.parameters()).device
    execution = execution or Execution(device)
    began = time.monotonic()
    marks = sorted({samples, *(10**i for i in range(len(str(samples))))} & set(range(1, samples + 1)))
    passes = Passes(model, execution)
    blocks = chunks(count, passes.block)
    if execution.precision != "fp32":
        check_precision(model, images, blocks[:CHECKED], seed, execution)
    found: dict[int, tuple[Tensor, Tensor]] = {}
    for block in blocks[world.here.rank :: world.here.size]:
        found[block.start] = bound_of(passes, shown(images(block)), marks, seed=mix(seed, 2, block.start))
        if progress:
            progress(block.stop, count)
    shared = dict(item for part in world.gathered(found) for item in part.items())
    curves = torch.cat([shared[block.start][0] for block in blocks], 1)
    effective = torch.cat([shared[block.start][1] for block in blocks])
    means = dict(zip(marks, curves.mean(1).tolist(), strict=True))
    return Bound(curves[-1], means, effective, samples, seed, execution.precision, time.monotonic() - began)


class Passes:
    """Draws of z with their weights, for a block of images at a time; what takes long of a pass is compiled.

    z are drawn for a whole `block` of images, however many there are, and weighed `size` images at a time: neither how that is
    cut nor the images beside one change its draws. So that it is compiled once, every compiled pass has one shape.
    """

    def __init__(self, model: Model, execution: Execution):
        self.model, self.execution, self.parts = model, execution, parts_of(model)
        self.block = halvings(model.at_once)
        self.size = halvings(4 * model.at_once // SAMPLES)  # codes are decoded without any encoder beside them
        # Of a hierarchy one way down draws z and has all densities. In bf16 the decoder goes alone: only it may be rounded.
        self.walks = isinstance(model, Ladder) and execution.precision == "fp32"
        self.weigh = execution.compiled(walk if self.walks else log_weights, constant=True)

    def over(self, seen: Seen, seed: int) -> Iterator[Tensor]:
        """log w of other draws in every pass, (SAMPLES, B)."""
        (x, c), model = seen, self.model
        images, x, c = len(x), filled(x, self.block), c if c is None else filled(c, self.block)
        stop = images if self.execution.compile == "off" else self.block
        cuts = [slice(start, min(start + self.size, stop)) for start in range(0, images, self.size)]
        q: Any = None if isinstance(model, Ladder) else model.encode(x, c)
        for number in itertools.count():
            sow(mix(seed, number), self.execution)
            drawn = normals(model, x) if isinstance(model, Ladder) else draw(q, SAMPLES)
            log_w = [self.weighed((x[cut], c if c is None else c[cut]), [each[:, cut] for each in drawn]) for cut in cuts]
            yield torch.cat(log_w, 1)[:, :images]

    def weighed(self, seen: Seen, drawn: list[Tensor]) -> Tensor:
        """log w, (K, B), of z and log q(z | x), or of the normal numbers that a hierarchy's z stand for."""
        if self.walks:
            return self.weigh(self.model, seen, drawn)
        z, log_q = latents_of(self.model, seen[0], drawn) if isinstance(self.model, Ladder) else drawn
        return self.weigh(self.model, seen, z, self.execution, self.parts) - log_q


def halvings(most: int) -> int:
    """The largest of IMAGES, its half, ... and 1 that is not above `most`, or 1."""
    return 1 << (min(IMAGES, max(1, most)).bit_length() - 1)


Parts = tuple[Tensor, Tensor, Tensor]  # logits (C,), means and log-variances (C, D) of a mixture


def parts_of(model: Model) -> Parts | None:
    """The Gaussians that p(z) is a mixture of, where it takes the encoder to find them: every pass would find them again."""
    prior: Any = getattr(model, "prior", None)
    if not isinstance(prior, VampPrior | ExemplarPrior):
        return None
    p: Any = model.p_z()
    parts = p.component_distribution
    return (prior.logits, parts.loc, parts.log_var) if isinstance(parts, Gaussian) else None  # pyright: ignore[reportReturnType]


def filled(t: Tensor, size: int) -> Tensor:
    """As many entries as `size`; where there are fewer, the first one again and again."""
    return torch.cat([t, *[t[:1]] * (size - len(t))])


def bound_of(passes: Passes, seen: Seen, marks: list[int], *, seed: int) -> tuple[Tensor, Tensor]:
    """The bound of every image at every mark, (M, B), and the effective sample sizes (B,), in float64."""
    x, _ = seen
    samples = marks[-1]
    total = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)  # log sum w
    squares, curve = total.clone(), []  # log sum w^2
    with noise(seed, x.device):
        weights = passes.over(seen, seed)
        for done in range(0, samples, SAMPLES):
            log_w = next(weights).double()[: samples - done]  # (k, B); the surplus is left out
            for mark in marks:
                if done < mark <= done + SAMPLES:
                    curve.append(torch.logaddexp(total, log_w[: mark - done].logsumexp(0)) - torch.tensor(mark).log())
            total = torch.logaddexp(total, log_w.logsumexp(0))
            squares = torch.logaddexp(squares, (2 * log_w).logsumexp(0))
    return torch.stack(curve).cpu(), (2 * total - squares).exp().cpu()


def log_weights(model: Model, seen: Seen, z: Tensor, execution: Execution, parts: Parts | None = None) -> Tensor:
    """log p(x | z) + log p(z), (K, B). `parts`: those of p(z), where they are known."""
    x, c = seen
    with autocast(execution):
        log_px = model.decode(z, c).log_prob(x)
    p = model.p_z(c) if parts is None else mixture(parts[0], Gaussian(*parts[1:]))
    return log_px + p.log_prob(z)


def normals(model: Ladder, x: Tensor) -> list[Tensor]:
    """Standard normal numbers for each group of a hierarchy, (SAMPLES, B, D')."""
    return [world.normal((SAMPLES, len(x), latents), 1, x) for latents in model.sizes]


def descend(model: Ladder, x: Tensor, eps: list[Tensor]) -> tuple[list[Rung], Tensor, Tensor]:
    """The way down of the z that normal numbers (K, B, D') stand for, what it ends in, and log q(z | x), (K B,)."""
    rungs, out = model.infer(x, len(eps[0]), lambda q, p, number: q.loc + q.stddev * eps[number].flatten(0, 1))
    return rungs, out, torch.stack([rung.q.log_prob(rung.z) for rung in rungs]).sum(0)


def latents_of(model: Ladder, x: Tensor, eps: list[Tensor]) -> list[Tensor]:
    """z (K, B, D) and log q(z | x) (K, B)."""
    rungs, _, log_q = descend(model, x, eps)
    return [t.unflatten(0, (len(eps[0]), -1)) for t in (torch.cat([rung.z for rung in rungs], -1), log_q)]


def walk(model: Ladder, seen: Seen, eps: list[Tensor]) -> Tensor:
    """log w, (K, B)."""
    rungs, out, log_q = descend(model, seen[0], eps)
    log_p = torch.stack([rung.p.log_prob(rung.z) for rung in rungs]).sum(0)
    out, log_p, log_q = (t.unflatten(0, (len(eps[0]), -1)) for t in (out, log_p, log_q))
    return model.likelihood(out).log_prob(seen[0]) + log_p - log_q


def check_precision(model: Model, images: Images, blocks: list[slice], seed: int, execution: Execution) -> None:
    """Raises UsageError where it makes another bound of these images, with the same draws, than fp32."""
    means = []
    for each in (replace(execution, precision="fp32", compile="off"), replace(execution, compile="off")):
        passes = Passes(model, each)
        found = [bound_of(passes, shown(images(block)), [SAMPLES], seed=mix(seed, 3, block.start))[0] for block in blocks]
        means.append(torch.cat(found, 1).mean().item())
    gap = abs(means[0] - means[1])
    if gap > CLOSE:
        raise UsageError(
            f"The bound in {execution.precision} differs from fp32 by {gap:.3f} nats, more than {CLOSE}. "
            "Evaluate with --precision fp32."
        )


@contextmanager
def noise(seed: int, device: torch.device):
    """Draws from a seed; the global generator is as it was afterwards."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
