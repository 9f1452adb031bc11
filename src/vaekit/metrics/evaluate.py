"""One evaluation of a model on one split: the bound, the errors, the latents, the labels."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ..batches import mix
from ..categorical import CategoricalLatents, OneHots
from ..codebooks import Coder
from ..data import Dataset
from ..distributions import Gaussian
from ..errors import UsageError
from ..execution import Execution
from ..known import end_of, known_of
from ..latent import Codes, code_counts, codes, decode, kl_per_latent, neighbour_accuracy
from ..latent.encode import likeliest
from ..model import Model
from ..objectives import Objective
from ..sphere import Spherical
from ..ssim import WINDOW, similarity
from ..step import Seen
from ..terms import distortion, rate
from ..trace import closed_kl
from ..train import Images, chunks, traces, validate
from .annealing import CHAINS, annealed, both_sides
from .bounds import around, importance_bound, proportion
from .weights import weights_of

ACTIVE = 0.01  # nats; a latent that carries less is not in use
ANNEALED = 100  # images, at most: a chain takes thousands of passes through the decoder (as many in Wu et al., 2017)
NEIGHBOURS = 5
LATENTS = 256  # at most, in scores of disentanglement: more are no single things that a person could look at
FINEST = 1e-10  # of a mean squared error: a picture without any has 100 dB
MOST_SCORED = 10_000  # codes of a split in scores of disentanglement
MOST_FITTED = 60_000  # codes that stand for all of a split, at most
NUMBERS = 64_000_000  # in these codes together, at most: a hierarchical model has thousands of latents

Metric = dict[str, Any]


def evaluate(model: Model, objective: Objective, data: Dataset, split: str = "test", seed: int = 0) -> dict[str, Metric]:
    """Metrics by name: {"value", "unit", "count", "split", "how"}. Raises nothing for what a model or data set cannot have: a
    plain autoencoder has no rate, unlabelled pictures no neighbour accuracy, nor the training split, where it is learnt."""
    if not len(data.splits[split]):
        split = "validation"
    rows = data.splits[split]
    seen = seen_of(model, data, rows)
    told = validate(model, objective, seen, len(rows), seed, at=end_of(data, model))
    each = explained(model, seen, len(rows), seed)  # from one z, however many the objective takes: its bound compares with any
    found: dict[str, Metric] = {}

    def add(name: str, value: float, unit: str, how: str, interval: Sequence[float] | None = None) -> None:
        found[name] = {"value": value, "unit": unit, "count": len(rows), "split": split, "how": how}
        found[name] |= {} if interval is None else {"interval": list(interval)}

    def add_bound(name: str, how: str) -> None:
        value = float(each[name].mean())
        add(name, value, "nats per image", how, around(value, each[name]))

    given = given_of(model)
    untold = ", the model told nothing" if given else ""
    drawn = f"one z per image, seed {seed}"
    add_bound("distortion", f"-log p(x|z), {drawn}{given}")
    if "rate" in each:
        closed = "closed form" if has_closed_rate(model, seen) else drawn
        add_bound("rate", f"KL(q(z|x) || p(z)), {closed}{given}")
        add_bound("elbo", f"-(distortion + rate){given}")
        for bits, how in bits_per_dim(model, data, rows, each["elbo"], seed):
            add("bits_per_dim", float(bits.mean()), "bits per pixel value", how + given, around(float(bits.mean()), bits))
    add("loss", told["loss"], "nats per image", "the objective at its final weights")
    for name, (unit, how) in objective.measured.items():
        if name in told:
            add(name, told[name], unit, how)
    add("residual", told["mse"] ** 0.5, "pixel value in [0, 1]", f"root mean squared error, z drawn, seed {seed}")

    codes_here = codes(model, data.pixels, rows)
    errors, alike = errors_of(model, likeliest(model, codes_here.mu), data, rows)
    chosen = isinstance(getattr(model, "posterior", None), CategoricalLatents)
    how = f"z = {'the likeliest categories' if chosen else 'mu'}{untold}"
    squares = around(float(errors.mean()), errors)
    roots = squares and np.sqrt(np.clip(squares, 0, None)).tolist()
    add("rmse", float(errors.mean() ** 0.5), "pixel value in [0, 1]", f"root mean squared error, {how}", roots)
    for name, values, unit, what in (
        ("psnr", -10 * np.log10(errors.clip(FINEST)), "dB", "mean over images of -10 log10 of the squared error"),
        ("ssim", alike, "", f"structural similarity (Wang et al., 2004), window {WINDOW}, mean over images"),
    ):
        add(name, float(values.mean()), unit, f"{what}, {how}", around(float(values.mean()), values))
    if isinstance(getattr(model, "posterior", None), Coder):
        add("code_perplexity", *perplexity_of(code_counts(model, data.pixels, rows)))
    elif "rate" in each and not codes_here.certain:
        for kl, unit, how in latents_used(model, codes_here):
            add("active_latents", int((kl > ACTIVE).sum()), unit, how + untold)
            found["active_latents"]["kl_per_latent"] = np.round(kl, 4).tolist()
    learn = stand_ins(model, data, "train", seed) if split != "train" else rows[:0]  # among which each were its own nearest
    accuracy = label_accuracy(data, learn, codes(model, data.pixels, learn).mu, rows, codes_here.mu)
    if accuracy is not None:
        how = f"{NEIGHBOURS} nearest neighbours on mu, fitted on {len(learn)} of train{untold}"
        asked = int((data.labels[rows] >= 0).sum())  # pyright: ignore[reportOptionalSubscript]
        add("neighbour_accuracy", accuracy, "share", how, proportion(accuracy, asked))
    weights = weights_of(model.image, objective, model.likelihood)
    if weights:
        for name, value in weights._asdict().items():
            found[f"weight_{name}"] = {"value": value, "unit": "", "how": "what the loss amounts to at this resolution"}
    return found


def perplexity_of(counts: Sequence[np.ndarray]) -> tuple[float, str, str]:
    """How many codes are in use, the mean over what is counted: value, unit, how."""
    from scipy.stats import entropy

    many = " and ".join(sorted({f"{len(count):,}" for count in counts}))
    return float(np.mean([np.exp(entropy(count)) for count in counts])), "codes", f"exp(entropy) of the codes in use, of {many}"


def latents_used(model: Model, found: Codes) -> Iterator[tuple[np.ndarray, str, str]]:
    """The mean KL of each latent, or of each choice among categories, what they are called, how; none of a direction."""
    coder = getattr(model, "posterior", None)
    if isinstance(coder, Spherical):
        return
    kl, unit = kl_per_latent(model, found), "latents"
    if isinstance(coder, CategoricalLatents):
        kl, unit = kl[:: coder.categories], "choices"
    against = "" if isinstance(model.p_z(), Gaussian | OneHots) else " to the codes' own Gaussian"
    yield kl, unit, f"mean KL{against} above {ACTIVE} nats, of {len(kl)}"


def likelihood(
    model: Model,
    data: Dataset,
    samples: int,
    split: str = "test",
    *,
    seed: int = 0,
    execution: Execution | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Metric]:
    """ "nll": the importance-sampled bound on -log p(x) of a split, with all that another number must share to be compared."""
    rows = data.splits[split if len(data.splits[split]) else "validation"]
    found = importance_bound(
        model,
        seen_of(model, data, rows),
        len(rows),
        samples,
        seed=seed,
        execution=execution,
        progress=progress,
    )
    how = f"IS-{samples} (Burda et al., 2016, eq. 8), an upper bound on -log p(x), seed {seed}, decoder in {found.precision}"
    if model.likelihood.support == "density":
        how += "; a density at the pixel values as they are, not dequantised"
    interval = around(-found.value, found.log_px.numpy())
    return {
        "nll": {
            "value": -found.value,
            "unit": "nats per image",
            "count": len(rows),
            "split": split if len(data.splits[split]) else "validation",
            "how": how + given_of(model),
            **({"interval": interval} if interval else {}),
            "per_image": np.round(-found.log_px.numpy(), 4).tolist(),
            "curve": {str(k): round(-value, 4) for k, value in found.curve.items()},
            "effective_samples": {"median": found.effective.median().item(), "lowest": found.effective.min().item()},
            "seconds": round(found.seconds, 1),
        }
    }


def annealing(
    model: Model,
    data: Dataset,
    steps: int,
    split: str = "test",
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Metric]:
    """ "nll_annealed" of some images of a split; "annealing_gap": how far off it can be, of as many of the model's own.

    Raises UsageError where q(z|x) is no Gaussian.
    """
    split = split if len(data.splits[split]) else "validation"
    rows = data.some(split, ANNEALED, seed)
    device, told = next(model.parameters()).device, known_of(data, model)
    c = torch.from_numpy(told[rows]).to(device) if hasattr(model, "condition") else None
    found = annealed(model, seen_of(model, data, rows), len(rows), steps, seed=seed, progress=progress)
    own = both_sides(model, len(rows), steps, c=c, seed=seed, progress=progress)
    assert own.above is not None
    how = f"{steps} steps from q(z|x), {CHAINS} chains of Hamiltonian Monte Carlo, {found.accepted:.0%} accepted, seed {seed}"
    values = {
        "nll_annealed": (-found.below, f"AIS (Wu et al., 2017), an upper bound on -log p(x); {how}{given_of(model)}"),
        "annealing_gap": (own.above - own.below, f"BDMC (Grosse et al., 2015), pictures drawn by the model; {how}"),
    }
    metrics: dict[str, Metric] = {}
    for name, (each, told_how) in values.items():
        value = each.mean().item()
        metrics[name] = {"value": value, "unit": "nats per image", "count": len(rows), "split": split, "how": told_how}
        metrics[name] |= {"interval": interval} if (interval := around(value, each.numpy())) else {}
    metrics["nll_annealed"]["seconds"] = round(found.seconds, 1)
    return metrics


def has_closed_rate(model: Model, images: Images) -> bool:
    """Whether the rate of a picture is computed, not estimated from draws of z."""
    (trace,) = traces(lambda x, c: model(x, 1, c), images, [slice(0, 1)], 0)
    return all(closed_kl(group.q, group.prior) is not None for group in trace.groups) and len(trace.groups) == 1


@torch.no_grad()
def explained(model: Model, images: Images, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Of every image distortion, rate and elbo in nats, where the model has them, from one z; (count,) each, float64."""
    found: list[dict[str, np.ndarray]] = []
    for trace in traces(lambda x, c: model(x, 1, c), images, chunks(count, model.at_once), seed):
        values = {"distortion": distortion(trace)}
        if model.has_rate:
            values |= {"rate": rate(trace), "elbo": -distortion(trace) - rate(trace)}
        found.append({name: value.double().cpu().numpy() for name, value in values.items()})
    return {name: np.concatenate([values[name] for values in found]) for name in found[0]}


def bits_per_dim(model: Model, data: Dataset, rows: np.ndarray, elbo: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, str]]:
    """-ELBO of every image in bits a pixel value, (n,), and how: nothing where grey pixels are told as black and white.

    A density is asked about (pixel + u) / 256 with u uniform in [0, 1): its mean log is a lower bound on the log of the
    probability that it gives the 8-bit level (Theis et al., 2016, section 3.1, https://arxiv.org/abs/1511.01844).
    """
    values, support = math.prod(model.image), model.likelihood.support
    if support == "levels":
        yield -elbo / (values * math.log(2)), "-ELBO, probabilities of 256 levels"
    elif support == "bits":
        if all(np.isin(data.take(part), (0, 255)).all() for part in np.array_split(rows, -(-len(rows) // 1024))):
            yield -elbo / (values * math.log(2)), "-ELBO, probabilities of black and white"
    else:
        images = dequantised(seen_of(model, data, rows), seed)
        nats = values * math.log(256) - explained(model, images, len(rows), seed)["elbo"]
        how = f"-ELBO of (pixel + u) / 256, u uniform in [0, 1): uniform dequantisation (Theis et al., 2016), seed {seed}"
        yield nats / (values * math.log(2)), how


def dequantised(images: Callable[[slice], Seen], seed: int) -> Images:
    """Pixels such that a model sees (pixel + u) / 256."""

    def seen(part: slice) -> Seen:
        pixels, known = images(part)
        generator = torch.Generator(pixels.device).manual_seed(mix(seed, 8, part.start))
        u = torch.rand(pixels.shape, generator=generator, device=pixels.device)
        return (pixels + u) * (255 / 256), known

    return seen


def drift(before: Model, after: Model, data: Dataset, split: str = "test", seed: int = 0) -> dict[str, Metric]:
    """ "drift": how far training moved mu, beside how far apart the images' mu were.

    0: whatever was fitted to the codes before still fits.
    """
    split = split if len(data.splits[split]) else "validation"
    rows = stand_ins(after, data, split, seed)
    old, new = (codes(model, data.pixels, rows).mu for model in (before, after))
    spread = np.square(old - old.mean(0), dtype=np.float64).sum()
    how = "root mean square of mu - mu before training, beside that of mu before around its mean"
    value = float(np.sqrt(np.square(new - old, dtype=np.float64).sum() / max(spread, np.finfo(np.float32).tiny)))
    return {"drift": {"value": value, "unit": "spreads of mu", "count": len(rows), "split": split, "how": how}}


def disentangled(model: Model, data: Dataset, factors: Sequence[str], split: str = "test", seed: int = 0) -> dict[str, Metric]:
    """Every score of disentanglement.HOW: how far single latents stand for single of these attributes (or "label").

    Raises UsageError where the data do not have them, where there is nothing to tell apart, and for the training split.
    """
    from .disentanglement import HOW, Known, disentanglement, factors_of  # with half of scikit-learn, which takes seconds

    if split == "train":
        raise UsageError("Scores of disentanglement are learnt on training pictures and told of others. Give --split validation.")
    if model.latent > LATENTS:
        raise UsageError(f"This model has {model.latent:,} latents; scores of single latents are for {LATENTS} at most.")
    split = split if len(data.splits[split]) else "validation"
    true = factors_of(data, factors)
    known = []
    for part in ("train", split):
        rows = data.some(part, MOST_SCORED, seed)
        rows = rows[(true[rows] >= 0).all(1)]
        known.append(Known(codes(model, data.pixels, rows).mu, true[rows]))
    about = f", mu, of {', '.join(factors)}; {len(known[0].mu):,} of train beside them, seed {seed}"
    return {
        name: {"value": value, "unit": "", "count": len(known[1].mu), "split": split, "how": HOW[name] + about}
        for name, value in disentanglement(known[0], known[1], seed).items()
    }


def stand_ins(model: Model, data: Dataset, split: str, seed: int) -> np.ndarray:
    """Rows of a split whose codes stand for all of it, where something is fitted to them."""
    return data.some(split, min(MOST_FITTED, NUMBERS // model.latent), seed)


def seen_of(model: Model, data: Dataset, rows: np.ndarray) -> Callable[[slice], Seen]:
    """Images of these rows, and what a conditional model is told of them."""
    device, known = next(model.parameters()).device, known_of(data, model)

    def seen(part: slice) -> Seen:
        return torch.from_numpy(data.take(rows[part])).to(device), torch.from_numpy(known[rows[part]]).to(device)

    return seen


def given_of(model: Model) -> str:
    """That a bound is one on log p(x | c), where it is."""
    return ", given what is known of each image" if hasattr(model, "condition") else ""


def label_accuracy(data: Dataset, learn: np.ndarray, learn_mu: np.ndarray, rows: np.ndarray, mu: np.ndarray) -> float | None:
    """Nearest-neighbour accuracy on mu, learnt on some rows, scored on others; None where labels are too few on either side."""
    if data.labels is None or (data.labels[learn] >= 0).sum() < NEIGHBOURS or not (data.labels[rows] >= 0).any():
        return None
    return neighbour_accuracy(learn_mu, data.labels[learn], mu, data.labels[rows], NEIGHBOURS)


def errors_of(model: Model, z: np.ndarray, data: Dataset, rows: np.ndarray, batch: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """Of the pictures of codes and the images: the mean squared error and the structural similarity of each, (n,) both.

    In batches: the pictures are never all in memory as floats.
    """
    found = np.empty((2, len(rows)))
    for start in range(0, len(rows), batch):
        part = slice(start, start + batch)
        drawn, true = decode(model, z[part]), data.take(rows[part]) / np.float32(255)
        found[0, part] = np.square(drawn - true, dtype=np.float64).mean((1, 2, 3))
        found[1, part] = similarity(torch.from_numpy(drawn), torch.from_numpy(true))[0].mean(1).numpy()
    return found[0], found[1]
