"""The checks: each looks at one thing and says nothing where it is well. Here are those of the model.

Whatever a model cannot have is not looked at: a plain autoencoder has no rate that could collapse.
"""

import math
import shlex
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..autoregressive import Neighbours
from ..distributions import Space
from ..latent import codes
from ..metrics.evaluate import ACTIVE, label_accuracy
from ..metrics.weights import weights_of
from ..objectives import ELBO, Objective
from ..schedules import at
from ..terms import distortion
from .course import diverged, exploding_gradients, overfit, recovered, underfit
from .exam import Exam
from .mends import carrying, more_in_codes, sharper
from .pictures import constant_pixels, leaked, wrong_likelihood, wrong_range
from .said import Finding

COLLAPSED = 0.5  # nats: a whole code that carries less tells nothing of its image
IGNORED = 0.01  # of the rate: what the decoder loses where it gets another image's code
HOLE = 0.9  # area under the curve of a classifier that tells codes from the prior's draws; 0.5: nobody could
SMOOTH = 2.0  # times the residual: a sigma far above it
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.ELU)
STILL = 1e-3  # of the widest span of outputs in its layer, that a unit which does nothing stays below
DEAD = 0.3  # of the units
CHANCE = 0.99  # how sure a label's accuracy must be above guessing
LABELLED = 20  # pictures with a label, by which labels are judged
CLEAR = 0.25  # of the way from guessing to all labels, that an accuracy must be sure to miss
ELSEWHERE = "less weight for the rate, or nats that are free: vaekit doctor names the option"  # a log knows no objective


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
    return exam.model.has_prior and exam.model.space is not Space.CODES and not (exam.has_rate and exam.rate < COLLAPSED)


def prior_hole(exam: Exam) -> Finding | None:
    """Of the model's own prior, from which `vaekit sample` draws unless it is asked for a fitted density."""
    if not meets_prior(exam):
        return None
    auc, distance = exam.distances
    if auc < HOLE:
        return None
    ways, run = [carrying(exam.objective, more=False)], shlex.quote(str(exam.run.path))
    told = f"a classifier tells codes from the draws of the model's own prior with AUC {auc:.3f}; MMD^2 {distance:.3g}"
    if exam.fitted:
        name, fitted = exam.fitted
        told += f". From those of the fitted density {name}: AUC {fitted:.3f}"
        ways.insert(0, f"vaekit sample {run} --prior fitted" if fitted < HOLE else "another density of vaekit fit-prior")
    elif exam.model.space is not Space.SPHERE:  # no density is fitted there
        ways.insert(0, f"vaekit fit-prior {run}, then vaekit sample {run} --prior fitted")
    return Finding(
        "prior hole",
        told,
        f"AUC below {HOLE}: new pictures come from where the codes are",
        "the codes carry more than the prior can hold (a small sigma or beta): most of its draws were never decoded in training",
        "; or ".join(filter(None, ways)) or "more --images",
    )


def weighs_rate(objective: Objective) -> bool:
    """Whether a smaller rate is paid for with details on purpose, by a beta that says so."""
    return isinstance(objective, ELBO) and bool(at(objective.beta, math.inf) != 1)


def too_smooth(exam: Exam) -> Finding | None:
    weights = weights_of(exam.model.image, exam.objective, exam.model.likelihood)
    residual = exam.rmse[exam.split]
    if weights is None or weighs_rate(exam.objective) or weights.sigma < SMOOTH * residual:
        return None
    return Finding(
        "too smooth",
        f"the loss weighs pixels as sigma {weights.sigma:.3g} would, and the residual is {residual:.3g}",
        f"a sigma below {SMOOTH:g} times the residual, where draws of the prior are not to gain by more",
        "too low a weight of the pixels, hidden in a fixed sigma or r_loss_factor: details are not worth their nats",
        sharper(exam.model, exam.objective, residual),
    )


def strange_labels(exam: Exam) -> Finding | None:
    data, train = exam.data, exam.rows["train"]
    if data.labels is None or (exam.has_rate and exam.rate < COLLAPSED) or underfit(exam):
        return None
    learnt = np.unique(data.labels[train][data.labels[train] >= 0])
    held = exam.held[np.isin(data.labels[exam.held], learnt)]  # who was never seen in training cannot be named
    if len(held) < LABELLED:
        return None
    mu = [codes(exam.model, data.pixels, rows).mu for rows in (train, held)]
    accuracy = label_accuracy(data, train, mu[0], held, mu[1])
    if accuracy is None:
        return None
    from scipy.stats import binomtest  # here, because a training imports this module for what its log tells

    guess = float(np.bincount(data.labels[held]).max() / len(held))
    named = binomtest(round(accuracy * len(held)), len(held), guess, alternative="greater")
    most = binomtest(round(accuracy * len(held)), len(held)).proportion_ci(method="wilson").high
    few = most > guess + CLEAR * (1 - guess)  # pictures: labels that are rightly told would look the same
    if len(np.unique(data.labels[held])) < 2 or named.pvalue < 1 - CHANCE or few:
        return None
    return Finding(
        "strange labels",
        f"5 nearest neighbours on mu name {accuracy:.1%} of the labels, at most {most:.1%}; guessing the commonest {guess:.1%}",
        "clearly above guessing",
        "labels that were shuffled or belong to other files, or that are not to be seen in the pictures",
        "look at the labels: vaekit data check, and a sheet of each",
    )


@torch.no_grad()
def spans_of(exam: Exam) -> dict[str, Tensor]:
    """Of each layer of activations how far the output of each unit moves over all held-out pictures and places, (units,)."""
    ends: dict[str, tuple[Tensor, Tensor]] = {}  # lowest, highest

    def watch(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            channels = output.dim() == 4 and not name.startswith("likelihood.")  # a likelihood's features lie last
            units = (output.transpose(1, -1) if channels else output).flatten(0, -2)
            low, high = units.amin(0), units.amax(0)
            before = ends.get(name, (low, high))
            ends[name] = torch.minimum(low, before[0]), torch.maximum(high, before[1])

        return hook

    hooks = [m.register_forward_hook(watch(name)) for name, m in exam.model.named_modules() if isinstance(m, ACTIVATIONS)]
    for trace in exam.traces(exam.held):
        distortion(trace)  # before it is asked for log p(x | z), a likelihood passes none of its layers
    for hook in hooks:
        hook.remove()
    return {name: (high - low).float().cpu() for name, (low, high) in ends.items()}


def dead_units(exam: Exam) -> Finding | None:
    spans = spans_of(exam)
    if not spans:
        return None
    dead = torch.cat([span <= STILL * span.max() for span in spans.values()])
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
    recovered,
    exploding_gradients,
    wrong_range,
    constant_pixels,
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
# What a training that came to nothing brings with it.
FOLLOWING = (
    exploding_gradients,
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
BEFORE_WEIGHTS = (diverged, recovered, exploding_gradients, wrong_range, constant_pixels, leaked)
