"""Training speed: vaekit beside pythae's trainer, Keras 3 on torch and the best plain torch loop, all on pythae's networks.

    python benchmarks/throughput.py --env .venv-throughput [--rounds 3] [--seconds 8] [--out benchmarks]

It makes the virtual environment on first use, with pythae, Keras and this checkout on the torch of constraints.txt. Every
contender runs in a fresh process, in turn, round after round; the rates of matrix products are measured in the same run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from bars import Panel, bars
from contenders.contest import TASKS
from machine import load, write_results

from vaekit.draw import save_png

HERE = Path(__file__).parent
ROOT = HERE.parent

CONTENDERS = {"vaekit": "with_vaekit", "plain torch": "with_torch", "pythae": "with_pythae", "Keras 3": "with_keras"}
FOREIGN = ("pythae==0.1.2", "keras==3.15.1")
SHOWN = ("torch", "numpy", "vaekit", "pythae", "keras")
TARGETS = {"mlp": (3.0, 0.60), "conv28": (1.5, None), "conv64": (1.5, 0.45)}  # times pythae; share of the product rate
OF_PLAIN = 0.95
TOLD = """Images/s are medians over the rounds; each process warms up for 3 s after its first step and is then measured over whole
steps. The share of a contender is its images/s times the FLOPs of an image, over the bf16 rate of a large matrix product
before the same round, the median over the rounds. FLOPs: forward and backward of products and convolutions, counted once by
torch.utils.flop_counter; a multiply-add is two, the gradient by the pictures is not computed and not counted. vaekit and
plain torch: AdamW, clipping, an average of the weights; vaekit with its log. pythae: its epochs without the copy of the best
model between them; Adam. Keras: `fit` with the `train_step` of its own example; Adam."""


def python_of(env: Path) -> Path:
    """The interpreter of the benchmark's environment, which is made where it is not there."""
    python = env / "bin" / "python"
    if not python.exists():
        print(f"Installing pythae and Keras into {env} ...", file=sys.stderr)
        venv.create(env, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", str(ROOT / "constraints.txt")]
        subprocess.run([*pip, "-e", str(ROOT), *FOREIGN], check=True)
    return python


def versions_of(python: Path) -> dict[str, str]:
    code = f"import json, importlib.metadata as m; print(json.dumps({{n: m.version(n) for n in {SHOWN}}}))"
    return json.loads(subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout)


def ask(python: Path, script: str, *arguments: str) -> dict[str, Any]:
    """The JSON that a script of contenders/ prints last; what it says besides is shown where it fails."""
    command = [str(python), str(HERE / "contenders" / f"{script}.py"), *arguments]
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONWARNINGS": "ignore"})
    if told.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{told.stderr[-4000:]}")
    return json.loads(told.stdout.strip().splitlines()[-1])


def contest(
    python: Path, task: str, contenders: list[str], rounds: int, seconds: float
) -> tuple[dict[str, list[dict[str, Any]]], list[dict[str, Any]]]:
    """What every contender printed, round after round, and what the machine could do before each of these."""
    printed: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    ceilings = []
    with tempfile.TemporaryDirectory() as place:
        pictures = Path(place) / "pictures.npy"
        np.save(pictures, TASKS[task].draw())
        for _ in range(rounds):
            ceilings.append(ask(python, "ceilings"))
            for name in contenders:
                printed[name].append(ask(python, CONTENDERS[name], task, str(pictures), "--seconds", str(seconds)))
                print(f"{task:7} {name:12} {printed[name][-1]}", file=sys.stderr)
    return printed, ceilings


def figures_of(task: str, printed: dict[str, list[dict[str, Any]]], ceilings: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians, spreads, shares and ratios of one task; a share is that of its own round."""
    rates = {name: [its["images_per_second"] for its in told] for name, told in printed.items()}
    flops, figures = ceilings[0][task]["MFLOP per image"], {}
    for name, values in rates.items():
        middle = median(values)
        figures[f"{task}: {name}, images/s"] = float(f"{middle:.4g}")
        figures[f"{task}: {name}, images/s of each round"] = [float(f"{value:.4g}") for value in values]
        figures[f"{task}: {name}, GFLOP/s"] = round(middle * flops / 1e3, 1)
        shares = [value * flops / 1e3 / its["bf16 GFLOP/s"] for value, its in zip(values, ceilings, strict=True)]
        figures[f"{task}: {name}, share of the bf16 product rate"] = round(median(shares), 3)
        figures[f"{task}: {name}, how"] = printed[name][0]["how"]
    for name in rates.keys() - {"vaekit"}:
        if "vaekit" in rates:
            pairs = [ours / theirs for ours, theirs in zip(rates["vaekit"], rates[name], strict=True)]
            figures[f"{task}: vaekit / {name}, median of the rounds"] = round(median(pairs), 3)
    figures[f"{task}: MFLOP per image"] = round(flops, 2)
    for name in ("bf16 GFLOP/s", "fp32 GFLOP/s"):
        figures[f"{task}: {name} of a large matrix product, before each round"] = [round(its[name]) for its in ceilings]
    own = "bf16 GFLOP/s of its own products"
    figures[f"{task}: {own}, before each round"] = [round(its[task][own]) for its in ceilings]
    return figures


def panel_of(task: str, figures: dict[str, Any], contenders: list[str]) -> Panel:
    values = {name: figures[f"{task}: {name}, images/s of each round"] for name in contenders}
    shares = {name: figures[f"{task}: {name}, share of the bf16 product rate"] for name in contenders}
    return Panel(TASKS[task].about, "images/s", values, {name: f"({share:.0%} of bf16)" for name, share in shares.items()})


def verdicts(task: str, figures: dict[str, Any]) -> dict[str, str]:
    """What was to be reached, and what was."""
    times, share = TARGETS[task]
    wanted = {
        f"{task}: vaekit / pythae, median of the rounds": times,
        f"{task}: vaekit / plain torch, median of the rounds": OF_PLAIN,
        f"{task}: vaekit, share of the bf16 product rate": share,
    }
    return {
        f"target, {name}": f"{least}: {'reached' if figures[name] >= least else 'not reached'}"
        for name, least in wanted.items()
        if least is not None and name in figures
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", type=Path, default=ROOT / ".venv-throughput")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--out", type=Path, default=HERE)
    given = parser.parse_args()
    python, before = python_of(given.env), load()
    figures: dict[str, Any] = {}
    for task in given.tasks:
        figures |= figures_of(task, *contest(python, task, given.contenders, given.rounds, given.seconds))
        figures |= verdicts(task, figures)
    (given.out / "pictures").mkdir(exist_ok=True)
    about = f"batch 128; medians of {given.rounds} rounds, dots are the rounds; in brackets the share of the bf16 product rate"
    figure = bars(
        [panel_of(task, figures, given.contenders) for task in given.tasks], "Training speed on pythae's networks", about
    )
    (given.out / "pictures" / "throughput.png").write_bytes(save_png(figure, "throughput"))
    command = f"python benchmarks/throughput.py --rounds {given.rounds} --seconds {given.seconds:g}"
    text = f"{TOLD}\n\n![Training speed](pictures/throughput.png)"
    page = write_results(given.out, "throughput", command, figures, load_before=before, text=text, versions=versions_of(python))
    print(page.read_text())


if __name__ == "__main__":
    main()
