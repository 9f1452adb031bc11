"""How to train: the settings, and the schedules that follow from them. Durations are in images seen."""

import math

from torch import Tensor

from .errors import UsageError
from .part import Count, Natural, Part, Positive, Weight
from .trace import At

SHARE_OF_WARMUP = 0.1  # of the budget, that warm-up takes at most


class Training(Part):
    """AdamW with warm-up and cosine decay, gradient clipping, an average of the weights, and a budget.

    The budget is `epochs`, `images` or `minutes`; the first one reached ends the run. A budget in minutes makes the rate follow
    the clock, so only the others can be bit-exact. Raises UsageError without a budget, on a setting out of its bounds or that
    there is not, and where the clock is needed and `deterministic` or `tune` leaves it out.
    """

    epochs: Positive | None = None
    images: Count | None = None
    minutes: Positive | None = None
    batch_size: Natural = 128  # 0: found by measuring, see trials.best_batch
    learning_rate: Positive = 1e-3
    weight_decay: Weight = 1e-4
    warmup: Natural = 10_000  # images
    clip: Positive = 1.0  # largest gradient norm, of nats per pixel value
    skip_above: Positive | None = None  # gradient norm, as `clip`, above which a step is not taken (Child, 2021, section 3)
    half_life: Natural = 20_000  # images: of the average of the weights
    flip: bool = False  # mirror half of the pictures
    binarize: str | None = None  # dynamic, static or threshold: how grey pixels become black or white
    freeze: tuple[str, ...] = ()  # parts of the model that keep the weights they began with
    validate_every: Count | None = None  # images; None: an epoch, at least 10,000 images
    patience: Count | None = None  # validations without a better loss before the run ends
    precision: str = "auto"  # auto, fp32, bf16
    layout: str = "auto"  # auto, contiguous, channels_last, patches
    compile: str = "auto"  # auto, off, on, whole (forward, backward and update), reduce-overhead (CUDA graphs), max-autotune
    threads: Count | None = None
    tune: bool = True  # whether the clock decides what is left open
    device: str = "auto"
    deterministic: bool = False
    seed: Natural = 0
    epoch: Natural = 0  # images in an epoch; set from the data

    def __post_init__(self):
        self.known = 0  # images of an epoch of which anything is known: no setting, found when training begins
        if self.epochs is None and self.images is None and self.minutes is None:
            raise UsageError("Training has no end. Give epochs, images or minutes.")
        for name, value, choices in (
            ("precision", self.precision, ("auto", "fp32", "bf16")),
            ("layout", self.layout, ("auto", "contiguous", "channels_last", "patches")),
            ("compile", self.compile, ("auto", "off", "on", "whole", "reduce-overhead", "max-autotune")),
            ("binarize", self.binarize, (None, "dynamic", "static", "threshold")),
        ):
            if value not in choices:
                raise UsageError(f"Training {name} is {value!r}; choose one of {', '.join(map(str, choices))}.")
        if self.deterministic and self.minutes is not None:
            raise UsageError("A budget in minutes follows the clock and cannot be deterministic. Give epochs or images.")
        if not self.batch_size and (self.deterministic or not self.tune):
            raise UsageError("A batch is found by the clock, which deterministic and tune=False leave out. Give its images.")

    def at(self, images: float | Tensor) -> At:
        """Where training is after so many images."""
        return At(images, self.epoch, self.known)

    def fraction(self, images: float, seconds: float) -> float:
        """Of the budget that is spent; 1 ends the run."""
        spent = [
            images / (self.epochs * self.epoch) if self.epochs else 0,
            images / self.images if self.images else 0,
            seconds / (60 * self.minutes) if self.minutes else 0,
        ]
        return max(spent)

    def seconds_at(self, speed: float) -> float:
        """The whole budget in seconds, at so many images per second."""
        budgets = [n / speed for n in (self.images, self.epochs and self.epochs * self.epoch) if n]
        return min(budgets + ([60 * self.minutes] if self.minutes else []))

    def rate_at(self, images: float, fraction: float) -> float:
        """The learning rate: linear warm-up, over a tenth of the budget at most, then half a cosine down to a hundredth."""
        warm = min(max((images + self.batch_size) / max(self.warmup, 1), fraction / SHARE_OF_WARMUP), 1.0)
        return self.learning_rate * warm * (0.01 + 0.99 * (1 + math.cos(math.pi * min(fraction, 1.0))) / 2)

    def keep(self, batch: int, images: float) -> float:
        """What the average keeps of itself over one batch; the half-life grows to its value over the first images.

        Karras et al. (2022), appendix F.2, with their ramp-up ratio of 0.05. https://arxiv.org/abs/2206.00364
        """
        return 0.5 ** (batch / max(min(self.half_life, 0.05 * images), 1e-8))

    @property
    def validation_interval(self) -> int:
        """Images between two validations."""
        return self.validate_every or max(self.epoch, 10_000)
