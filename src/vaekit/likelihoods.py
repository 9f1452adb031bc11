"""Likelihoods: from the decoder's output to p(x | z). They own the output activation, because it is half of the contract.

Shapes: K samples of z, B images; out, x and mean are (K, B, C, H, W), pixels in [0, 1]. Densities are per pixel value in [0, 1];
log p(x | z) is summed over an image, in nats.
"""

import math
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, Laplace, StudentT

from . import world
from .distributions import ContinuousBernoulli, Density, Gaussian, bounded, full_precision
from .errors import UsageError
from .part import Part, Positive
from .trace import Trace

FINEST = 1 / (255 * math.sqrt(12))  # the standard deviation of rounding to 8 bits: no residual of a picture is smaller


class Likelihood(Part):
    """Maps the decoder's output (K, B, C * per_pixel, H, W) to p(x | z), batch (K, B), event (C, H, W)."""

    per_pixel: ClassVar[int] = 1  # numbers that it wants for each pixel value
    support: ClassVar[str] = "density"  # of values in [0, 1]; "levels": a probability of 256 levels, "bits": of black and white
    drawn: ClassVar[bool] = False  # whether its mean is drawn pixel after pixel: then no gradient passes through it

    def forward(self, out: Tensor) -> Distribution:
        raise NotImplementedError

    @property
    def sigma(self) -> float | None:
        """The standard deviation of a pixel under a Gaussian, None for any other density."""
        return None


class BernoulliPixels(Likelihood):
    """Black or white pixels, -log p = binary cross-entropy. On grey pixels this is no density: see ContinuousBernoulliPixels."""

    support = "bits"

    def forward(self, out):
        return Independent(Bernoulli(logits=full_precision(out), validate_args=False), 3)


class ContinuousBernoulliPixels(Likelihood):
    """Grey pixels with the Bernoulli's shape and the normaliser that it lacks (Loaiza-Ganem & Cunningham, 2019).

    https://arxiv.org/abs/1907.06845
    """

    def forward(self, out):
        return ContinuousBernoulli(full_precision(out))


class LaplacePixels(Likelihood):
    """Laplace noise: absolute error, sharper edges than a Gaussian. `scale` is in pixel units, [0, 1]."""

    scale: Positive = 0.1

    def forward(self, out):
        mean = full_precision(out).sigmoid()
        return Independent(Laplace(mean, mean.new_tensor(self.scale).expand_as(mean), validate_args=False), 3)


class FixedGaussian(Likelihood):
    """Gaussian noise of a given standard deviation, in pixel units.

    scale = 1 / sqrt(2) is the plain sum of squared errors, up to a constant.
    """

    scale: Positive = 0.1

    def forward(self, out):
        mean = full_precision(out).sigmoid()
        return Gaussian(mean, mean.new_tensor(2 * math.log(self.scale)), 3)

    @property
    def sigma(self):
        return self.scale


class LearnedGaussian(Likelihood):
    """Gaussian noise with one standard deviation for all pixels, learned by gradient (Rybkin et al., 2021, section 3).

    https://arxiv.org/abs/2006.13202
    """

    initial: Positive = 0.5

    def __post_init__(self):
        self.log_scale = nn.Parameter(torch.tensor(math.log(self.initial)))

    def forward(self, out):
        return Gaussian(full_precision(out).sigmoid(), no_finer(2 * self.log_scale), 3)

    @property
    def sigma(self):
        return math.hypot(self.log_scale.exp().item(), FINEST)


class PerPixelGaussian(Likelihood):
    """Gaussian noise whose standard deviation the decoder gives for every pixel value (Kingma & Welling, 2014, appendix C.2)."""

    per_pixel = 2

    def forward(self, out):
        mean, log_var = apiece(out, 2).unbind(-3)
        return Gaussian(mean.sigmoid(), no_finer(bounded(log_var) - 4), 3)  # at first 1 / e^2 = 0.14


class StudentTPixels(Likelihood):
    """Student's t noise: the few pixels that are far off cost little (Takahashi et al., 2018). The scale is learned.

    `df`: degrees of freedom; 1 is Cauchy's, many are Gauss's. https://www.ijcai.org/proceedings/2018/374
    """

    df: Positive = 5.0
    initial: Positive = 0.2

    def __post_init__(self):
        self.log_scale = nn.Parameter(torch.tensor(math.log(self.initial)))

    def forward(self, out):
        mean = full_precision(out).sigmoid()
        scale = (no_finer(2 * self.log_scale) / 2).exp()
        noise = TNoise(mean.new_tensor(self.df), mean, scale.expand_as(mean), validate_args=False)
        noise.log_peak = math.lgamma((self.df + 1) / 2) - math.lgamma(self.df / 2) - math.log(self.df * math.pi) / 2
        return Independent(noise, 3)


class TNoise(StudentT):
    """Its centre is the picture, even where the tails are so heavy that there is no mean."""

    log_peak: float  # log p at the centre for a scale of 1: of many degrees of freedom fp32 would lose its digits

    @property
    def mean(self) -> Tensor:
        return self.loc

    def log_prob(self, value):
        off = ((value - self.loc) / self.scale).square() / self.df
        return self.log_peak - self.scale.log() - (self.df + 1) / 2 * off.log1p()


class OptimalGaussian(Likelihood):
    """Gaussian noise with the standard deviation that maximises the likelihood (Rybkin et al., 2021, eq. 8).

    While training it is the residual of the batch, in closed form. A density of one image must not depend on its batch-mates,
    so in eval mode it is a kept value: `absorb` follows the residual of training with a half-life of `half_life` images, and
    `calibrate` sets it from the model's own residual, as every validation does for the averaged weights.
    """

    half_life: Positive = 20_000

    variance: ClassVar[Tensor]  # a buffer, ()
    images_seen: ClassVar[Tensor]  # a buffer, ()

    def __post_init__(self):
        self.register_buffer("variance", torch.tensor(0.25))
        self.register_buffer("images_seen", torch.tensor(0.0))

    def forward(self, out):
        mean = full_precision(out).sigmoid()
        if self.training:
            return GaussianOfBatch(mean)
        return Gaussian(mean, self.variance.log(), 3)

    @torch.no_grad()
    def observe(self, t: Trace) -> Tensor:
        """What a step has to say for `absorb`: the residual of its batch."""
        return t.px.variance_of(t.x) if isinstance(t.px, GaussianOfBatch) else residual(t.px.mean, t.x)

    @torch.no_grad()
    def absorb(self, variance: Tensor, images: int) -> None:
        """Move the kept variance towards that of a batch of `images`; the half-life grows to its value over the first images."""
        self.images_seen.add_(images)
        keep = 0.5 ** (images / (0.05 * self.images_seen).clamp_max(self.half_life))
        self.variance.lerp_(variance, 1 - keep)

    @torch.no_grad()
    def calibrate(self, traces: Iterable[Trace]) -> None:
        """Set the kept variance to the mean squared error over all traces."""

        def summed(t: Trace) -> tuple[Tensor, int]:
            return residual(t.px.mean, t.x) * len(t.x), len(t.x)

        errors, images = zip(*map(summed, traces), strict=True)  # `map` holds one trace at a time, a loop two
        self.variance.copy_(torch.stack(errors).sum() / sum(images))

    @property
    def sigma(self):
        return self.variance.sqrt().item()


class GaussianOfBatch(Density):
    """N(mean, s^2) with s^2 the mean squared error of the batch it is asked about."""

    def __init__(self, mean: Tensor):
        self.loc = mean
        self.asked: tuple[Tensor, Tensor] | None = None  # the last batch, and its s^2
        super().__init__(mean, 3)

    @property
    def mean(self) -> Tensor:
        return self.loc

    def log_prob(self, value: Tensor) -> Tensor:
        # Where all decodings weigh the same, s^2 is at its best and its gradient is 0; where they do not, see `check_weighed`.
        return self.at(self.variance_of(value)).log_prob(value)

    def variance_of(self, x: Tensor) -> Tensor:
        """s^2, (). A step asks twice, for its loss and for `observe`: several processes would meet for each."""
        if self.asked is None or self.asked[0] is not x:
            self.asked = x, residual(self.loc.detach(), x)
        return self.asked[1]

    def at(self, variance: Tensor) -> Gaussian:
        """With this variance for all."""
        return Gaussian(self.loc, variance.log(), 3)


def check_weighed(samples: int, by: Likelihood | Distribution) -> None:
    """Raises UsageError where several samples of an image are to be weighed by a density whose sigma is best for equal ones."""
    if samples > 1 and isinstance(by, OptimalGaussian | GaussianOfBatch):
        raise UsageError(
            f"The optimal sigma is that of decodings which weigh the same, and importance weights of {samples} samples differ. "
            "Train with a sigma that is learned (LearnedGaussian, --likelihood learned-gaussian), or with 1 sample."
        )


def residual(mean: Tensor, x: Tensor) -> Tensor:
    """The mean squared error over everything, no finer than 8-bit rounding. ()"""
    return world.mean((x - mean).square().mean()).clamp_min(FINEST**2)


def no_finer(log_var: Tensor) -> Tensor:
    """Adds the variance of rounding: a clamp would give no gradient below it, and a scale could never come back."""
    return torch.logaddexp(log_var, log_var.new_tensor(2 * math.log(FINEST)))


def apiece(out: Tensor, per_pixel: int) -> Tensor:
    """The decoder's numbers for each pixel value, (..., C * V, H, W) to (..., C, V, H, W)."""
    return full_precision(out).unflatten(-3, (-1, per_pixel))
