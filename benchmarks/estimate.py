"""The memory that is told before the first step, beside what a training then really takes, for several recipes.

    python benchmarks/estimate.py [--seconds 20] [--out benchmarks]

Each training is a fresh process with the recipe's own budget, stopped after some seconds in which it validated and took
snapshots; the second one of each recipe remembers how steps run best. The pictures are noise.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import torch
from bars import Panel, bars
from machine import load, write_results
from matplotlib.figure import Figure
from memory import fill, noise

from vaekit.draw import save_png

CASES = {  # recipe, image
    "digits-2d, 28x28": ("digits-2d", (1, 28, 28)),
    "density, 28x28": ("density", (1, 28, 28)),
    "vae, 64x64": ("vae", (3, 64, 64)),
    "faces, 64x64": ("faces", (3, 64, 64)),
    "book, 128x128": ("book", (3, 128, 128)),
}
PICTURES, CLOSE = 10_000, 0.2


def train(path: Path, name: str, seconds: float) -> None:
    """Train a case and print what was told and what was taken, as JSON."""
    from vaekit.errors import Stopped
    from vaekit.fitting import Silent, fit
    from vaekit.planning import start
    from vaekit.recipes import cook
    from vaekit.trials import peak_memory

    recipe, image = CASES[name]
    data, told = noise(path, PICTURES, image), {}

    class Watch(Silent):
        def started(self, run, training, state, choice, needs):
            told.update(told=needs.memory, execution=str(choice.execution), parameters=needs.parameters)
            threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM)).start()

        def logged(self, record, fraction):
            told[record["split"]] = told.get(record["split"], 0) + 1

    with tempfile.TemporaryDirectory() as folder:
        run = start(Path(folder) / "run", data, cook(recipe, image, {"validate_every": 2000}))
        try:
            fit(run, data, Watch(), snapshot_seconds=2)
        except Stopped:
            print(json.dumps({**told, "peak": peak_memory(torch.device("cpu"))}))


def measure(cases: list[str], seconds: float) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "pixels.u8"
        fill(path, PICTURES * 3 * 128 * 128 / 1e9)
        for name in cases:
            command = [sys.executable, __file__, "--train", str(path), name, "--seconds", str(seconds)]
            for _ in range(2):
                environment = os.environ | {"VAEKIT_CACHE": str(Path(place) / "cache")}
                out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
                found.setdefault(name, []).append(json.loads(out.splitlines()[-1]))
                print(name, found[name][-1], file=sys.stderr)
    return found


def figures_of(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name, its in found.items():
        ratios = [round(each["told"] / each["peak"], 2) for each in its]
        figures[f"{name}: told before the first step, MB"] = [round(each["told"] / 1e6) for each in its]
        figures[f"{name}: peak, MB"] = [round(each["peak"] / 1e6) for each in its]
        figures[f"{name}: told / peak"] = ratios
        figures[f"{name}: validations meanwhile"] = [each.get("validation", 0) for each in its]
        figures[f"{name}: execution"] = its[-1]["execution"]
        good = all(abs(ratio - 1) <= CLOSE for ratio in ratios)
        figures[f"target, {name}, within {CLOSE:.0%}"] = "reached" if good else "not reached"
    return figures


def drawn(cases: list[str], figures: dict[str, Any]) -> Figure:
    ratios = {name: figures[f"{name}: told / peak"] for name in cases}
    notes = {
        name: "({} of {} MB)".format(*(figures[f"{name}: {what}, MB"][-1] for what in ("told before the first step", "peak")))
        for name in cases
    }
    about = "recipes on noise, stopped after some seconds with validations and snapshots; dots are the trainings"
    panel = Panel("Told before the first step / peak resident memory", "", ratios, notes, 1 - CLOSE)
    return bars([panel], "The memory that is told", about, ours="")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--train", nargs=2, metavar=("FILE", "CASE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(Path(options.train[0]), options.train[1], options.seconds)
        return
    before = load()
    found = measure(options.cases, options.seconds)
    figures = figures_of(found)
    (options.out / "pictures").mkdir(exist_ok=True)
    (options.out / "pictures" / "estimate.png").write_bytes(save_png(drawn(options.cases, figures), "estimate"))
    command = f"python benchmarks/estimate.py --seconds {options.seconds:g}"
    text = "The first of each pair tries what is fastest here, the second remembers it.\n\n![Estimate](pictures/estimate.png)"
    print(write_results(options.out, "estimate", command, figures, load_before=before, text=text).read_text())


if __name__ == "__main__":
    main()
