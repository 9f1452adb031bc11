"""The checks: each looks at one thing and says nothing where it is well.

Whatever a model cannot have is not looked at: a plain autoencoder has no rate that could collapse.
"""

import hashlib
import shlex
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..autoregressive import Neighbours
from ..categorical import CategoricalLatents
from ..codebooks import Coder
from ..latent import codes
from ..metrics.evaluate import ACTIVE, label_accuracy
from ..metrics.weights import weights_of
from ..model import VAE
from ..objectives import ELBO
from ..sphere import Spherical
from .exam import Exam
from .mends import carrying, more_in_codes, sharper

FEW_STEPS = 200
COLLAPSED = 0.5  # nats: a whole code that carries less tells nothing of its image
IGNORED = 0.01  # of the rate: what the decoder loses where it gets another image's code
HOLE = 0.9  # area under the curve of a classifier that tells codes from the prior's draws; 0.5: nobody could
SMOOTH = 2.0  # times the residual: a sigma far above it
DUPLICATES = 0.05  # of the held-out pictures, that stand in the training split too
HASHED = 200_000  # training pictures among which copies are looked for
DARK = 64  # of 255: pictures that never get brighter were scaled twice
GREY = 0.05  # of pixel values between black and white, from which pictures are not black and white
ROSE = 0.05  # of what validation gained, that it lost again
GAP = 1.3  # times the training pictures' error
SKIPPED = 0.01  # of the steps
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.ELU)
STILL = 1e-3  # of the widest span of outputs in its layer, that a unit which does nothing stays below
DEAD = 0.3  # of the units
CHANCE = 0.999  # how sure a label's accuracy must be above guessing
LABELLED = 20  # pictures with a label, by which labels are judged
ELSEWHERE = "less weight for the rate, or nats that are free: vaekit doctor names the option"  # a log knows no objective


class Finding(NamedTuple):
    """Something that is not as it should be."""

    name: str
    measured: str
    normal: str
    cause: str
    mend: str


def diverged(exam: Exam) -> Finding | None:
    status = exam.run.description.get("status")
    kept = sorted(exam.run.path.glob("diverged/step-*.json"))
    left_out = dropped(exam.run.records)
    if status != "diverged" and not kept:
        return left_out
    what = f"status {status}, {len(kept)} batch{'es' * (len(kept) != 1)} with a loss that is no number"
    return unsteady(", ".join([what, *([left_out.measured] if left_out else [])]))


def unsteady(measured: str) -> Finding:
    return Finding(
        "diverged",
        measured,
        "every step finite, next to none left out",
        "the learning rate is too high for this model, or pictures are broken",
        "--learning-rate at a third of what it was, or --skip-above",
    )


def dropped(records: Sequence[dict[str, Any]]) -> Finding | None:
    """Of the lines of a log: whether many steps were left out."""
    skipped = [record["skipped"] for record in records if record["split"] == "train" and "skipped" in record]
    share = float(np.mean(skipped)) if skipped else 0.0
    return unsteady(f"{share:.1%} of steps left out for their gradient") if share > SKIPPED else None


def collapsed(exam: Exam) -> Finding | None:
    if not exam.has_rate or exam.rate >= COLLAPSED:
        return None
    return collapse(exam.rate, exam.split, more_in_codes(exam.model, exam.objective, exam.rmse[exam.split]))


def collapse(rate: float, split: str, mend: str = ELSEWHERE) -> Finding | None:
    if rate >= COLLAPSED:
        return None
    return Finding(
        "collapsed",
        f"the codes carry {rate:.2f} nats of {split} images",
        f"{COLLAPSED} nats or more; tens for photographs",
        "beta, or the decoder's sigma, is too high, or too few steps were taken: a code that says nothing costs nothing",
        mend,
    )


def ignores_z(exam: Exam) -> Finding | None:
    if not exam.model.has_prior or len(exam.held) < 2 or (exam.has_rate and exam.rate < COLLAPSED):
        return None
    lost, rate = exam.lost(), exam.rate if exam.has_rate else 1.0
    if lost >= IGNORED * rate:
        return None
    blind = "bernoulli --binarize dynamic" if exam.model.likelihood.support == "bits" else "logistic"
    apart = f", or a likelihood whose pixels do not see each other: --recipe vae --likelihood {blind}"
    return Finding(
        "ignores z",
        f"with another image's code a picture is explained {lost:.2g} nats worse, while the codes carry {rate:.3g} nats",
        f"worse by at least {IGNORED:.0%} of what the codes carry",
        "the decoder makes its pictures without looking at z, as an autoregressive one can",
        more_in_codes(exam.model, exam.objective, exam.rmse[exam.split]) + apart * isinstance(exam.model.likelihood, Neighbours),
    )


def dead_group(exam: Exam) -> Finding | None:
    nats = exam.kl_per_group if exam.has_rate else []
    dead = [number for number, kl in enumerate(nats) if kl < ACTIVE]
    if len(nats) < 2 or not dead or exam.rate < COLLAPSED:
        return None
    free = "--set objective.free_bits=0.5 objective.per=group, or " * isinstance(exam.objective, ELBO)
    return Finding(
        "dead group",
        f"of {len(nats)} groups of latents, top first, these carry less than {ACTIVE} nats: {', '.join(map(str, dead))}",
        f"every group above {ACTIVE} nats",
        "groups above or below it say the same, and its KL was cheaper to drop",
        f"{free}fewer groups: --set model.blocks=1",
    )


def meets_prior(exam: Exam) -> bool:
    """Whether codes are to lie where the prior's draws do: there are both, and they carry something. Nobody draws from the own
    prior of a model of codes, which knows nothing: `vaekit sample` asks for a fitted one."""
    coded = isinstance(getattr(exam.model, "posterior", None), Coder)
    return exam.model.has_prior and not coded and not (exam.has_rate and exam.rate < COLLAPSED)


def prior_hole(exam: Exam) -> Finding | None:
    if not meets_prior(exam):
        return None
    auc, distance = exam.distances
    if auc < HOLE:
        return None
    ways, run = [carrying(exam.objective, more=False)], shlex.quote(str(exam.run.path))
    if exam.run.priors:
        ways.insert(0, "another density of vaekit fit-prior")
    elif not isinstance(getattr(exam.model, "posterior", None), CategoricalLatents | Spherical):  # no density is fitted to those
        ways.insert(0, f"vaekit fit-prior {run}, then vaekit sample {run} --prior fitted")
    return Finding(
        "prior hole",
        f"a classifier tells codes from the prior's draws with AUC {auc:.3f}; MMD^2 {distance:.3g}",
        f"AUC below {HOLE}: new pictures come from where the codes are",
        "the codes carry more than the prior can hold (a small sigma or beta): most of its draws were never decoded in training",
        "; or ".join(filter(None, ways)) or "more --images",
    )


def too_smooth(exam: Exam) -> Finding | None:
    weights = weights_of(exam.model.image, exam.objective, exam.model.likelihood)
    residual = exam.rmse[exam.split]
    if weights is None or weights.sigma < SMOOTH * residual:
        return None
    return Finding(
        "too smooth",
        f"the loss weighs pixels as sigma {weights.sigma:.3g} would, and the residual is {residual:.3g}",
        f"a sigma below {SMOOTH:g} times the residual",
        "too low a weight of the pixels, hidden in a fixed sigma, beta or r_loss_factor: details are not worth their nats",
        sharper(exam.model, exam.objective, residual),
    )


def wrong_range(exam: Exam) -> Finding | None:
    pixels = exam.given.take(exam.rows["train"])
    low, high = np.quantile(pixels, (0.001, 0.999))
    if high >= DARK and low <= 255 - DARK and high > low:
        return None
    told = f"nearly all pixel values lie between {low:.0f} and {high:.0f} of 255"
    cause = "every pixel is the same" if high == low else "the pictures were scaled twice, or are in another range than they say"
    return Finding(
        "wrong range",
        told,
        "from dark to bright",
        cause,
        "write the pictures as uint8 from 0 to 255, or float from 0 to 1",
    )


def wrong_likelihood(exam: Exam) -> Finding | None:
    pixels = exam.data.take(exam.rows["train"][:500])
    grey = float(((pixels > 12) & (pixels < 243)).mean())
    if exam.model.likelihood.support != "bits" or grey < GREY:
        return None
    return Finding(
        "wrong likelihood",
        f"{grey:.0%} of pixel values are neither black nor white, and the likelihood is Bernoulli",
        "Bernoulli for black and white alone",
        "the cross-entropy of grey values is no density: its ELBO compares with nothing",
        "--binarize dynamic, or --likelihood continuous-bernoulli or gaussian",
    )


def leaked(exam: Exam) -> Finding | None:
    def prints(rows: np.ndarray) -> list[bytes]:
        return [hashlib.blake2b(picture.tobytes(), digest_size=16).digest() for picture in exam.given.take(rows)]

    train: set[bytes] = set()
    rows = exam.given.some("train", HASHED, exam.seed)
    for part in np.array_split(rows, max(1, len(rows) // 4096)):
        train.update(prints(part))
    found = float(np.mean([each in train for each in prints(exam.held)]))
    if found < DUPLICATES:
        return None
    return Finding(
        "leaked",
        f"{found:.1%} of {len(exam.held):,} {exam.split} pictures stand in the training split too",
        f"below {DUPLICATES:.0%}",
        "copies of a file, or pictures of one person or scene: figures on held-out pictures are too good",
        "remove copies (vaekit data check), or keep groups together: --group COLUMN",
    )


def underfit(exam: Exam) -> Finding | None:
    steps = exam.run.reached["step"]
    few, falling = steps < FEW_STEPS, exam.objective.comparable and still_improving(exam.run.records)
    if exam.run.description.get("status") != "finished" or not (few or falling):
        return None
    return Finding(
        "underfit",
        f"{steps:,} steps" + ("" if few else "; the validation loss was still falling when the budget ended"),
        f"{FEW_STEPS} steps or more, and a loss that has levelled off",
        "the budget ended too early",
        "more --minutes, --images or --epochs",
    )


def still_improving(records: list[dict[str, Any]]) -> bool:
    """Whether the last validation gained a fiftieth or more of what all of them moved."""
    losses = [record["loss"] for record in records if record["split"] == "validation"]
    return len(losses) > 2 and losses[-2] - losses[-1] > max(0.02 * (max(losses) - min(losses)), noise_of(losses))


def noise_of(losses: Sequence[float]) -> float:
    """What one validation may differ from the next by and mean nothing."""
    return 1e-3 * max(abs(min(losses)), 1.0)


def overfit(exam: Exam) -> Finding | None:
    losses = [record["loss"] for record in exam.run.records if record["split"] == "validation"]
    ratio = exam.rmse[exam.split] / max(exam.rmse["train"], 1e-9)
    lost = relapse(losses) if exam.objective.comparable else None
    if not lost and ratio < GAP:
        return None
    told = [f"the error of {exam.split} pictures is {ratio:.2f} times that of the training split"]
    ways = ["--patience 5"] * exam.objective.comparable + ["fewer --latent"] * isinstance(exam.model, VAE)
    less = carrying(exam.objective, more=False) if exam.model.has_prior else ""
    return learnt_by_heart("; ".join([*told, lost.measured] if lost else told), [*ways, less])


def relapse(losses: Sequence[float]) -> Finding | None:
    """Of the losses of all validations: whether the last ones are worse than the best."""
    if len(losses) < 3 or min(losses[0], losses[-1]) - min(losses) < noise_of(losses):
        return None
    lost = (losses[-1] - min(losses)) / (losses[0] - min(losses))
    return (
        learnt_by_heart(f"the validation loss lost {lost:.0%} of its gain again (the best weights were kept)")
        if lost >= ROSE
        else None
    )


def learnt_by_heart(measured: str, ways: Sequence[str] = ("--patience 5",)) -> Finding:
    return Finding(
        "overfit",
        measured,
        f"below {GAP} times, and no more than {ROSE:.0%} lost",
        "the training pictures are few for this model and this many steps",
        ", or ".join(["more pictures", "--flip", *filter(None, ways)]),
    )


def strange_labels(exam: Exam) -> Finding | None:
    data, train = exam.data, exam.rows["train"]
    if data.labels is None or (exam.has_rate and exam.rate < COLLAPSED):
        return None
    learnt = np.unique(data.labels[train][data.labels[train] >= 0])
    held = exam.held[np.isin(data.labels[exam.held], learnt)]  # who was never seen in training cannot be named
    if len(held) < LABELLED:
        return None
    mu = [codes(exam.model, data.pixels, rows).mu for rows in (train, held)]
    accuracy = label_accuracy(data, train, mu[0], held, mu[1])
    if accuracy is None:
        return None
    from scipy.stats import binom  # here, because a training imports this module for what its log tells

    guess = float(np.bincount(data.labels[held]).max() / len(held))
    if len(np.unique(data.labels[held])) < 2 or accuracy * len(held) > binom.ppf(CHANCE, len(held), guess):
        return None
    return Finding(
        "strange labels",
        f"5 nearest neighbours on mu name {accuracy:.1%} of the labels, guessing the commonest {guess:.1%}",
        "clearly above guessing",
        "labels that were shuffled or belong to other files, or that are not to be seen in the pictures",
        "look at the labels: vaekit data check, and a sheet of each",
    )


@torch.no_grad()
def dead_units(exam: Exam) -> Finding | None:
    ends: dict[str, tuple[Tensor, Tensor]] = {}  # of each unit's output over all pictures and places: lowest, highest

    def watch(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            units = (output.transpose(1, -1) if output.dim() == 4 else output).flatten(0, -2)
            low, high = units.amin(0), units.amax(0)
            before = ends.get(name, (low, high))
            ends[name] = torch.minimum(low, before[0]), torch.maximum(high, before[1])

        return hook

    hooks = [m.register_forward_hook(watch(name)) for name, m in exam.model.named_modules() if isinstance(m, ACTIVATIONS)]
    if not hooks:
        return None
    for _ in exam.traces(exam.held):
        pass
    for hook in hooks:
        hook.remove()
    spans = [(high - low).float().cpu() for low, high in ends.values()]
    dead = torch.cat([span <= STILL * span.max() for span in spans])
    share = dead.float().mean().item()
    if share < DEAD:
        return None
    return Finding(
        "dead units",
        f"{share:.0%} of {len(dead):,} units give the same for all {len(exam.held):,} {exam.split} pictures",
        f"below {DEAD:.0%}",
        "a rate that was too high early on pushed them where no gradient comes back from, or there are more than are needed",
        "--learning-rate at a third of what it was, or a smaller net",
    )


CHECKS: tuple[Callable[[Exam], Finding | None], ...] = (
    diverged,
    wrong_range,
    leaked,
    wrong_likelihood,
    underfit,
    overfit,
    collapsed,
    ignores_z,
    dead_group,
    prior_hole,
    too_smooth,
    dead_units,
    strange_labels,
)


BEFORE_WEIGHTS = (diverged, wrong_range, leaked)
