"""Time to quality: -log p(x) on the whole dynamically binarised MNIST test set against minutes of training, beside pythae's VAE.

    python benchmarks/time_to_nll.py MNIST --env .venv-throughput [--minutes 1.5 4 12 60] [--samples 5000] [--work DIR]

For each budget it trains `--recipe density`; then pythae's own VAE once, by its own trainer, keeping the weights of every
budget. Both are measured by the same bound on the same draw of the test set. What lies in --work is not made again, so trainings
may be run one by one, on a quiet machine: minutes beside another process are no minutes. The bounds come last, and may. Each is
kept in benchmarks/time-to-nll/ with its commit, day and machine, and neither trained nor measured again while it is there.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from machine import load, once, write_results
from matplotlib.figure import Figure
from throughput import ask, python_of

from vaekit.data import Dataset, binarized, open_data
from vaekit.draw import save_png
from vaekit.draw.style import ACCENT, CONTRAST, FAINT, FAMILY, MUTED, SMALL, Sheet, chart
from vaekit.run import Run

TARGETS = {1.5: 86.76, 4.0: 84.78, 12.0: 82.43, 60.0: 80.0}  # minutes of training, nats to be below
PUBLISHED = {  # on dynamic MNIST with 5000 samples
    "IWAE paper, VAE, 3280 epochs": 86.76,
    "IWAE paper, IWAE-50": 84.78,
    "gated VAE + VampPrior": 82.43,
    "ConvHVAE + VampPrior": 79.67,
    "ResNet VAE + RealNVP prior": 78.49,
}
TOLD = """Nats per image, lower is better: an upper bound on -log p(x) by importance sampling (Burda et al., 2016), with 95 % over
images. All test pictures, x ~ Bernoulli(pixel / 255) drawn once (seed 0); training draws anew at every step, on the training
split alone. Minutes are those of training, validations included; the choice of threads and precision before it is not. pythae:
its default VAE (MLP 784-512, binary cross-entropy) with 40 latents, BaseTrainer, Adam 1e-3 throughout, batch 128, on the same
draws; one training, whose weights were kept at each of the minutes."""


def vaekit(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "vaekit", *arguments], stdout=sys.stderr, check=True)


def train_vaekit(data: str, minutes: float, work: Path) -> None:
    vaekit(
        "train",
        data,
        "--recipe",
        "density",
        "--minutes",
        str(minutes),
        "--out",
        str(work / f"density-{minutes:g}"),
        "--no-report",
    )


def measure_vaekit(minutes: float, samples: int, work: Path) -> dict[str, Any]:
    path = work / f"density-{minutes:g}"
    vaekit("evaluate", str(path), "--samples", str(samples), "--precision", "bf16", "--compile")
    run = Run.open(path)
    nll, last = run.metrics["nll"], run.records[-1]
    return {
        "nll": nll["value"],
        "interval": nll["interval"],
        "curve": nll["curve"],
        "images": last["images"],
        "trained seconds": last["seconds"],
        "evaluated seconds": nll["seconds"],
        "how": nll["how"],
        "training": json.loads((work / f"vaekit-{minutes:g}.json").read_text()),
    }


def train_pythae(data: Dataset, env: Path, minutes: list[float], work: Path) -> None:
    pictures = work / "pictures.npz"
    np.savez(pictures, train=data.take(data.splits["train"]), test=binarized(data).take(data.splits["test"]))
    (work / "pythae").mkdir(exist_ok=True)
    told = [f"{each:g}" for each in minutes]
    ask(python_of(env), "nll_with_pythae", "train", str(pictures), "--minutes", *told, "--out", str(work / "pythae"))


def measure_pythae(env: Path, minutes: float, samples: int, work: Path) -> dict[str, Any]:
    weights = work / "pythae" / f"{minutes:g}.safetensors"
    pictures, asked = str(work / "pictures.npz"), ("--model", str(weights), "--samples", str(samples))
    return ask(python_of(env), "nll_with_pythae", "measure", pictures, *asked)


def figure(found: dict[str, dict[float, dict[str, Any]]]) -> Figure:
    """NLL against minutes, with what was published."""
    sheet = Sheet(
        880,
        420,
        "Time to quality",
        "Dynamic MNIST, all 10,000 test pictures, IS bound on −log p(x); minutes of training on this machine",
    )
    axes = sheet.axes(60, 8, 560, 360)
    chart(axes, "minutes of training", "nats per image")
    axes.set_xscale("log")
    for name, color in (("pythae's VAE", CONTRAST), ("vaekit density", ACCENT)):
        minutes = sorted(found[name])
        values = [found[name][each]["nll"] for each in minutes]
        axes.plot(minutes, values, "o-", color=color, zorder=3)
        axes.annotate(
            name,
            (minutes[-1], values[-1]),
            (8, 0),
            textcoords="offset points",
            color=color,
            va="center",
            fontsize=SMALL,
            fontfamily=FAMILY,
            annotation_clip=False,
        )
    for name, value in PUBLISHED.items():
        axes.axhline(value, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            f"{name} {value}",
            (0, value),
            (2, 2),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            color=MUTED,
            fontsize=SMALL,
            fontfamily=FAMILY,
        )
    shown = sorted(found["vaekit density"])
    axes.set_xticks(shown, [f"{each:g}" for each in shown])
    axes.minorticks_off()
    return sheet.figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="MNIST: a folder with its idx files, or `mnist`")
    parser.add_argument("--env", type=Path, required=True, help="the virtual environment with pythae, made where it is not there")
    parser.add_argument("--minutes", type=float, nargs="+", default=list(TARGETS))
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--train-only", action="store_true", help="leave the bounds to a later call with the same --work")
    parser.add_argument("--work", type=Path, default=Path("runs/time-to-nll"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    data, k, minutes = open_data(given.data), given.samples, given.minutes
    kept = given.out / "time-to-nll"
    kept.mkdir(exist_ok=True)
    asked = {name: [m for m in minutes if not (kept / f"{name}-{m:g}-{k}.json").exists()] for name in ("vaekit", "pythae")}
    for m in asked["vaekit"]:
        once(given.work / f"vaekit-{m:g}.json", lambda m=m: train_vaekit(given.data, m, given.work))
    if asked["pythae"]:
        longest = f"pythae-{'-'.join(f'{m:g}' for m in asked['pythae'])}.json"
        once(given.work / longest, lambda: train_pythae(data, given.env, asked["pythae"], given.work))
    if given.train_only:
        return
    found: dict[str, dict[float, dict[str, Any]]] = {"vaekit density": {}, "pythae's VAE": {}}
    for m in minutes:
        ours, theirs = (kept / f"{name}-{m:g}-{k}.json" for name in ("vaekit", "pythae"))
        found["vaekit density"][m] = once(ours, lambda m=m: measure_vaekit(m, k, given.work))
        found["pythae's VAE"][m] = once(theirs, lambda m=m: measure_pythae(given.env, m, k, given.work))
    figures: dict[str, Any] = {}
    for m in minutes:
        for name, measured in found.items():
            each = measured[m]
            low, high = each["interval"]
            goal = f", to be below {TARGETS[m]}" if m in TARGETS and name.startswith("vaekit") else ""
            figures[f"{name}, {m:g} min"] = f"{each['nll']:.2f} ({low:.2f} to {high:.2f}; {each['images']:,} images seen{goal})"
    days = {f"{its['hardware']}, {its['date']}, {its['commit']}" for measured in found.values() for its in measured.values()}
    notes = [f"{name}, {m:g} min: {its['note']}." for name, of in found.items() for m, its in of.items() if "note" in its]
    (given.out / "pictures").mkdir(exist_ok=True)
    (given.out / "pictures" / "time-to-nll.png").write_bytes(save_png(figure(found), "Time to quality"))
    command = f"python benchmarks/time_to_nll.py MNIST --minutes {' '.join(f'{m:g}' for m in minutes)} --samples {k}"
    shown = f"![time to quality](pictures/time-to-nll.png)\n\n```json\n{json.dumps(found, indent=1)}\n```"
    text = "\n".join([TOLD, f"Measured on {'; '.join(sorted(days))}.", *notes, "", shown])
    print(write_results(given.out, "time-to-nll", command, figures, load_before=load(), text=text))


if __name__ == "__main__":
    main()
