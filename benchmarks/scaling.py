"""How training scales over processes: images/s, the share of it that is communication, and whether the steps are the same.

    python benchmarks/scaling.py [--processes 1 2 4] [--rounds 5] [--seconds 15] [--out benchmarks]

torchrun starts 1, 2 and 4 processes on this machine, in turn, round after round, each with one thread, on the same batches. Their
first steps give the curves that are compared, the rest is timed.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from bars import Panel, bars
from contenders.contest import TASKS
from machine import load, write_results

from vaekit.draw import save_png

BATCH, COMPARED, WARM = 128, 50, 20  # images a step, of all processes; steps that are compared; and before the clock starts
NETS = {"mlp": "MLP of two layers of 512", "conv": "convolutional, 32 to 256 channels"}
CLOSE = 1e-4  # of the loss's own size, as far as rounding may take the curves apart
TOLD = """A step is vaekit's own, fp32 and not compiled, on one batch that the processes share; each of them has one thread. Where
there are more processes than cores, they wait for each other. Communication is the time inside torch.distributed's calls, waiting
for the slower process included, over the time of all steps; the mean over the processes."""


# One of the processes


def train(net: str, seconds: float) -> dict[str, Any]:
    """Train on what torchrun says of this process; the first steps' losses, then speed and communication."""
    import torch
    from torch import distributed as dist

    from vaekit import cook, world
    from vaekit.batches import Batches
    from vaekit.execution import Execution
    from vaekit.state import State
    from vaekit.train import train

    spent = 0.0

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            nonlocal spent
            began = time.perf_counter()
            try:
                return call(*arguments, **options)
            finally:
                spent += time.perf_counter() - began

        return run

    dist.all_reduce, dist.broadcast = timed(dist.all_reduce), timed(dist.broadcast)
    torch.set_num_threads(1)
    with world.join() as here:
        task, device = TASKS["mlp"], torch.device("cpu")
        pixels = task.draw()
        torch.manual_seed(0)
        recipe = cook(
            "vae", task.image, {"net": net, "latent": task.latent, "batch_size": BATCH, "minutes": 1e6, "device": "cpu"}
        )
        batches = Batches(pixels, np.arange(len(pixels)), BATCH, 0, device)
        state = State.start(recipe.model, recipe.objective, recipe.training, device)
        losses, began, before = [], 0.0, 0.0
        for step in train(state, batches, recipe.training, Execution(device)):
            if step.number <= COMPARED:
                losses.append(step.values["loss"])
            if step.number == COMPARED + WARM:
                began, before, spent = time.perf_counter(), state.seconds, 0.0
            elif step.number > COMPARED + WARM and state.seconds - before > seconds:
                break
        took = time.perf_counter() - began
        shares = world.gathered(spent / took)
        return {
            "losses": losses,
            "images_per_second": (state.images - (COMPARED + WARM) * BATCH) / took,
            "communication": sum(shares) / here.size,
        }


# All of them


def ask(net: str, processes: int, seconds: float) -> dict[str, Any]:
    """What the first of so many processes printed."""
    launched = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", __file__]
    command = [sys.executable, *launched, "--seconds", str(seconds), "--train", net]
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if told.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{told.stderr[-4000:]}")
    return json.loads(told.stdout.strip().splitlines()[-1])


def measure(net: str, processes: list[int], rounds: int, seconds: float) -> dict[int, list[dict[str, Any]]]:
    """What every number of processes printed, round after round."""
    printed: dict[int, list[dict[str, Any]]] = {count: [] for count in processes}
    for _ in range(rounds):
        for count in processes:
            its = ask(net, count, seconds)
            printed[count].append(its)
            print(f"{net:5} {count} {its['images_per_second']:.0f} images/s {its['communication']:.1%}", file=sys.stderr)
    return printed


def named(count: int) -> str:
    return f"{count} process{'es' * (count > 1)}"


def figures_of(net: str, printed: dict[int, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians, spreads, speed over the least number of processes, and the largest difference of the curves."""
    figures: dict[str, Any] = {}
    alone = next(iter(printed))
    curve = np.array(printed[alone][0]["losses"])
    for count, told in printed.items():
        rates, who = [its["images_per_second"] for its in told], f"{net}: {named(count)}"
        pairs = [its["images_per_second"] / one["images_per_second"] for its, one in zip(told, printed[alone], strict=True)]
        apart = max(float(np.max(np.abs(np.array(its["losses"]) / curve - 1))) for its in told)
        figures[f"{who}, images/s"] = float(f"{median(rates):.4g}")
        figures[f"{who}, images/s of each round"] = [float(f"{rate:.4g}") for rate in rates]
        figures[f"{who}, times {named(alone)}, median of the rounds"] = round(median(pairs), 3)
        figures[f"{who}, share of a step in communication"] = round(median(its["communication"] for its in told), 3)
        figures[f"{who}, largest relative difference of {COMPARED} losses"] = float(f"{apart:.2g}")
    worst = max(value for name, value in figures.items() if "difference" in name)
    figures[f"{net}: target, curves within {CLOSE:g}"] = "reached" if worst < CLOSE else "not reached"
    return figures


def panel_of(net: str, figures: dict[str, Any], processes: list[int]) -> Panel:
    rates = {named(count): figures[f"{net}: {named(count)}, images/s of each round"] for count in processes}
    shares = {named(count): figures[f"{net}: {named(count)}, share of a step in communication"] for count in processes}
    return Panel(NETS[net], "images/s", rates, {name: f"({share:.0%} communication)" for name, share in shares.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--train", choices=NETS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train:
        told = train(given.train, given.seconds)
        if os.environ.get("RANK", "0") == "0":
            print(json.dumps(told))
        return
    before, processes = load(), sorted(given.processes)
    figures: dict[str, Any] = {}
    for net in given.nets:
        figures |= figures_of(net, measure(net, processes, given.rounds, given.seconds))
    (given.out / "pictures").mkdir(exist_ok=True)
    about = f"batch {BATCH} over all processes, one thread each; medians of {given.rounds} rounds, dots are the rounds"
    figure = bars([panel_of(net, figures, processes) for net in given.nets], "Training on several processes", about, ours="")
    (given.out / "pictures" / "scaling.png").write_bytes(save_png(figure, "scaling"))
    sizes = f"--processes {' '.join(map(str, processes))} --rounds {given.rounds} --seconds {given.seconds:g}"
    text = f"{TOLD}\n\n![Training on several processes](pictures/scaling.png)"
    command = f"python benchmarks/scaling.py {sizes}"
    print(write_results(given.out, "scaling", command, figures, load_before=before, text=text).read_text())


if __name__ == "__main__":
    main()
