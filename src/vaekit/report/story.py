"""From a run folder to its pictures and its page."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..data import Dataset
from ..doctor import FEW_STEPS, examine, still_improving
from ..draw import save_png
from ..errors import UsageError
from ..files import file_name, write_atomic, write_text
from ..metrics.edits import rows_of_edits
from ..recipes import BUDGETS
from ..run import Run
from . import figures
from .neighbours import neighbours
from .page import Details, Digits, Fact, FigureOnPage, Section, Table, write_page, written
from .sight import Picture, Sight

DRIFTED = 0.05  # spreads of the codes, from which a training from earlier weights is said to have moved them
NEW = ("Are they new?", "New pictures beside the training pictures that are most like them.", neighbours)
HEADLINES = (
    ("nll", "-log p(x), at most"),
    ("elbo", "ELBO"),
    ("distortion", "Distortion"),
    ("rate", "Rate"),
    ("rmse", "RMSE of reconstructions"),
    ("neighbour_accuracy", "5-nearest-neighbour accuracy"),
    ("active_latents", "Active latents"),
)


def write_report(run: Run, data: Dataset, beside: Run | None = None, seed: int = 0) -> Path:
    """Draw every figure into the run's figures/ and write report.html, one file that opens from disk. Returns its path.

    `beside` is another run on the same data, a plain autoencoder for a VAE or the other way round, drawn side by side.
    Raises UsageError before either run has weights, and where the two are no pair: trained on other pictures or another size of
    them, not of two latents each, or both of one kind.
    """
    sight, other = Sight(run, data, seed), Sight(beside, data, seed) if beside else None
    if other:
        check_pair(sight, other)
    run.figures.mkdir(exist_ok=True)
    sections = [
        Section(title, lead, figures=drawn)
        for title, lead, pictures in (*figures.CHAPTERS[:2], NEW, *figures.CHAPTERS[2:])
        if (drawn := keep(run, pictures(sight)))
    ]
    if run.has_attributes:
        sections.insert(3, attribute_section(run, sight))
    if other:
        comparison = keep(run, figures.beside(sight, other))
        sections.insert(3, Section("Why variational", "What a prior does to the plane of codes.", figures=comparison))
    page = write_page(
        f"{data.name}: {'variational autoencoder' if sight.has_prior else 'autoencoder'} with {sight.model.latent} latents",
        subtitle(run, data),
        facts(run.metrics),
        [*sections, health(run, data, seed), numbers(run)],
        command=run.description["command"],
        versions=run.description["versions"],
        description={key: run.description[key] for key in ("data", "model", "objective", "training", "execution", "machine")},
        notes=notes(run),
    )
    write_text(run.report, page)
    return run.report


def check_pair(one: Sight, two: Sight) -> None:
    """Raises UsageError unless the two are a VAE and a plain autoencoder on the same data."""
    about, other = one.run.description["data"], two.run.description["data"]
    if (about["open"]["source"], about["image"]) != (other["open"]["source"], other["image"]):
        raise UsageError(
            f"{two.run.path} was trained on other pictures, or another size of them, than {one.run.path}. Train it on the same."
        )
    latents = one.model.latent, two.model.latent
    if latents != (2, 2):
        told = f"{one.run.path} and {two.run.path} have {latents[0]:,} and {latents[1]:,} latents"
        raise UsageError(f"{told}; gaps between codes can be seen in two. Train both with --latent 2.")
    if one.has_prior == two.has_prior:
        kind = "VAEs" if one.has_prior else "plain autoencoders"
        raise UsageError(
            f"{one.run.path} and {two.run.path} are both {kind}. Beside a VAE goes a plain autoencoder: --recipe autoencoder"
        )


def keep(run: Run, pictures: Iterable[Picture]) -> list[FigureOnPage]:
    """Write each picture into figures/, and make it ready for the page."""
    kept = []
    for picture in pictures:
        png = save_png(picture.figure, picture.name)
        write_atomic(run.figures / f"{file_name(picture.name)}.png", lambda file, png=png: file.write(png))
        kept.append(FigureOnPage(picture.name, png, picture.caption, picture.alt))
    return kept


def subtitle(run: Run, data: Dataset) -> str:
    channels, height, width = data.image
    images = run.reached["images"]
    return (
        f"{len(data):,} pictures of {height} x {width} pixels and {channels} channel{'s' if channels > 1 else ''}; "
        f"trained on {len(data.splits['train']):,} of them, {images / len(data.splits['train']):,.0f} times each. "
        f"{run.path.name}, {run.description['created'][:10]}."
    )


def facts(metrics: dict[str, Any]) -> list[Fact]:
    """The headline numbers that this run has."""
    found = []
    for name, title in HEADLINES:
        if name in metrics:
            metric = metrics[name]
            value, its = figures_of(metric)
            about = f"{metric['split']}, N = {metric['count']:,}; {metric['how']}"
            found.append(Fact(title, value, metric["unit"], f"95 % {its}; {about}" if its else about))
    return found


def figures_of(metric: dict[str, Any]) -> tuple[float | Digits, str]:
    """A figure and its 95 % interval, "" where it has none; with it, both have decimals that tell two digits of its width."""
    low, high = metric.get("interval", (0, 0))
    if not high > low:
        return metric["value"], ""
    decimals = max(1 - math.floor(math.log10(high - low)), 0)
    low, value, high = (Digits(number, decimals) for number in (low, metric["value"], high))
    return value, f"{written(low)} to {written(high)}"


def notes(run: Run) -> list[str]:
    """What a reader must know before believing the pictures."""
    status, steps, found = run.description["status"], run.reached["step"], []
    if status != "finished":
        found.append(f"This training is not finished (status: {status}). The pictures show its weights so far.")
    if steps < FEW_STEPS:
        budget = " or ".join(f"--{name}" for name in BUDGETS if run.description["training"][name])
        found.append(
            f"Only {steps:,} steps were taken, too few to learn much more than the average picture. Give more {budget}, smaller "
            "pictures (--size) or a smaller --batch-size."
        )
    elif status == "finished" and run.build("objective").comparable and still_improving(run.records):
        found.append("The validation loss was still falling when the budget ended: a longer training will give a better model.")
    drift = run.metrics.get("drift", {"value": 0})["value"]
    if drift > DRIFTED:
        found.append(
            f"The codes moved by {drift:.2f} of their spread from where they were before this training. What was fitted to the "
            "old codes, such as a second stage or attribute vectors, has to be fitted again; --freeze codes keeps them."
        )
    if run.metrics.get("active_latents", {"value": 1})["value"] == 0:
        found.append("No latent carries anything: every code is the same. Beta is too high, or the training too short.")
    return found


def attribute_section(run: Run, sight: Sight) -> Section:
    about = run.load_attributes()[1]["attributes"]
    measured = rows_of_edits(about)
    rows = [
        (name, a["count_with"], a["count_without"], a["norm"], f"{a['interval'][0]:.2f} to {a['interval'][1]:.2f}")
        for name, a in sorted(about.items(), key=lambda item: -item[1]["norm"])
    ]
    whose = "" if all(a["method"] == "mean" for a in about.values()) else " of the mean difference"
    return Section(
        "Adding an attribute",
        "z + alpha * vector; at alpha 1 it goes as far as the mean codes without and with the attribute lie apart along it.",
        figures=keep(run, figures.edits(sight)),
        table=measured and Table(measured[0][0], measured[0][1:], f"How good these edits are to {measured[1]}."),
        details=[
            Details(
                "All attribute vectors",
                "Computed on mu of the training split, in units of z. The held-out distance takes the mean difference of one "
                "half of the images and measures how far apart those of the other half lie along it, so it holds 0 where that "
                "is an accident; 95 % by Welch's t over images.",
                Table(("attribute", "with", "without", "norm", f"held-out distance{whose}, 95 %"), rows),
            )
        ],
    )


def health(run: Run, data: Dataset, seed: int) -> Section:
    """What the doctor says."""
    findings, signs = examine(run, data, seed)
    names = ", ".join(finding.name for finding in findings)
    lead = f"Found: {names}." if findings else "Nothing to find fault with."
    table = Table(("finding", "measured", "normal", "likely cause", "what mends it"), findings) if findings else None
    rows = [(name, sign.value, sign.unit, sign.count) for name, sign in signs.items()]
    vital = Details("Vital signs", table=Table(("sign", "value", "unit", "N"), rows))
    return Section("Health", lead, table=table, details=[vital])


def numbers(run: Run) -> Section:
    metrics = run.metrics
    rows = [
        (
            name.replace("_", " "),
            *figures_of(metric),
            metric["unit"],
            metric.get("split", ""),
            metric.get("count", ""),
            "; ".join([metric["how"], *(f"{name} {value:.4g}" for name, value in metric.get("reference", {}).items())]),
        )
        for name, metric in metrics.items()
    ]
    weights = {
        name: metrics[f"weight_{name}"]["value"] for name in ("r_loss_factor", "beta", "sigma") if f"weight_{name}" in metrics
    }
    lead = ""
    if weights and "residual" in metrics:
        lead = (
            f"The loss weighs pixels as r_loss_factor {weights['r_loss_factor']:,.0f} (MSE form), as beta {weights['beta']:.3g} "
            f"beside a sum of squared errors, or as a Gaussian decoder of sigma {weights['sigma']:.3f}: one thing said in three "
            f"ways. The measured residual is {metrics['residual']['value']:.3f}; a sigma far above it blurs, one far below it "
            "over-weighs pixels."
        )
    protocol = f"Pixels: {run.pixels}; trained on {run.description['training']['epoch']:,} pictures."
    return Section("All numbers", lead, table=Table(("metric", "value", "95 %", "unit", "split", "N", "how"), rows, protocol))
