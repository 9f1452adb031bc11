"""Every recipe under one budget: what it is worth in likelihood, errors, latents and new pictures, and how fast it steps.

    python benchmarks/variants.py DATA [--size 32] [--images 300000] [--only vae iwae ...] [--work DIR] [--speeds | --no-speeds]

DATA is `shapes`, or a folder of MNIST. Each recipe trains for the same images with the net `mlp` (`conv` where latents lie at
places; some have nets of their own). Its figures are kept in benchmarks/variants/ with their commit, day and machine, and not
made again while they are there, nor is a training that lies in --work. The budget counts images, not
minutes, so only the speeds need a quiet machine: they are measured at the end, one recipe after another. A run over all recipes
writes src/vaekit/reached.json, from which `vaekit recipes` and `python docs/variants.py` say what to expect.
"""

import argparse
import json
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch
from machine import hardware, load, once, write_results

from vaekit.batches import Batches
from vaekit.catalogue import catalogue
from vaekit.data import Dataset, open_data
from vaekit.errors import VaekitError
from vaekit.execution import Execution, available_threads
from vaekit.finish import fit_second_stage, measure
from vaekit.fitting import fit
from vaekit.known import condition_of, known_of
from vaekit.latent import decode, sample
from vaekit.latent.second_stage import draw_codes, kinds_for
from vaekit.metrics.quality import judge_of, quality, random_judge
from vaekit.nets.judge import Judge
from vaekit.planning import start
from vaekit.recipes import Recipe, cook
from vaekit.run import Run
from vaekit.state import State
from vaekit.stored import save_part
from vaekit.train import train
from vaekit.variants import VARIANTS

NAMES = tuple(catalogue())
REACHED = Path(__file__).parent.parent / "src" / "vaekit" / "reached.json"
KEPT = ("elbo", "nll", "rmse", "frechet", "frechet_fitted")  # figures in it
OWN_NETS = ("digits-2d", "density", "pixel-vae", "ladder", "nvae")
NETS = f"net `mlp`, `conv` for latents at places ({', '.join(OWN_NETS)} have their own)"
OWN_LIKELIHOODS = ("book", "density", "pixel-vae")
OWN_PIXELS = (
    "the pixels of each recipe: the optimal sigma, or one that its paper's weights want (nats of two kinds do not compare)"
)
JUDGE = "judge.safetensors"
DRAWINGS = "drawn"  # the folder of figures of new pictures
DRAWN = 5000  # new pictures that are compared with as many test pictures
SAMPLES = 100  # of z, in the bound
STAGE, CODES = ("mixture", "flow", "transformer"), 1500  # densities of the second stage, and their steps
PROTOCOLS = {"mnist": {"likelihood": "bernoulli", "binarize": "dynamic"}}  # else grey or colour, each recipe's own pixels
CRITICS = ("vae-gan", "kl-autoencoder")  # of pictures: they would know black and white ones at once, as decoders make grey
FEW_LABELS = {"semi-supervised": 1000}  # of training images
COLUMNS = {
    "elbo": "ELBO",
    "nll": f"-log p(x), IS-{SAMPLES}",
    "distortion": "distortion",
    "rate": "rate",
    "active": "active units",
    "label_accuracy": "label accuracy",
    "rmse": "RMSE",
    "frechet": "FD of new pictures",
    "frechet_fitted": "FD after the second stage",
    "second": "its density",
    "hole": "share of the prior's draws in its hole",
    "images_per_second": "images/s",
    "minutes": "minutes",
}


def cooked(name: str, data: Dataset, images: int, judge: Path) -> Recipe:
    """The variant with the options that all share."""
    options: dict[str, Any] = {"images": images, "batch_size": 128, "compile": "off", "threads": available_threads()}
    variant = VARIANTS.get(name)
    if name not in OWN_NETS and not (variant and variant.spatial):
        options["net"] = "mlp"
    if variant and variant.told:
        options["condition"] = condition_of(data, shown=FEW_LABELS.get(name))
    if variant and variant.asks:
        options["features"] = judge
    without = {"likelihood": OWN_LIKELIHOODS, "binarize": CRITICS}
    protocol = PROTOCOLS.get(data.name, {})
    return cook(name, data.image, options | {key: value for key, value in protocol.items() if name not in without[key]})


def trained(name: str, data: Dataset, images: int, work: Path) -> Run:
    """The run of a variant, finished."""
    run = start(work / name, data, cooked(name, data, images, work / JUDGE))
    began = time.monotonic()
    if run.description.get("status") != "finished":
        fit(run, data)
        run.describe({**run.description, "minutes": (time.monotonic() - began) / 60})
    return run


def figures_of(name: str, data: Dataset, images: int, work: Path) -> dict[str, Any]:
    """What a variant makes of test pictures."""
    run = trained(name, data, images, work)
    model = run.load_model()
    metrics = measure(run, data, samples=SAMPLES if model.has_prior and not certain(run) else None)
    found = {
        key: metrics[key]["value"] for key in ("elbo", "nll", "distortion", "rate", "rmse", "label_accuracy") if key in metrics
    }
    for key in ("active_latents", "code_perplexity"):
        if key in metrics:
            found["active"] = metrics[key]["value"]
    return found


def drawn_by(name: str, data: Dataset, images: int, work: Path, judge: Judge) -> dict[str, Any]:
    """What its new pictures are, before and after the second stage."""
    run, found = trained(name, data, images, work), {}
    model = run.load_model()
    rows = data.some("test", DRAWN)
    real = data.take(rows)
    if model.has_prior:
        found["frechet"] = quality(judge, real, sample(model, len(rows))).frechet
    asked = run.description.get("second_stage") or STAGE  # those of the recipe, where it has some
    try:
        missing = [kind for kind in kinds_for(model) if kind in asked and kind not in run.priors]
        about = fit_second_stage(run, data, missing, steps=CODES, judge=judge)
    except VaekitError as error:
        found["second"] = str(error)
        return found
    found["second"] = next(iter(about))  # ranked on the validation split, measured on the test split
    _, density = run.load_prior()
    found["frechet_fitted"] = quality(judge, real, decode(model, draw_codes(density, model, len(rows)))).frechet
    if "own" in about:
        found["hole"] = about["own"]["hole"]
    return found


def certain(run: Run) -> bool:
    """Whether q(z | x) is no density, so that importance samples say nothing."""
    kind = run.description["model"].get("posterior", {}).get("part")
    return kind in ("Deterministic", "VectorQuantized", "FiniteScalar", "LookupFree")


def speed_of(name: str, data: Dataset, work: Path, seconds: float = 5.0) -> float:
    """Images a second of the plain step, after a few steps."""
    made = cooked(name, data, 10**9, work / JUDGE)
    torch.manual_seed(0)
    state = State.start(made.model, made.objective, made.training, torch.device("cpu"))
    batches = Batches(data.pixels, data.splits["train"], 128, 0, torch.device("cpu"), known=known_of(data, made.model))
    steps = train(state, batches, made.training, Execution(torch.device("cpu"), threads=available_threads()))
    for _ in range(5):
        next(steps)
    began, count = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        next(steps)
        count += 128
    return count / (time.monotonic() - began)


def table(figures: dict[str, dict[str, Any]], order: list[str]) -> str:
    head = "| variant | " + " | ".join(COLUMNS.values()) + " |\n|" + "---|" * (len(COLUMNS) + 1)
    rows = [f"| {name} | " + " | ".join(told(figures[name].get(key)) for key in COLUMNS) + " |" for name in order]
    return "\n".join([head, *rows])


def told(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return f"{value:,.4f}" if abs(value) < 1 else f"{value:,.2f}" if abs(value) < 1000 else f"{value:,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--size", type=int, help="of the pictures, a side; default: their own")
    parser.add_argument("--images", type=int, default=300_000)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--work", type=Path, default=Path("runs/variants"))
    parser.add_argument("--speeds", action="store_true", help="only measure the speeds of what was trained, and write the table")
    parser.add_argument("--no-speeds", action="store_true", help="leave them, and the table, to a later call")
    given = parser.parse_args()
    data = open_data(given.data, size=given.size)
    which = f"{data.name}-{given.size}" if given.size else data.name
    work, before = given.work / which, load()
    kept = Path(__file__).parent / "variants" / f"{which}-{given.images}"
    for place in (work, kept / DRAWINGS):
        place.mkdir(parents=True, exist_ok=True)
    # A net that was taught one of several factors does not see the others: see docs/numbers.md.
    judge, taught = (random_judge(data.image), "random weights, seed 0") if data.factors else judge_of(data)
    if not (work / JUDGE).exists():
        save_part(work / JUDGE, judge_of(data, seed=1)[0])  # whoever learns from a judge is not scored by the same one
    for name in [] if given.speeds else given.only:
        print(name, once(kept / f"{name}.json", lambda name=name: figures_of(name, data, given.images, work)), flush=True)
        made = once(kept / DRAWINGS / f"{name}.json", lambda name=name: drawn_by(name, data, given.images, work, judge))
        print(name, made, flush=True)
    if given.no_speeds:
        return
    of = {path.stem: [json.loads(its.read_text()) for its in (path, kept / DRAWINGS / path.name)] for path in kept.glob("*.json")}
    figures = {name: seen | drawn for name, (seen, drawn) in sorted(of.items())}
    real = data.take(data.some("test", DRAWN))
    others = data.take(data.some("train", DRAWN))
    floor = quality(judge, real, others)
    for name, its in figures.items():
        its["images_per_second"] = speed_of(name, data, work)
        its["minutes"] = given.images / its["images_per_second"] / 60
        print(name, round(its["images_per_second"]), flush=True)
    grey = ", ".join(name for name in figures if name in CRITICS)
    drawn = f"black and white pixels, drawn anew at every step (grey ones for {grey or 'none'}, whose figures do not compare)"
    pixels = drawn if data.name in PROTOCOLS else OWN_PIXELS
    few = "; ".join(f"{name} is told {count:,} labels" for name, count in FEW_LABELS.items() if name in figures)
    given_labels = ", ".join(name for name in figures if name in VARIANTS and VARIANTS[name].told and name not in FEW_LABELS)
    days = {f"{its['hardware']}, {its['date']}, {its['commit']}" for both in of.values() for its in both}
    sides = " x ".join(map(str, data.image[1:]))
    text = (
        f"Pictures of {sides}; {given.images:,} images each, batch 128, fp32, nothing compiled, {NETS}, seed 0; {pixels}."
        f" Of {given_labels or 'none'} the bounds are those of log p(x | label), up to log(labels) nats more{few and '; '}{few}."
        f" FD: Frechet distance of {len(real):,} new pictures to as many test pictures in the features of a judge ({taught}); of"
        f" as many training pictures it is {told(floor.frechet)}. Measured on {'; '.join(sorted(days))};"
        f" speeds on {hardware()}, {date.today()}.\n\n{table(figures, [name for name in NAMES if name in figures])}"
    )
    sized = f" --size {given.size}" if given.size else ""
    command = f"python benchmarks/variants.py {Path(given.data).name}{sized} --images {given.images}"
    print(write_results(Path(__file__).parent, f"variants_{data.name}", command, {}, load_before=before, text=text))
    if figures.keys() == set(NAMES):
        shown = {name: {key: its[key] for key in KEPT if key in its} for name, its in figures.items()}
        how = f"{sides}, {given.images:,} images, batch 128, {NETS}; {pixels}; FD in the features of a judge ({taught})"
        reached = json.loads(REACHED.read_text()) | {data.name: {"how": how, "figures": shown}}
        REACHED.write_text(json.dumps(reached, indent=1) + "\n")
    (work / "table.md").write_text(text)


if __name__ == "__main__":
    main()
