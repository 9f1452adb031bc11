"""Time to quality: -log p(x) on the whole dynamically binarised MNIST test set against minutes of training, beside pythae's VAE.

    python benchmarks/time_to_nll.py MNIST --env .venv-throughput [--minutes 1.5 4 12 60] [--samples 5000] [--work DIR]

For each budget it trains `--recipe density` and evaluates the importance-sampled bound, then pythae's own VAE for the same
minutes, by its own trainer, with the same bound on the same draw of the test set. What lies in --work is not measured again, so
budgets may be run one by one, on a quiet machine: minutes beside another process are no minutes.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import load, write_results
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
its default VAE (MLP 784-512, binary cross-entropy) with 40 latents, BaseTrainer, Adam 1e-3, batch 128, on the same draws."""


def vaekit(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "vaekit", *arguments], stdout=sys.stderr, check=True)


def measure_vaekit(data: str, minutes: float, samples: int, work: Path) -> dict[str, Any]:
    path = work / f"density-{minutes:g}"
    vaekit("train", data, "--recipe", "density", "--minutes", str(minutes), "--out", str(path), "--no-report")
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
    }


def measure_pythae(data: Dataset, env: Path, minutes: float, samples: int, work: Path) -> dict[str, Any]:
    pictures = work / "pictures.npz"
    np.savez(pictures, train=data.take(data.splits["train"]), test=binarized(data).take(data.splits["test"]))
    return ask(python_of(env), "nll_with_pythae", str(pictures), "--minutes", str(minutes), "--samples", str(samples))


def once(path: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured before, else what is measured now, with the load before it."""
    if not path.exists():
        before = load()
        path.write_text(json.dumps({"load before": before, **measure()}, indent=1))
    return json.loads(path.read_text())


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
    parser.add_argument("--work", type=Path, default=Path("runs/time-to-nll"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    data, k = open_data(given.data), given.samples
    found: dict[str, dict[float, dict[str, Any]]] = {"vaekit density": {}, "pythae's VAE": {}}
    for m in given.minutes:
        found["vaekit density"][m] = once(
            given.work / f"vaekit-{m:g}-{k}.json", lambda m=m: measure_vaekit(given.data, m, k, given.work)
        )
        found["pythae's VAE"][m] = once(
            given.work / f"pythae-{m:g}-{k}.json", lambda m=m: measure_pythae(data, given.env, m, k, given.work)
        )
    figures: dict[str, Any] = {}
    for m in given.minutes:
        for name, measured in found.items():
            each = measured[m]
            low, high = each["interval"]
            goal = f", to be below {TARGETS[m]}" if m in TARGETS and name.startswith("vaekit") else ""
            figures[f"{name}, {m:g} min"] = f"{each['nll']:.2f} ({low:.2f} to {high:.2f}; {each['images']:,} images seen{goal})"
    before = ", ".join(
        f"{name} {m:g} min: {measured[m]['load before']}" for name, measured in found.items() for m in given.minutes
    )
    (given.out / "pictures" / "time-to-nll.png").write_bytes(save_png(figure(found), "Time to quality"))
    command = f"python benchmarks/time_to_nll.py MNIST --minutes {' '.join(f'{m:g}' for m in given.minutes)} --samples {k}"
    text = f"{TOLD}\n\n![time to quality](pictures/time-to-nll.png)\n\n```json\n{json.dumps(found, indent=1)}\n```"
    print(write_results(given.out, "time-to-nll", command, figures, load_before=before, text=text))


if __name__ == "__main__":
    main()
