"""What follows a training: its metrics, its attribute vectors, its report, all kept in the run folder."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .data import Dataset
from .editing import compute_attributes, split_by
from .errors import UsageError
from .execution import Execution
from .latent import codes
from .latent.encode import likeliest, picture_of, prior_codes
from .latent.second_stage import (
    ASKED,
    DEAR,
    FITTED,
    PSEUDO,
    Kinds,
    Progress,
    codes_for,
    codes_of_prior,
    device_of,
    draw_codes,
    entries_of,
    fit_priors,
    halves,
    hole_of,
    kinds_for,
    nats_of,
)
from .metrics import Metric, evaluate, likelihood
from .metrics.bounds import around
from .metrics.evaluate import LATENTS, annealing, disentangled, drift, stand_ins
from .metrics.quality import (
    STEPS,
    accuracy_of,
    another,
    attribute_judge_of,
    auc_of,
    features_of,
    judge_of,
    perceptual_distances,
    print_of,
    quality,
    random_judge,
)
from .model import Model
from .nets.judge import FeatureNet
from .part import known
from .priors import Prior
from .run import Run

Eye = tuple[str, FeatureNet, str]  # a judge: its name in figures, itself, and how it was made
CHUNK = 256  # codes that a prior of many components is asked about at once
NO_HOLE = 0.01  # of draws of the prior are less probable than 99 % of codes, where it is like them
MOST_TRAINING = 20_000  # training pictures among which the nearest is looked for
DRAWN = 2000  # new pictures that are compared with as many held-out ones
STAGE_STEPS = 4000  # of a density that is fitted to codes
TOLD = ("weights.safetensors", "metrics.json", "attributes.safetensors", "priors/priors.json")  # what a report is about
SAMPLES = 100  # of z, for a first look at log p(x) where training was about nothing else


def finish(run: Run, data: Dataset, progress: Progress | None = None) -> Path:
    """What every training ends with: metrics, attribute vectors where attributes give any, the second stage of a recipe that has
    one, the report. What these weights have of it already stays as it is; the report is drawn in any case. `progress` hears of
    the steps of that stage."""
    if lacks_metrics(run, data):
        known = "nll" in run.metrics  # by more samples than these
        run.add_metrics(measure(run, data, samples=SAMPLES if run.binarization and not known else None))
    if lacks_vectors(run, data):
        compute_attributes(run, data)
    if names := lacking_densities(run, data):
        fit_second_stage(run, data, names, steps=STAGE_STEPS, progress=progress)
    from .report import write_report  # matplotlib's second is not for those who wait for a training to begin

    return write_report(run, data)


def is_finished(run: Run, data: Dataset) -> bool:
    """Whether a run is trained, these weights have all that `finish` makes, and the report was drawn after all of it."""
    if run.description.get("status") != "finished" or not run.report.exists():
        return False
    told = [path for path in map(run.path.joinpath, TOLD) if path.exists()]
    stale = max((path.stat().st_mtime_ns for path in told), default=0) > run.report.stat().st_mtime_ns
    return not (stale or lacks_metrics(run, data) or lacks_vectors(run, data) or lacking_densities(run, data))


def lacks_metrics(run: Run, data: Dataset) -> bool:
    """Whether these weights were not measured on the split that a training ends with; a search measures on another one."""
    split = "test" if len(data.splits["test"]) else "validation"
    measured = run.metrics.get("distortion", {}).get("split") == split
    return not measured or (run.binarization is not None and "nll" not in run.metrics)


def lacks_vectors(run: Run, data: Dataset) -> bool:
    """Whether attributes give vectors that these weights do not have; those that they have may be better ones."""
    return data.attributes is not None and not run.has_attributes and bool(split_by(data)[0])


def lacking_densities(run: Run, data: Dataset) -> list[str]:
    """The densities of the recipe's second stage, where these weights do not have all of them."""
    wanted = run.description.get("second_stage") or []
    if not wanted or len(data.splits["validation"]) < 2:  # a single picture could judge no density
        return []
    kinds = kinds_for(run.load_model())
    names = [name if name in kinds else "diagonal" for name in wanted]  # of so many latents none with full covariances
    return [] if set(names) <= run.priors.keys() else names


def measure(
    run: Run,
    data: Dataset,
    split: str = "test",
    seed: int = 0,
    *,
    samples: int | None = None,
    factors: Sequence[str] = (),
    pictures: int = 0,
    prior: str = "own",
    judges: Sequence[Eye] = (),
    anneal: int = 0,
    execution: Execution | None = None,
    progress: Progress | None = None,
) -> dict[str, Metric]:
    """Evaluate a run's best weights. With `samples`, the bound on log p(x) too; a split without pictures is that of validation.

    With `pictures`, how that many new ones compare with real ones, in the features of `judges`; without any, of those of
    `own_judges`. They are drawn from the
    model's own `prior`, from the best "fitted" density of its second stage, or from one of these by name, which then ends the
    figures' names. With `factors`, how far single latents stand for these attributes; data whose factors are known do without
    being asked. With `anneal`, bounds by that many steps of annealing.

    A run that was trained on draws of black and white is measured on one draw, the same for every run. With every figure goes its
    protocol: what the pixels were, and how many pictures were trained on.
    """
    model, objective = run.load_model(), run.load_objective()
    data = run.as_measured(data)
    if pictures:
        places_of(data, split, pictures)  # what may be refused comes first
    if not factors and split != "train" and 1 < model.latent <= LATENTS:
        factors = data.factors
    first = disentangled(model, data, factors, split, seed) if factors else {}
    if anneal:
        first |= annealing(model, data, anneal, split, seed=seed, progress=progress)
    metrics = evaluate(model, objective, data, split, seed) | first
    if run.has_first_weights:
        before: Model = run.build("model").to(next(model.parameters()).device).eval().requires_grad_(False)
        if run.begin(model=before):
            metrics |= drift(before, model, data, split, seed)
    if pictures:
        metrics |= beside_real_ones(run, model, data, pictures, prior=prior, judges=judges, split=split, seed=seed)
    if samples:
        metrics |= likelihood(model, data, samples, split, seed=seed, execution=execution, progress=progress)
    protocol = {"pixels": run.pixels, "trained_on": len(data.splits["train"])}
    return {name: metric | protocol if "count" in metric else metric for name, metric in metrics.items()}


def places_of(data: Dataset, split: str, count: int) -> tuple[str, str, int]:
    """The split that `count` new pictures are put beside, that of the other real ones, and how many there are of each at most.

    Raises UsageError for the training split, and where they are too few.
    """
    from .metrics.pictures import NEAREST  # with scipy.spatial, for which no training should have to wait

    if split == "train":
        raise UsageError(
            "New pictures are put beside ones that nothing was learnt from, and the nearest training pictures are looked for. "
            "Give --split test or --split validation."
        )
    split, other = (split, "validation" if split == "test" else "test") if len(data.splits[split]) else ("validation", "train")
    other = other if len(data.splits[other]) else "train"
    most = min(count, len(data.splits[split]), len(data.splits[other]))
    if most <= NEAREST:
        have = " and ".join(f"{len(data.splits[name]):,} of {name}" for name in (split, other))
        raise UsageError(
            f"{count} new pictures were to be put beside {have}. Each is told by its {NEAREST} nearest neighbours, which takes "
            f"{NEAREST + 1} or more of all three. Ask for more with --pictures, or train on a data set with more pictures."
        )
    return split, other, most


def beside_real_ones(
    run: Run,
    model: Model,
    data: Dataset,
    count: int,
    *,
    prior: str,
    judges: Sequence[Eye],
    split: str,
    seed: int,
) -> dict[str, Metric]:
    """Metrics of `count` new pictures beside the real ones of a split, in features of judges, or of its own.

    As many of each: new ones, real ones, and real ones of another split with their reconstructions; so there are fewer where a
    split has fewer. Raises UsageError as `places_of` does, and without a prior.
    """
    from .metrics.pictures import Heaps, beside_real  # with scipy.spatial, for which no training should have to wait

    split, other, count = places_of(data, split, count)
    heaps = ((split, count), (other, count), ("train", MOST_TRAINING))
    held, others, train = (data.take(data.some(part, most, seed)) for part, most in heaps)
    z, density = codes_from(run, model, prior, count, seed)
    shown, shows = picture_of(run, model, seed)
    drawn, rebuilt = shown(z), shown(likeliest(model, codes(model, others).mu))
    strangers, found = others[another(len(others), seed)], {}
    for name, eye, how in judges or own_judges(data, seed):  # which takes its time: after all that may be refused
        its = Heaps(*(features_of(eye, heap) for heap in (drawn, held, others, rebuilt, train)))
        told = f"{how}; {count:,} real ones of {split}, others of {other}; {shows}"
        found |= beside_real(its, name=name, how=told, density=density, seed=seed)
        apart, strange = (perceptual_distances(eye, others, heap) for heap in (rebuilt, strangers))
        found[f"perceptual_{name}@{count}"] = {
            "value": float(apart.mean()),
            "unit": "",
            "count": count,
            "how": f"squared distance of feature maps of length 1 (Zhang et al., 2018, all weights 1), reconstructions, {told}",
            "interval": around(float(apart.mean()), apart),
            "reference": {"another picture": float(strange.mean())},
        }
    return {key: {**metric, "split": split} for key, metric in found.items()}


def codes_from(run: Run, model: Model, prior: str, count: int, seed: int) -> tuple[np.ndarray, str]:
    """New codes (count, D), and the name of their density where it is not the model's own. Raises UsageError without one."""
    name, density = density_of(run, model, prior)
    return prior_codes(model, count, seed) if density is None else draw_codes(density, model, count, seed), name


def density_of(run: Run, model: Model, prior: str) -> tuple[str, Prior | None]:
    """The name of the density that `prior` asks for, and itself; "" and None: the model's own. Raises UsageError without one."""
    if prior != "own":
        return run.load_prior(None if prior == "fitted" else prior)
    if not model.has_prior:
        raise UsageError("A plain autoencoder has no prior to draw from. Fit a density (vaekit fit-prior): --prior fitted.")
    return "", None


def own_judges(data: Dataset, seed: int = 0, steps: int = STEPS, progress: Progress | None = None) -> list[Eye]:
    """`own_judge`, and beside it a net with random weights (Naeem et al., 2020, section 4, https://arxiv.org/abs/2002.09797).

    A net that was taught a few labels sees what parts these, and may take rubbish for closer to real pictures than their
    reconstructions; one that was taught nothing looks at everything alike.
    """
    taught, judge = own_judge(data, seed, steps, progress), random_judge(data.image, seed)
    plain = ("random", judge, f"random weights, seed {seed} (sha256 {print_of(judge)}...)")
    return [taught] if taught[0] == "random" else [taught, plain]


def own_judge(data: Dataset, seed: int = 0, steps: int = STEPS, progress: Progress | None = None) -> Eye:
    """A net that is taught what is known of these pictures: its name, see `lesson_of`, itself, and how it was made.

    With how well it learned and what tells it from others: taught elsewhere from the same seed, it may be another net.
    """
    name, scored = lesson_of(data), ""
    if name == "attributes":
        has = split_by(data)[1]
        judge, how = attribute_judge_of(data, has, seed, steps, progress)
        area = auc_of(judge, data, has)
        scored = "" if area is None else f", mean AUC {area:.3f} on test pictures"
    else:
        judge, how = judge_of(data, seed, steps, progress)
        right = accuracy_of(judge, data) if name == "labels" else None
        scored = "" if right is None else f", {right:.3f} of the test labels right"
    return name, judge, f"{how}{scored} (sha256 {print_of(judge)}...)"


def lesson_of(data: Dataset) -> str:
    """What a net can be taught of these pictures: labels, else attributes; "random": nothing, its weights stay so."""
    labels = data.labels_of("train")
    if labels is not None and len(data.label_names) > 1 and (labels >= 0).any():
        return "labels"
    return "attributes" if split_by(data)[0] else "random"


def spread(metrics: Sequence[dict[str, Metric]]) -> dict[str, dict[str, Any]]:
    """Median and quartiles over the metrics of several runs, such as seeds, of every one that all of them have."""
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
    kept: Callable[[str], object] = lambda _: None,
) -> dict[str, Any]:
    """Fit densities to codes of the training split, rank them on the validation split, keep all with the run, each as soon as it
    is fitted.

    They are ranked by the sum of two ranks: what they say of codes, and how far new pictures are from real ones to a judge,
    without one to a net with random weights; where `names` is empty, those that are kept are only ranked anew. What is known of
    each by name, best first; "own" is the model's prior, where it has one. `kept` hears of each that is with the run.
    """
    model, data = run.load_model(), run.as_measured(data)
    learn = stand_ins(model, data, "train", seed)
    train, held = (codes_for(model, data.pixels, rows, seed) for rows in (learn, data.some("validation", ASKED, seed)))
    kinds = stage_kinds(model, data, learn)
    wanted = chosen(kinds, names)
    real, eye = data.take(data.some("validation", DRAWN, seed)), judge or random_judge(data.image, seed)
    shown, _ = picture_of(run, model, seed)
    asked = halves(held)[1]
    protocol = {"judge": print_of(eye), "pictures": len(real), "judged_on": len(asked), "seed": seed}

    def seen(z: np.ndarray) -> float:
        return quality(eye, real, shown(z)).frechet

    def judged(density: Prior) -> dict[str, Any]:
        return {"frechet": seen(draw_codes(density, model, len(real), seed)), **protocol}

    about = run.priors  # others may have been kept before
    for name, its in about.items():
        if any(its.get(key) != value for key, value in protocol.items()):  # of two, they do not compare
            density = run.load_prior(name)[1].to(device_of(model))
            its["nats"] = nats_of(density, torch.from_numpy(asked).to(device_of(model)), seed, model)
            its.update(judged(density))
    run.save_priors({}, about := ranked(about))
    how = {"kinds": kinds, "model": model, "steps": steps, "seed": seed}
    how |= {"labels": None if data.labels is None else data.labels[learn]}
    for number, name in enumerate(wanted):
        heard = partial(told_of_all, progress, number * steps, len(wanted) * steps) if progress else None
        (its,) = fit_priors(train, held, [name], progress=heard, **how)
        about[name] = {"nats": its.nats, "seconds": round(its.seconds, 1), "fitted_on": len(train), **judged(its.prior)}
        about = ranked(about)
        run.save_priors({name: its.prior}, about)
        kept(name)
    if not model.has_prior:
        return about
    name, best = run.load_prior()
    with torch.no_grad():
        parts = torch.from_numpy(asked).to(device_of(model)).split(CHUNK)
        own = -sum(model.p_z().log_prob(entries_of(model, part)).sum().item() for part in parts) / len(asked)
        hole = hole_of(best, held, codes_of_prior(model, len(held), seed), seed, model)
        left = hole_of(best, held, codes_of_prior(model, len(held), seed, best), seed, model)
    about_hole = {
        "value": hole,
        "unit": "share of the prior's draws",
        "count": len(held),
        "split": "validation",
        "how": f"less probable than 99 % of {len(held):,} held-out codes, under the fitted density {name!r}",
        "reference": {"without a hole": NO_HOLE, FITTED: left},
    }
    run.add_metrics({"prior_hole": about_hole})
    return about | {"own": {"nats": own, "frechet": seen(codes_from(run, model, "own", len(real), seed)[0]), "hole": hole}}


def densities_for(run: Run, data: Dataset, names: Sequence[str] | None = None) -> list[str]:
    """Those that `fit_second_stage` fits, in that order. Raises UsageError on a name that is none for the codes of this run."""
    return chosen(stage_kinds(run.load_model("cpu"), data, data.splits["train"][:PSEUDO]), names)


def stage_kinds(model: Model, data: Dataset, learn: np.ndarray) -> Kinds:
    """The densities that can be fitted to codes of these pictures."""
    labels = data.labels_of("train")
    repeated = labels is not None and (np.bincount(labels[labels >= 0]) > 1).any()  # of one code nobody knows how it spreads
    return kinds_for(model, data.label_names if repeated else (), data.take(learn[:PSEUDO]))


def chosen(kinds: Kinds, names: Sequence[str] | None) -> list[str]:
    """Each of these names once, else of all but the dear ones. Raises UsageError on a name that is none of them."""
    for name in names or ():
        if name not in kinds:
            raise UsageError(f"No density {name!r} can be fitted to these codes. {known(name, kinds)}")
    return list(dict.fromkeys([name for name in kinds if name not in DEAR] if names is None else names))


def told_of_all(progress: Progress, before: int, total: int, step: int, _steps: int) -> None:
    """A step of one density, told as one of all."""
    progress(before + step, total)


def ranked(about: dict[str, Any]) -> dict[str, Any]:
    """What is known of each density, best first: by the sum of two ranks."""
    ranks = [sorted(about, key=lambda name: (not math.isfinite(about[name][by]), about[name][by])) for by in ("frechet", "nats")]
    return {name: about[name] for name in sorted(about, key=lambda name: sum(rank.index(name) for rank in ranks))}
