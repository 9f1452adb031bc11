"""What follows a training: its metrics, its attribute vectors, its report, all kept in the run folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .data import Dataset
from .editing import compute_attributes
from .execution import Execution
from .latent import decode, reconstruct, sample
from .latent.second_stage import ASKED, Progress, codes_for, draw_codes, fit_priors, hole_of, kinds_for, own_codes
from .metrics import Metric, evaluate, likelihood
from .metrics.bounds import around
from .metrics.disentanglement import LATENTS
from .metrics.evaluate import annealing, disentangled, drift, stand_ins
from .metrics.pictures import beside_real
from .metrics.quality import features_of, judge_of, perceptual_distances, quality, random_judge
from .model import Model
from .nets.judge import FeatureNet
from .run import Run

CHUNK = 256  # codes that a prior of many components is asked about at once
MOST_TRAINING = 20_000  # training pictures among which the nearest is looked for
DRAWN = 2000  # new pictures that are compared with as many held-out ones
SAMPLES = 100  # of z, for a first look at log p(x) where training was about nothing else


def finish(run: Run, data: Dataset) -> Path:
    """What every training ends with: metrics, attribute vectors where attributes give any, the report."""
    run.add_metrics(measure(run, data, samples=SAMPLES if run.binarization else None))
    if data.attributes is not None:
        compute_attributes(run, data)
    from .report import write_report  # matplotlib's second is not for those who wait for a training to begin

    return write_report(run, data)


def measure(
    run: Run,
    data: Dataset,
    split: str = "test",
    seed: int = 0,
    *,
    samples: int | None = None,
    factors: Sequence[str] = (),
    pictures: int = 0,
    judge: tuple[str, FeatureNet] | None = None,
    anneal: int = 0,
    execution: Execution | None = None,
    progress: Progress | None = None,
) -> dict[str, Metric]:
    """Evaluate a run's best weights. With `samples`, the bound on log p(x) too; a split without pictures is that of validation.

    With `pictures`, how that many new ones compare with real ones, in the features of a judge with its name; without one, of a
    net that is taught the labels, or has random weights where there are none. With `factors`, how far single latents stand for
    these attributes; data whose factors are known do without being asked. With `anneal`, bounds by that many steps of annealing.

    A run that was trained on draws of black and white is measured on one draw, the same for every run. With every figure goes its
    protocol: what the pixels were, and how many pictures were trained on.
    """
    model, objective = run.load_model(), run.load_objective()
    data = run.as_measured(data)
    metrics = evaluate(model, objective, data, split, seed)
    if run.has_first_weights:
        before: Model = run.build("model").to(next(model.parameters()).device).eval().requires_grad_(False)
        if run.begin(model=before):
            metrics |= drift(before, model, data, split, seed)
    if factors or (data.factors and 1 < model.latent <= LATENTS):
        metrics |= disentangled(model, data, factors or data.factors, split, seed)
    if pictures and model.has_prior:
        metrics |= beside_real_ones(model, data, pictures, judge, split=split, seed=seed)
    if samples:
        metrics |= likelihood(model, data, samples, split, seed=seed, execution=execution, progress=progress)
    if anneal:
        metrics |= annealing(model, data, anneal, split, seed=seed, progress=progress)
    protocol = {"pixels": run.pixels, "trained_on": len(data.splits["train"])}
    return {name: metric | protocol if "count" in metric else metric for name, metric in metrics.items()}


def beside_real_ones(
    model: Model, data: Dataset, count: int, judge: tuple[str, FeatureNet] | None, *, split: str, seed: int
) -> dict[str, Metric]:
    """Metrics of `count` new pictures beside the real ones of a split, in features of a judge."""
    split = split if len(data.splits[split]) else "validation"
    name, eye, how = (*judge, judge[0]) if judge else ("", *judge_of(data, seed))
    name = name or ("random" if how.startswith("random") else "labels")
    held, train = (data.take(data.some(part, most, seed)) for part, most in ((split, count), ("train", MOST_TRAINING)))
    heaps = sample(model, count, seed), held, train, reconstruct(model, held)
    found = beside_real(*(features_of(eye, heap) for heap in heaps), name=name, how=how, seed=seed)
    apart, others = (perceptual_distances(eye, held, heap) for heap in (heaps[3], np.roll(held, 1, 0)))
    found[f"perceptual_{name}"] = {
        "value": float(apart.mean()),
        "unit": "",
        "count": len(held),
        "how": f"squared distance of feature maps of length 1 (Zhang et al., 2018, all weights 1), reconstructions, {how}",
        "interval": around(float(apart.mean()), apart),
        "reference": {"another picture": float(others.mean())},
    }
    return {key: {**metric, "split": split} for key, metric in found.items()}


def spread(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Median and quartiles over several runs, such as seeds, of every metric that all of them have."""
    metrics = [run.metrics for run in runs]
    found: dict[str, dict[str, Any]] = {}
    for name, about in metrics[0].items():
        if all(name in its for its in metrics):
            values = [its[name]["value"] for its in metrics]
            low, middle, high = (float(value) for value in np.quantile(values, (0.25, 0.5, 0.75)))
            found[name] = {"median": middle, "iqr": high - low, "quartiles": [low, high], "unit": about["unit"], "values": values}
    return found


def fit_second_stage(
    run: Run,
    data: Dataset,
    names: list[str] | None = None,
    *,
    steps: int,
    seed: int = 0,
    judge: FeatureNet | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Fit densities to codes of the training split, rank them on the validation split, keep all with the run.

    They are ranked by the sum of two ranks: what they say of codes, and how far new pictures are from real ones to a judge,
    without one to a net with random weights. What is known of each by name, best first; "own" is the model's prior, where it has
    one.
    """
    model = run.load_model()
    rows = {"train": stand_ins(model, data, "train", seed), "validation": data.some("validation", ASKED, seed)}
    looked_at = run.as_measured(data).pixels
    train, held = (codes_for(model, looked_at, its, seed) for its in rows.values())
    kinds = kinds_for(model)
    fitted = {its.name: its for its in fit_priors(train, held, names, kinds=kinds, steps=steps, seed=seed, progress=progress)}
    real, eye = data.take(data.some("validation", DRAWN, seed)), judge or random_judge(data.image, seed)

    def seen(drawn: np.ndarray) -> float:
        return quality(eye, real, drawn).frechet

    about: dict[str, dict[str, Any]] = {
        name: {
            "nats": its.nats,
            "frechet": seen(decode(model, draw_codes(its.prior, model, len(real), seed))),
            "seconds": round(its.seconds, 1),
            "fitted_on": len(train),
            "judged_on": len(held),
        }
        for name, its in fitted.items()
    }
    about = run.priors | about  # others may have been kept before
    ranks = [sorted(about, key=lambda name: about[name][by]) for by in ("frechet", "nats")]
    about = {name: about[name] for name in sorted(about, key=lambda name: sum(rank.index(name) for rank in ranks))}
    run.save_priors({name: its.prior for name, its in fitted.items()}, about)
    if not model.has_prior:
        return about
    name, best = run.load_prior()
    with torch.no_grad():  # of discrete codes it is the same for all: a prior that knows nothing yet
        parts = torch.from_numpy(held).to(next(model.parameters())).split(CHUNK)
        own = -sum(model.p_z().log_prob(part).sum().item() for part in parts) / len(held)
        hole = hole_of(best, held, own_codes(model, len(held), seed), seed)
    how = f"less probable than 99 % of {len(held):,} held-out codes, under the fitted density {name!r}"
    run.add_metrics({"prior_hole": {"value": hole, "unit": "share of the prior's draws", "how": how}})
    return about | {"own": {"nats": own, "frechet": seen(sample(model, len(real), seed)), "hole": hole}}
