"""How good an edit z + alpha * vector is: against the true counterfactual where it is known, else to a judge of attributes.

Shapes: N pictures (N, C, H, W), codes mu (N, D), a vector (D,), change (N,): by how much the attribute's value is to change; K
attributes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from ..errors import UsageError
from ..latent import codes, decode, edited, reconstruct
from ..latent.encode import as_pictures
from ..model import Model
from ..nets.judge import Judge
from .quality import like_of

RESAMPLES = 500
STEPS, BATCH, QUICK = 400, 48, 0.1  # of learning a vector; the rate is a share of how large its numbers are
DEAR = 0.003  # what a step of a squared standard deviation costs
GOAL = 1.5  # standard deviations of the target's logit, by which every edit that is compared moves it
REACH = np.geomspace(0.2, 20, 20)  # alphas at which the change is looked at

ES = ("es", "es_details")
JUDGED_HEADS = ("dependency", "beside mean, 95 %", "target", "others flipped", "identity", "undone", "interaction")
Interval = tuple[float, float]


@dataclass(frozen=True)
class Counterfactual:
    """An edit beside the true picture x* with the changed attribute, with 95 % over pictures.

    cre: E|dec(mu(x) + v) - x*|^2 / E|dec(mu(x*)) - x*|^2, 1 where the edit is as good as a reconstruction of the truth.
    es: 1 - E|dec(mu(x) + v) - x*|^2 / E|dec(mu(x)) - x*|^2, 0 where the edit does nothing, 1 where it is the truth.
    es_details: 1 - E|x + dec(mu(x) + v) - dec(mu(x)) - x*|^2 / E|x - x*|^2, of the edit that keeps what the decoder cannot draw.
    """

    cre: float
    cre_interval: Interval
    es: float
    es_interval: Interval
    best_es: float  # of the code mu(x*) itself: what the model's reconstructions allow
    es_details: float
    es_details_interval: Interval
    count: int


def against_truth(
    model: Model, vector: np.ndarray, pictures: np.ndarray, truth: np.ndarray, change: np.ndarray, *, seed: int = 0
) -> Counterfactual:
    """The edit mu + change * vector of uint8 pictures beside uint8 true ones. Pictures that do not change are left out.

    Raises UsageError where none changes.
    """
    moved = change != 0
    if not moved.any():
        raise UsageError(f"None of the {len(change)} pictures changes with this attribute; there is no edit to measure.")
    pictures, truth, change = pictures[moved], truth[moved], change[moved]
    moves = change[:, None] * vector
    plain, kept = (squared(edited(model, pictures, moves, details=details), truth) for details in (False, True))
    untouched = squared(pictures / 255.0, truth)
    undone, known = (squared(reconstruct(model, images), truth) for images in (pictures, truth))
    cre, cre_interval = ratio(plain, known, seed)
    es, es_interval = score(plain, undone, seed)
    return Counterfactual(
        cre, cre_interval, es, es_interval, score(known, undone, seed)[0], *score(kept, untouched, seed), len(change)
    )


def score(left: np.ndarray, nothing: np.ndarray, seed: int) -> tuple[float, Interval]:
    """1 - the share of the error of doing nothing that is left, with its interval."""
    share, (low, high) = ratio(left, nothing, seed)
    return 1 - share, (1 - high, 1 - low)


def squared(drawn: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """|a - b|^2 of every picture, (N,)."""
    return np.square(drawn - truth / 255.0).sum((1, 2, 3))


def ratio(above: np.ndarray, below: np.ndarray, seed: int) -> tuple[float, Interval]:
    """A ratio of two means over the same pictures, with 95 % by bootstrap."""
    tiny = np.finfo(float).tiny
    picks = np.random.default_rng(seed).integers(len(above), size=(RESAMPLES, len(above)))
    low, high = np.quantile(above[picks].mean(1) / np.maximum(below[picks].mean(1), tiny), (0.025, 0.975))
    return float(above.mean() / max(below.mean(), tiny)), (float(low), float(high))


@dataclass(frozen=True)
class Judged:
    """An edit to a judge of attributes, at the strength that moves the target's logit by GOAL standard deviations.

    dependency: how many standard deviations the other attributes' logits move beside that, on average (attribute dependency,
    Wu et al., 2021, section 4.2), divided by GOAL; 0 where there is no other attribute.
    """

    alpha: float
    dependency: float
    dependencies: np.ndarray  # (N,), of every picture
    success: float  # share of pictures whose target the judge sees changed, of those whose reconstruction it saw unchanged
    flipped: float  # share of other attributes that the judge sees changed
    identity: float  # how far the picture moves in the judge's features, in their standard deviations
    undone: float  # RMSE between the reconstruction and the edit that was encoded, edited back and decoded
    by_attribute: np.ndarray  # (K,), signed standard deviations that each logit moves


def judged(
    model: Model, judge: Judge, scale: np.ndarray, mu: np.ndarray, vector: np.ndarray, *, sign: np.ndarray, target: int
) -> Judged | None:
    """The edit mu + sign * alpha * vector, sign (N,) of 1 or -1, with the alpha that reaches GOAL; None where none does.

    scale (K,): the standard deviation of every logit over real pictures.
    """
    sign = sign[:, None]
    reconstructed = decode(model, mu)
    before, features = seen(judge, reconstructed)

    def moved(alpha: float) -> np.ndarray:
        """(N, K) standard deviations, towards the change that was asked for."""
        return sign * (seen(judge, decode(model, mu + sign * alpha * vector))[0] - before) / scale

    alpha = reached(lambda alpha: float(moved(alpha)[:, target].mean()))
    if alpha is None:
        return None
    pictures = decode(model, mu + sign * alpha * vector)
    after, its = seen(judge, pictures)
    change = sign * (after - before) / scale
    others = on_others(np.abs(change), target) / GOAL
    there = (after[:, target] > 0) == (sign[:, 0] > 0)
    asked = (before[:, target] > 0) != (sign[:, 0] > 0)  # a reconstruction may have lost what is to be taken away
    flips = (after > 0) != (before > 0)
    back = decode(model, codes(model, pictures).mu - sign * alpha * vector)
    return Judged(
        alpha,
        float(others.mean()),
        others,
        float(there[asked].mean()) if asked.any() else 0.0,
        float(on_others(flips, target).mean()),
        float(np.sqrt(np.square((its - features) / features.std(0).clip(1e-6)).mean())),
        float(np.sqrt(np.square(back - reconstructed).mean())),
        change.mean(0),
    )


def on_others(values: np.ndarray, target: int) -> np.ndarray:
    """The mean of values (N, K) over all attributes but the target, (N,); 0 where that is the only one."""
    return np.delete(values, target, axis=1).sum(1) / max(values.shape[1] - 1, 1)


def interaction(
    model: Model, judge: Judge, scale: np.ndarray, mu: np.ndarray, steps: tuple[np.ndarray, np.ndarray], *, target: int
) -> float:
    """How far two edits are from adding up: the mean of |move of the target's logit by both - the sum of both moves|, in GOALs.

    steps: what each edit adds to the codes, (N, D) both. 0: whatever else is edited, an edit does what it did alone.
    """
    before = seen(judge, decode(model, mu))[0][:, target]
    both, *each = (seen(judge, decode(model, mu + step))[0][:, target] - before for step in (sum(steps), *steps))
    return float(np.abs(both - sum(each)).mean() / scale[target] / GOAL)


def guided(
    model: Model,
    guides: Sequence[tuple[Judge, np.ndarray]],
    mu: np.ndarray,
    sign: np.ndarray,
    start: np.ndarray,
    *,
    target: int,
    seed: int = 0,
) -> np.ndarray:
    """The vector (D,) whose edits have the least dependency to some judges, learnt on codes of training pictures from `start` on.

    With each judge goes the standard deviation of its logits over real pictures, (K,). sign (N,) is 1 for a picture without the
    attribute, -1 for one with it. The step is taken in codes of unit covariance, and a long one costs a little: a direction that
    only these judges see is none. All of it happens on the model's device, to which the judges are moved.
    """
    like = like_of(model)
    codes_, towards, first = (torch.from_numpy(values).to(like) for values in (mu, sign[:, None], start[:, None]))
    eyes = [(guide.to(like), torch.from_numpy(scale).to(like)) for guide, scale in guides]
    spread = np.cov(mu.T).reshape(mu.shape[1], -1)
    root = torch.from_numpy(np.linalg.cholesky(spread + 1e-6 * np.trace(spread) / len(spread) * np.eye(len(spread)))).to(like)
    step = torch.linalg.solve_triangular(root, first, upper=False)[:, 0].requires_grad_()
    optimizer = torch.optim.Adam([step], lr=QUICK * step.detach().square().mean().sqrt().item())
    rng = np.random.default_rng(seed)
    for _ in range(STEPS):
        rows = torch.from_numpy(rng.choice(len(mu), min(BATCH, len(mu)), replace=False)).to(like.device)
        z, s = codes_[rows], towards[rows]
        with torch.no_grad():
            before = model.decode(z[None]).mean[0].clamp(0, 1)
        after = model.decode((z + s * (root @ step))[None]).mean[0].clamp(0, 1)
        loss = DEAR * step.square().sum()
        for eye, scale in eyes:
            moved = s * (eye(after)[1] - eye(before)[1].detach()) / scale
            others = (moved.abs().sum(1) - moved[:, target].abs()).mean() / max(moved.shape[1] - 1, 1)
            loss = loss + (others / GOAL + 2 * (moved[:, target].mean() - GOAL).square()) / len(eyes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (root @ step).detach().double().cpu().numpy()


def rows_of_edits(attributes: dict[str, Any]) -> tuple[list[tuple[str, ...]], str] | None:
    """Rows under their heads of how good the edits of chosen vectors are on pictures held out, beside the mean difference, and to
    whom; None where none was measured. attributes: what a run keeps of them."""
    measured = {name: a["edits"] for name, a in attributes.items() if "edits" in a}
    if not measured:
        return None
    tests = [its for edits in measured.values() for its in edits["test"].values() if its]
    true = any("es" in its for its in tests)
    heads = ("ES, 95 %", "ES with details, 95 %", "CRE") if true else JUDGED_HEADS
    rows: list[tuple[str, ...]] = [("edit", "by", *heads)]
    for name, edits in measured.items():
        for method, its in edits["test"].items():
            rows.append((name, method, *(cells(its) if its else ("never gets there", *[""] * (len(heads) - 1)))))
    return rows, "; ".join(dict.fromkeys(edits["how"] for edits in measured.values()))


def cells(its: dict[str, Any]) -> tuple[str, ...]:
    if "es" in its:
        scores = (f"{its[key]:.3f} ({low:.3f} to {high:.3f})" for key in ES for low, high in [its[f"{key}_interval"]])
        return (*scores, f"{its['cre']:.2f}")
    low, high = its.get("beside_mean_interval", (1, 1))
    beside = f"{its['beside_mean']:.2f} ({low:.2f} to {high:.2f})" if "beside_mean" in its else ""
    apart = f"{its['interaction']:.2f}" if "interaction" in its else ""
    kept = f"{its['identity']:.2f}", f"{its['undone']:.3f}"
    return f"{its['dependency']:.3f}", beside, f"{its['success']:.0%}", f"{its['flipped']:.1%}", *kept, apart


def reached(moved: Callable[[float], float]) -> float | None:
    """The smallest alpha at which the target moved by GOAL, to 1 in 10,000, between two of REACH; None where none gets there."""
    from scipy.optimize import brentq

    moved, before = cache(moved), 0.0  # each is a pass over all pictures
    for alpha in REACH.tolist():
        if moved(alpha) >= GOAL:
            return float(brentq(lambda between: moved(between) - GOAL, before, alpha, rtol=1e-4))  # pyright: ignore
        before = alpha
    return None


@torch.no_grad()
def seen(judge: Judge, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The judge's logits (N, K) and features (N, F) of uint8 or float pictures."""
    like = like_of(judge)
    found = [judge(as_pictures(images[start : start + 256]).to(like)) for start in range(0, len(images), 256)]
    features, logits = (torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))
    return logits, features
